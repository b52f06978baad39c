"""The pictures outside the page: PNG files on light ground, for Dagster, MLflow and the README."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructue.evaluation.report.curves import few_label_curve
from instructue.evaluation.report.dots import LEFT, ROOM, Dots, average_lines, draw_dots
from instructue.evaluation.report.drawing import COLOURS, PIXEL, SERIES_SHAPES, save_png, styled
from instructue.evaluation.report.forest import WIDTH, draw_forest, forest_entries, forest_height
from instructue.evaluation.report.lines import Series, draw_lines
from instructue.evaluation.report.names import FAMILIES, metric_title
from instructue.evaluation.report.tables import Table, tables
from instructue.evaluation.results import MACRO, PRIMARY, Results, parse_results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 12  # averages in a picture
CURVES = 250  # height of the few-label curves


def forest_png(results: dict[str, Any] | Results, path: Path) -> Path:
    """Write the forest plots of all families side by side as a PNG; returns `path`. Colours suit a light page."""
    from matplotlib.figure import Figure

    parsed = results if isinstance(results, Results) else parse_results(results)
    groups = [(family, entries) for family in FAMILIES if (entries := forest_entries(parsed, family))]
    rows = max((len(entries) for _, entries in groups), default=1)
    with styled():
        size = (WIDTH * PIXEL * max(1, len(groups)), forest_height(rows) * PIXEL)
        figure = Figure(figsize=size, dpi=144, facecolor="white")
        for column, (family, entries) in enumerate(groups):
            draw_forest(figure, entries, FAMILIES[family], PRIMARY[family], (column, len(groups)), rows)
        if not groups:
            _say(figure, "no paired comparisons")
        return save_png(figure, path)


def summary_png(results: dict[str, Any] | Results, path: Path) -> Path:
    """Write one wide picture for a README as a PNG: averages per family with intervals, below them few-label curves.

    Of many methods the best are drawn, and always ours. Families without an average are left out. Returns `path`.
    """
    from matplotlib.figure import Figure

    parsed = results if isinstance(results, Results) else parse_results(results)
    panels = [(table, lines) for table in tables(parsed) if len(lines := _shown(table)) > 1]
    few = {r.family for r in parsed.rows if r.task == MACRO and r.labels not in ("all", 0)}
    curves = [few_label_curve(parsed, family, MACRO) for family in FAMILIES if family in few]
    rows = max((len(lines) for _, lines in panels), default=1)
    top, below = 19 * rows + 70, CURVES + 50 if curves else 0
    width, height = 400 * max(len(panels), len(curves), 2), top + below
    with styled():
        figure = Figure(figsize=(width * PIXEL, height * PIXEL), dpi=144, facecolor="white")
        for column, (table, lines) in enumerate(panels):
            used, share = 19 * len(lines), 1 / len(panels)
            place = ((column + LEFT) * share, 1 - (30 + used) / height, ROOM * share, used / height)
            title = f"{metric_title(table.metric)}, mean over {len(table.columns) - 1} tasks"
            draw_dots(figure.add_axes(place), FAMILIES[table.family], lines, title)
        for column, curve in enumerate(curves):
            share = 1 / len(curves)
            place = ((column + 0.09) * share, 78 / height, 0.86 * share, (CURVES - 60) / height)
            draw_lines(figure.add_axes(place), *curve)
        if curves:
            _legend(figure, [series for _, series, _ in curves])
        if not panels and not curves:
            _say(figure, "no averages")
        return save_png(figure, path)


def _shown(table: Table) -> list[Dots]:
    lines = average_lines(table)
    kept = {line.name for line in [*[x for x in lines if x.strong], *[x for x in lines if not x.strong]][:SHOWN]}
    return [line for line in lines if line.name in kept]


def _legend(figure: "Figure", groups: list[list[Series]]) -> None:
    from matplotlib.lines import Line2D

    titles = {series.place: series.title for group in groups for series in group}
    handles = [
        Line2D([], [], color=COLOURS[f"s{place}"], marker=SERIES_SHAPES[place], lw=2.6 if place == 0 else 1.4,
               label=titles[place])
        for place in sorted(titles)
    ]  # fmt: skip
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=10.5)


def _say(figure: "Figure", text: str) -> None:
    figure.text(0.5, 0.5, text, ha="center", va="center", color=COLOURS["muted"])
