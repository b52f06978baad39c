"""The page: it opens with no network, is well formed, and shows a section where there is data for it."""

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from instructue.evaluation.report.write import render
from instructue.evaluation.results import parse_results
from tests.instructue.evaluation.made_up import everything, made_up

PAGES = {"plain": made_up, "everything": everything}


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: render("report.html.j2", parse_results(given())) for name, given in PAGES.items()}


@pytest.fixture(params=PAGES)
def page(request, pages) -> str:
    return pages[request.param]


def test_html_opens_with_no_network(page):
    loads = re.findall(r"""(?:src|href|srcset|action|data)\s*=\s*["']?([^"'\s>]*)|url\(([^)]*)\)""", page)
    outside = [target for found in loads for target in found if target and not target.strip("\"'").startswith("#")]
    assert loads and not outside
    assert not re.search(r"<(script|link|iframe|object|embed|img)\b|@import|https?://", page)
    assert "<svg" in page and "A shop &amp; its &lt;customers&gt;" in page
    assert len(page) < 3_000_000


class Nesting(HTMLParser):
    """Elements left open, closed in the wrong order, or of one id twice."""

    VOID = {"meta", "br", "wbr", "link", "img", "hr", "input"}

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.feed(page)
        self.wrong += self.open

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        self.open += [] if tag in self.VOID else [tag]

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")


def test_html_is_well_formed_and_its_contents_lead_somewhere(page):
    found = Nesting(page)
    assert not found.wrong
    assert Nesting("<p><b></p></b>").wrong and Nesting("<div>").wrong  # the checker sees a fault
    headings = [name for name in found.ids if not re.match(r"[mpC]\w{8,}|DejaVu", name)]
    assert len(headings) == len(set(headings))
    for anchor in re.findall(r"<nav.*?</nav>", page, flags=re.S)[0].split('href="#')[1:]:
        assert anchor.split('"')[0] in found.ids


def test_every_plot_has_an_alternative_text_and_is_well_formed(page):
    plots = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(plots) >= 3 + 3  # families, and tasks with few labels
    for plot in plots:
        element = ElementTree.fromstring(plot.replace("xlink:href", "href"))
        assert element.get("role") == "img" and len(element.get("aria-label", "")) > 40
        assert not re.search(r"#[0-9a-fA-F]{6}\b(?!\w)", re.sub(r'(href|clip-path|id)="[^"]*"', "", plot)), (
            "a fixed colour"
        )


# What a section says, and the part of the results that it shows.
PARTS = {
    "adds": ("Does it add to what you have?", "it is ahead on 3 of 3 tasks"),
    "slices": ("Context by context", "campaign 29"),
    "calibration": ("May the chances be taken at their word?", "0.020 to 0.040"),
    "uplift": ("Whom to treat", "share treated"),
    "maps": ("The same users under different instructions", "20 triangles for yes, 40 dots for no"),
    "examples": ("users on whom methods disagree", "&lt;tea&gt;"),
    "studies": ("Experiments about claims", "By +0.040 AUC (95% interval +0.020 to +0.060)."),
    "attainable": ("Best attainable", "<b>0.912</b>"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_section_is_there_with_its_data_and_absent_without(part, pages):
    assert part not in made_up()
    for said in PARTS[part]:
        assert said in pages["everything"] and said not in pages["plain"]
    anchor = {"studies": "claims"}.get(part, part)
    if part != "attainable":
        assert f'href="#{anchor}"' in pages["everything"] and f'href="#{anchor}"' not in pages["plain"]
