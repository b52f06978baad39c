"""Dot plots: a line per thing, a dot per method with its 95% interval."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from instructue.evaluation.report.drawing import (
    COLOURS,
    PIXEL,
    SERIES_SHAPES,
    bare,
    inline,
    short,
    signed_ticks,
    styled,
)
from instructue.evaluation.report.names import FAMILIES, interval, metric_title, number, signed
from instructue.evaluation.report.tables import Group, Table
from instructue.evaluation.results import MACRO, OURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, LEFT, ROOM = 360, 0.45, 0.4  # of the picture, and the shares left of the dots and of the dots themselves
PLACES: dict[Group, int] = {"ours": 0, "uses": 2, "others": 5}


class Dot(NamedTuple):
    title: str
    place: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Dots:
    """A line of the plot; a heading where it has no dots. `strong` lines are darker than others, one is bold."""

    name: str
    dots: list[Dot]
    bold: bool = False
    strong: bool = False


def dots_svg(title: str, lines: list[Dots], x: str, *, differences: bool = False, best: float | None = None) -> str:
    """An inline SVG element whose alternative text says every dot."""
    from matplotlib.figure import Figure

    height = dots_height(lines)
    with styled():
        figure = Figure(figsize=(WIDTH * PIXEL, height * PIXEL))
        ax = figure.add_axes((LEFT, 34 / height, ROOM, 1 - 58 / height))
        draw_dots(ax, title, lines, x, differences=differences, best=best)
        written = signed if differences else number
        said, heading = [], ""
        for line in lines:
            heading = f"{line.name}, " if not line.dots else heading
            for d in line.dots:
                bounds = interval(d.low, d.high, written)
                said.append(f"{heading}{line.name}, {d.title}: {written(d.value)}" + (f" ({bounds})" if bounds else ""))
        return inline(figure, f"{title}, {x}. {'; '.join(said)}.")


def dots_height(lines: list[Dots]) -> float:
    return _step(lines) * len(lines) + 58


def _step(lines: list[Dots]) -> int:
    """Room per line: more where several dots share one."""
    return 14 + 5 * max((len(line.dots) for line in lines), default=1)


def draw_dots(
    ax: "Axes", title: str, lines: list[Dots], x: str, *, differences: bool = False, best: float | None = None
) -> None:
    """Draw into axes with room for names to their left and for figures to their right."""
    from matplotlib.ticker import MaxNLocator

    bare(ax, "x")
    ax.set_yticks([])
    ax.set_ylim(len(lines) - 0.5, -0.5)
    for y, line in enumerate(lines):
        _names(ax, y, line, signed if differences else number)
        apart = min(0.22, 0.8 / max(len(line.dots) - 1, 1))  # all within the line's own room
        for i, dot in enumerate(line.dots):
            _dot(ax, y + (i - (len(line.dots) - 1) / 2) * apart, dot)
    if differences:
        ax.axvline(0, color=COLOURS["ink"], lw=1.2, zorder=2)
        ends = [end for line in lines for d in line.dots for end in (d.value, d.low, d.high) if end is not None]
        signed_ticks(ax, "x", max([*ends, 0.0]) - min([*ends, 0.0]))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
    if best is not None:
        ax.axvline(best, color=COLOURS["ink"], lw=1, ls=(0, (1, 2)), zorder=2)
    centre = (0.5 - LEFT) / ROOM
    ax.set_title(title, x=centre, ha="center", color=COLOURS["ink"], fontsize=12, weight="bold", pad=9)
    ax.set_xlabel(x, color=COLOURS["muted"], fontsize=9.5)


def _names(ax: "Axes", y: int, line: Dots, written) -> None:
    beside = {"transform": ax.get_yaxis_transform(), "va": "center"}
    if not line.dots:
        ax.text(-LEFT / ROOM + 0.01, y, short(line.name, 40), weight="bold", color=COLOURS["ink"], **beside)
        return
    ink, weight = COLOURS["ink" if line.strong or line.bold else "muted"], "bold" if line.bold else "normal"
    ax.text(-0.03, y, short(line.name, 27), ha="right", color=ink, fontsize=9.5, weight=weight, **beside)
    if len(line.dots) == 1:
        text = written(line.dots[0].value)
        ax.text((0.99 - LEFT) / ROOM, y, text, ha="right", color=ink, fontsize=10, weight=weight, **beside)


def _dot(ax: "Axes", y: float, dot: Dot) -> None:
    colour = COLOURS[f"s{dot.place}"]
    if dot.low is not None and dot.high is not None:
        ax.plot([dot.low, dot.high], [y, y], color=colour, lw=2, solid_capstyle="butt", zorder=3)
    ax.plot([dot.value], [y], SERIES_SHAPES[dot.place], ms=6, color=colour, zorder=4)


def average_lines(table: Table) -> list[Dots]:
    """The last column of a family's table, best first; empty where the family has no average."""
    last = len(table.columns) - 1
    if table.columns[last].task != MACRO:
        return []
    found = []
    for line in table.lines:
        cell = line.cells[last]
        if cell and cell.value is not None:
            dot = Dot("on average", PLACES[line.group], cell.value, cell.low, cell.high)
            found.append(
                Dots(line.title, [dot], bold=line.method == OURS and line.labels != 0, strong=line.group == "ours")
            )
    return sorted(found, key=lambda line: -line.dots[0].value)


def average_svgs(tables: list[Table]) -> list[str]:
    """Per family all methods' averages over its tasks."""
    drawn = [(table, lines) for table in tables if len(lines := average_lines(table)) > 1]
    return [dots_svg(FAMILIES[t.family], lines, f"{metric_title(t.metric)} on average") for t, lines in drawn]
