"""The report's plots: SVG for the page (themed by its CSS), PNG for everything that shows pictures.

Figures are drawn without pyplot, so nothing global is touched. Colours are drawn as stand-ins
and exchanged for CSS variables in the SVG: one drawing serves light and dark.
"""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructue.evaluation.names import FAMILIES, MINUS, label_text, method_title, metric_title, signed
from instructue.evaluation.results import GENERAL, MACRO, OURS, PRIMARY, Results, Row, parse_results
from instructue.evaluation.verdict import Judged, Outcome, ours
from instructue.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What a PNG shows; in an SVG each becomes var(--NAME).
COLOURS = {"ahead": "#0a6ebd", "behind": "#c2410b", "undecided": "#6b7482", "ink": "#1b2330", "muted": "#5b6472",
           "grid": "#d9dee6", "s0": "#0a6ebe", "s1": "#c2410c", "s2": "#3f7d20", "s3": "#8a4bb3", "s4": "#9a6700",
           "s5": "#5b6473"}  # fmt: skip
# Shape says the same as colour, for readers who do not see the difference.
SHAPES: dict[Outcome, str] = {"ahead": "o", "behind": "s", "undecided": "D"}
SERIES_SHAPES = ("o", "s", "^", "D", "v", "P")
SERIES_SYMBOLS = ("●", "■", "▲", "◆", "▼", "✚")
WIDTH = 400  # of a forest plot: readable at a phone's width, and scaled up on a wide page
PIXEL = 1 / 72  # an SVG of matplotlib counts points; one point is one CSS pixel here
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "instructue", "font.family": "DejaVu Sans", "font.size": 11,
         "axes.unicode_minus": True}  # fmt: skip


def forest_png(results: dict[str, Any] | Results, path: Path) -> Path:
    """Write the forest plots of all families side by side as a PNG; returns `path`. Colours suit a light page."""
    import matplotlib
    from matplotlib.figure import Figure

    parsed = results if isinstance(results, Results) else parse_results(results)
    groups = [(family, lines) for family in FAMILIES if (lines := forest_lines(parsed, family))]
    rows = max((len(lines) for _, lines in groups), default=1)
    with matplotlib.rc_context(STYLE):
        size = (WIDTH * PIXEL * max(1, len(groups)), _forest_height(rows) * PIXEL)
        figure = Figure(figsize=size, dpi=144, facecolor="white")
        for column, (family, lines) in enumerate(groups):
            _forest(figure, lines, family, column=column, columns=len(groups), rows=rows)
        if not groups:
            figure.text(0.5, 0.5, "no paired comparisons", ha="center", va="center", color=COLOURS["muted"])
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})
    return path


def forest_svg(results: Results, family: str) -> str:
    """One family's forest plot as an inline SVG element; an empty text where it has no comparison."""
    import matplotlib
    from matplotlib.figure import Figure

    lines = forest_lines(results, family)
    if not lines:
        return ""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH * PIXEL, _forest_height(len(lines)) * PIXEL))
        _forest(figure, lines, family, column=0, columns=1, rows=len(lines))
        pairs = [line for line in lines if not isinstance(line, str)]
        said = [f"{p.task} against {method_title(p.baseline)} {signed(p.difference)}, {p.outcome}" for p in pairs]
        return _inline(figure, f"Forest plot, {FAMILIES[family]}: {'; '.join(said)}.")


def forest_lines(results: Results, family: str) -> list[str | Judged]:
    """The plot's lines from top to bottom: a task's name, then its comparisons; the family's average last."""
    pairs = [pair for pair in ours(results) if pair.headline and pair.family == family]
    order = list(dict.fromkeys(p.baseline for p in pairs if p.baseline != GENERAL))
    order = [GENERAL, *order]
    lines: list[str | Judged] = []
    for task in sorted(dict.fromkeys(p.task for p in pairs), key=lambda name: name == MACRO):
        lines.append("average of the family" if task == MACRO else task)
        lines += sorted((p for p in pairs if p.task == task), key=lambda p: order.index(p.baseline))
    return lines


def _forest_height(lines: int) -> float:
    return 19 * lines + 58


def _forest(figure: "Figure", lines: list[str | Judged], family: str, *, column: int, columns: int, rows: int) -> None:
    """Draw into the given one of equally wide columns of the figure, aligned at the top."""
    height = _forest_height(rows)
    left, width = (column + 0.41) / columns, 0.45 / columns
    used = 19 * len(lines)
    ax = figure.add_axes((left, 1 - (24 + used) / height, width, used / height))
    right_edge = (0.99 - 0.41) / 0.45
    for y, line in enumerate(lines):
        if isinstance(line, str):
            ax.text(-0.41 / 0.45 + 0.01, y, line, transform=ax.get_yaxis_transform(), va="center",
                    weight="bold", color=COLOURS["ink"], clip_on=False)  # fmt: skip
            continue
        kind = line.outcome
        ax.plot([line.low, line.high], [y, y], color=COLOURS[kind], lw=2, solid_capstyle="round", zorder=3)
        face = COLOURS[kind] if kind != "undecided" else "none"
        ax.plot([line.difference], [y], SHAPES[kind], ms=6, mec=COLOURS[kind], mfc=face, zorder=4)
        beside = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "center"}
        ax.text(-0.03, y, _short(method_title(line.baseline)), color=COLOURS["muted"], fontsize=9.5, **beside)
        ax.text(right_edge, y, signed(line.difference), color=COLOURS[kind], fontsize=10, **beside)
    _forest_axis(ax, lines, family)


