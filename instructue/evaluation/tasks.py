"""The tasks that embeddings are judged by: a data set's, from `<dataset>.tasks.yaml` beside its description, or a
team's own, from any such file. docs/tasks.md teaches how to write one.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from instructue.config import Config
from instructue.errors import ConfigError
from instructue.evaluation.label_files import FileLabels, ItemFile, beside
from instructue.evaluation.population import Population
from instructue.evaluation.rules import AttributeIn, Items, Occurs, Ranking, Responds, Rule
from instructue.paths import Paths
from instructue.sources.spec import DatasetSpec, load_dataset
from instructue.sources.tables import load_tables

SLOT = re.compile(r"\{([^{}]+)\}")
RULES: tuple[type[Rule], ...] = (AttributeIn, Occurs, Responds, Items, FileLabels, ItemFile)
LabelRule = Annotated[AttributeIn | Occurs | Responds | Items | FileLabels | ItemFile, Field(discriminator="rule")]


class TaskSpec(BaseModel):
    """One task: what is asked, of whom, and what counts as right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    family: Literal["prediction", "marketing", "recommendation"]
    description: str = Field(description="The label in words, for people")
    instruction: str = Field(description="What the model is asked; {who}, and the label's context columns, may appear")
    paraphrases: list[str] = Field([], description="The same question in other words, for the study of following")
    yes: str | None = Field(None, description="Answer of a positive, for scoring without labels")
    no: str | None = Field(None, description="Answer of a negative")
    answer: str = Field("{item}", description="Recommendation: the answer that names one item, {item}; may hold {who}")
    each: str | None = Field(
        None, description="Recommendation: the question about one item, {item}, for asking item by item; may hold {who}"
    )
    hides: list[str] = Field([], description="Sources that every method must do without")
    label: LabelRule
    chances: Path | None = Field(
        None, description="Made-up data: a Parquet file of the chances that outcomes were drawn from, path as in labels"
    )

    @field_validator("chances")
    @classmethod
    def _beside(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return None if path is None else beside(path, info)

    @model_validator(mode="before")
    @classmethod
    def _quoted(cls, raw: Any) -> Any:
        # YAML reads a bare yes or no as true or false, keys too.
        bare = {True: "yes", False: "no"}
        return (
            {bare.get(k, k) if isinstance(k, bool) else k: v for k, v in raw.items()} if isinstance(raw, dict) else raw
        )

    @model_validator(mode="after")
    def _consistent(self) -> "TaskSpec":
        ranks = isinstance(self.label, Ranking)
        if ranks != (self.family == "recommendation"):
            raise ValueError(f"rule {self.label.rule!r} does not fit family {self.family!r}")
        if not ranks and not (self.yes and self.no):
            raise ValueError("a yes-or-no task needs both answers, yes and no")
        if ranks and (self.yes or self.no):
            raise ValueError("a recommendation has no answers yes and no; `answer` says how one item is named")
        if not ranks and "answer" in self.model_fields_set:
            raise ValueError("`answer` names an item; a yes-or-no task has the answers yes and no")
        if not ranks and self.each is not None:
            raise ValueError("`each` asks about one item; a yes-or-no task has none")
        for field in ("answer", "each") if ranks else ():
            if (text := getattr(self, field)) is not None and "item" not in SLOT.findall(text):
                raise ValueError(f"{field} {text!r} must hold {{item}}")
        for field, text in self.templates.items():
            if set(SLOT.sub("", text)) & {"{", "}"}:
                raise ValueError(f"{field} {text!r} has a brace that closes no name; write {{who}} or {{column}}")
        return self

    @property
    def templates(self) -> dict[str, str]:
        """All texts with slots to fill, by field."""
        fields = ("instruction", "answer", "each") if isinstance(self.label, Ranking) else ("instruction", "yes", "no")
        return {field: text for field in fields if (text := getattr(self, field)) is not None}

    def questions(self, population: Population) -> list[str]:
        """The question about each item of the catalogue, in its order. Raises ConfigError for a task without `each`."""
        if self.each is None:
            raise ConfigError(f"task {self.name} does not say how one item is asked about; give it `each`")
        each = self.each.replace("{who}", population.tables.dataset.who)
        return [each.replace("{item}", text) for text in self.ranking.texts(population)]

    def files(self) -> list[Path]:
        """The files that the task rests on, beside the published tables."""
        return [*self.label.files(), *([self.chances] if self.chances else [])]

    @property
    def ranking(self) -> Ranking:
        """The rule of a ranking task; raises ConfigError for any other."""
        if not isinstance(self.label, Ranking):
            raise ConfigError(f"task {self.name} ranks no items, its rule is {self.label.rule!r}")
        return self.label


class _TaskFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: list[TaskSpec] = Field(min_length=1)


def tasks_path(name_or_path: str) -> Path:
    """The tasks beside a data set description: one of ours by name, or a team's own by path."""
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        return path.with_suffix(f".tasks{path.suffix}")
    return Path(__file__).parent.parent / "datasets" / f"{name_or_path}.tasks.yaml"


def load_tasks(name_or_path: str, only: list[str] | None = None) -> list[TaskSpec]:
    """The data set's tasks, all or those named in `only`. Raises ConfigError as read_tasks."""
    path = tasks_path(name_or_path)
    tasks = read_tasks(path, load_dataset(name_or_path))
    if missing := sorted(set(only or []) - {t.name for t in tasks}):
        raise ConfigError(f"evaluation.tasks names {missing}; {path} has {[t.name for t in tasks]}")
    return [t for t in tasks if not only or t.name in only]


def read_tasks(path: Path, dataset: DatasetSpec) -> list[TaskSpec]:
    """The tasks of one file, checked against the data set and the files that they name.

    Raises ConfigError naming the file, the task, the field and what to write there.
    """
    if not path.is_file():
        raise ConfigError(f"no tasks at {path}; docs/tasks.md shows how to write them")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        tasks = _TaskFile.model_validate(raw, context={"folder": path.parent.absolute()}).tasks
    except ValidationError as error:
        lines = [f"  {_said(dict(e), raw)}" for e in error.errors()]
        raise ConfigError(f"{path} is not a valid list of tasks:\n" + "\n".join(lines[:20])) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    check_tasks(tasks, dataset, str(path))
    return tasks


def _said(error: dict[str, Any], raw: Any) -> str:
    """One validation error in words: task, field and the mend."""
    place = error["loc"]
    if len(place) < 2:
        return f"{'.'.join(map(str, place)) or 'file'}: {error['msg']}; it holds one list, `tasks:`"
    task = raw["tasks"][place[1]]
    name = task.get("name", f"number {place[1] + 1}") if isinstance(task, dict) else f"number {place[1] + 1}"
    field, owner = list(place[2:]), TaskSpec
    if len(field) > 1 and field[0] == "label":
        owner = next(r for r in RULES if field[1] in get_args(r.model_fields["rule"].annotation))
        del field[1]  # the rule's name, which is no field
    last = field[-1] if field else None
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = f"no such field; there are {list(owner.model_fields)}"
    elif error["type"] == "missing" and last in owner.model_fields:
        message = f"is missing. {owner.model_fields[str(last)].description or ''}".strip()
    elif error["type"] != "value_error" and not isinstance(error["input"], dict):
        message += f" (got {error['input']!r:.80})"
    return ": ".join([f"task {name}", *([".".join(map(str, field))] if field else []), message])


def check_tasks(tasks: list[TaskSpec], dataset: DatasetSpec, name: str) -> None:
    """Raise ConfigError if tasks name what the data set or a file lacks, or hide too little or everything."""
    problems = []
    if len({t.name for t in tasks}) != len(tasks):
        problems.append("task names must be unique")
    for task in tasks:
        found = task.label.problems(dataset)
        if task.chances is not None and not task.chances.is_file():
            found.append(f"chances: {task.chances} is not there")
        if unknown := sorted(set(task.hides) - {s.name for s in dataset.sources}):
            found.append(f"hides {unknown}; sources are {[s.name for s in dataset.sources]}")
        if task.label.rule == "attribute_in" and task.label.source not in task.hides:
            found.append(f"is about {task.label.source!r}, so it must hide it: the answer would stand in the history")
        for field, text in task.templates.items():
            # The answers are embedded once per task, so they can't follow a context.
            own = {"answer": ["item"], "each": ["item"], "instruction": task.label.words(dataset)}
            allowed = ["who", *own.get(field, [])]
            if unknown := sorted(set(SLOT.findall(text)) - set(allowed)):
                found.append(f"{field} names {unknown}; it may name {allowed}")
        problems += [f"task {task.name}: {problem}" for problem in found]
    if problems:
        raise ConfigError(f"{name}:\n" + "\n".join(f"  {p}" for p in problems))


def asked(task: TaskSpec, population: Population) -> pl.DataFrame:
    """Who is asked what: (user, context, instruction), one row per row of the task's labels, in their order.

    Raises ConfigError for a slot that is neither who nor a column of the rule's offers.
    """
    rows = task.label.labels(population).select("user", "context")
    text = task.instruction.replace("{who}", population.tables.dataset.who)
    slots = SLOT.findall(text)
    if not slots:
        return rows.with_columns(instruction=pl.lit(text))
    offers = task.label.offers(population)
    if missing := sorted(set(slots) - set(offers.columns)):
        raise ConfigError(f"task {task.name}: its instruction needs {missing}; it may use who and {offers.columns}")
    worded = offers.select("user", "context", pl.format(SLOT.sub("{}", text), *slots).alias("instruction"))
    return rows.join(worded, on=["user", "context"], how="left", maintain_order="left")


def requests(config: Config, paths: Paths, tasks: list[TaskSpec] | None = None) -> pl.DataFrame:
    """What requests_for asks for, of the published tables and (without `tasks`) the data set's tasks."""
    population = Population.of(load_tables(config, paths))
    if tasks is None:
        tasks = load_tasks(config.data.description(), config.evaluation.tasks)
    return requests_for(tasks, population)


def requests_for(tasks: list[TaskSpec], population: Population) -> pl.DataFrame:
    """Every (user, instruction) that these tasks need embedded at the population's snapshot.

    Columns: user, task, context, instruction, hides (list of source names that the history must not show).
    """
    frames = [
        asked(task, population).select(
            "user",
            pl.lit(task.name).alias("task"),
            "context",
            "instruction",
            pl.lit(task.hides, dtype=pl.List(pl.String)).alias("hides"),
        )
        for task in tasks
    ]
    return pl.concat(frames)
