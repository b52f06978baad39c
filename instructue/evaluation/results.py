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
    metric: str = Field(description="auc, ks, hr@10, ndcg@10")
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
