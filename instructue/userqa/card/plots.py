"""The card's plots, as inline SVG whose colours are the page's CSS variables: one drawing for light and dark."""

from collections.abc import Sequence
from html import escape
from typing import Any

from instructue.userqa.schema import SHARE_OF_YES

ROW, NAMES, WIDTH = 24, 190, 720  # pixels: height of a row, room for names, width of a plot
HIGH = 190  # of a histogram


def kinds_svg(kinds: Sequence[dict[str, Any]]) -> str:
    """Per kind a bar of its triplets and, if it answers yes or no, a dot at its share of yes beside the wanted band."""
    most = max((k["triplets"] for k in kinds), default=1)
    bars, left, wide = 150, 430, 270  # room for bars; where the balance begins and how wide it is
    height = ROW * len(kinds) + 46
    low, high = SHARE_OF_YES
    parts = [
        _text(NAMES + 10, 14, "triplets", "start"),
        _text(left + wide / 2, 14, f"share of yes (band: {low:.0%} to {high:.0%})", "middle"),
        _rect(left + low * wide, 22, (high - low) * wide, height - 44, "band"),
        *(_line(left + x * wide, 22, left + x * wide, height - 22) for x in (0, 0.25, 0.5, 0.75, 1)),
        *(_text(left + x * wide, height - 6, f"{x:.0%}", "middle") for x in (0, 0.5, 1)),
    ]
    for place, kind in enumerate(kinds):
        y = 24 + ROW * place
        parts += [
            _name(y, kind["kind"]),
            _rect(NAMES + 10, y + 6, bars * kind["triplets"] / most, ROW - 12, "s5"),
            _text(NAMES + 16 + bars * kind["triplets"] / most, y + 16, f"{kind['triplets']:,}", "start"),
        ]
        if kind["yes"] is None:
            parts.append(_text(left + wide / 2, y + 16, "open answer", "middle"))
        else:
            parts.append(_dot(left + kind["yes"] * wide, y + ROW / 2, kind["balanced"], f"{kind['yes']:.0%} yes"))
    return _svg(WIDTH, height, f"Triplets and share of yes of {len(kinds)} kinds", parts)


def bars_svg(
    rows: Sequence[tuple[str, Sequence[float], str]],
    alt: str,
    colours: Sequence[str] = ("s0",),
    names: int = NAMES,
    width: int = WIDTH,
) -> str:
    """Horizontal bars; a row is (name, its parts one after the other, what stands behind them)."""
    most = max((sum(parts) for _, parts, _ in rows), default=0) or 1
    room = (width - names) * 0.62  # the rest is for what stands behind the bars
    drawn = []
    for place, (name, parts, label) in enumerate(rows):
        y, x = ROW * place, names + 10.0
        drawn.append(_name(y, name, names))
        for part, colour in zip(parts, colours, strict=False):
            drawn.append(_rect(x, y + 5, room * part / most, ROW - 10, colour))
            x += room * part / most
        drawn.append(_text(x + 6, y + 16, label, "start"))
    return _svg(width, ROW * len(rows) + 4, alt, drawn)


def histogram_svg(counts: Sequence[Sequence[int]], alt: str, unit: str, colour: str = "s0") -> str:
    """Columns over whole numbers from (number, how many) pairs, at most 40 of them: neighbours are put together."""
    if not counts:
        return ""
    first, last = counts[0][0], counts[-1][0]
    step = -(-(last - first + 1) // 40)
    heights = [0] * ((last - first) // step + 1)
    for number, many in counts:
        heights[(number - first) // step] += many
    wide, most, base = min(34.0, 450 / len(heights)), max(heights), HIGH - 34
    parts = [_line(10, base, 10 + wide * len(heights), base)]
    labelled = max(1, -(-len(heights) // 10))
    for place, many in enumerate(heights):
        x, tall = 10 + wide * place, (base - 24) * many / most
        start = first + step * place
        span = f"{start}" if step == 1 else f"{start} to {start + step - 1}"
        parts.append(_rect(x + 1, base - tall, wide - 2, tall, colour, f"{span} {unit}: {many:,}"))
        if place % labelled == 0:
            parts.append(_text(x + wide / 2, base + 15, str(start), "middle"))
    parts += [
        _text(10, 14, f"most: {most:,}", "start"),
        _text(10 + wide * len(heights) / 2, HIGH - 3, unit, "middle"),
    ]
    return _svg(480, HIGH, alt, parts)


def _svg(width: float, height: float, alt: str, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
    head = f'<svg role="img" aria-label="{escape(alt, quote=True)}" {size}>'
    return head + "".join(parts) + "</svg>"


def _rect(x: float, y: float, width: float, height: float, colour: str, title: str = "") -> str:
    hover = f"<title>{escape(title)}</title>" if title else ""
    at = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect {at} rx="1.5" fill="var(--{colour})">{hover}</rect>'


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="var(--grid)"/>'


def _dot(x: float, y: float, good: bool, title: str) -> str:
    """A disk inside the band, a square outside: shape says the same as colour."""
    hover = f"<title>{escape(title)}</title>"
    if good:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="var(--s0)">{hover}</circle>'
    return f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="var(--s1)">{hover}</rect>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="var(--muted)">{escape(words)}</text>'


def _name(y: float, name: str, x: float = NAMES) -> str:
    short = name if len(name) <= 28 else name[:27] + "\N{HORIZONTAL ELLIPSIS}"
    return f'<text x="{x}" y="{y + 16:.1f}" text-anchor="end" fill="var(--ink)">{escape(short)}</text>'
