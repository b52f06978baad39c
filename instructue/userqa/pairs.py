"""Pairs of question and answer that a team wrote by hand: read row by row, placed behind the right history.

Their texts are data: nothing in them is filled in, run or read as a command.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from instructue.errors import DataError, LeakageError
from instructue.sources.tables import Tables
from instructue.userqa.schema import COLUMNS, OWN_PAIRS, conform
from instructue.userqa.windows import training_examples

SHOWN = 20  # problems told at once


def one_line(text: str) -> str:
    """The text with single spaces. Raises ValueError for what a language model would not read as words."""
    if "<|" in text:
        raise ValueError("holds '<|', which a language model reads as a mark of its own; write it otherwise")
    if unseen := sorted({c for c in text if not (c.isprintable() or c.isspace())}):
        raise ValueError(f"holds invisible characters {unseen}; remove them")
    return " ".join(text.split())


def _no_number(value: Any) -> Any:
    # A bare 2017 would count as seconds since 1970.
    if isinstance(value, (int, float)) or (isinstance(value, str) and value.strip().lstrip("-").isdigit()):
        raise ValueError("write a time like 2017-10-05, 2017-10-05 13:30 or 2017-10-05T13:30:00+02:00")
    return value


Text = Annotated[str, AfterValidator(one_line)]
Moment = Annotated[datetime, BeforeValidator(_no_number)]


class Pair(BaseModel):
    """A question and its answer about one user."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: int = Field(ge=-(2**63), lt=2**63, description="The user's number in the data set")
    instruction: Text = Field(min_length=8, max_length=400, description="The question")
    answer: Text = Field(min_length=2, max_length=400, description="What is true")
    opposite: Text | None = Field(
        None, min_length=2, max_length=400, description="What would be true otherwise: training tells the two apart"
    )
    time: Moment | None = Field(
        None, description="The moment asked of: the history ends at the last snapshot by then; default: the last of all"
    )
    about: Literal["horizon", "history"] | None = Field(
        None, description="Which side of the snapshot; default: horizon if known_until is given, else history"
    )
    known_until: Moment | None = Field(
        None, description="Up to when the answer has looked; at most the end of the history's horizon"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Pair":
        if self.about == "horizon" and self.known_until is None:
            raise ValueError("a pair about the horizon needs known_until: up to when has its answer looked?")
        if self.about == "history" and self.known_until is not None:
            raise ValueError("known_until is for a pair about the horizon; leave it out, or say `about: horizon`")
        if self.answer in {self.instruction, self.opposite}:
            raise ValueError("the answer must differ from the instruction and from its opposite")
        return self


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Rows of a CSV or Parquet file as dicts, empty cells left out. Raises DataError naming the file."""
    if not path.is_file():
        raise DataError(f"{path} is not there; the path of pairs starts at the folder of the YAML file")
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            rows = pl.read_parquet(path)
        elif path.suffix.lower() == ".csv":
            rows = pl.read_csv(path, infer_schema=False)
        else:
            raise DataError(f"{path} is neither .parquet nor .csv; export it as one of them")
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    fields = Pair.model_fields
    needed = {name for name, field in fields.items() if field.is_required()}
    if missing := sorted(needed - set(rows.columns)):
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {rows.columns}, and may have {[*fields]}")
    return [{k: v for k, v in row.items() if v not in (None, "")} for row in rows.iter_rows(named=True)]


def read_pairs(rows: Iterable[Any], origin: str) -> list[Pair]:
    """The rows, checked. Raises DataError naming the origin and each wrong row and field; rows count from 1."""
    pairs, problems = [], []
    for number, row in enumerate(rows, start=1):
        try:
            pairs.append(Pair.model_validate(row))
        except ValidationError as error:
            problems += [f"row {number}: {_said(dict(e))}" for e in error.errors()]
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise DataError(f"{origin}:\n" + "\n".join(f"  {p}" for p in [*problems[:SHOWN], *more]))
    return pairs


def _said(error: dict[str, Any]) -> str:
    field = ".".join(map(str, error["loc"]))
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = f"no such field; there are {[*Pair.model_fields]}; remove it, or rename the column"
    elif error["type"] == "missing":
        message = f"is missing. {Pair.model_fields[field].description}"
    elif error["type"] != "value_error" and not isinstance(error["input"], dict):
        message += f" (got {error['input']!r:.80})"
    return f"{field}: {message}" if field else message


def placed(pairs: list[Pair], origin: str, tables: Tables) -> tuple[pl.DataFrame, list[tuple[str, str, str]]]:
    """Pairs as rows of the triplets' schema, numbered from 0; and those without a place, as (text, kind, reason).

    A pair's example is the user's last training history whose snapshot lies at or before `time` and, about the
    horizon, before known_until. Raises LeakageError naming the row of a pair that knows of, or was written at, a
    time after the evaluation snapshot.
    """
    zone = tables.dataset.timezone
    rows = _table(pairs, zone)
    evaluation = tables.histories.filter(pl.col("split") == "evaluation")["snapshot"].min()
    if evaluation is not None:
        _refuse_late(rows.filter(pl.coalesce("until", "moment") > evaluation), origin, evaluation)
    examples = training_examples(tables).select("example", "user", "snapshot", "horizon_end")
    fits = (pl.col("snapshot") <= pl.col("moment")).fill_null(True) & (pl.col("snapshot") < pl.col("until")).fill_null(
        True
    )
    met = rows.join(examples, on="user", how="inner").filter(fits).sort("pair", "snapshot")
    chosen = met.unique("pair", keep="last", maintain_order=True).drop(set(rows.columns) - {"pair"})
    rows = rows.join(chosen, on="pair", how="left", maintain_order="left")
    asked_before = pl.col("example").is_not_null() & (pl.int_range(pl.len()).over("example", "instruction") > 0)
    reasons = {
        "user unknown": ~pl.col("user").is_in(tables.histories["user"].unique().implode()),
        "user has no training history": ~pl.col("user").is_in(examples["user"].unique().implode()),
        "no training history by that time": pl.col("example").is_null(),
        "known_until is past the history's horizon": (pl.col("until") > pl.col("horizon_end")).fill_null(False),
        "asked twice of one history": asked_before,
    }
    reason = pl.coalesce([pl.when(wrong).then(pl.lit(text)) for text, wrong in reasons.items()])
    rows = rows.with_columns(reason=reason)
    refused = rows.filter(pl.col("reason").is_not_null())
    rejections = [(text, OWN_PAIRS, why) for text, why in refused.select("instruction", "reason").iter_rows()]
    return _as_triplets(rows.filter(pl.col("reason").is_null()), zone), rejections


def with_pairs(triplets: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Triplets and placed pairs in one table, numbered by example; what both ask of one history, the pair answers."""
    both = pl.concat([pairs, triplets]).unique(["example", "instruction"], keep="first", maintain_order=True)
    ordered = both.sort("example", maintain_order=True)
    return ordered.with_columns(triplet=pl.int_range(pl.len(), dtype=pl.UInt32))


def _table(pairs: list[Pair], zone: str) -> pl.DataFrame:
    """pair (its row, from 0), user, the texts, about, moment and until (zone-aware, null where not given)."""

    def local(moment: datetime | None) -> datetime | None:
        if moment is None:
            return None
        return moment.astimezone(ZoneInfo(zone)) if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))

    side = {True: "history", False: "horizon"}
    rows = [
        (place, p.user, p.instruction, p.answer, p.opposite, p.about or side[p.known_until is None], local(p.time),
         local(p.known_until))
        for place, p in enumerate(pairs)
    ]  # fmt: skip
    texts = dict.fromkeys(("instruction", "answer", "opposite", "about"), pl.String)
    times = dict.fromkeys(("moment", "until"), pl.Datetime("us", zone))
    return pl.DataFrame(rows, schema={"pair": pl.UInt32, "user": pl.Int64, **texts, **times}, orient="row")


def _refuse_late(late: pl.DataFrame, origin: str, evaluation: Any) -> None:
    if late.height:
        row = late.row(0, named=True)
        field = "time" if row["until"] is None else "known_until"
        raise LeakageError(
            f"{origin}, row {row['pair'] + 1}: {field} is {row['until'] or row['moment']}, after the evaluation "
            f"snapshot {evaluation}, so its answer may know what the model is judged by ({late.height} such rows); "
            "remove these rows, or say in known_until up to when their answers have looked"
        )


def _as_triplets(rows: pl.DataFrame, zone: str) -> pl.DataFrame:
    by = dict.fromkeys(("instruction_by", "answer_by"), pl.lit("team"))
    made = rows.with_columns(
        triplet=pl.int_range(pl.len()),
        horizon_end=pl.col("until"),
        **dict.fromkeys(("kind", "source"), pl.lit(OWN_PAIRS)),
        **by,
    )
    unset = [pl.lit(None).alias(name) for name in COLUMNS if name not in made.columns]
    return conform(made.with_columns(unset), zone)
