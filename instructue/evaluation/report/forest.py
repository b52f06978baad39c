"""Forest plots: per task the paired differences of ours from the rivals that matter, with their intervals."""

from typing import TYPE_CHECKING

from instructue.evaluation.report.drawing import COLOURS, PIXEL, SHAPES, bare, inline, short, signed_ticks, styled
from instructue.evaluation.report.names import FAMILIES, interval, method_title, metric_title, signed
from instructue.evaluation.report.verdict import Judged, added, ours
from instructue.evaluation.results import GENERAL, MACRO, PRIMARY, UNTRAINED, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 400  # readable at a phone's width, and scaled up on a wide page
STRONGEST = 4
FIXED = (GENERAL, UNTRAINED)
# A plot's lines from top to bottom: a heading, or a comparison and its name.
Entry = str | tuple[str, Judged]


def forest_svgs(results: Results) -> list[str]:
    """Inline SVG elements, one per family that has comparisons."""
    titled = [(FAMILIES[f], PRIMARY[f], entries) for f in FAMILIES if (entries := forest_entries(results, f))]
    return [_svg(title, metric, entries) for title, metric, entries in titled]


def added_svgs(results: Results) -> list[str]:
    """What ours adds to each method that a team has: an inline SVG element per such method and family."""
    drawn = []
    for (_, baseline), pairs in added(results).items():
        for family in FAMILIES:
            mine = sorted((p for p in pairs if p.family == family), key=lambda p: p.task == MACRO)
            entries: list[Entry] = [(_place(p.task), p) for p in mine]
            if entries:
                title = f"{method_title(baseline)}, {FAMILIES[family].lower()}"
                drawn.append(_svg(title, PRIMARY[family], entries))
    return drawn


def forest_entries(results: Results, family: str) -> list[Entry]:
    """Per task: no instruction, untrained, and the strongest other baselines; the family's average last."""
    pairs = [pair for pair in ours(results) if pair.headline and pair.family == family]
    entries: list[Entry] = []
    for task in sorted(dict.fromkeys(p.task for p in pairs), key=lambda name: name == MACRO):
        mine = sorted((p for p in pairs if p.task == task), key=lambda p: p.difference)
        fixed = sorted((p for p in mine if p.baseline in FIXED), key=lambda p: FIXED.index(p.baseline))
        others = [p for p in mine if p.baseline not in FIXED][:STRONGEST]
        entries += [_place(task), *((method_title(p.baseline), p) for p in [*fixed, *others])]
    return entries


def _place(task: str) -> str:
    return "average of the family" if task == MACRO else task


def _svg(title: str, metric: str, entries: list[Entry]) -> str:
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(WIDTH * PIXEL, forest_height(len(entries)) * PIXEL))
        draw_forest(figure, entries, title, metric)
        said, task = [], ""
        for entry in entries:
            if isinstance(entry, str):
                task = f"{entry} against "
                continue
            name, p = entry
            said.append(f"{task}{name} {signed(p.difference)} ({interval(p.low, p.high, signed)}), {p.outcome}")
        return inline(figure, f"Forest plot, {title}: {'; '.join(said)}.")


def forest_height(lines: int) -> float:
    return 19 * lines + 58


def draw_forest(
    figure: "Figure", entries: list[Entry], title: str, metric: str, place: tuple[int, int] = (0, 1), rows: int = 0
) -> None:
    """Draw into column place[0] of place[1] equally wide ones, aligned at the top of a figure `rows` lines high."""
    column, columns = place
    height = forest_height(rows or len(entries))
    left, width = (column + 0.41) / columns, 0.45 / columns
    used = 19 * len(entries)
    ax = figure.add_axes((left, 1 - (24 + used) / height, width, used / height))
    for y, entry in enumerate(entries):
        if isinstance(entry, str):
            ax.text(-0.41 / 0.45 + 0.01, y, entry, transform=ax.get_yaxis_transform(), va="center",
                    weight="bold", color=COLOURS["ink"], clip_on=False)  # fmt: skip
        else:
            _comparison(ax, y, *entry)
    _axis(ax, [entry[1] for entry in entries if not isinstance(entry, str)], len(entries))
    ax.set_title(title, loc="center", color=COLOURS["ink"], fontsize=12, weight="bold", pad=9)
    ax.set_xlabel(f"difference in {metric_title(metric)}", color=COLOURS["muted"], fontsize=9.5)


def _comparison(ax: "Axes", y: int, name: str, pair: Judged) -> None:
    kind = pair.outcome
    if pair.joint:
        ax.plot(pair.joint, [y, y], "|-", color=COLOURS[kind], lw=0.8, ms=5, mew=0.8, zorder=3)
    ax.plot([pair.low, pair.high], [y, y], color=COLOURS[kind], lw=2.6, solid_capstyle="butt", zorder=3)
    face = COLOURS[kind] if kind != "undecided" else COLOURS["card"]
    ax.plot([pair.difference], [y], SHAPES[kind], ms=6, mec=COLOURS[kind], mfc=face, zorder=4)
    beside = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "center"}
    ax.text(-0.03, y, short(name), color=COLOURS["muted"], fontsize=9.5, **beside)
    weight = "bold" if pair.survives else "normal"
    ax.text((0.99 - 0.41) / 0.45, y, signed(pair.difference), color=COLOURS[kind], fontsize=10, weight=weight, **beside)


def _axis(ax: "Axes", pairs: list[Judged], lines: int) -> None:
    ends = [end for p in pairs for end in (p.low, p.high, *(p.joint or ()))]
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = max(high - low, 0.02) * 0.05
    bare(ax, "x")
    ax.set_xlim(low - room, high + room)
    ax.set_ylim(lines - 0.5, -0.5)
    ax.axvline(0, color=COLOURS["ink"], lw=1.2, zorder=2)
    ax.set_yticks([])
    signed_ticks(ax, "x", high - low)
