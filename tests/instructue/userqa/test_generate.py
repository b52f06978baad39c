"""The whole stage: balance, packing, verified texts, the same bytes twice, a teacher that babbles."""

import json
import shutil

import polars as pl
import pytest

from instructue.paths import Paths
from instructue.sources.spec import load_dataset
from instructue.sources.tables import load_tables
from instructue.userqa.ask import asks
from instructue.userqa.generate import build_userqa, estimate, known_values
from instructue.userqa.lexicon import Lexicon
from instructue.userqa.plain import in_plain_words
from instructue.userqa.reword import judged
from instructue.userqa.sample import LEAST_PER_EXAMPLE, PER_KIND
from instructue.userqa.schema import COLUMNS, SHARE_OF_YES, TABLE
from instructue.userqa.texts import verified, worded
from instructue.userqa.verify import Claim, check
from instructue.userqa.wording import templates


@pytest.fixture(scope="module")
def triplets(asked):
    return pl.read_parquet(asked[1].userqa / TABLE)


@pytest.fixture
def again(asked, tmp_path):
    """Another root with the same inputs and no UserQA yet."""
    paths = Paths(tmp_path)
    paths.base_models.parent.mkdir(parents=True)
    for name in ("base_models", "sources", "histories"):
        getattr(paths, name).symlink_to(getattr(asked[1], name))
    return paths


def test_table_is_as_the_schema_says(triplets):
    assert triplets.columns == list(COLUMNS)
    for name, (dtype, nullable, _) in COLUMNS.items():
        assert triplets.schema[name] == dtype and (nullable or triplets[name].null_count() == 0), name
    assert triplets["triplet"].to_list() == list(range(triplets.height))
    assert not triplets.select(pl.struct("example", "instruction").is_duplicated().any()).item()


def test_yes_and_no_are_in_balance_in_every_kind(triplets):
    shares = triplets.drop_nulls("polarity").group_by("kind").agg(n=pl.len(), yes=pl.col("polarity").mean())
    assert shares.height >= 8
    assert shares.filter(~pl.col("yes").is_between(*SHARE_OF_YES)).is_empty(), shares


def test_kinds_are_even_and_examples_well_filled(asked, triplets):
    kinds = triplets.group_by("kind").len()
    assert kinds.height >= 14 and 0.6 * asked[0].userqa.triplets <= triplets.height <= asked[0].userqa.triplets
    filled = triplets.group_by("example").agg(n=pl.len(), kinds=pl.col("kind").n_unique())
    assert filled["n"].min() >= LEAST_PER_EXAMPLE and (filled["kinds"] >= 8).mean() > 0.9
    assert triplets.group_by("example", "kind").len()["len"].max() <= PER_KIND


def test_demographics_are_never_asked_about(triplets):
    dataset = load_dataset("complete_journey")
    assert not set(triplets["source"]) & {s.name for s in dataset.attribute_sources}
    told = " ".join(triplets["instruction"].unique().to_list() + triplets["answer"].unique().to_list()).lower()
    assert not [word for word in ("income", "marital", "home ownership", "years old") if word in told]


def test_answers_say_what_was_true(triplets):
    yes = triplets.filter(pl.col("polarity"))
    no = triplets.filter(~pl.col("polarity"))
    assert yes["answer"].str.starts_with("Yes,").all() and yes["opposite"].str.starts_with("No,").all()
    assert no["answer"].str.starts_with("No,").all() and no["opposite"].str.starts_with("Yes,").all()
    about = triplets.drop_nulls("value")
    for column in ("instruction", "answer", "opposite"):
        assert about.select(pl.col(column).str.contains(pl.col("value"), literal=True).all()).item()
    assert (triplets["answer"] != triplets["opposite"]).fill_null(True).all()


def test_second_run_writes_the_same_bytes(asked, again):
    config, paths = asked
    build_userqa(config, again)
    for name in ("triplets.parquet", "wordings.json", "rejections.parquet"):
        assert (again.userqa / name).read_bytes() == (paths.userqa / name).read_bytes(), name


def test_babbling_teacher_is_refused_counted_and_not_asked_twice(asked, again):
    """And an estimate asks nobody, before as after, and knows what is kept."""
    babble = {"teacher": "local", "max_new_tokens": 8}
    config = asked[0].model_copy(update={"userqa": asked[0].userqa.model_copy(update=babble)})
    before = estimate(config, again)
    assert " 0 kept" in before and "calls" in before and not again.userqa.exists()
    assert "no model is asked" in estimate(asked[0], again)
    first = build_userqa(config, again)
    table = (again.userqa / TABLE).read_bytes()
    refused = pl.read_parquet(again.userqa / "rejections.parquet")
    assert first.metrics["calls"] > 0 and refused.height >= 0.5 * first.metrics["calls"]
    assert sum(row["rejected"] for row in first.tables["rejected"]) == refused.height
    wordings = json.loads((again.userqa / "wordings.json").read_text())
    assert all(texts for forms in wordings.values() for texts in forms.values())
    after = estimate(config, again)
    assert " 0 kept" not in after and "s at the pace of earlier runs" in after
    shutil.rmtree(again.userqa)
    second = build_userqa(config, again)
    assert second.metrics["calls"] == 0 and second.metrics["cache_hits"] == first.metrics["calls"]
    assert (again.userqa / TABLE).read_bytes() == table


