"""Maps of users: the same users placed by their embedding under different instructions, coloured by outcome.

Written as SVG by hand: a path per outcome is a tenth of what a plotting library writes for points.
"""

from itertools import groupby

from instructue.evaluation.report.drawing import head
from instructue.evaluation.report.names import method_title
from instructue.evaluation.results import MapPoint, Results, UserMap

SIZE, EDGE = 340, 12


def map_svgs(results: Results) -> list[list[tuple[UserMap, str]]]:
    """Groups of maps by one method, each map with its inline SVG element."""
    maps = sorted(results.maps, key=lambda m: m.method)
    return [[(m, _svg(m)) for m in group if m.points] for _, group in groupby(maps, key=lambda m: m.method)]


def _svg(user_map: UserMap) -> str:
    points = _scaled(user_map.points)
    yes = [(x, y) for x, y, label in points if label]
    no = [(x, y) for x, y, label in points if not label]
    # A stroke without length and with round ends is a dot.
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in no)
    triangles = "".join(f"M{x:.1f} {y - 4:.1f}l3.8 6.8h-7.6z" for x, y in yes)
    alt = (
        f"Map of {len(points)} users by {method_title(user_map.method)} under the instruction of {user_map.task}: "
        f"{len(yes)} triangles for yes, {len(no)} dots for no; users near each other have like vectors."
    )
    return (
        head(SIZE, SIZE, alt)
        + f'<path d="{dots}" style="fill:none;stroke:var(--s5);stroke-width:4.4;stroke-linecap:round;opacity:.5"/>'
        + f'<path d="{triangles}" style="fill:var(--s1);stroke:var(--card);stroke-width:.7"/></svg>'
    )


def _scaled(points: list[MapPoint]) -> list[tuple[float, float, bool]]:
    """Into the square, both directions by the same factor, y upwards."""
    xs, ys = [p.x for p in points], [p.y for p in points]
    span = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    room = SIZE - 2 * EDGE
    left, low = (min(xs) + max(xs) - span) / 2, (min(ys) + max(ys) - span) / 2
    return [(EDGE + room * (p.x - left) / span, SIZE - EDGE - room * (p.y - low) / span, p.label) for p in points]
