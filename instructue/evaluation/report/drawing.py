"""What all plots share: colours, shapes, empty axes, and the way from a figure to an inline SVG or a PNG.

Figures are drawn without pyplot, so nothing global is touched. Colours are drawn as stand-ins
and exchanged for CSS variables in the SVG: one drawing serves light and dark.
"""

import io
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructue.evaluation.report.names import MINUS
from instructue.evaluation.report.verdict import Outcome
from instructue.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What a PNG shows; in an SVG each becomes var(--NAME).
COLOURS = {"ahead": "#0a6ebd", "behind": "#c2410b", "undecided": "#6b7482", "ink": "#1b2330", "muted": "#5b6472",
           "grid": "#d9dee6", "s0": "#0a6ebe", "s1": "#c2410c", "s2": "#3f7d20", "s3": "#8a4bb3", "s4": "#9a6700",
           "s5": "#5b6473", "card": "#fffffe"}  # fmt: skip
# Shape says the same as colour, for readers who do not see the difference.
SHAPES: dict[Outcome, str] = {"ahead": "o", "behind": "s", "undecided": "D"}
SERIES_SHAPES = ("o", "s", "^", "D", "v", "P")
SERIES_SYMBOLS = ("●", "■", "▲", "◆", "▼", "✚")
MOST = len(SERIES_SHAPES)  # series in one plot
PIXEL = 1 / 72  # an SVG of matplotlib counts points; one point is one CSS pixel here
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "instructue", "font.family": "DejaVu Sans", "font.size": 11,
         "axes.unicode_minus": True}  # fmt: skip


def styled() -> Any:
    """The context that every figure is drawn in."""
    import matplotlib

    return matplotlib.rc_context(STYLE)


def bare(ax: "Axes", grid: str) -> None:
    """Axes without frame and ticks; `grid` says across which axis thin lines run: 'x', 'y' or 'both'."""
    ax.tick_params(colors=COLOURS["muted"], length=0, labelsize=9.5)
    ax.grid(axis=grid, color=COLOURS["grid"], lw=0.8)  # pyright: ignore[reportArgumentType]
    ax.set_axisbelow(True)
    ax.patch.set_visible(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def signed_ticks(ax: "Axes", axis: str, span: float) -> None:
    """Ticks with their sign, as many digits as `span` needs and fewer of them where they are longer."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    digits = 2 if span > 0.06 else 3
    on = ax.xaxis if axis == "x" else ax.yaxis
    on.set_major_locator(MaxNLocator(7 - digits, steps=[1, 2, 5, 10]))
    written = FuncFormatter(lambda x, _: f"{x:+.{digits}f}".replace("-", MINUS) if round(x, 4) else "0")
    on.set_major_formatter(written)


def short(title: str, most: int = 26) -> str:
    """Cut to what fits beside a plot; the full name stands in the tables."""
    return title if len(title) <= most else title[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def save_png(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG, whole or not at all; returns `path`."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
    return path


def inline(figure: "Figure", alt: str) -> str:
    """The figure as an <svg> element with alternative text, no outside reference, and CSS variables for colours."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.S)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # would repeat from plot to plot; nothing refers to them
    svg = re.sub(r"font(-family)?: ([^;\"]*?)'?DejaVu Sans'?[^;\"]*", r"font\1: \2system-ui, sans-serif", svg)
    svg = re.sub(r">\s+<", "><", svg)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    width, height = figure.get_size_inches() / PIXEL
    return head(width, height, alt) + svg[svg.index(">") + 1 :]


def head(width: float, height: float, alt: str) -> str:
    """The opening tag of a picture."""
    label = escape(alt, quote=True)
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">'
