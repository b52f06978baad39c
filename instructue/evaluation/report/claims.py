"""Studies on the page: what is drawn of an experiment, by the kind of its settings."""

import re
from dataclasses import dataclass

from instructue.evaluation.report.dots import Dot, Dots, dots_svg
from instructue.evaluation.report.drawing import MOST
from instructue.evaluation.report.lines import Axis, Point, Series, lines_svg
from instructue.evaluation.report.names import METHODS, method_title, metric_title
from instructue.evaluation.report.tables import strongest_of
from instructue.evaluation.results import MACRO, Results, Study, StudyRow

NOISE = "robustness"
SHARE = re.compile(r"^(?P<kind>.*?)[\s:=,_-]*(?P<share>\d*\.?\d+)\s*(?P<percent>%?)$")


@dataclass(frozen=True)
class Claim:
    """A study with its plots; `legend` names the series by place, empty where there is one only."""

    study: Study
    plots: list[str]
    legend: list[str]
    curves: bool

    @property
    def shown(self) -> int:
        """How many plots are not folded away."""
        return 6 if self.curves else 4


def claims(results: Results) -> list[Claim]:
    """Every study: curves where what was varied is a number, else dots with intervals."""
    return [_claim(study) for study in results.studies]


def _claim(study: Study) -> Claim:
    rows = [row for row in study.rows if row.value is not None]
    measured = [(row, *_setting(study, row)) for row in rows]
    numbers = {x for _, _, x in measured if x is not None}
    if len(numbers) > 2 and all(x is not None for _, _, x in measured):
        # Where a change was measured, with its interval, the levels that it is made of stay in the table.
        changes = [m for m in measured if m[0].baseline is not None]
        return _curves(study, [(row, kind, x) for row, kind, x in changes or measured if x is not None])
    return _dots(study, rows)


def _setting(study: Study, row: StudyRow) -> tuple[str, float | None]:
    """(kind, number) of a setting: 0.4 -> ('', 0.4), and of noise also 'popular 40%' -> ('popular', 0.4)."""
    if not isinstance(row.setting, str):
        return "", float(row.setting)
    found = SHARE.match(row.setting) if study.name.startswith(NOISE) else None
    if not found:
        return row.setting, None
    return found["kind"].strip(), float(found["share"]) / (100 if found["percent"] else 1)


def _curves(study: Study, rows: list[tuple[StudyRow, str, float]]) -> Claim:
    kinds = list(dict.fromkeys(kind for _, kind, _ in rows))
    # A plot holds so many series; with more, each kind gets its own.
    apart = len({(row.method, kind) for row, kind, _ in rows}) > MOST
    methods = strongest_of((row.method for row, _, _ in rows), {}, MOST)
    series = [(m, "") for m in methods] if apart else [(m, kind) for m in methods for kind in kinds]
    plots = {}
    for row, kind, x in rows:
        plot = plots.setdefault((row.task, row.metric, row.baseline, kind if apart else ""), {})
        name = (row.method, "" if apart else kind)
        if name in series and row.value is not None:
            plot.setdefault(name, []).append(Point(x, row.value, row.low, row.high))
    titles = [_named(method, kind) for method, kind in series]
    shares = all(0 <= x <= 1 for _, _, x in rows)
    baselines = {row.baseline for row, _, _ in rows}
    drawn = []
    tasks = list(dict.fromkeys(task for task, *_ in plots))
    order = sorted(plots, key=lambda plot: (tasks.index(plot[0]), not plot[1].endswith("_change")))
    for task, metric, baseline, kind in order:
        found = plots[task, metric, baseline, kind]
        said = [_place(task), kind, f"against {method_title(baseline)}" if baseline and len(baselines) > 1 else ""]
        if metric.endswith("_change"):  # of nothing added, by nothing
            found = {key: [*([] if any(p.x == 0 for p in ps) else [Point(0, 0)]), *ps] for key, ps in found.items()}
        lines = [Series(titles[series.index(key)], series.index(key), points) for key, points in found.items()]
        what = "change" if metric.endswith("_change") else "difference"
        y = f"{what} in {metric_title(metric)}" if baseline else metric_title(metric)
        axis = Axis(study.varied, y, shares=shares, differences=baseline is not None)
        drawn.append(lines_svg(", ".join(s for s in said if s), sorted(lines, key=lambda s: s.place), axis))
    return Claim(study, drawn, titles if len(titles) > 1 else [], curves=True)


def _dots(study: Study, rows: list[StudyRow]) -> Claim:
    methods = strongest_of((row.method for row in rows), {}, MOST)
    drawn = []
    for metric, paired in dict.fromkeys((row.metric, row.baseline is not None) for row in rows):
        mine = [row for row in rows if (row.metric, row.baseline is not None) == (metric, paired)]
        mine = [row for row in mine if row.method in methods]
        settings = list(dict.fromkeys(str(row.setting) for row in mine))
        x = metric_title(metric) + (f", {settings[0]}" if len(settings) == 1 else "")
        if paired:
            # What was subtracted is either another method or another setting.
            named = len(settings) == 1 and not any(row.baseline in METHODS for row in mine)
            x = f"{settings[0]} minus the other" if named else f"difference in {x}"
        drawn.append(dots_svg(metric_title(metric), _lines(mine, methods), x, differences=paired))
    return Claim(study, drawn, [method_title(m) for m in methods] if len(methods) > 1 else [], curves=False)


def _lines(rows: list[StudyRow], methods: list[str]) -> list[Dots]:
    """Lines by task and setting, with a heading per task where there are several of both."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    settings = {(row.setting, row.baseline) for row in rows}
    one_setting = len({row.setting for row in rows}) == 1
    lines: list[Dots] = []
    for task in tasks:
        here = [row for row in rows if row.task == task]
        if len(tasks) > 1 and len(settings) > 1:
            lines.append(Dots(_place(task), []))
        for setting, baseline in dict.fromkeys((row.setting, row.baseline) for row in here):
            dots = [
                Dot(method_title(row.method), methods.index(row.method), row.value, row.low, row.high)
                for row in here
                if (row.setting, row.baseline) == (setting, baseline) and row.value is not None
            ]
            against = f"against {method_title(baseline)}" if baseline else ""
            name = against if one_setting and against else " ".join(s for s in (str(setting), against) if s)
            lines.append(Dots(name if len(settings) > 1 or len(tasks) == 1 else _place(task), dots))
    return lines


def _named(method: str, kind: str) -> str:
    return f"{method_title(method)}, {kind}" if kind else method_title(method)


def _place(task: str) -> str:
    return "average" if task == MACRO else task
