"""What may be asked about: kinds that fit the data set's description, and nothing that a task is to predict."""

from pathlib import Path
from typing import Any

import polars as pl
import yaml

from instructue.errors import ConfigError, LeakageError
from instructue.sources.spec import DatasetSpec, FactSpec, SourceSpec

KeptBack = frozenset[tuple[str, str]]  # (source, attribute): who users are, where a task asks just that


def kept_back(name_or_path: str, dataset: DatasetSpec) -> KeptBack:
    """The attributes of attribute tables that UserQA must leave to the tasks beside the data set's description.

    An attribute that a task predicts (`rule: attribute_in`), and all of a source that a task hides: the answer may
    follow from its neighbours. Empty if there are no tasks. Raises ConfigError if the tasks cannot be read: what is
    not known to be free stays unasked. Reads YAML alone, as tasks themselves lie in a layer above.
    """
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        path = path.with_suffix(f".tasks{path.suffix}")
    else:
        path = Path(__file__).parent.parent / "datasets" / f"{name_or_path}.tasks.yaml"
    if not path.is_file():
        return frozenset()
    try:
        tasks: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["tasks"]
        hidden = {source for task in tasks for source in task.get("hides") or []}
        rules = [task["label"] for task in tasks if task["label"]["rule"] == "attribute_in"]
        predicted = {(rule["source"], rule["attribute"]) for rule in rules}
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}: cannot tell what its tasks predict ({type(error).__name__}: {error}), so nothing of users' "
            "attributes may be asked about; mend it as docs/tasks.md says"
        ) from error
    named = [(source.name, a) for source in dataset.attribute_sources for a in source.attributes]
    return frozenset(pair for pair in named if pair[0] in hidden or pair in predicted)


def check_fact(fact: FactSpec, dataset: DatasetSpec, kept: KeptBack = frozenset()) -> None:
    """Raise ConfigError naming the fact and its wrong field, LeakageError if it asks what a task is to predict."""
    source = dataset.source(fact.source)
    about_users = fact.shape == "is"
    if about_users != (source.kind == "attributes"):
        mend = "an event source, or `shape: is`" if source.kind == "attributes" else "a source with `kind: attributes`"
        raise ConfigError(f"fact {fact.name!r}: shape {fact.shape!r} does not fit source {source.name!r}; use {mend}")
    for what in (fact.attribute, fact.match):
        if what is not None and what not in source.attributes:
            raise ConfigError(
                f"fact {fact.name!r}: source {source.name!r} has no attribute {what!r}; it has {source.attributes}"
            )
    if about_users and (source.name, fact.attribute) in kept:
        raise LeakageError(
            f"fact {fact.name!r}: {fact.attribute!r} of source {source.name!r} is never asked about, as a task "
            "predicts it or hides its source; remove the fact, or the task"
        )
    if fact.measure not in {"count", *source.columns}:
        raise ConfigError(
            f"fact {fact.name!r}: source {source.name!r} has no number {fact.measure!r}; it has {source.columns}"
        )
    if fact.then is not None:
        _check_follower(fact, dataset.source(fact.then))
    if fact.where is not None:
        _check_where(fact, source)


def _check_follower(fact: FactSpec, then: SourceSpec) -> None:
    if then.kind != "events":
        raise ConfigError(f"fact {fact.name!r}: then: {then.name!r} has no times; use an event source")
    if fact.match not in then.attributes:
        raise ConfigError(f"fact {fact.name!r}: match: source {then.name!r} has no {fact.match!r}: {then.attributes}")


def _check_where(fact: FactSpec, source: SourceSpec) -> None:
    try:
        named = set(pl.sql_expr(str(fact.where)).meta.root_names())
    except pl.exceptions.PolarsError as error:
        raise ConfigError(f"fact {fact.name!r}: where {fact.where!r} is not an SQL condition: {error}") from None
    known = {*source.columns, *source.attributes}
    if unknown := named - known:
        raise ConfigError(
            f"fact {fact.name!r}: where names {sorted(unknown)}, which source {source.name!r} does not have; "
            f"it has {sorted(known)}"
        )