def _short(title: str, most: int = 26) -> str:
    """Cut to what fits left of the plot; the full name stands in the tables."""
    return title if len(title) <= most else title[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _forest_axis(ax: "Axes", lines: list[str | Judged], family: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    pairs = [line for line in lines if not isinstance(line, str)]
    low, high = min(0.0, *(p.low for p in pairs)), max(0.0, *(p.high for p in pairs))
    room = max(high - low, 0.02) * 0.05
    ax.set_xlim(low - room, high + room)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.axvline(0, color=COLOURS["ink"], lw=1.2, zorder=2)
    ax.grid(axis="x", color=COLOURS["grid"], lw=0.8)
    ax.set_yticks([])
    digits = 2 if high - low > 0.06 else 3  # longer labels, fewer of them
    ax.xaxis.set_major_locator(MaxNLocator(7 - digits, steps=[1, 2, 5, 10]))
    written = FuncFormatter(lambda x, _: f"{x:+.{digits}f}".replace("-", MINUS) if round(x, 4) else "0")
    ax.xaxis.set_major_formatter(written)
    ax.tick_params(axis="x", colors=COLOURS["muted"], length=0, labelsize=9.5)
    ax.set_title(FAMILIES[family], loc="center", color=COLOURS["ink"], fontsize=12, weight="bold", pad=9)
    ax.set_xlabel(f"difference in {metric_title(PRIMARY[family])}", color=COLOURS["muted"], fontsize=9.5)
    ax.patch.set_visible(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def curve_methods(results: Results, most: int = len(SERIES_SHAPES)) -> list[str]:
    """Methods of the few-label curves: ours first, then those with the best mean; at most `most` are drawn."""
    values: dict[str, list[float]] = {}
    for row in _few_label_rows(results):
        if row.value is not None:
            values.setdefault(row.method, []).append(row.value)
    ranked = sorted(values, key=lambda m: (m != OURS, m != GENERAL, -sum(values[m]) / len(values[m])))
    return ranked[:most]


def few_label_svgs(results: Results) -> list[tuple[str, str]]:
    """(task, inline SVG) for every task judged with some number of labels."""
    rows = _few_label_rows(results)
    return [(task, _curve_svg(results, task)) for task in dict.fromkeys(r.task for r in rows if r.task != MACRO)]


def _few_label_rows(results: Results) -> list[Row]:
    judged = [r for r in results.rows if r.metric == PRIMARY[r.family] and r.value is not None]
    return [r for r in judged if r.labels not in ("all", 0)]


def _curve_svg(results: Results, task: str) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    rows = [r for r in results.rows if r.task == task and r.metric == PRIMARY[r.family] and r.value is not None]
    methods = curve_methods(results)
    ticks: list[str | int] = sorted({r.labels for r in rows if r.labels != "all"})
    ticks += ["all"] if any(r.labels == "all" for r in rows) else []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(340 * PIXEL, 240 * PIXEL))
        ax = figure.add_axes((0.13, 0.19, 0.85, 0.7))
        # Drawn back to front, so that ours lies on top.
        for place, method in reversed(list(enumerate(methods))):
            _curve(ax, [r for r in rows if r.method == method], ticks, place, len(methods))
        metric = metric_title(rows[0].metric)
        _curve_axis(ax, ticks, f"{metric}, {task}")
        drawn = [r for r in rows if r.method in methods]
        said = [f"{method_title(r.method)} {label_text(r.labels)}: {r.value:.3f}" for r in drawn]
        return _inline(figure, f"{metric} of {task} by number of labelled users: {'; '.join(said)}.")


def _curve(ax: "Axes", rows: list[Row], ticks: list[str | int], place: int, places: int) -> None:
    rows = sorted(rows, key=lambda r: ticks.index(r.labels))
    nudge = (place - (places - 1) / 2) * 0.07  # keeps the intervals of several methods apart
    xs, colour = [ticks.index(r.labels) + nudge for r in rows], COLOURS[f"s{place}"]
    for x, row in zip(xs, rows, strict=True):
        if row.low is not None and row.high is not None:
            ax.plot([x, x], [row.low, row.high], color=colour, lw=1, alpha=0.55)
    size, width = (6, 2.6) if place == 0 else (4.5, 1.4)
    ax.plot(
        xs, [r.value for r in rows if r.value is not None], marker=SERIES_SHAPES[place], ms=size, color=colour, lw=width
    )


def _curve_axis(ax: "Axes", ticks: list[str | int], title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_xticks(range(len(ticks)), ["zero-shot" if t == 0 else str(t) for t in ticks])
    ax.set_xlim(-0.4, len(ticks) - 0.6)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.tick_params(colors=COLOURS["muted"], length=0, labelsize=9.5)
    ax.grid(axis="y", color=COLOURS["grid"], lw=0.8)
    ax.set_title(title, loc="left", color=COLOURS["ink"], fontsize=11, weight="bold")
    ax.set_xlabel("labelled users", color=COLOURS["muted"], fontsize=9.5)
    ax.patch.set_visible(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _inline(figure: "Figure", alt: str) -> str:
    """The figure as an <svg> element with alternative text, no outside reference, and CSS variables for colours."""
    from html import escape

    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.S)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # would repeat from plot to plot; nothing refers to them
    svg = re.sub(r"font(-family)?: ([^;\"]*?)'?DejaVu Sans'?[^;\"]*", r"font\1: \2system-ui, sans-serif", svg)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    width, height = figure.get_size_inches() / PIXEL
    label = escape(alt, quote=True)
    head = f'<svg role="img" aria-label="{label}" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">'
    return head + svg[svg.index(">") + 1 :]
