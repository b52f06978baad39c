"""What counts as a value of a text, and that a dictionary's name and its growth follow the values."""

import numpy as np
import polars as pl
import pytest

from instructue.errors import DataError
from instructue.sources.spec import load_dataset
from instructue.sources.values import dictionary_digest, values_of

TEXTS = pl.DataFrame(
    {
        "source": ["purchase", "purchase", "campaign", "campaign", "profile"],
        "text": ["coffee", "coffee", "a mailing", "a mailing", "age: 19-24"],
        "category": ["coffee", "coffee", None, None, None],
        "type": ["unknown", "beans", None, None, None],
        "brand": ["national", "national", None, None, None],
        "department": ["grocery", "grocery", None, None, None],
        "campaign": [None, None, "13", "8", None],
        "campaign_type": [None, None, "type a", "type b", None],
        "categories": [None, None, "coffee", "coffee", None],
        "attribute": [None, None, None, None, "age"],
        "value": [None, None, None, None, "19-24"],
        **{
            name: pl.Series([None] * 5, dtype=pl.String)
            for name in ("display", "mailer", "part_of_day", "part_of_week", "saving", "size")
        },
    }
)


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("complete_journey")


def shown(values) -> list[list[str]]:
    return [[values.said[number] for number in row if number >= 0] for row in values.held_TA]


def test_values_are_what_templates_of_events_show(dataset):
    """Neither a campaign's number, nor what is unknown, nor an attribute of the user."""
    assert shown(values_of(dataset, TEXTS)) == [
        ["coffee", "national", "grocery"],
        ["coffee", "beans", "national", "grocery"],
        ["type a", "coffee"],
        ["type b", "coffee"],
        [],
    ]


@pytest.mark.parametrize("first", range(6))
def test_a_dictionary_that_grows_keeps_its_numbers(dataset, first):
    fewer, at_once = values_of(dataset, TEXTS.head(first)), values_of(dataset, TEXTS)
    grown = values_of(dataset, TEXTS, fewer)
    assert grown.said == at_once.said and at_once.said[: len(fewer.said)] == fewer.said
    np.testing.assert_array_equal(grown.held_TA, at_once.held_TA)


def test_a_dictionary_s_name_follows_texts_and_values(dataset):
    """Same words, another value behind them: vectors made for one are none of the other's."""
    other = TEXTS.with_columns(pl.col("categories").replace("coffee", "tea"))
    longer = TEXTS.with_columns(pl.col("text") + " ")
    names = {dictionary_digest(texts, values_of(dataset, texts)) for texts in (TEXTS, other, longer)}
    assert len(names) == 3 and dictionary_digest(TEXTS, values_of(dataset, TEXTS.clone())) in names


def test_texts_of_another_description_name_source_attribute_and_mend(dataset):
    with pytest.raises(DataError, match=r"source 'trip': its text names \['saving'\], .*run: .* sources, then valid"):
        values_of(dataset, TEXTS.drop("saving"))
