"""What a team adds to UserQA in a YAML file: kinds, wordings, and pairs written by hand. docs/userqa.md shows how."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from instructue.errors import ConfigError, InstructUEError
from instructue.sources.spec import DatasetSpec, FactSpec
from instructue.sources.tables import Tables
from instructue.userqa.allowed import KeptBack, check_fact, kept_back
from instructue.userqa.derived import derived_facts, mute
from instructue.userqa.pairs import SHOWN, Pair, Text, one_line, placed, read_pairs, rows_of
from instructue.userqa.schema import INSTRUCTION, NO, OWN_PAIRS, YES
from instructue.userqa.wording import templates

FIELDS = {INSTRUCTION: "ask", YES: "answer", NO: "otherwise"}  # form -> the field of FactSpec with its plain template


class OwnWordings(BaseModel):
    """More templates of one kind, by form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instruction: list[Text] = Field([], description="Wordings of the question")
    yes: list[Text] = Field([], description="Wordings of the answer, or of its positive form")
    no: list[Text] = Field([], description="Wordings of the negative form, for kinds that answer yes or no")

    @model_validator(mode="before")
    @classmethod
    def _quoted(cls, raw: Any) -> Any:
        # YAML reads a bare yes or no as true or false, keys too.
        bare = {True: YES, False: NO}
        return (
            {bare.get(k, k) if isinstance(k, bool) else k: v for k, v in raw.items()} if isinstance(raw, dict) else raw
        )


class OwnFile(BaseModel):
    """The YAML file, as it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    facts: list[FactSpec] = Field([], description="Further kinds, written as in a data set's description")
    wordings: dict[str, OwnWordings] = Field({}, description="Kind -> more templates, of any kind that is asked")
    leave_out: list[str] = Field([], description="Kinds of the data set that are not asked")
    pairs: str | list[Any] = Field([], description="A .csv or .parquet file beside this one, or the rows themselves")


@dataclass(frozen=True)
class Own:
    """A team's file, read and checked. `origin` names where the pairs stand."""

    path: Path
    facts: list[FactSpec]
    wordings: dict[str, OwnWordings]
    leave_out: list[str]
    pairs: list[Pair]
    origin: str


