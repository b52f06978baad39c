"""A closer look at single tasks: their contexts one by one, and users on whom methods disagree."""

from dataclasses import dataclass

from instructue.evaluation.report.curves import rival_on
from instructue.evaluation.report.dots import Dot, Dots, dots_svg
from instructue.evaluation.report.names import method_title, metric_title
from instructue.evaluation.report.verdict import Judged, quote, strongest
from instructue.evaluation.results import OURS, Example, Results, Slice

SHOWN = 20  # contexts in a plot; all are in the table


@dataclass(frozen=True)
class Sliced:
    """One task by its contexts: ours beside the strongest baseline; `left` contexts are in the table only."""

    task: str
    svg: str
    rival: str | None
    left: int


@dataclass(frozen=True)
class Story:
    """Users of one task, and how ours stands there against its strongest baseline."""

    task: str
    standing: str
    examples: list[Example]


def sliced(results: Results) -> list[Sliced]:
    """Per task and metric that was judged by context a dot plot, the contexts with most users, best first."""
    found = []
    for task, metric in dict.fromkeys((s.task, s.metric) for s in results.slices):
        here = [s for s in results.slices if (s.task, s.metric) == (task, metric) and s.value is not None]
        rival = rival_on(results, task, list(dict.fromkeys(s.method for s in here)))
        by_context: dict[str, list[Slice]] = {}
        for s in here:
            if s.method in (OURS, rival):
                by_context.setdefault(s.context, []).append(s)
        largest = sorted(by_context, key=lambda c: -by_context[c][0].n)[:SHOWN]
        largest.sort(key=lambda c: -max((s.value or 0 for s in by_context[c] if s.method == OURS), default=0))
        lines = [
            Dots(
                context,
                [
                    Dot(method_title(s.method), int(s.method != OURS), s.value, s.low, s.high)
                    for s in sorted(by_context[context], key=lambda s: s.method != OURS)
                    if s.value is not None
                ],
            )
            for context in largest
        ]
        if lines:
            svg = dots_svg(task, lines, metric_title(metric))
            found.append(Sliced(task, svg, rival, len(by_context) - len(lines)))
    return found


def stories(results: Results) -> list[Story]:
    """Tasks that have example users, the one where ours stands worst first."""
    against = strongest(results)
    tasks = list(dict.fromkeys(example.task for example in results.examples))
    tasks.sort(key=lambda task: against[task].difference if task in against else float("inf"))
    return [
        Story(task, _standing(against.get(task)), [e for e in results.examples if e.task == task]) for task in tasks
    ]


def _standing(pair: Judged | None) -> str:
    if pair is None:
        return ""
    return f"Ours is {pair.outcome} here: {quote(pair, name_baseline=True)}."
