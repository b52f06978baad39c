"""Line plots: few-label curves, noise, reliability and uplift are the same drawing with other axes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from instructue.evaluation.report.drawing import COLOURS, PIXEL, SERIES_SHAPES, bare, inline, signed_ticks, styled
from instructue.evaluation.report.names import number, percent, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (340, 240)


class Point(NamedTuple):
    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """One line; `place` gives its colour and shape, the same in every plot of a section."""

    title: str
    place: int
    points: list[Point]


@dataclass(frozen=True)
class Axis:
    """What the axes mean. `ticks` names whole-numbered x; `shares` writes x as percent, and y too where both are.

    `straight`: slope of a dashed line through the origin; `best`: height of a dotted one.
    """

    x: str
    y: str = ""
    ticks: tuple[str, ...] = ()
    shares: bool = False
    differences: bool = False
    straight: float | None = None
    marks: bool = True
    best: float | None = None


def lines_svg(title: str, series: list[Series], axis: Axis) -> str:
    """An inline SVG element whose alternative text says every point."""
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(SIZE[0] * PIXEL, SIZE[1] * PIXEL))
        draw_lines(figure.add_axes((0.15, 0.16, 0.83, 0.73)), title, series, axis)
        written = signed if axis.differences else number
        said = []
        for one in series:
            points = one.points if axis.marks else one.points[-1:]
            said.append(f"{one.title} " + ", ".join(f"{_x(axis, p.x)}: {written(p.y)}" for p in points))
        return inline(figure, f"{title}, by {axis.x}. {'; '.join(said)}.")


def draw_lines(ax: "Axes", title: str, series: list[Series], axis: Axis) -> None:
    """Draw into given axes, back to front, so that the first series lies on top."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    bare(ax, "y" if axis.ticks else "both")
    ax.yaxis.set_major_locator(MaxNLocator(5))
    for one in reversed(series):
        _line(ax, one, len(series), axis)
    if axis.straight == 1:
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: percent(y)))
    if axis.straight is not None:
        ax.axline((0, 0), slope=axis.straight, color=COLOURS["muted"], lw=1, ls=(0, (4, 3)))
    if axis.best is not None:
        ax.axhline(axis.best, color=COLOURS["ink"], lw=1, ls=(0, (1, 2)))
    if axis.differences:
        ax.axhline(0, color=COLOURS["ink"], lw=1)
        ends = [end for one in series for p in one.points for end in (p.y, p.low, p.high) if end is not None]
        signed_ticks(ax, "y", max([*ends, 0]) - min([*ends, 0]))
    if axis.ticks:
        ax.set_xticks(range(len(axis.ticks)), axis.ticks)
        ax.set_xlim(-0.4, len(axis.ticks) - 0.6)
    elif axis.shares:
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: percent(x)))
    ax.set_title(title, loc="left", color=COLOURS["ink"], fontsize=11, weight="bold")
    ax.set_xlabel(axis.x, color=COLOURS["muted"], fontsize=9.5)
    ax.set_ylabel(axis.y, color=COLOURS["muted"], fontsize=9.5)


def _x(axis: Axis, x: float) -> str:
    if axis.ticks:
        return axis.ticks[round(x)]
    return percent(x) if axis.shares else f"{x:g}"


def _line(ax: "Axes", one: Series, places: int, axis: Axis) -> None:
    points = sorted(one.points)
    spread = (max(p.x for p in points) - min(p.x for p in points)) if len(points) > 1 else 0.0
    step = 0.07 if axis.ticks else 0.006 * spread  # keeps the intervals of several methods apart
    nudge = 0.0 if axis.straight is not None or not axis.marks else (one.place - (places - 1) / 2) * step
    colour = COLOURS[f"s{one.place}"]
    for p in points:
        if p.low is not None and p.high is not None:
            ax.plot([p.x + nudge] * 2, [p.low, p.high], color=colour, lw=1, alpha=0.55)
    size, width = (6, 2.6) if one.place == 0 else (4.5, 1.4)
    every = 1 if axis.marks else max(1, len(points) // 6)  # a smooth curve wears a few marks only
    xs, ys = [p.x + nudge for p in points], [p.y for p in points]
    ax.plot(xs, ys, marker=SERIES_SHAPES[one.place], ms=size, color=colour, lw=width, markevery=every)
