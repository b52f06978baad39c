"""The data card on the slice: its figures against counting by hand, leaks, the last version, the same bytes twice."""

import json
import re
from dataclasses import replace
from datetime import datetime

import polars as pl
import pytest

from instructue.errors import DataError, LeakageError
from instructue.sources.tables import load_tables
from instructue.userqa.card import versions
from instructue.userqa.card.beside import RECENT, beside, check_window
from instructue.userqa.card.figures import answered, figures
from instructue.userqa.card.plots import histogram_svg
from instructue.userqa.card.versions import difference, hashes, remember, version_of
from instructue.userqa.card.write import write_card
from instructue.userqa.schema import OWN_PAIRS, REJECTION_COLUMNS, SHARE_OF_YES, TABLE, WORDINGS

METRICS = {
    "instructions_asked": 90, "instructions_accepted": 60, "answers_asked": 10, "answers_accepted": 5,
    "completions": 100, "completion_tokens": 800, "wording_seconds": 12.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(asked):
    """Everything that write_card takes, but where to."""
    config, paths = asked
    tables = load_tables(config, paths)
    refused = [("Will <b>it</b> buy | {value}?", "buy_category_4w", "number"), ("No.", "buy_type_4w", "number"),
               ("Yes!", "buy_type_4w", "ending")]  # fmt: skip
    return {
        "triplets": pl.read_parquet(paths.userqa / TABLE),
        "facts": tables.dataset.facts,
        "wordings": json.loads((paths.userqa / WORDINGS).read_text()),
        "rejections": pl.DataFrame(refused, schema=REJECTION_COLUMNS, orient="row"),
        "metrics": METRICS,
        "tables": tables,
    }


def card(made, folder, seed=7, **changes):
    """(what write_card returned, {suffix: text}) of a card in `folder`."""
    done = write_card(**(made | changes), stem=folder / "userqa", archive=folder / "versions", seed=seed)
    return done, {suffix: (folder / f"userqa.{suffix}").read_text() for suffix in ("html", "md", "json")}


def test_figures_are_those_that_counting_gives(made):
    said, t = figures(**{k: v for k, v in made.items() if k != "facts"}), made["triplets"]
    assert said["triplets"] == t.height == sum(k["triplets"] for k in said["kinds"])
    assert {k["kind"] for k in said["kinds"]} == set(t["kind"]) == set(made["wordings"])
    for column in ("source", "snapshot", "about"):
        rows = said[column if column == "about" else f"{column}s"]
        assert sum(row["triplets"] for row in rows) == t.height and len(rows) == t[column].n_unique()
    for row in said["kinds"]:
        own = t.filter(kind=row["kind"])
        yes = own["polarity"].drop_nulls()
        assert row["yes"] == (round(yes.sum() / len(yes), 4) if len(yes) else None)
        assert row["users"] == len(set(own["user"])) and row["balanced"]
        assert row["wordings"]["instruction"] == row["asked_in"] == 1 and row["by_template"] == 1
        assert (row["about"] == "history") == (row["days"] is None)
    words = [len(text.split()) for text in t["answer"]]
    assert said["lengths"]["answer"]["most"] == max(words)
    assert dict(map(tuple, said["lengths"]["answer"]["histogram"])) == {n: words.count(n) for n in set(words)}
    assert said["writers"][0] == {"text": "instruction", "llm": 0, "template": t.height, "team": 0}
    users, each = said["users"], t.group_by("user").len()["len"]
    assert (users["covered"], users["least"], users["most"]) == (len(each), each.min(), each.max())
    assert users["covered"] <= users["training"] <= users["all"] and users["histories"] == t["example"].n_unique()


def test_acceptance_and_cost(made):
    said = figures(**{k: v for k, v in made.items() if k != "facts"})
    assert (said["acceptance"]["share"], said["acceptance"]["rejected"]) == (0.65, 3)
    assert [(r["reason"], r["rejected"], r["kinds"]) for r in said["acceptance"]["reasons"]] == [
        ("number", 2, 2), ("ending", 1, 1)]  # fmt: skip
    per = 1000 / made["triplets"].height
    assert said["cost"]["completions"] == 100 and said["cost"]["completions_per_1000"] == round(100 * per, 2)
    assert said["cost"]["tokens_per_1000"] == round(800 * per, 1)
    assert "wording_seconds" not in said["metrics"]
    assert figures(**{k: v for k, v in made.items() if k != "facts"} | {"metrics": {}})["cost"] is None


def test_open_answers_are_taken_apart_by_their_templates():
    rows = pl.DataFrame({
        "triplet": [0, 1, 2, 3, 4], "kind": ["day", "day", "day", "buy", "other"],
        "answer": ["Mostly on Monday.", "Monday it is.", "Who knows.", "Yes, tea.", "x"],
        "value": [None, None, None, "tea", None], "polarity": [None, None, None, True, None],
    })  # fmt: skip
    worded = {"day": {"instruction": ["When?"], "yes": ["Mostly on {answer}.", "{answer} it is.", "{answer}."]}}
    # "Mostly on Monday." fits "{answer}." too: the longer template wins.
    assert answered(rows, worded).to_list() == ["monday", "monday", "who knows", "tea", None]


def test_a_kind_out_of_balance_and_a_crowded_one_are_named(made, tmp_path):
    t = made["triplets"]
    kind = t.drop_nulls("polarity")["kind"].value_counts(sort=True)["kind"][0]
    open_kind = t.filter(pl.col("polarity").is_null(), pl.col("kind").str.contains("part_of_week"))["kind"][0]
    both = pl.col("kind").is_in([kind, open_kind])
    spoilt = pl.concat([t.filter(pl.col("kind") == kind)] * 4 + [t.filter(pl.col("kind") == open_kind)] * 9)
    spoilt = pl.concat([t.filter(~both), spoilt]).with_columns(triplet=pl.int_range(pl.len(), dtype=pl.UInt32))
    same = t.filter(pl.col("kind") == open_kind)["answer"][0]
    spoilt = spoilt.with_columns(
        polarity=pl.when(pl.col("kind") == kind).then(True).otherwise("polarity"),
        answer=pl.when(pl.col("kind") == open_kind).then(pl.lit(same)).otherwise("answer"),
    )
    _, pages = card(made, tmp_path, triplets=spoilt)
    low, high = SHARE_OF_YES
    assert f"Outside {low:.0%} to {high:.0%} yes: {kind} (100%)" in pages["html"]
    assert "**100%**" in pages["md"] and "<rect x=" in pages["html"]
    # One answer only: there is nothing to crowd out. Two, of which one takes nearly all: named.
    assert open_kind not in crowding(pages["json"])
    other = "The household will mostly shop on a weekend."
    few = pl.col("triplet").is_in(spoilt.filter(pl.col("kind") == open_kind)["triplet"].head(3).implode())
    _, pages = card(
        made, tmp_path, triplets=spoilt.with_columns(answer=pl.when(few).then(pl.lit(other)).otherwise("answer"))
    )
    assert open_kind in pages["html"].split("<h3>Crowding</h3>")[1].split("</p>")[0]


def crowding(text: str) -> list[str]:
    return [k["kind"] for k in json.loads(text)["kinds"] if k["values"] > 1 and k["top_share"] > 0.6]


def test_samples_stand_beside_what_the_published_tables_hold(made):
    tables = made["tables"]
    samples = beside(made["triplets"], made["facts"], tables, seed=7)
    assert len(samples) == 50 == len({s["triplet"] for s in samples})
    assert samples != beside(made["triplets"], made["facts"], tables, seed=8)
    kinds = {f.name: f for f in made["facts"]}
    for s in samples:
        snapshot = pl.lit(s["snapshot"]).str.to_datetime("%Y-%m-%d", time_zone=tables.dataset.timezone)
        assert s["history"][0]["source"] == s["source"] or s["source"] not in {h["source"] for h in s["history"]}
        for h in s["history"]:
            past = tables.events[h["source"]].filter(pl.col("user") == s["user"], pl.col("time") < snapshot)
            assert h["events"] == past.height and all(e["days"] >= 1 for e in h["last"])
            last = past.sort("time", maintain_order=True)["text_id"].tail(len(h["last"])).reverse()
            assert [e["text"] for e in h["last"]] == tables.texts["text"].gather(last).to_list()
        fact = kinds[s["kind"]]
        assert (s["after"] is None) == (fact.about == "history")
        if s["after"] and fact.shape == "occurs" and not fact.where:
            assert (s["after"]["of_value"] >= fact.at_least) == (not s["answer"].startswith("No,"))
        own = s["history"][0]
        assert own["window"] == (fact.days or RECENT)
        if own["source"] == s["source"]:
            recent = tables.events[s["source"]].filter(pl.col("user") == s["user"], pl.col("time") < snapshot)
            if fact.days is not None:
                recent = recent.filter(pl.col("time") >= snapshot.dt.offset_by(f"-{fact.days}d"))
            assert own["recent"] == (None if fact.days is None else recent.height)
            assert (own["sum"] is None) == (fact.measure == "count")
            assert own["sum"] is None or own["sum"] == pytest.approx(recent[fact.measure].sum(), abs=0.01)
            if fact.where == "coupon > 0":
                assert own["meeting"] == recent.filter(pl.col("coupon") > 0).height


def test_a_leak_into_a_shown_history_is_refused(made, tmp_path):
    """The histories reach one event past their snapshot, in one source."""
    tables, source = made["tables"], "trip"
    longer = pl.when(pl.col(f"{source}_horizon") > pl.col(f"{source}_end")).then(pl.col(f"{source}_end") + 1)
    leaking = replace(
        tables, histories=tables.histories.with_columns(longer.otherwise(f"{source}_end").alias(f"{source}_end"))
    )
    with pytest.raises(LeakageError, match=r"history of triplet \d+, 'trip': 1 events .* until before 2017"):
        card(made, tmp_path, tables=leaking)
    assert not list(tmp_path.iterdir()), "nothing is written"
    events = pl.DataFrame({"user": [1, 1], "time": [datetime(2017, 5, 1), datetime(2017, 5, 14)]})
    check_window(events, 1, None, datetime(2017, 5, 15), "history")
    for user, start, end in ((1, None, datetime(2017, 5, 14)), (2, None, datetime(2017, 5, 15)),
                             (1, datetime(2017, 5, 2), datetime(2017, 5, 15))):  # fmt: skip
        with pytest.raises(LeakageError, match="lie outside their window"):
            check_window(events, user, start, end, "history")


def test_the_same_bytes_twice_and_texts_are_escaped(made, tmp_path):
    done, first = card(made, tmp_path / "a")
    _, second = card(made, tmp_path / "b", metrics=METRICS | {"wording_seconds": 99.0})
    assert first == second == card(made, tmp_path / "a")[1], "a version is not compared with itself"
    assert "first version" in first["html"] and "first version" in first["md"]
    assert "&lt;b&gt;it&lt;/b&gt;" in first["html"] and "<b>it" not in first["html"]
    assert "\\<b\\>it\\</b\\> buy \\| \\{value\\}?" in first["md"]
    # Self-contained: nothing is fetched.
    assert not re.search(r"""(src|href)=["'](?!#)|url\(|@import|<script""", first["html"])
    assert first["html"].count('<article class="sample">') == 50 == first["md"].count("- **Answer:**")
    assert set(done.links) == {"html", "md", "json"} and len(done.tables["sample"]) == 8
    assert done.metrics["kinds"] == made["triplets"]["kind"].n_unique() and "same_as_previous" not in done.metrics
    assert json.loads(first["json"])["difference"] is None


def test_the_difference_to_the_last_version(made, tmp_path):
    t = made["triplets"]
    gone, kept = t["kind"].unique().sort()[0], t["kind"].unique().sort()[1]
    first = made | {"triplets": t.filter(pl.col("kind") != gone)}
    fewer = json.loads(json.dumps(made["wordings"]))
    fewer[kept]["instruction"].append("And another?")
    card(first, tmp_path, wordings={k: w for k, w in fewer.items() if k != gone})
    cut = t.filter(pl.col("triplet") % 4 != 0).with_columns(
        answer=pl.when(pl.col("triplet") % 4 == 1).then(pl.lit("Otherwise.")).otherwise("answer")
    )
    done, pages = card(made, tmp_path, triplets=cut)
    changed = json.loads(pages["json"])["difference"]
    assert changed["previous"] == version_of(first["triplets"])
    assert (changed["added"], changed["removed"]) == ([gone], [])
    same = cut.filter(pl.col("kind") != gone, pl.col("triplet") % 4 != 1).height / cut.height
    assert changed["same"] == round(same, 4) == done.metrics["same_as_previous"]
    assert changed["same_facts"] == round(cut.filter(pl.col("kind") != gone).height / cut.height, 4)
    assert {"kind": kept, "what": "wordings"} | changed_of(made, kept) in changed["kinds"]
    assert any(row["what"] == "triplets" and row["before"] > row["after"] for row in changed["kinds"])
    assert f"Kinds added: {gone}" in pages["html"]
    # Back to the first: now the second is the last before it. A balance that moved is told.
    turned = first["triplets"].with_columns(polarity=pl.when(pl.col("kind") == kept).then(True).otherwise("polarity"))
    _, pages = card(made, tmp_path, triplets=turned)
    changed = json.loads(pages["json"])["difference"]
    assert changed["previous"] == version_of(cut) and changed["removed"] == [gone]
    assert any(row["kind"] == kept and row["what"] == "share of yes" and row["after"] == 1 for row in changed["kinds"])


def changed_of(made, kind):
    now = sum(len(texts) for texts in made["wordings"][kind].values())
    return {"before": now + 1, "after": now}


def test_versions_keep_their_place_and_their_data_set(made, tmp_path, monkeypatch):
    said = figures(**{k: v for k, v in made.items() if k != "facts"})
    found = hashes(made["triplets"])
    assert found.shape == (2, made["triplets"].height) and len(set(found[0])) == made["triplets"].height
    other = said | {"dataset": {"name": "elsewhere"}}
    remember(tmp_path, "elsewhere0", other, found)
    assert difference(tmp_path, "a", said, found) is None
    for name in ("a", "b", "a"):
        remember(tmp_path, name, said, found)
    assert difference(tmp_path, "c", said, found)["previous"] == "a"
    assert difference(tmp_path, "a", said, found)["previous"] == "b"
    assert difference(tmp_path, "c", said, found)["kinds"] == []
    monkeypatch.setattr(versions, "KEPT", 2)
    remember(tmp_path, "c", said, found)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.json", "a.npy", "c.json", "c.npy", "elsewhere0.json", "elsewhere0.npy"]  # fmt: skip
    (tmp_path / "a.npy").unlink()  # killed between the two files: as if it were not there
    assert difference(tmp_path, "c", said, found) is None
    (tmp_path / "d.json").write_text("{half")
    with pytest.raises(DataError, match=r"d\.json is no figures .* delete it"):
        difference(tmp_path, "c", said, found)


def test_pairs_by_hand_and_kinds_without_wordings_have_their_place(made, tmp_path):
    """Their source is none of the data set's, and no fact describes them."""
    t = made["triplets"]
    team = {"kind": OWN_PAIRS, "source": OWN_PAIRS, "instruction_by": "team", "answer_by": "team"}
    own = t.with_columns(
        *(pl.when(pl.col("triplet") % 2 == 0).then(pl.lit(v)).otherwise(k).alias(k) for k, v in team.items())
    )
    _, pages = card(made, tmp_path, triplets=own)
    said = json.loads(pages["json"])
    assert said["writers"][0]["team"] == own.filter(kind=OWN_PAIRS).height
    assert next(k for k in said["kinds"] if k["kind"] == OWN_PAIRS)["wordings"] == {}
    assert {s["after"] is None for s in said["samples"] if s["kind"] == OWN_PAIRS} == {True}


def test_an_empty_table_still_has_a_card(made, tmp_path):
    done, pages = card(
        made, tmp_path, triplets=made["triplets"].clear(), rejections=made["rejections"].clear(), metrics={}
    )
    assert (
        done.metrics["kinds"] == 0
        and "0 questions and answers" in pages["html"]
        and "No model was asked" in pages["md"]
    )


def test_a_histogram_puts_neighbours_together():
    svg = histogram_svg([[1, 5], [2, 7], [400, 1]], "words", "words")
    assert svg.count("<title>") == 40 and "1 to 10 words: 12" in svg and "391 to 400 words: 1" in svg
    assert histogram_svg([], "words", "words") == ""
