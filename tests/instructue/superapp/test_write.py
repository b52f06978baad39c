"""Worlds as written: the same bytes, the promised times and order, labels as drawn from their chances."""

import argparse
import json
from datetime import datetime

import polars as pl
import pytest

from instructue.errors import ConfigError, DataError
from instructue.evaluation.attainable import (
    attainable,
    attainable_ranking,
    calibration,
    check_calibration,
    read_chances,
)
from instructue.superapp.catalogue import CHANNELS, FOLDERS, PROGRAM, load_catalogue
from instructue.superapp.command import add_superapp, run_superapp
from instructue.superapp.write import ITEMS, MANIFEST, Wish, generate

CUT, SNAPSHOT = datetime(2017, 9, 3), datetime(2017, 10, 1)


def contents(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def rows(folder, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / name / "*.parquet")


def truth_and_labels(world, name: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    labels = (
        pl.read_parquet(world / "labels" / f"{name}.parquet")
        .drop("known_on")
        .rename({"offer": "context"}, strict=False)
    )
    return pl.read_parquet(world / "truth" / f"{name}.parquet"), labels


def test_the_same_wish_gives_the_same_bytes_with_any_number_of_workers(tmp_path):
    wish = Wish(users=560, seed=4, users_per_file=500)
    for name, workers in (("a", 1), ("b", 2)):
        generate(wish, tmp_path / name, workers)
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b") and "bills/part-00001.parquet" in first
    generate(Wish(users=40, seed=5), tmp_path / "b")  # over an earlier world
    assert rows(tmp_path / "a", "bills").head(50).to_dicts() != rows(tmp_path / "b", "bills").head(50).to_dicts()


def test_users_do_the_same_in_a_larger_world_and_in_files_of_another_size(world, tmp_path):
    generate(Wish(users=540, seed=11, users_per_file=1000), tmp_path / "w")
    for name in (*FOLDERS.values(), "profiles"):
        small, large = rows(world, name), rows(tmp_path / "w", name)
        assert large.filter(pl.col("user_id") <= 500).equals(small) and large["user_id"].max() == 540
    for path in sorted(world.glob("[lt]*/*.parquet")):
        large = pl.read_parquet(tmp_path / "w" / path.relative_to(world))
        assert large.filter(pl.col("user") <= 500).equals(pl.read_parquet(path)), path


def test_no_event_lies_outside_its_time_and_none_shows_what_is_yet_to_appear(world):
    for channel, (source, folder), item in zip(load_catalogue().channels, FOLDERS.items(), ITEMS, strict=True):
        events = rows(world, folder)
        assert events["time"].is_between(datetime(2017, 1, 1), datetime(2017, 12, 31)).all()
        assert events["event_id"].is_unique().all() and events.select(pl.struct("user_id", "time").is_sorted()).item()
        fresh = [name for name, late in zip(channel.names, channel.fresh, strict=True) if late]
        early, late = events.filter(pl.col("time") < CUT)[item], events.filter(pl.col("time") >= CUT)[item]
        assert not early.is_in(fresh).any(), source
        assert 0.2 < late.is_in(fresh).mean() < 0.6, source


def test_an_intent_shows_in_its_order_across_sources(world):
    """Before a journey is paid: searches first, then programs, then the bill, then the airline's app."""
    catalogue, place = load_catalogue(), load_catalogue().place("travel")
    own = [[n for n, t in zip(c.names, c.topic, strict=True) if t == place] for c in catalogue.channels]
    bills = rows(world, "bills").filter(pl.col("kind") == "travel").sort("user_id", "time")
    bill = bills.group_by("user_id", maintain_order=True).agg(paid=pl.col("time").first())

    def nearest(channel: int, after: bool) -> float:
        """Share of those with an event within 5 weeks of their first bill for whom more lie on this side of it."""
        events = rows(world, list(FOLDERS.values())[channel])
        near = events.filter(pl.col(ITEMS[channel]).is_in(own[channel])).join(bill, on="user_id")
        apart = (pl.col("time") - pl.col("paid")).dt.total_days()
        near = near.with_columns(apart=apart).filter(apart.abs() <= 35)
        side = near.group_by("user_id").agg(
            net=pl.col("apart").gt(0).sum().cast(pl.Int64) - pl.col("apart").lt(0).sum()
        )
        return (side["net"] > 0).mean() if after else (side["net"] < 0).mean()

    assert bill.height > 100
    assert nearest(CHANNELS.index("search"), after=False) > 0.7
    assert nearest(CHANNELS.index("mini_program"), after=False) > 0.55
    assert nearest(CHANNELS.index("app"), after=True) > 0.7
    firsts = []
    for source in ("search", "mini_program"):
        channel = CHANNELS.index(source)
        events = (
            rows(world, FOLDERS[source]).filter(pl.col(ITEMS[channel]).is_in(own[channel])).join(bill, on="user_id")
        )
        near = events.filter((pl.col("paid") - pl.col("time")).dt.total_days().is_between(0, 42))
        firsts.append(near.group_by("user_id").agg(pl.col("time").min()))
    both = firsts[0].join(firsts[1], on="user_id", suffix="_opened")
    assert (both["time"] < both["time_opened"]).mean() > 0.6


@pytest.mark.parametrize("name", ["travels_4w", "joins_gym_8w", "changes_job_13w", "orders_takeaway_4w", "takes_offer"])
def test_labels_are_drawn_from_their_chances_and_a_planted_bias_is_caught(world, name):
    truth, labels = truth_and_labels(world, name)
    assert truth["chance"].is_between(0, 1, closed="none").all() and truth.height == labels.height
    check_calibration(truth, labels, name)
    assert sum(b.rows for b in calibration(truth, labels)) == labels.height
    best = attainable(truth, labels)
    assert 0.65 < best["auc"] < 0.99 and best["lift@10%"] > 1.5
    shuffled = truth.with_columns(chance=pl.col("chance").shuffle(seed=1))
    assert attainable(shuffled, labels)["auc"] < best["auc"] - 0.1
    halved = truth.with_columns(chance=pl.col("chance") / 6)
    with pytest.raises(DataError, match=f"{name}.*generate them again"):
        check_calibration(halved, labels, name)


def test_what_is_paid_tells_the_labels_by_rule(world):
    bills = rows(world, "bills")
    for name, kind, days in (
        ("travels_4w", "travel", 28),
        ("joins_gym_8w", "gym", 56),
        ("orders_takeaway_4w", "takeaway", 28),
    ):
        inside = (pl.col("time") >= SNAPSHOT) & (pl.col("time") < SNAPSHOT + pl.duration(days=days))
        paid = bills.filter(inside & (pl.col("kind") == kind))["user_id"]
        labels = truth_and_labels(world, name)[1]
        assert (labels["label"] == labels["user"].is_in(paid.implode())).all(), name


def test_mailing_is_random_and_its_gain_is_known(world):
    truth, labels = truth_and_labels(world, "takes_offer")
    arms = labels.join(truth, on=["user", "context"])
    assert abs(arms["treated"].mean() - 0.5) < 0.04
    assert abs(arms.filter("treated")["if_not"].mean() - arms.filter(~pl.col("treated"))["if_not"].mean()) < 0.02
    best = attainable(truth, labels)
    backwards = truth.with_columns(if_treated="if_not", if_not="if_treated")
    assert best["qini"] > 0.03 > attainable(backwards, labels)["qini"]


def test_next_programs_are_drawn_from_their_chances(world):
    names, path = load_catalogue().channels[PROGRAM].names, world / "truth" / "next_programs.parquet"
    users = pl.Series("user", range(1, 501))
    chances = read_chances(path, users, names)
    assert (read_chances(path, users.reverse(), names[:2]) == chances[::-1, :2]).all()
    with pytest.raises(DataError, match="no item .*Chess"):
        read_chances(path, users, ["Chess"])
    with pytest.raises(DataError, match="lacks 500 of 500"):
        read_chances(path, users + 1000, names)
    long = users.to_frame().join(pl.DataFrame({"program": names}), how="cross")
    long = long.with_columns(chance=pl.Series(chances.ravel()).cast(pl.Float64))
    inside = pl.col("time").is_between(SNAPSHOT, SNAPSHOT + pl.duration(days=28), closed="left")
    opened = rows(world, "mini_programs").filter(inside).select(user="user_id", program="program").unique()
    labels = long.select("user", "program").join(
        opened.with_columns(label=True), on=["user", "program"], how="left", maintain_order="left"
    ).with_columns(pl.col("label").fill_null(False))  # fmt: skip
    check_calibration(long, labels, "next_programs")
    relevant = labels["label"].to_numpy().reshape(chances.shape)
    best, blind = attainable_ranking(chances, relevant), attainable_ranking(chances.mean(0) + 0 * chances, relevant)
    assert best["recall@10"] > blind["recall@10"] + 0.03 and best["hr@10"] > 0.8
    unseen = attainable_ranking(chances, relevant & (chances < 0.5), seen=chances >= 0.5)
    assert unseen["recall@10"] < best["recall@10"]


def test_mistakes_are_named(world, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(ConfigError, match="holds no generated world"):
        generate(Wish(users=10), tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me" and not (tmp_path / "mine" / MANIFEST).exists()
    for wish, said in ((Wish(0), "users 0"), (Wish(9, noise=1.0), "noise 1.0"), (Wish(9, seed=-1), "seed -1"),
                       (Wish(9, users_per_file=700), "a multiple of 500")):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            generate(wish, tmp_path / "w")
    truth, labels = truth_and_labels(world, "travels_4w")
    with pytest.raises(DataError, match="500 of 500 labels have no chance"):
        attainable(truth.with_columns(pl.col("user") + 1000), labels)
    with pytest.raises(DataError, match=r"outside \(0, 1\)"):
        attainable(truth.with_columns(chance=pl.col("chance") + 1), labels)
    with pytest.raises(DataError, match="all .* labels are False"):
        attainable(truth, labels.filter(~pl.col("label")))
    with pytest.raises(DataError, match="several rows"):
        attainable(pl.concat([truth, truth]), labels)


def test_the_command_says_what_it_wrote_and_how_to_go_on(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_superapp(parser)
    args = parser.parse_args(["--users", "30", "--seed", "2", "--out", str(tmp_path / "w"), "--workers", "1"])
    assert run_superapp(args) == 0
    said = capsys.readouterr().out
    assert f"make run DATASET={tmp_path}/w/superapp" in said and "30 users" in said
    told = json.loads((tmp_path / "w" / MANIFEST).read_text())
    assert told["users"] == 30 and told["events"]["bill"] == rows(tmp_path / "w", "bills").height
