"""What the paired comparisons allow one to say: three sentences, and the lists behind them.

A comparison is *ahead* or *behind* only if its 95% interval lies wholly on one side of zero; otherwise undecided.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from instructue.evaluation.report.names import interval, is_rival, is_use, method_title, metric_title, signed
from instructue.evaluation.results import GENERAL, MACRO, OURS, PRIMARY, UNTRAINED, Labels, Paired, Results

Outcome = Literal["ahead", "behind", "undecided"]
OUTCOMES: tuple[Outcome, ...] = ("ahead", "undecided", "behind")
# How plan.py ends its notes on tasks that were not judged.
LEFT_OUT = ("are too few to judge by; left out", "have a relevant item; left out")


@dataclass(frozen=True)
class Judged:
    """A comparison that has its difference and interval, so that something may be said of it."""

    family: str | None
    task: str
    method: str
    baseline: str
    labels: Labels
    metric: str
    difference: float
    low: float
    high: float
    joint_low: float | None = None
    joint_high: float | None = None

    @property
    def outcome(self) -> Outcome:
        return "ahead" if self.low > 0 else "behind" if self.high < 0 else "undecided"

    @property
    def joint(self) -> tuple[float, float] | None:
        """The interval that holds for all headline comparisons at once, where there is one."""
        return None if self.joint_low is None or self.joint_high is None else (self.joint_low, self.joint_high)

    @property
    def survives(self) -> bool:
        """Whether it stays ahead or behind when the interval is widened for the number of comparisons."""
        if self.joint is None or self.outcome == "undecided":
            return False
        return self.joint[0] > 0 if self.outcome == "ahead" else self.joint[1] < 0

    @property
    def headline(self) -> bool:
        """Whether the verdict may rest on it: the family's primary metric, all labels."""
        return self.labels == "all" and self.family is not None and self.metric == PRIMARY[self.family]


def judge(results: Results, pair: Paired) -> Judged | None:
    """None where the difference or its interval is missing."""
    if pair.difference is None or pair.low is None or pair.high is None:
        return None
    known: dict[str, Any] = pair.model_dump() | {"family": results.family_of(pair)}
    return Judged(**known)


def judged_pairs(results: Results, method: str) -> list[Judged]:
    """Every comparison of `method` that has an interval."""
    return [found for pair in results.paired if pair.method == method and (found := judge(results, pair))]


def ours(results: Results) -> list[Judged]:
    """Every comparison of our method that has an interval, but those with ours used in another way."""
    return [pair for pair in judged_pairs(results, OURS) if not is_use(pair.baseline)]


def headline(results: Results) -> list[Judged]:
    """Those that the verdict rests on: single tasks, primary metric, all labels."""
    return [pair for pair in ours(results) if pair.headline and pair.task != MACRO]


def added(results: Results) -> dict[tuple[str, str], list[Judged]]:
    """(method with ours, the same without) -> what ours adds, per task and on average; all labels, primary metric."""
    methods = dict.fromkeys(pair.method for pair in results.paired if pair.method.endswith("_with_" + OURS))
    pairs = [pair for method in methods for pair in judged_pairs(results, method)]
    pairs = [pair for pair in pairs if pair.headline and is_rival(pair.baseline)]
    keys = dict.fromkeys((pair.method, pair.baseline) for pair in pairs)
    return {key: [pair for pair in pairs if (pair.method, pair.baseline) == key] for key in keys}


def strongest(results: Results) -> dict[str, Judged]:
    """Per task the comparison with the baseline that comes out best there: the smallest difference."""
    rivals = [pair for pair in headline(results) if is_rival(pair.baseline)]
    return {task: _least(p for p in rivals if p.task == task) for task in dict.fromkeys(p.task for p in rivals)}


def tally(pairs: Iterable[Judged]) -> dict[Outcome, int]:
    outcomes = [pair.outcome for pair in pairs]
    return {kind: outcomes.count(kind) for kind in OUTCOMES}


def losses(results: Results) -> list[Judged]:
    """Every decided loss of ours, on any metric and label count; the verdict's first, then by size."""
    lost = [pair for pair in ours(results) if pair.outcome == "behind"]
    return sorted(lost, key=lambda pair: (not pair.headline, pair.difference))


def nearly(results: Results) -> list[Judged]:
    """The verdict's comparisons that are behind in the estimate, but undecided."""
    found = [pair for pair in headline(results) if pair.outcome == "undecided" and pair.difference < 0]
    return sorted(found, key=lambda pair: pair.difference)


