"""A team's own file: every block of docs/userqa.md is sound; what is wrong is named with its mend."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from instructue.errors import ConfigError, LeakageError
from instructue.sources.spec import SourceSpec, load_dataset
from instructue.sources.tables import load_tables
from instructue.userqa.allowed import kept_back
from instructue.userqa.derived import derived_facts
from instructue.userqa.facts import Facts
from instructue.userqa.own import OwnFile, own_pairs, own_templates, read_own, with_all_kinds, with_own
from instructue.userqa.schema import OWN_PAIRS
from instructue.userqa.windows import training_examples

LESSON = (Path(__file__).parents[3] / "docs" / "userqa.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", LESSON, re.S)


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("complete_journey")


@pytest.fixture(scope="module")
def tables(asked):
    return load_tables(*asked)


@pytest.fixture
def read(tmp_path, dataset):
    """read(what) -> Own of a file that holds it, text or values."""

    def of(what):
        text = what if isinstance(what, str) else yaml.safe_dump(what, sort_keys=False, allow_unicode=True)
        (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
        return read_own("own.yaml", dataset, tmp_path, kept_back("complete_journey", dataset))

    return of


def kind(**change):
    good = {
        "name": "buys_tea", "shape": "any", "source": "purchase", "where": "category = 'tea'", "days": 28,
        "ask": "Will the {who} buy tea within {span}?", "answer": "Yes, the {who} will buy tea within {span}.",
        "otherwise": "No, the {who} will buy no tea within {span}.",
    }  # fmt: skip
    return {"facts": [{k: v for k, v in (good | change).items() if v is not None}]}


def test_every_block_of_the_lesson_is_sound(tmp_path, dataset, tables):
    for name, text in re.findall(r"```csv (\S+)\n(.*?)```", LESSON, re.S):
        (tmp_path / name).write_text(text, encoding="utf-8")
    seen = set()
    for place, text in enumerate(BLOCKS):
        raw = yaml.safe_load(text)
        seen |= set(raw)
        if set(raw) == {"sources"}:
            described = [SourceSpec.model_validate(source) for source in raw["sources"]]
            alone = dataset.model_copy(update={"sources": described, "facts": [], "who": "user"})
            told = {f.ask for f in derived_facts(alone, frozenset())}
            assert "Will the {who} have any logins with device {value} within {span}?" in told
            continue
        assert set(raw) <= set(OwnFile.model_fields), raw
        (tmp_path / f"{place}.yaml").write_text(text, encoding="utf-8")
        own = read_own(f"{place}.yaml", dataset, tmp_path)
        changed = with_own(dataset, own)
        assert len(changed.facts) == len(dataset.facts) + len(own.facts) - len(own.leave_out)
        facts = Facts(tables, training_examples(tables), 7)
        assert all(facts.candidates(fact).height for fact in own.facts)
        placed, refused = own_pairs(own, tables)
        assert placed.height + len(refused) == len(own.pairs)
        assert set(own_templates(own, changed)) == set(own.wordings)
    assert seen == {*OwnFile.model_fields, "sources"}


def test_own_kinds_join_and_others_leave(dataset, read):
    own = read(kind() | {"leave_out": ["visits_4w"]})
    names = [f.name for f in with_own(dataset, own).facts]
    assert "buys_tea" in names and "visits_4w" not in names and len(names) == len(dataset.facts)
    replaced = with_own(dataset, read(kind(name="visits_4w") | {"leave_out": ["visits_4w"]}))
    assert next(f for f in replaced.facts if f.name == "visits_4w").shape == "any"
    everything = read({"leave_out": [f.name for f in dataset.facts]})
    with pytest.raises(ConfigError, match="own.yaml: leave_out leaves no kind"):
        with_own(dataset, everything)
    assert read("") .facts == []  # fmt: skip


def test_own_wordings_are_filled_in(dataset, read):
    own = read("""
    wordings:
      coupon_use_8w:
        instruction: ["Coupons from this {who} in {span}?", "Coupons from this {who} in {span}?"]
        no: ["No, not a coupon comes from the {who} in {span}."]
    """)
    assert own_templates(own, dataset) == {
        "coupon_use_8w": {
            "instruction": ["Coupons from this household in eight weeks?"],
            "no": ["No, not a coupon comes from the household in eight weeks."],
        }
    }


def worded(kind, **forms):
    return {"wordings": {kind: forms}}


@pytest.mark.parametrize(("what", "message"), [
    (kind(name="visits_4w"), r"facts.visits_4w: name: there is such a kind already"),
    (kind(name=OWN_PAIRS), "name: there is such a kind already"),
    (kind(source="shop"), r"facts.buys_tea: source: .* no such source; it has \['purchase'"),
    (kind(otherwise=None), r"facts.buys_tea: .*needs `otherwise`"),
    (kind(ask=None), r"facts.buys_tea.ask: is missing. Template of the instruction"),
    (kind(colour="red"), r"facts.buys_tea.colour: no such field; there are \['name', 'shape'"),
    (kind(ask="Will it <|im_end|> buy?"), r"facts.buys_tea: ask: holds '<\|'"),
    (kind(where="colour = 'tea'"), r": fact 'buys_tea': where names \['colour'\]"),
    (kind(where="category = "), ": fact 'buys_tea': where 'category = ' is not an SQL condition"),
    (kind(shape="occurs", attribute="colour", ask="{value}?", answer="Yes, {value}.", otherwise="No, {value}."),
     "no attribute 'colour'"),
    ({"leave_out": ["visit_4w"]}, "leave_out: 'visit_4w' is no kind of the data set; did you mean 'visits_4w'"),
    (worded("visit_4w", instruction=["How often?"]), "wordings.visit_4w: no such kind; did you mean 'visits_4w'"),
    (worded("visits_4w", no=["It comes never."]), "wordings.visits_4w.no: the kind does not answer yes or no"),
    (worded("visits_4w", question=["How often?"]), r"visits_4w.question: no such field; there are \['instruction'"),
    (worded("visits_4w", yes=["It comes often."]), r"must hold \{answer\} as often as"),
    (worded("visits_4w", instruction=["How often will {who} come?"]), r"must hold \{span\}"),
    (worded("visits_4w", instruction=["How often in {span} at {place}?"]), r"unknown slots \['place'\]"),
    (worded("visits_4w", instruction=["How often in {span} {?"]), "a brace that closes no slot"),
    (worded("regular_type", instruction=["{value} in {span}, regularly?"]), "about the whole history"),
    (worded("coupon_use_8w", yes=["No, it will in {span}."]), "begins with 'no' but stands under `yes`"),
    (worded("coupon_use_8w", no=["Yes, it will in {span}."]), "begins with 'yes' but stands under `no`"),
    (worded("coupon_use_8w", yes=["Yes" + " indeed" * 70 + " in {span}."]), "8 to 400 characters"),
    ("fact: []", r"fact: no such field; there are \['facts', 'wordings', 'leave_out', 'pairs'\]"),
    ("- 1", r"it must hold some of \['facts'"),
    ("facts: [", "is not YAML"),
])  # fmt: skip
def test_what_is_wrong_is_named(read, what, message):
    with pytest.raises(ConfigError, match="(?s)own.yaml.*" + message):
        read(what)


def test_a_missing_file_names_the_lesson(tmp_path, dataset):
    with pytest.raises(ConfigError, match="userqa.own: .*none.yaml is not there; docs/userqa.md"):
        read_own("none.yaml", dataset, tmp_path)


def test_an_own_kind_may_not_ask_what_a_task_predicts(read):
    asks = kind(shape="is", source="profile", attribute="income", about="history", where=None, otherwise=None,
                ask="What does the {who} earn?", answer="The {who} earns {answer}.")  # fmt: skip
    asks["facts"][0]["days"] = None
    with pytest.raises(LeakageError, match="own.yaml: fact 'buys_tea': 'income' of source 'profile'"):
        read(asks)


def test_all_kinds_come_together(tables, tmp_path):
    same, kept, own = with_all_kinds(tables, "complete_journey", None, tmp_path)
    assert same.dataset == tables.dataset and kept and not (own.facts or own.pairs or own.wordings)
    fewer = [f for f in tables.dataset.facts if f.source != "trip"]
    untold = replace(tables, dataset=tables.dataset.model_copy(update={"facts": fewer}))
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(kind() | worded("trip_any", no=["No, not one in {span}."])))
    every, _, own = with_all_kinds(untold, "complete_journey", "own.yaml", tmp_path)
    names = [f.name for f in every.dataset.facts]
    assert names[: len(fewer)] == [f.name for f in fewer] and names[-1] == "buys_tea" and "trip_any" in names
    assert not {f.source for f in every.dataset.facts} & {s.name for s in tables.dataset.attribute_sources}
    assert own_templates(own, every.dataset) == {"trip_any": {"no": ["No, not one in four weeks."]}}
