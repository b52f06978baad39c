"""Small tables of how a cost grows with users, instructions and events, and a plot of them."""

from dataclasses import dataclass
from pathlib import Path

AXES = ("users", "instructions", "events")


@dataclass
class Row:
    """Milliseconds per user and instruction at one value of one axis. plain None: not measured there.

    share: useful operations per second of ours over the matrix product's.
    """

    axis: str
    value: int
    ours: float
    separate: float
    plain: float | None
    share: float


def lines(title: str, rows: list[Row]) -> list[str]:
    """The table as text."""
    out = [title, f"{'':>14}{'':>7}{'ours':>10}{'separate':>10}{'plain':>10}{'share':>8}"]
    for row in rows:
        plain = f"{row.plain:10.1f}" if row.plain is not None else f"{'':>10}"
        out.append(f"{row.axis:>14}{row.value:7d}{row.ours:10.2f}{row.separate:10.2f}{plain}{row.share:8.0%}")
    return out


def plot(path: Path, tables: dict[str, list[Row]]) -> None:
    """One panel per table and axis; both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(len(tables), len(AXES), figsize=(11, 3.2 * len(tables)), squeeze=False)
    for line, (title, rows) in zip(panels, tables.items(), strict=True):
        for panel, axis in zip(line, AXES, strict=True):
            own = [r for r in rows if r.axis == axis]
            for name in ("ours", "separate", "plain"):
                points = [(r.value, getattr(r, name)) for r in own if getattr(r, name) is not None]
                panel.plot(*zip(*points, strict=True), marker="o", label=name) if points else None
            panel.set(xscale="log", yscale="log", xlabel=axis, ylabel="ms per user and instruction", title=title)
            values = sorted({r.value for r in own})
            panel.set_xticks(values, [str(v) for v in values])
            panel.set_xticks([], minor=True)
            panel.yaxis.set_minor_formatter("{x:g}")
            panel.yaxis.set_major_formatter("{x:g}")
            panel.tick_params(axis="y", which="minor", labelsize=6)
            panel.grid(alpha=0.3)
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