def many(results: Results) -> str:
    """What is left of the verdict's comparisons when their intervals are widened to hold all at once."""
    pairs = [pair for pair in headline(results) if pair.joint]
    if not pairs:
        return "Intervals are not widened for the number of comparisons: about one in twenty misses its true value."
    counts = tally(pairs)
    left = tally(pair for pair in pairs if pair.survives)
    kept = f"{left['ahead']} of the {counts['ahead']} ahead and {left['behind']} of the {counts['behind']} behind"
    return (
        f"With {len(pairs)} comparisons (ours against every other method on every task) some are decided by chance. "
        f"Ours is ahead in {counts['ahead']}, behind in {counts['behind']} and undecided in {counts['undecided']}; "
        f"{kept} stay so when the intervals are widened until all of them hold at once with 95% (bootstrap of the "
        "largest deviation, Romano & Wolf 2005)."
    )


def what_it_adds(results: Results) -> list[str]:
    """A sentence for each method that a team has and that was judged with our vectors added too."""
    said = []
    for (_, baseline), pairs in added(results).items():
        singles = [pair for pair in pairs if pair.task != MACRO]
        averages = [pair for pair in pairs if pair.task == MACRO]
        if singles:
            text = f"Added to {method_title(baseline)} it is {_standing(singles)}"
            text += "".join(f"; {quote(pair, place=f'on average over {pair.family}')}" for pair in averages)
            said.append(text + ".")
    return said


def verdict(results: Results) -> list[tuple[str, str]]:
    """Three (heading, sentence) for a reader who reads no further; task names stand in backticks."""
    if not headline(results):
        left_out = [note for note in results.notes if note.endswith(LEFT_OUT)]
        why = f" Of the tasks: {'. '.join(left_out)}. More users, another snapshot or another task mend it."
        return [("Nothing is claimed", "No paired comparison with an interval was made." + (why if left_out else ""))]
    return [
        ("Where it stands", _against_strongest(results)),
        ("What training and instruction add", _what_adds(results)),
        ("Where it loses", _where_it_loses(results)),
    ]


def _least(pairs: Iterable[Judged]) -> Judged:
    return min(pairs, key=lambda pair: pair.difference)


def quote(pair: Judged, *, name_baseline: bool = False, place: str = "") -> str:
    """'+0.060 AUC on `task` against TF-IDF + LR, 95% interval +0.040 to +0.080'."""
    rival = f" against {method_title(pair.baseline)}" if name_baseline else ""
    bounds = interval(pair.low, pair.high, signed)
    place = place or f"on `{pair.task}`"
    return f"{signed(pair.difference)} {metric_title(pair.metric)} {place}{rival}, 95% interval {bounds}"


def _standing(pairs: list[Judged], *, name_baseline: bool = False) -> str:
    """'ahead on 3 of 8 tasks (at best ...), behind on 1 (...) and undecided on 4'."""
    parts: list[str] = []
    for kind, word in (("ahead", "at best"), ("behind", "at worst"), ("undecided", "")):
        these = sorted((pair for pair in pairs if pair.outcome == kind), key=lambda pair: pair.difference)
        if not these:
            continue
        text = f"{kind} on {len(these)}" + ("" if parts else f" of {_tasks(len(pairs))}")
        if word:
            extreme = quote(these[-1 if kind == "ahead" else 0], name_baseline=name_baseline)
            text += f" ({extreme})" if len(these) == 1 else f" ({word} {extreme})"
        parts.append(text)
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]


def _tasks(count: int) -> str:
    return f"{count} task{'' if count == 1 else 's'}"


def _against_strongest(results: Results) -> str:
    pairs = list(strongest(results).values())
    if not pairs:
        return "It was compared with no other method, so nothing is said of its standing."
    return f"Against the strongest baseline of each task it is {_standing(pairs, name_baseline=True)}."


def _what_adds(results: Results) -> str:
    parts = []
    for baseline, what in (
        (UNTRAINED, "against the same network untrained it is"),
        (GENERAL, "against the same model without an instruction it is"),
    ):
        pairs = [pair for pair in headline(results) if pair.baseline == baseline]
        parts += [f"{what} {_standing(pairs)}"] if pairs else []
    said = "; ".join(parts) or "what instruction and training add was not judged"
    return said[:1].upper() + said[1:] + "."


def _where_it_loses(results: Results, shown: int = 3) -> str:
    rivals = [pair for pair in headline(results) if is_rival(pair.baseline)]
    if not rivals:
        return "Where it loses is not known."
    lost = [pair for pair in rivals if pair.outcome == "behind"]
    worst = [_least(p for p in lost if p.task == task) for task in dict.fromkeys(p.task for p in lost)]
    worst.sort(key=lambda pair: pair.difference)
    if worst:
        quoted = "; ".join(quote(pair, name_baseline=True) for pair in worst[:shown])
        more = f"; and {_tasks(len(worst) - shown)} more, listed under losses" if len(worst) > shown else ""
        tasks = _tasks(len({pair.task for pair in rivals}))
        return f"It loses to one or more baselines on {len(worst)} of {tasks}: {quoted}{more}."
    nearest = quote(min(rivals, key=lambda pair: pair.high), name_baseline=True)
    return f"No comparison with a baseline is a decided loss; the one nearest to it is {nearest}."
