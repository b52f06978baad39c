"""The triplets table: its columns and the words its columns may hold. Light: data checks import it."""

import polars as pl

TABLE = "triplets.parquet"
WORDINGS = "wordings.json"
REJECTIONS = "rejections.parquet"

INSTRUCTION, YES, NO = "instruction", "yes", "no"  # forms of text that a kind has wordings for
ABOUT = ("horizon", "history")
BY = ("llm", "template", "team")
OWN_PAIRS = "own_pairs"  # kind and source of the pairs that a team wrote by hand
SHARE_OF_YES = (0.3, 0.7)  # every yes/no kind stays within

# column -> what it holds; times are zone-aware, in the data set's zone.
COLUMNS: dict[str, tuple[type[pl.DataType], bool, str]] = {
    "triplet": (pl.UInt32, False, "Number of the row, from 0"),
    "example": (pl.UInt32, False, "Row of histories.parquet: the history that the question is about"),
    "user": (pl.Int64, False, "The example's user"),
    "snapshot": (pl.Datetime, False, "The example's snapshot"),
    "kind": (pl.String, False, "Name of the fact; own_pairs: written by hand"),
    "source": (pl.String, False, "Source that the fact was read from, or own_pairs"),
    "instruction": (pl.String, False, "The question"),
    "answer": (pl.String, False, "What was true"),
    "opposite": (pl.String, True, "The answer that would be true had the fact been otherwise"),
    "polarity": (pl.Boolean, True, "Yes or no, for kinds that ask for it"),
    "value": (pl.String, True, "What the instruction asks about, such as a category"),
    "about": (pl.String, False, "horizon: after the snapshot; history: before it"),
    "horizon_end": (pl.Datetime, True, "When the fact's horizon ends; null for history"),
    "instruction_by": (pl.String, False, "Who worded the instruction"),
    "answer_by": (pl.String, False, "Who worded the answer"),
}
REJECTION_COLUMNS: dict[str, type[pl.DataType]] = {"text": pl.String, "kind": pl.String, "reason": pl.String}


def conform(triplets: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """The table with exactly the schema's columns, types and order."""

    def of(dtype: type[pl.DataType]) -> pl.DataType:
        return pl.Datetime("us", timezone) if dtype is pl.Datetime else dtype()

    return triplets.select(pl.col(name).cast(of(dtype)) for name, (dtype, _, _) in COLUMNS.items())
