"""What is drawn as lines: few labels, reliability of chances, and uplift."""

from instructue.evaluation.report.drawing import MOST
from instructue.evaluation.report.lines import Axis, Point, Series, lines_svg
from instructue.evaluation.report.names import FAMILIES, is_rival, method_title, metric_title
from instructue.evaluation.report.tables import strongest_of
from instructue.evaluation.report.verdict import strongest
from instructue.evaluation.results import MACRO, OURS, PRIMARY, Calibration, Results, Row


def curve_methods(results: Results) -> list[str]:
    """Methods of the few-label curves: ours, then those that stand best against ours where both were judged."""
    rows = [r for r in _few_label_rows(results) if r.task != MACRO and r.labels != "all"]
    ours = {(r.task, r.labels): r.value for r in rows if r.method == OURS}
    apart: dict[str, list[float]] = {}
    for row in rows:
        mine = ours.get((row.task, row.labels))
        if row.value is not None and mine is not None:
            apart.setdefault(row.method, []).append(row.value - mine)
    means = {method: sum(values) / len(values) for method, values in apart.items()}
    return strongest_of((r.method for r in rows if r.labels != 0), means, MOST)


def few_label_svgs(results: Results, *, averages: bool) -> list[tuple[str, str]]:
    """(task or family, inline SVG) for all that was judged with some number of labels: tasks, or families' means."""
    rows = [r for r in _few_label_rows(results) if (r.task == MACRO) == averages]
    places = dict.fromkeys((r.family, r.task) for r in rows if r.labels not in ("all", 0))
    return [
        (FAMILIES[family] if averages else task, lines_svg(*few_label_curve(results, family, task)))
        for family, task in places
    ]


def few_label_curve(results: Results, family: str, task: str) -> tuple[str, list[Series], Axis]:
    """What to draw for one task, or for the mean over a family."""
    rows = [r for r in _few_label_rows(results) if (r.family, r.task) == (family, task)]
    ticks = sorted(dict.fromkeys(r.labels for r in rows), key=lambda n: float("inf") if n == "all" else n)
    series = []
    for place, method in enumerate(curve_methods(results)):
        points = [
            Point(ticks.index(r.labels), r.value, r.low, r.high)
            for r in rows
            if r.method == method and r.value is not None
        ]
        if points:
            series.append(Series(method_title(method), place, sorted(points)))
    best = next((a.value for a in results.attainable if (a.task, a.metric) == (task, PRIMARY[family])), None)
    named = tuple("zero-shot" if t == 0 else str(t) for t in ticks)
    title = f"{FAMILIES[family]}, mean over tasks" if task == MACRO else task
    return title, series, Axis("labelled users", metric_title(PRIMARY[family]), named, best=best)


def _few_label_rows(results: Results) -> list[Row]:
    """Rows of the primary metric on tasks that were judged with few labels."""
    judged = [r for r in results.rows if r.metric == PRIMARY[r.family] and r.value is not None]
    few = {(r.family, r.task) for r in judged if r.labels not in ("all", 0)}
    return [r for r in judged if (r.family, r.task) in few]


def rival_on(results: Results, task: str, methods: list[str]) -> str | None:
    """The strongest baseline of a task among `methods`; any rival among them where that one is missing."""
    rivals = [m for m in methods if is_rival(m)]
    found = strongest(results).get(task)
    return found.baseline if found and found.baseline in rivals else next(iter(rivals), None)


def calibrations(results: Results) -> list[Calibration]:
    """Per task ours and the strongest baseline that has chances."""
    found = []
    for task in dict.fromkeys(c.task for c in results.calibration):
        mine = {c.method: c for c in results.calibration if c.task == task}
        rival = rival_on(results, task, list(mine))
        found += [mine[m] for m in (OURS, rival) if m in mine]
    return found


def reliability_svgs(results: Results) -> list[str]:
    """Per task the share that came by the chance that was predicted; on the diagonal both are the same."""
    chosen = calibrations(results)
    axis = Axis("predicted chance", "share that came", shares=True, straight=1.0)
    return [
        lines_svg(
            task,
            [
                Series(method_title(c.method), int(c.method != OURS), [Point(b.predicted, b.observed) for b in c.bins])
                for c in chosen
                if c.task == task and c.bins
            ],
            axis,
        )
        for task in dict.fromkeys(c.task for c in chosen)
    ]


def uplift_methods(results: Results) -> list[str]:
    """Methods of the uplift curves: ours, then those with the largest mean gain."""
    gains: dict[str, list[float]] = {}
    for curve in results.uplift:
        gains.setdefault(curve.method, []).append(sum(curve.gain) / max(1, len(curve.gain)))
    return strongest_of(gains, {method: sum(g) / len(g) for method, g in gains.items()}, MOST)


def uplift_svgs(results: Results) -> list[str]:
    """Per task the extra positives won by treating the best-scored share, against treating at random."""
    methods, drawn = uplift_methods(results), []
    for task in dict.fromkeys(c.task for c in results.uplift):
        curves = {c.method: c for c in results.uplift if c.task == task and c.share}
        series = [
            Series(method_title(m), i, [Point(x, y) for x, y in zip(curves[m].share, curves[m].gain, strict=False)])
            for i, m in enumerate(methods)
            if m in curves
        ]
        if series:
            # Treating at random wins its share of what treating everybody wins.
            end = max(series[0].points)
            slope = end.y / end.x if end.x else None
            axis = Axis("share treated", "extra positives per user", shares=True, marks=False, straight=slope)
            drawn.append(lines_svg(task, series, axis))
    return drawn
