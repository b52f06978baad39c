"""What the texts of events are made of: the values of the attributes that their templates show.

Legend: T texts of the dictionary, A most values of a text.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import polars as pl

from instructue.sources.events import MISSING
from instructue.sources.spec import DatasetSpec


@dataclass(frozen=True)
class Values:
    """said: the distinct values, in the order of their first text; held_TA: which of these each text shows, -1 for
    none."""

    said: list[str]
    held_TA: np.ndarray


def values_of(dataset: DatasetSpec, texts: pl.DataFrame, known: Values | None = None) -> Values:
    """The values that the texts show; of a dictionary that grew behind `known`, only what is new is looked at.

    What no template shows (a campaign's bare number), what is missing ("unknown") and the table of attributes, whose
    texts are no events, hold none. Numbers of a smaller dictionary stay.
    """
    shown = {source.name: list(dict.fromkeys(source.shown)) for source in dataset.event_sources}
    most = max((len(names) for names in shown.values()), default=0)
    known = known or Values([], np.full((0, most), -1, np.int64))
    start = len(known.held_TA)
    new = texts.slice(start).with_row_index("place")
    of_source = pl.col("source")
    parts = [
        new.filter(of_source == name, pl.col(attribute).is_not_null(), pl.col(attribute) != MISSING).select(
            "place", slot=pl.lit(slot), said=pl.col(attribute).cast(pl.String)
        )
        for name, attributes in shown.items()
        for slot, attribute in enumerate(attributes)
    ]
    held_TA = np.full((texts.height, most), -1, np.int64)
    held_TA[:start] = known.held_TA
    number = {value: place for place, value in enumerate(known.said)}
    if parts:
        long = pl.concat(parts).sort("place", "slot")
        for value in long["said"].unique(maintain_order=True).to_list():
            number.setdefault(value, len(number))
        held_TA[start + long["place"].to_numpy(), long["slot"].to_numpy()] = [number[v] for v in long["said"].to_list()]
    return Values(list(number), held_TA)


def dictionary_digest(texts: pl.DataFrame, values: Values) -> str:
    """What names a dictionary of event texts, with what they hold, in a bundle."""
    said = json.dumps([texts["text"].to_list(), values.said, values.held_TA.tolist()])
    return hashlib.sha256(said.encode()).hexdigest()
