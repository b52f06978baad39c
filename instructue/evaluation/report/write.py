"""The evaluation report: the same results as JSON for programs, Markdown for a review, HTML for people.

The HTML is one file that opens with no network: its style, plots and tables are all inside.
"""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from instructue.evaluation.report import claims, close, curves, dots, forest, maps, names, verdict
from instructue.evaluation.report.drawing import SERIES_SYMBOLS
from instructue.evaluation.report.tables import RANKING, Table, cell_text, main_tables, tables, tiles
from instructue.evaluation.results import OURS, PRIMARY, Results, parse_results
from instructue.files import replacing, write_json

FOLDED = ("ks", "average_precision", "lift@10%", "qini", "auuc")  # metrics not in the main tables
MOST_ROWS = 2500  # on the page; all are in the JSON


def write_reports(results: dict[str, Any], stem: Path) -> None:
    """Write STEM.json, STEM.md and STEM.html, each whole or not at all.

    Raises DataError, before anything is written, where `results` are not as described in results.py.
    """
    parsed = parse_results(results)
    pages = {".md": render("report.md.j2", parsed), ".html": render("report.html.j2", parsed)}
    write_json(stem.with_name(stem.name + ".json"), parsed.model_dump(mode="json", exclude_unset=True))
    for suffix, page in pages.items():
        with replacing(stem.with_name(stem.name + suffix)) as temporary:
            temporary.write_text(page, encoding="utf-8")


def render(template: str, results: Results) -> str:
    """Fill one of the templates beside this file."""
    page = template.endswith(".html.j2")
    environment = Environment(
        loader=PackageLoader("instructue.evaluation.report", "."),
        autoescape=page,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Names and tables need Python's helpers; a template holds no arithmetic.
    environment.filters |= {"number": names.number, "signed": names.signed, "title_of": names.method_title}
    environment.filters |= {"metric_of": names.metric_title}
    environment.filters |= {"code": _code, "task": _task, "thousands": _thousands}
    environment.globals |= {"names": names, "cell_text": cell_text, "symbols": SERIES_SYMBOLS}
    environment.globals |= {"OURS": OURS, "OUTCOMES": verdict.OUTCOMES}
    view = _said(results) | (_drawn(results) if page else {})
    return environment.get_template(template).render(view).rstrip() + "\n"


def _said(results: Results) -> dict[str, Any]:
    """What both pages show: sentences and tables."""
    return {
        "results": results,
        "sentences": verdict.verdict(results),
        "many": verdict.many(results),
        "adds": verdict.what_it_adds(results),
        "added_pairs": [pair for pairs in verdict.added(results).values() for pair in pairs],
        "tables": main_tables(results),
        "folded": tables(results, FOLDED),
        "losses": verdict.losses(results),
        "nearly": verdict.nearly(results),
    }


def _drawn(results: Results) -> dict[str, Any]:
    """What only the HTML page shows."""
    found = tables(results)
    metrics = dict.fromkeys([*PRIMARY.values(), *RANKING, *FOLDED])
    known = {row.metric for row in results.rows}
    view = {
        "tiles": tiles(results),
        "averages": dots.average_svgs(found),
        "forests": forest.forest_svgs(results),
        "added": forest.added_svgs(results),
        "mean_curves": curves.few_label_svgs(results, averages=True),
        "curves": curves.few_label_svgs(results, averages=False),
        "curve_methods": curves.curve_methods(results),
        "reliability": curves.reliability_svgs(results),
        "calibrations": curves.calibrations(results),
        "sliced": close.sliced(results),
        "uplift": curves.uplift_svgs(results),
        "uplift_methods": curves.uplift_methods(results),
        "maps": maps.map_svgs(results),
        "claims": claims.claims(results),
        "stories": close.stories(results),
        "methods": _methods(found, results),
        "metric_notes": [names.METRIC_NOTES[m] for m in metrics if m in known and m in names.METRIC_NOTES],
        "all_rows": results.rows if len(results.rows) <= MOST_ROWS else _headline_rows(results),
        "all_pairs": _headline_pairs(results) if len(results.paired) > MOST_ROWS else _judged(results),
    }
    return view | {"contents": _contents(results, view)}


def _methods(found: list[Table], results: Results) -> list[str]:
    """In the order of the tables, then those that no table shows."""
    shown = [line.method for table in found for line in table.lines]
    return list(dict.fromkeys([*shown, *(row.method for row in results.rows)]))


def _headline_rows(results: Results) -> list[Any]:
    return [row for row in results.rows if row.labels in ("all", 0)][:MOST_ROWS]


def _judged(results: Results) -> list[Any]:
    return [verdict.judge(results, pair) or pair for pair in results.paired]


def _headline_pairs(results: Results) -> list[Any]:
    return [pair for pair in _judged(results) if pair.labels == "all"][:MOST_ROWS]


def _contents(results: Results, view: dict[str, Any]) -> list[tuple[str, str]]:
    """(anchor, title) of every section that is on the page."""
    here = (
        ("results", "Results", True),
        ("paired", "Differences", True),
        ("adds", "Added to what you have", bool(view["added"])),
        ("few", "Few labels", bool(view["mean_curves"] or view["curves"])),
        ("claims", "Experiments", bool(view["claims"])),
        ("slices", "By context", bool(view["sliced"])),
        ("calibration", "Calibration", bool(view["calibrations"])),
        ("uplift", "Uplift", bool(view["uplift"])),
        ("maps", "Maps", bool(results.maps)),
        ("losses", "Losses", True),
        ("examples", "Example users", bool(view["stories"])),
        ("protocol", "Protocol", True),
        ("everything", "All figures", True),
    )
    return [(anchor, title) for anchor, title, there in here if there]


def _code(text: str) -> Markup:
    """Escape, and show what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _task(name: str) -> Markup:
    """A task's name as code that may break after an underscore."""
    return Markup("<code>{}</code>").format(Markup(str(escape(name)).replace("_", "_<wbr>")))


def _thousands(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