def test_false_wording_in_the_table_is_replaced_by_the_template(asked):
    tables = load_tables(*asked)
    facts = {f.name: f for f in tables.dataset.facts if f.name in ("buy_category_4w", "visits_4w")}
    chosen = pl.DataFrame(
        {
            "kind": ["buy_category_4w"] * 20 + ["visits_4w"] * 20,
            "example": [0] * 40,
            "value": ["coffee"] * 20 + [None] * 20,
            "answer": [None] * 20 + ["3 to 5 visits"] * 20,
            "other": [None] * 20 + ["6 to 9 visits"] * 20,
            "polarity": [True] * 20 + [None] * 20,
        },
        schema_overrides={"example": pl.UInt32},
    )
    household = "the household will"
    wordings = {
        "buy_category_4w": {
            "instruction": ["Will the household buy {value} within four weeks?"],
            "yes": [f"Yes, {household} {verb} {{value}} within four weeks." for verb in ("buy", "not buy")],
            "no": [f"No, {household} not buy {{value}} within four weeks."],
        },
        "visits_4w": {
            "instruction": ["How many times will the household visit the store in the next four weeks?"],
            "yes": ["The household will make {answer}.", "The household will make {answer} in nine weeks."],
        },
    }  # fmt: skip
    rows = worded(tables, list(facts.values()), chosen, wordings, 7)
    assert rows["answer_by"].is_in(["llm"]).any()
    mended, refused = verified(rows, facts, known_values(tables), Lexicon.of(tables.dataset))
    assert {reason for _, _, reason in refused} == {"polarity", "number"}
    assert mended["answer_by"].unique().to_list() == ["template"]
    assert mended["answer_text"].unique().sort().to_list() == [
        "The household will make 3 to 5 visits.", "Yes, the household will buy coffee within four weeks.",
    ]  # fmt: skip


def test_example_value_becomes_a_slot_again(asked, triplets):
    dataset = load_dataset("complete_journey")
    chosen = triplets.select("kind", "value", answer=pl.lit(None, dtype=pl.String))
    slotted = [fact for fact in dataset.facts if fact.slot and fact.name in set(chosen["kind"])]
    wanted, lexicon = asks(slotted, dataset, chosen), Lexicon.of(dataset)
    for ask in wanted:
        for sentence, template in zip(ask.sentences, ask.templates, strict=True):
            assert f'"{ask.claim.value}"' in sentence
            assert judged(ask, sentence, [], lexicon) == (template, None)
            assert judged(ask, sentence, [template], lexicon)[1] == "duplicate"
    assert any(len(ask.templates) > 1 for ask in wanted)


def test_what_the_teacher_sees_begins_as_told_and_varies(asked, triplets):
    dataset = load_dataset("complete_journey")
    chosen = triplets.select("kind", "value", answer=pl.lit(None, dtype=pl.String))
    ask = next(a for a in asks(dataset.facts[:1], dataset, chosen) if a.form == "instruction")
    source, lexicon = ask.prompts(Lexicon.of(dataset), 7), Lexicon.of(dataset)
    shown = [next(source) for _ in range(30)]
    assert all(prompt.endswith(start) and f'"{ask.claim.value}"' in prompt for prompt, start in shown)
    assert len({start for _, start in shown}) == min(30, len(ask.starts)) and len(set(shown)) == 30
    sentences = {prompt.rsplit("Sentence: ", 1)[1].split("\n")[0] for prompt, _ in shown}
    assert len(sentences) > 1
    # What is swapped stays true: every variant of every plain template passes the check.
    for form, template in templates(dataset.facts[0], dataset).items():
        claim = Claim(form, template, "horizon", "{value}", True, (), dataset.facts[0].days)
        for variant in lexicon.variants(template, dataset.who, dataset.facts[0].days):
            assert check(variant, claim, frozenset(), lexicon) in (None, "characters"), variant


def test_plain_words_are_those_of_the_templates(asked, triplets):
    """What a model put in other words goes back to the template; what was plain stays."""
    wordings = json.loads((asked[1].userqa / "wordings.json").read_text())
    assert in_plain_words(triplets, wordings).equals(triplets)
    said = {
        kind: {form: [texts[0], f"Indeed: {texts[0]}"] for form, texts in forms.items()}
        for kind, forms in wordings.items()
    }
    other = triplets.with_columns(
        pl.concat_str(pl.lit("Indeed: "), c).alias(c) for c in ("instruction", "answer", "opposite")
    )
    assert (
        in_plain_words(other, said)
        .select("instruction", "answer", "opposite")
        .equals(triplets.select("instruction", "answer", "opposite"))
    )
