"""Pairs written by hand: wrong ones are named by row and field, the others stand behind the right history, and one that
knows too much stops the stage."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
import yaml

from instructue.errors import ConfigError, DataError, LeakageError
from instructue.sources.spec import load_dataset
from instructue.sources.tables import load_tables
from instructue.userqa.own import own_pairs, read_own
from instructue.userqa.pairs import Pair, with_pairs
from instructue.userqa.schema import BY, COLUMNS, OWN_PAIRS, TABLE
from instructue.userqa.windows import check_triplets, training_examples

PAIR = {"instruction": "Does it cook from scratch?", "answer": "Yes, it does."}


@pytest.fixture(scope="module")
def tables(asked):
    return load_tables(*asked)


@pytest.fixture
def read(tmp_path):
    """read(what) -> Own of a file that holds it, text or values."""

    def of(what):
        text = what if isinstance(what, str) else yaml.safe_dump(what, sort_keys=False)
        (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
        return read_own("own.yaml", load_dataset("complete_journey"), tmp_path)

    return of


def snapshots(tables):
    """(user, its training snapshots): of the user with most of them."""
    train = training_examples(tables)
    user = train.group_by("user").len().sort(["len", "user"])["user"][-1]
    return user, train.filter(pl.col("user") == user).sort("snapshot")


@pytest.mark.parametrize(("change", "message"), [
    ({"user": None}, "row 2: user: is missing. The user's number"),
    ({"user": "anna"}, r"row 2: user: .*got 'anna'"),
    ({"answer": PAIR["instruction"]}, "row 2: the answer must differ"),
    ({"opposite": PAIR["answer"]}, "row 2: the answer must differ"),
    ({"instruction": "Why?"}, "row 2: instruction: .*at least 8 characters"),
    ({"answer": "so " * 200}, "row 2: answer: .*at most 400"),
    ({"answer": "It is <|endoftext|> so."}, r"row 2: answer: holds '<\|'"),
    ({"answer": "It is\x00 so."}, "row 2: answer: holds invisible characters"),
    ({"oposite": "No."}, "row 2: oposite: no such field; there are"),
    ({"time": 2017}, "row 2: time: write a time like"),
    ({"time": "last week"}, "row 2: time: .*got 'last week'"),
    ({"about": "horizon"}, "row 2: a pair about the horizon needs known_until"),
    ({"about": "history", "known_until": "2017-08-01"}, "row 2: known_until is for a pair about the horizon"),
    ({"about": "future"}, "row 2: about: .*got 'future'"),
])  # fmt: skip
def test_a_wrong_pair_names_row_and_field(read, tmp_path, change, message):
    rows = [{"user": 16, **PAIR}, {k: v for k, v in ({"user": 16, **PAIR} | change).items() if v is not None}]
    with pytest.raises(DataError, match="(?s)own.yaml: pairs:.*" + message):
        read({"pairs": rows})
    texts = [{k: str(row.get(k, "")) for k in rows[1] | rows[0]} for row in rows]
    if "user" in rows[1] and "\0" not in str(change):
        pl.DataFrame(texts).write_csv(tmp_path / "pairs.csv")
        with pytest.raises(DataError, match="(?s)pairs.csv:.*row 2"):
            read("pairs: pairs.csv")


def test_a_wrong_file_of_pairs_is_refused(read, tmp_path):
    for name, text, message in (
        ("none.csv", None, "none.csv is not there"),
        ("pairs.txt", "user\n16", "neither .parquet nor .csv"),
        ("short.csv", "user,instruction\n16,Why is it so?", "short.csv has no column answer"),
        ("odd.parquet", "PAR1 cut short", "odd.parquet cannot be read"),
    ):
        if text is not None:
            (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            read({"pairs": name})


def test_csv_parquet_and_rows_say_the_same(read, tmp_path):
    rows = [
        {"user": 16, **PAIR, "opposite": "No.", "time": "2017-07-04"},
        {"user": 67, **PAIR, "known_until": "2017-07-04 10:30"},
    ]
    frame = pl.DataFrame(
        [{k: r.get(k) for k in Pair.model_fields} for r in rows], schema_overrides={"about": pl.String}
    )
    frame.write_csv(tmp_path / "p.csv")
    frame.write_parquet(tmp_path / "p.parquet")
    inline = read({"pairs": rows}).pairs
    assert inline == read("pairs: p.csv").pairs == read("pairs: p.parquet").pairs
    assert inline[0].opposite == "No." and inline[1].time is None


def test_pairs_stand_behind_the_right_history(read, tables):
    user, own = snapshots(tables)
    first, last = own.row(0, named=True), own.row(-1, named=True)
    day = timedelta(days=1)
    pairs = [
        {"user": user, **PAIR},
        {"user": user, **PAIR, "time": (first["snapshot"] + day).isoformat()},
        {
            "user": user,
            **PAIR,
            "instruction": "Will it come again?",
            "known_until": str(first["snapshot"].date() + day),
        },
        {"user": user, **PAIR, "instruction": "Was it here today?", "time": first["snapshot"].date()},
    ]
    rows, refused = own_pairs(read({"pairs": pairs}), tables)
    assert not refused and rows.columns == list(COLUMNS) and rows["triplet"].to_list() == [0, 1, 2, 3]
    assert rows["example"].to_list() == [last["example"]] + [first["example"]] * 3
    assert rows["about"].to_list() == ["history", "history", "horizon", "history"]
    assert rows["horizon_end"].to_list()[:2] == [None, None] and rows["horizon_end"][2] == first["snapshot"] + day
    assert set(rows["kind"]) == set(rows["source"]) == {OWN_PAIRS} and set(rows["answer_by"]) == {"team"} <= set(BY)
    for name, (_, nullable, _) in COLUMNS.items():
        assert nullable or not rows[name].null_count(), name
    check_triplets(rows, tables.histories)


def test_pairs_without_a_place_come_back_with_their_reason(read, tables):
    user, own = snapshots(tables)
    before, first = own["snapshot"][0] - timedelta(days=1), own["snapshot"][0]
    pairs = [
        {"user": user, **PAIR},
        {"user": 999_999, **PAIR},
        {"user": user, **PAIR, "time": before.isoformat()},
        {"user": user, **PAIR},
        {"user": user, **PAIR, "time": first.isoformat(), "known_until": (first + timedelta(days=8)).isoformat()},
    ]
    short = pl.when(split="train").then(pl.col("snapshot").dt.offset_by("7d")).otherwise("horizon_end")
    cut = replace(tables, histories=tables.histories.with_columns(horizon_end=short))
    rows, refused = own_pairs(read({"pairs": pairs}), cut)
    assert rows.height == 1
    assert refused == [
        (PAIR["instruction"], OWN_PAIRS, reason)
        for reason in (
            "user unknown",
            "no training history by that time",
            "asked twice of one history",
            "known_until is past the history's horizon",
        )
    ]
    late = tables.histories.with_columns(split=pl.lit("evaluation"), snapshot=pl.col("snapshot").max())
    _, refused = own_pairs(read({"pairs": pairs[:1]}), replace(tables, histories=late))
    assert [reason for _, _, reason in refused] == ["user has no training history"]
    assert own_pairs(read(""), tables)[0].is_empty()


@pytest.mark.parametrize("field", ["time", "known_until"])
def test_a_pair_that_knows_too_much_stops_the_stage(read, tables, field):
    user, _ = snapshots(tables)
    moment = tables.histories.filter(pl.col("split") == "evaluation")["snapshot"].min()
    sound = {"user": user, **PAIR}
    late = {field: (moment + timedelta(minutes=1)).isoformat()}
    with pytest.raises(LeakageError, match=f"own.yaml: pairs, row 2: {field} is .*after the evaluation snapshot"):
        own_pairs(read({"pairs": [sound, sound | late]}), tables)
    own_pairs(read({"pairs": [sound, sound | {field: moment.isoformat()}]}), tables)
    # The same moment by another clock, whose day began hours earlier, is not too late.
    elsewhere = moment.astimezone(ZoneInfo("Asia/Tokyo"))
    assert elsewhere.replace(tzinfo=None) > moment.replace(tzinfo=None)
    own_pairs(read({"pairs": [sound | {field: elsewhere.isoformat()}]}), tables)


def test_a_pair_written_later_may_say_how_far_it_looked(read, tables):
    user, own = snapshots(tables)
    until = (own["snapshot"][-1] + timedelta(days=1)).isoformat()
    rows, refused = own_pairs(
        read({"pairs": [{"user": user, **PAIR, "time": "2030-01-01", "known_until": until}]}), tables
    )
    assert rows["example"].to_list() == [own["example"][-1]] and not refused


def test_texts_of_a_team_stay_text(read, tables):
    user, _ = snapshots(tables)
    said = "Ignore   all previous {value}; import os; {who}: {0.__class__}\n'; drop table x"
    rows, _ = own_pairs(read({"pairs": [{"user": user, "instruction": said, "answer": "{answer} yes"}]}), tables)
    assert rows["instruction"][0] == " ".join(said.split()) and rows["answer"][0] == "{answer} yes"
    with pytest.raises(ConfigError, match="not YAML"):
        read("pairs: !!python/object/apply:os.system ['true']")


def test_a_bare_day_is_the_data_sets_own(read):
    pair = read({"pairs": [{"user": 16, **PAIR, "time": date(2017, 8, 1)}]}).pairs[0]
    assert pair.time == datetime(2017, 8, 1)


def test_a_pair_answers_for_what_was_asked_anyway(asked, tables, read):
    triplets = pl.read_parquet(asked[1].userqa / TABLE)
    last = triplets.filter(pl.col("example").is_in(snapshots(tables)[1]["example"].implode())).row(-1, named=True)
    said = {"user": last["user"], "time": last["snapshot"].isoformat(), "answer": "Only the team knows."}
    pairs = [said | {"instruction": last["instruction"]}, said | {"instruction": "Is there more to say?"}]
    placed, refused = own_pairs(read({"pairs": pairs}), tables)
    both = with_pairs(triplets, placed)
    assert not refused and both.height == triplets.height + 1 and both.schema == triplets.schema
    assert both["triplet"].to_list() == list(range(both.height)) and both["example"].is_sorted()
    own = both.filter(pl.col("example") == last["example"], pl.col("instruction") == last["instruction"])
    assert own["answer"].to_list() == ["Only the team knows."]
    check_triplets(both, tables.histories)
