"""What the texts of events are made of: the values of the attributes that their templates show.

Legend: T texts of the dictionary, A most values of a text.
"""

import hashlib
import json
import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from instructue.errors import DataError
from instructue.sources.spec import DatasetSpec, SourceSpec

MISSING = "unknown"


@dataclass(frozen=True)
class Values:
    """said: the distinct values, in the order of their first text; held_TA: which of these each text shows, -1 for
    none."""

    said: list[str]
    held_TA: np.ndarray


def shown(source: SourceSpec) -> list[str]:
    """What the text's template names, in its order."""
    return re.findall(r"\{(\w+)\}", source.text)


def values_of(dataset: DatasetSpec, texts: pl.DataFrame, known: Values | None = None) -> Values:
    """The values that the texts show; of a dictionary that grew behind `known`, only what is new is looked at.

    What no template shows (a campaign's bare number), what is missing ("unknown") and the table of attributes, whose
    texts are no events, hold none. Numbers of a smaller dictionary stay. Raises DataError if the texts are of another
    description, which names no such attribute.
    """
    named = {source.name: list(dict.fromkeys(shown(source))) for source in dataset.event_sources}
    for source, names in named.items():
        if absent := [name for name in names if name not in texts.columns]:
            raise DataError(
                f"source {source!r}: its text names {absent}, which the published texts lack, as they were made by "
                "another description; run: python -m instructue sources, then validation"
            )
    most = max((len(names) for names in named.values()), default=0)
    known = known or Values([], np.full((0, most), -1, np.int64))
    start = len(known.held_TA)
    new = texts.slice(start).with_row_index("_place")
    of_source = pl.col("source")
    parts = [
        new.filter(of_source == name, pl.col(attribute).is_not_null(), pl.col(attribute) != MISSING).select(
            "_place", slot=pl.lit(slot), said=pl.col(attribute).cast(pl.String)
        )
        for name, attributes in named.items()
        for slot, attribute in enumerate(attributes)
    ]
    held_TA = np.full((texts.height, most), -1, np.int64)
    held_TA[:start] = known.held_TA
    number = {value: place for place, value in enumerate(known.said)}
    if parts:
        long = pl.concat(parts).sort("_place", "slot")
        for value in long["said"].unique(maintain_order=True).to_list():
            number.setdefault(value, len(number))
        held_TA[start + long["_place"].to_numpy(), long["slot"].to_numpy()] = [
            number[v] for v in long["said"].to_list()
        ]
    return Values(list(number), held_TA)


def dictionary_digest(texts: pl.DataFrame, values: Values) -> str:
    """What names a dictionary of event texts, with what they hold, in a bundle."""
    said = json.dumps([texts["text"].to_list(), values.said, list(values.held_TA.shape)])
    return hashlib.sha256(said.encode() + values.held_TA.astype("<i8").tobytes()).hexdigest()
