"""The evaluation report: the same results as JSON for programs, Markdown for a review, HTML for people.

The HTML is one file that opens with no network: its style, plots and tables are all inside.
"""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from instructue.evaluation import names, plots
from instructue.evaluation.results import OURS, PRIMARY, Results, parse_results
from instructue.evaluation.tables import cell_text, tables, tiles
from instructue.evaluation.verdict import OUTCOMES, judge, losses, nearly, verdict
from instructue.files import replacing, write_json


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
    environment = Environment(
        loader=PackageLoader("instructue.evaluation", "."),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Names and tables need Python's helpers; a template holds no arithmetic.
    environment.filters |= {"number": names.number, "signed": names.signed, "title_of": names.method_title}
    environment.filters |= {"code": _code, "task": _task, "thousands": _thousands}
    environment.globals |= {"names": names, "cell_text": cell_text}
    environment.globals |= {"OURS": OURS, "OUTCOMES": OUTCOMES}
    return environment.get_template(template).render(_view(results)).rstrip() + "\n"


def _view(results: Results) -> dict[str, Any]:
    """Everything the templates show."""
    metrics = {row.metric for row in results.rows}
    further = tuple(m for m in ("hr@10", "ks") if m in metrics)
    return {
        "results": results,
        "sentences": verdict(results),
        "tiles": tiles(results),
        "tables": tables(results),
        "further": tables(results, further) if further else [],
        "forests": [svg for family in names.FAMILIES if (svg := plots.forest_svg(results, family))],
        "curves": plots.few_label_svgs(results),
        "curve_methods": plots.curve_methods(results),
        "shapes": plots.SERIES_SYMBOLS,
        "losses": losses(results),
        "nearly": nearly(results),
        "all_pairs": [judge(results, pair) or pair for pair in results.paired],
        "methods": list(dict.fromkeys(row.method for row in results.rows)),
        "metric_notes": [names.METRIC_NOTES[m] for m in dict.fromkeys([*PRIMARY.values(), *further]) if m in metrics],
    }


def _code(text: str) -> Markup:
    """Escape, and show what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _task(name: str) -> Markup:
    """A task's name as code that may break after an underscore."""
    return Markup("<code>{}</code>").format(Markup(str(escape(name)).replace("_", "_<wbr>")))


def _thousands(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
