"""What an evaluation leaves behind: the typed form of reports/evaluation.json.

`results.schema.json` beside this file is its JSON schema, for readers in other languages.
"""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from instructue.errors import DataError

Family = Literal["prediction", "marketing", "recommendation"]
Labels = Literal["all"] | int
MACRO = "macro"
OURS = "instructue"
GENERAL = "instructue_general"
UNTRAINED = "untrained"
PRIMARY: dict[str, str] = {"prediction": "auc", "marketing": "auc", "recommendation": "ndcg@10"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Row(_Part):
    """One method on one task: a metric (greater is better) with its 95% interval over users."""

    task: str = Field(description="Task name, or 'macro' for the mean over the family's tasks")
    family: Family
    method: str = Field(description="'instructue': ours with the task's instruction, 'instructue_general': without one")
    labels: Labels = Field(description="Labelled users the probe learnt from: 'all', a number, or 0 for zero-shot")
    metric: str = Field(description="auc, ks, average_precision, lift@10%, qini, auuc, ndcg@10, hr@10, recall@10")
    value: float | None
    low: float | None = Field(description="Lower end of the 95% interval")
    high: float | None = Field(description="Upper end of the 95% interval")
    n: int | None = Field(ge=0, description="Users scored")
    positives: int | None = Field(ge=0, description="Positive labels among them (recommendation: relevant items)")


class Paired(_Part):
    """`method` minus `baseline` on the same users, folds and probe, with a 95% interval over users."""

    task: str
    family: Family | None = Field(None, description="Needed where task is 'macro'; otherwise the rows tell it")
    method: str
    baseline: str
    labels: Labels
    metric: str
    difference: float | None
    low: float | None
    high: float | None
    joint_low: float | None = Field(
        None, description="Lower end of the interval that holds for all headline comparisons at once, with 95%"
    )
    joint_high: float | None = None


class Slice(_Part):
    """One method on the rows of one context, a campaign for instance, of a task that has several."""

    task: str
    context: str = Field(description="The value of the task's context column")
    method: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int = Field(ge=0)
    positives: int = Field(ge=0)


class Bin(_Part):
    """Rows of like predicted chance: what was predicted on average, and what came."""

    predicted: float = Field(ge=0, le=1)
    observed: float = Field(ge=0, le=1)
    n: int = Field(ge=1)


class Calibration(_Part):
    """Whether a method's chances may be taken at their word; lower is better for both figures."""

    task: str
    method: str
    brier: float = Field(description="Mean squared distance of the chance from what came")
    ece: float = Field(description="Mean distance of predicted from observed over ten equally filled bins")
    ece_low: float | None
    ece_high: float | None
    bins: list[Bin]


class UpliftCurve(_Part):
    """Extra positives won by treating the best-scored share of users, per user of the task (Qini curve)."""

    task: str
    method: str
    share: list[float]
    gain: list[float]


class MapPoint(_Part):
    x: float
    y: float
    label: bool


class UserMap(_Part):
    """A sample of users placed in two dimensions by their embedding under one instruction."""

    task: str = Field(description="Whose instruction, and whose outcome colours the points")
    method: str
    points: list[MapPoint]


class Example(_Part):
    """A user on whom our method and the strongest baseline disagree, right or wrong."""

    task: str
    user: str
    context: str
    label: bool
    score: float = Field(ge=0, le=1, description="Share of users whom our method ranks below this one")
    baseline: str
    baseline_score: float = Field(ge=0, le=1)
    events: list[str] = Field(description="Some of the history as text, the latest first")


class StudyRow(_Part):
    """One point of a study. `setting` is what was varied: a share of noise, a kind of instruction, a loss."""

    task: str
    method: str
    setting: str | float
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int | None = Field(None, ge=0, description="Users")
    baseline: str | None = Field(None, description="Where value is a paired difference: what was subtracted")


class Study(_Part):
    """An experiment about a claim: what was asked, what came out, in numbers and one sentence made from them."""

    name: str = Field(pattern=r"^[a-z_]+$")
    title: str
    question: str
    answer: str = Field(description="One sentence that quotes its numbers with their intervals")
    varied: str = Field(description="What `setting` is, for the axis of a plot")
    rows: list[StudyRow]
    notes: list[str] = []


class Attainable(_Part):
    """The best that anybody could reach on a task, where generated data makes it known."""

    task: str
    metric: str
    value: float


class TaskNote(_Part):
    """What a task asks, in words."""

    model_config = ConfigDict(extra="allow")

    instruction: str | None = None
    family: Family | None = None
    description: str | None = None


class Results(_Part):
    """A whole evaluation."""

    dataset: str
    snapshot: str = Field(description="Histories end before this moment, labels begin at it")
    protocol: dict[str, JsonValue] = Field(description="folds, repeats, bootstrap draws, whatever fixes the figures")
    rows: list[Row]
    paired: list[Paired]
    notes: list[str] = []
    data: dict[str, str] = Field({}, description="Version hash of each data set the figures rest on")
    tasks: dict[str, TaskNote] = Field({}, description="Instruction and explanation by task name")
    slices: list[Slice] = []
    calibration: list[Calibration] = []
    uplift: list[UpliftCurve] = []
    maps: list[UserMap] = []
    examples: list[Example] = []
    studies: list[Study] = []
    attainable: list[Attainable] = []

    def family_of(self, pair: Paired) -> str | None:
        """The family a paired comparison belongs to; None for a macro average that does not say."""
        if pair.family or pair.task == MACRO:
            return pair.family or ("recommendation" if pair.metric == PRIMARY["recommendation"] else None)
        return next((row.family for row in self.rows if row.task == pair.task), None)


def parse_results(raw: dict[str, Any]) -> Results:
    """Check a results dict. Raises DataError naming each wrong field and what it may be."""
    try:
        return Results.model_validate(raw)
    except ValidationError as error:
        wrong = error.errors()[:20]
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']} (got {e.get('input')!r:.80})" for e in wrong]
        raise DataError("the evaluation results are not as described in results.py:\n" + "\n".join(lines)) from None


def schema_text() -> str:
    """The JSON schema as committed in results.schema.json."""
    return json.dumps(Results.model_json_schema(), indent=2) + "\n"
