"""The tasks a data set is judged by, read from `<dataset>.tasks.yaml` beside its description."""

import re
from pathlib import Path
from typing import Literal

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from instructue.config import Config
from instructue.errors import ConfigError
from instructue.evaluation.population import Population
from instructue.evaluation.rules import Items, LabelRule, Responds, check_rule
from instructue.paths import Paths
from instructue.sources.spec import DatasetSpec, load_dataset
from instructue.sources.tables import load_tables


class TaskSpec(BaseModel):
    """One task: what is asked, of whom, and what counts as right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    family: Literal["prediction", "marketing", "recommendation"]
    description: str = Field(description="The label in words, for people")
    instruction: str = Field(description="What the model is asked; {who}, and for offers their attributes, may appear")
    yes: str | None = Field(None, description="Answer of a positive, for scoring without labels")
    no: str | None = Field(None, description="Answer of a negative")
    hides: list[str] = Field([], description="Sources that every method must do without")
    label: LabelRule

    @model_validator(mode="after")
    def _consistent(self) -> "TaskSpec":
        if isinstance(self.label, Items) != (self.family == "recommendation"):
            raise ValueError(f"rule {self.label.rule!r} does not fit family {self.family!r}")
        if not isinstance(self.label, Items) and not (self.yes and self.no):
            raise ValueError("a yes-or-no task needs both answers, yes and no")
        return self

    @property
    def ranking(self) -> Items:
        """The rule of a ranking task; raises ConfigError for any other."""
        if not isinstance(self.label, Items):
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
    """The data set's tasks, all or those named in `only`.

    Raises ConfigError naming the file, the task and what it gets wrong.
    """
    path, dataset = tasks_path(name_or_path), load_dataset(name_or_path)
    if not path.is_file():
        raise ConfigError(f"no tasks at {path}; write them beside the data set's description")
    try:
        tasks = _TaskFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).tasks
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"{path} is not a valid list of tasks:\n" + "\n".join(lines[:20])) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    check_tasks(tasks, dataset, str(path))
    if missing := sorted(set(only or []) - {t.name for t in tasks}):
        raise ConfigError(f"evaluation.tasks names {missing}; {path} has {[t.name for t in tasks]}")
    return [t for t in tasks if not only or t.name in only]


def check_tasks(tasks: list[TaskSpec], dataset: DatasetSpec, name: str) -> None:
    """Raise ConfigError if tasks name what the data set lacks, or a task hides too little or everything."""
    problems = []
    if len({t.name for t in tasks}) != len(tasks):
        problems.append("task names must be unique")
    for task in tasks:
        found = check_rule(task.label, dataset)
        if unknown := sorted(set(task.hides) - {s.name for s in dataset.sources}):
            found.append(f"hides {unknown}; sources are {[s.name for s in dataset.sources]}")
        if task.label.rule == "attribute_in" and task.label.source not in task.hides:
            found.append(f"is about {task.label.source!r}, so it must hide it: the answer would stand in the history")
        problems += [f"{task.name}: {problem}" for problem in found]
    if problems:
        raise ConfigError(f"{name}:\n" + "\n".join(f"  {p}" for p in problems))


def asked(task: TaskSpec, population: Population) -> pl.DataFrame:
    """Who is asked what: (user, context, instruction), one row per row of the task's labels, in their order."""
    rows = task.label.labels(population).select("user", "context")
    slots = re.findall(r"\{(\w+)\}", task.instruction.replace("{who}", population.tables.dataset.who))
    template = re.sub(r"\{\w+\}", "{}", task.instruction.replace("{who}", population.tables.dataset.who))
    if not slots:
        return rows.with_columns(instruction=pl.lit(template))
    offers = task.label.offers(population) if isinstance(task.label, Responds) else rows
    if missing := sorted(set(slots) - set(offers.columns)):
        raise ConfigError(f"task {task.name}: its instruction needs {missing}; it may use who and {offers.columns}")
    worded = offers.select("user", "context", pl.format(template, *slots).alias("instruction"))
    return rows.join(worded, on=["user", "context"], how="left", maintain_order="left")


def requests(config: Config, paths: Paths) -> pl.DataFrame:
    """Every (user, instruction) that the evaluation needs embedded at its snapshot.

    Columns: user, task, context, instruction, hides (list of source names that the history must not show).
    """
    population = Population.of(load_tables(config, paths))
    frames = [
        asked(task, population).select(
            "user",
            pl.lit(task.name).alias("task"),
            "context",
            "instruction",
            pl.lit(task.hides, dtype=pl.List(pl.String)).alias("hides"),
        )
        for task in load_tasks(config.data.dataset, config.evaluation.tasks)
    ]
    return pl.concat(frames)