def read_own(path: str | Path, dataset: DatasetSpec, root: Path, kept_back: KeptBack = frozenset()) -> Own:
    """Read a team's file; a relative path starts at `root`, the path of its pairs at the file's own folder.

    `dataset` has every kind that is asked without the file. Raises ConfigError naming file, kind and field,
    DataError naming file, row and field of a pair, LeakageError for a kind that asks what a task is to predict.
    """
    path = root / path
    if not path.is_file():
        raise ConfigError(f"userqa.own: {path} is not there; docs/userqa.md shows how to write it")
    raw: Any = None
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        file = OwnFile.model_validate({} if raw is None else raw)
    except ValidationError as error:
        raise _refusal(path, [_said(dict(e), raw) for e in error.errors()]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if problems := [*_wrong_kinds(file, dataset), *_wrong_wordings(file, dataset)]:
        raise _refusal(path, problems)
    for fact in file.facts:
        try:
            check_fact(fact, dataset, kept_back)
        except InstructUEError as error:
            raise type(error)(f"{path}: {error}") from None
    inline = isinstance(file.pairs, list)
    origin = f"{path}: pairs" if inline else str(path.parent / str(file.pairs))
    rows = file.pairs if isinstance(file.pairs, list) else rows_of(path.parent / file.pairs)
    return Own(path, file.facts, file.wordings, file.leave_out, read_pairs(rows, origin), origin)


def with_own(dataset: DatasetSpec, own: Own) -> DatasetSpec:
    """The data set with the team's kinds and without those left out. Raises ConfigError if none is left."""
    facts = [fact for fact in dataset.facts if fact.name not in own.leave_out] + own.facts
    if not facts:
        raise ConfigError(f"{own.path}: leave_out leaves no kind to ask; keep one, or add one under facts")
    return dataset.model_copy(update={"facts": facts})


def own_templates(own: Own, dataset: DatasetSpec) -> dict[str, dict[str, list[str]]]:
    """kind -> form -> the team's templates, {who} and {span} filled in, of the kinds of `dataset` that it words."""
    kinds = {fact.name: fact for fact in dataset.facts}
    found: dict[str, dict[str, list[str]]] = {}
    for kind in sorted(own.wordings.keys() & kinds.keys()):
        for form, texts in own.wordings[kind].model_dump().items():
            changed = [kinds[kind].model_copy(update={FIELDS[form]: text}) for text in dict.fromkeys(texts)]
            if changed:
                found.setdefault(kind, {})[form] = [templates(fact, dataset)[form] for fact in changed]
    return found


def own_pairs(own: Own, tables: Tables) -> tuple[pl.DataFrame, list[tuple[str, str, str]]]:
    """The team's pairs as triplets, and those without a place as (text, kind, reason); see pairs.placed."""
    return placed(own.pairs, own.origin, tables)


def with_all_kinds(tables: Tables, described: str, own: str | Path | None, root: Path) -> tuple[Tables, KeptBack, Own]:
    """The tables whose data set asks all it can: its own facts, derived ones, and a team's.

    `described` and `own` are params.yaml's data.dataset and userqa.own. Returns also what tasks keep back, for Facts,
    and the team's file, an empty one without `own`. Raises as read_own, with_own and kept_back do.
    """
    kept = kept_back(described, tables.dataset)
    facts = [*tables.dataset.facts, *derived_facts(tables.dataset, kept | mute(tables))]
    dataset = tables.dataset.model_copy(update={"facts": facts})
    team = Own(root, [], {}, [], [], "") if own is None else read_own(own, dataset, root, kept)
    return replace(tables, dataset=with_own(dataset, team)), kept, team


def _refusal(path: Path, problems: list[str]) -> ConfigError:
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return ConfigError(f"{path}:\n" + "\n".join(f"  {p}" for p in [*problems[:SHOWN], *more]))


def _said(error: dict[str, Any], raw: Any) -> str:
    """One validation error in words: where, and what to write instead."""
    place = list(error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if not place:
        return f"it must hold some of {[*OwnFile.model_fields]}; {message}"
    if error["type"] == "extra_forbidden":
        owner = {"facts": FactSpec, "wordings": OwnWordings}.get(str(place[0]), OwnFile) if len(place) > 1 else OwnFile
        message = f"no such field; there are {[*owner.model_fields]}"
    elif error["type"] == "missing" and place[0] == "facts":
        message = f"is missing. {FactSpec.model_fields[str(place[-1])].description or ''}".strip()
    elif error["type"] != "value_error" and not isinstance(error["input"], dict):
        message += f" (got {error['input']!r:.80})"
    if place[0] == "facts" and len(place) > 1 and isinstance(fact := raw["facts"][place[1]], dict):
        place[1] = fact.get("name", place[1] + 1)
    return f"{'.'.join(map(str, place))}: {message}"


def _wrong_kinds(file: OwnFile, dataset: DatasetSpec) -> Iterator[str]:
    """Names that are taken or unknown, and texts of kinds that are no words."""
    taken = {fact.name for fact in dataset.facts} - set(file.leave_out) | {OWN_PAIRS}
    sources = [source.name for source in dataset.sources]
    for fact in file.facts:
        if fact.name in taken:
            yield f"facts.{fact.name}: name: there is such a kind already; choose another, or list it under leave_out"
        taken.add(fact.name)
        if fact.source not in sources or (fact.then or fact.source) not in sources:
            yield f"facts.{fact.name}: source: data set {dataset.name!r} has no such source; it has {sources}"
        for field in FIELDS.values():
            try:
                one_line(getattr(fact, field) or "")
            except ValueError as error:
                yield f"facts.{fact.name}: {field}: {error}"
    known = [fact.name for fact in dataset.facts]
    for name in file.leave_out:
        if name not in known:
            yield f"leave_out: {name!r} is no kind of the data set{_near(name, known)}"


def _wrong_wordings(file: OwnFile, dataset: DatasetSpec) -> Iterator[str]:
    kinds = {fact.name: fact for fact in (*dataset.facts, *file.facts)}
    for kind, forms in file.wordings.items():
        if kind not in kinds:
            yield f"wordings.{kind}: no such kind{_near(kind, list(kinds))}"
            continue
        for form, texts in forms.model_dump().items():
            plain = getattr(kinds[kind], FIELDS[form])
            if texts and plain is None:
                yield f"wordings.{kind}.{form}: the kind does not answer yes or no; its answer is worded under `yes`"
                continue
            for text in texts:
                if problem := _wrong_wording(text, form, plain, kinds[kind]):
                    yield f"wordings.{kind}.{form}: {text!r} {problem}"


def _wrong_wording(text: str, form: str, plain: str, fact: FactSpec) -> str | None:
    """What keeps `text` from standing for the plain template, in words; None if nothing does."""
    slots, meant = (re.findall(r"{(\w+)}", t) for t in (text, plain))
    if unknown := sorted(set(slots) - {"who", "span", "value", "answer"}):
        return f"names unknown slots {unknown}; the kind's own template is {plain!r}"
    if set(re.sub(r"{\w+}", "", text)) & {"{", "}"}:
        return "has a brace that closes no slot"
    for slot in ("value", "answer"):
        if slots.count(slot) != meant.count(slot):
            return f"must hold {{{slot}}} as often as {plain!r}, {meant.count(slot)} times"
    if "span" in meant and "span" not in slots:
        return f"must hold {{span}}, as {plain!r} does: a question without its time is another one"
    if "span" in slots and fact.days is None:
        return "holds {span}, but the kind is about the whole history"
    wrong = {YES: "no", NO: "yes"}.get(form) if fact.binary else None
    if wrong and re.match(rf"{wrong}\b", text, re.I):
        return f"begins with {wrong!r} but stands under `{form}`"
    return None if 8 <= len(text) <= 400 else "must have 8 to 400 characters"


def _near(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {known}"
