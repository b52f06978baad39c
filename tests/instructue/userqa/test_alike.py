"""What is worded for one source's template serves those that differ in nouns alone, and no other."""

from collections import Counter

import polars as pl
import pytest

from instructue.sources.spec import load_dataset
from instructue.userqa.alike import carried, families, speaker
from instructue.userqa.ask import asks
from instructue.userqa.derived import derived_facts
from instructue.userqa.lexicon import Lexicon
from instructue.userqa.nouns import filled_in, nouns, pattern_of, plural
from instructue.userqa.reword import judged


@pytest.mark.parametrize(
    ("text", "event", "attribute"),
    [
        ("Will the user have any search queries with device {value}?", "search query", "device"),
        ("Which value will be most frequent among payments of {value}?", "payment", "value"),
        ("The installed apps, by app", "installed app", "app"),
    ],
)
def test_a_pattern_gives_its_text_back(text, event, attribute):
    of = nouns(event, attribute)
    pattern = pattern_of(text, of)
    assert plural(event) not in pattern and f" {attribute} " not in pattern
    assert filled_in(pattern, of) == text
    assert pattern.count("{value}") == text.count("{value}")


@pytest.fixture(scope="module")
def wanted():
    """The super-app's kinds that no one wrote: its streams have the same templates."""
    dataset = load_dataset("superapp").model_copy(update={"facts": []})
    facts = [f for f in derived_facts(dataset, frozenset()) if f.name.endswith(("_any", "_ahead", "_often"))]
    chosen = pl.DataFrame(
        [(f.name, "alpha", "12 or more") for f in facts], schema=["kind", "value", "answer"], orient="row"
    )
    return dataset, asks(facts, dataset, chosen)


def test_templates_that_differ_in_nouns_are_one_family(wanted):
    _, asked = wanted
    found = families(asked)
    assert [a for family in found for a in family] != [] and sum(map(len, found)) == len(asked)
    sizes = Counter(len({a.fact.source for a in family}) for family in found)
    assert max(sizes) >= 4, "four streams or more ask whether there will be any"
    for family in found:
        assert len({(a.form, a.fact.days, a.fact.about) for a in family}) == 1
        assert len({pattern_of(a.template, a.nouns) for a in family}) == 1


def test_what_is_said_of_one_is_said_of_all_in_their_own_nouns(wanted):
    dataset, asked = wanted
    lexicon = Lexicon.of(dataset)
    family = [a for a in asked if a.form == "instruction" and a.fact.name.endswith("_any")]
    first, *others = family
    right = f"Over the next four weeks, is the user going to have any {first.nouns['N']}?"
    wrong = [
        "Over the next four weeks, is the user going to buy any shoes?",
        "Will the user have any within two weeks?",
    ]
    kept = {a.fact.name: [a.template] for a in family}
    kept[first.fact.name] += [*wrong, right]

    def judge(ask, text, there):
        return judged(ask, text, there, lexicon)

    for ask in others:
        taken = carried(family, ask, lambda a: kept[a.fact.name], 20, judge)
        assert taken == [right.replace(first.nouns["N"], ask.nouns["N"])]
        assert carried(family, ask, lambda a: kept[a.fact.name], 0, judge) == []


def test_one_asks_for_all_each_in_turn(wanted):
    family = max(families(wanted[1]), key=len)
    missing = {ask.fact.name: 3 for ask in family[1:]} | {family[0].fact.name: 0}
    asking = [speaker(family, lambda a: missing[a.fact.name], turn) for turn in range(len(family))]
    assert asking == [[ask] for ask in (*family[1:], family[1])]
    assert speaker(family, lambda _: 0, 0) == []
