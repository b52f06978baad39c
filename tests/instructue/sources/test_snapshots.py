"""The time rules, over many configurations."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from instructue.config import HistoriesConfig
from instructue.sources.snapshots import plan_snapshots

NEW_YORK = ZoneInfo("America/New_York")


def config(**changes) -> HistoriesConfig:
    base = {
        "evaluation_snapshot": date(2017, 10, 1), "training_snapshots": 6, "every_days": 28, "horizon_days": 91,
        "gap_days": 28, "label_days": 92, "min_events": 10,
    }  # fmt: skip
    return HistoriesConfig(**base | changes)


def test_default_plan_is_six_training_snapshots_and_one_evaluation():
    planned = plan_snapshots(config(), "America/New_York")
    assert [s.split for s in planned] == ["train"] * 6 + ["evaluation"]
    assert [s.at.date().isoformat() for s in planned] == [
        "2017-04-16", "2017-05-14", "2017-06-11", "2017-07-09", "2017-08-06", "2017-09-03", "2017-10-01",
    ]  # fmt: skip
    # 91 days, cut at the evaluation snapshot for the last three.
    assert [(s.horizon_end.date() - s.at.date()).days for s in planned] == [91, 91, 91, 84, 56, 28, 92]
    assert planned[-1].horizon_end == datetime(2018, 1, 1, tzinfo=NEW_YORK)


def test_no_training_horizon_passes_the_evaluation_snapshot_whatever_the_plan():
    random = np.random.default_rng(3)
    for _ in range(300):
        c = config(
            training_snapshots=int(random.integers(1, 12)), every_days=int(random.integers(1, 60)),
            horizon_days=int(random.integers(1, 366)), gap_days=int(random.integers(1, 90)),
            label_days=int(random.integers(1, 120)),
            evaluation_snapshot=date(2017, 1, 1) + timedelta(days=int(random.integers(0, 365))),
        )  # fmt: skip
        *training, evaluation = plan_snapshots(c, "America/New_York")
        assert evaluation.at == datetime.combine(c.evaluation_snapshot, datetime.min.time(), tzinfo=NEW_YORK)
        assert [s.at for s in training] == sorted({s.at for s in training}) and len(training) == c.training_snapshots
        for s in training:
            assert s.at < s.horizon_end <= evaluation.at
            assert (s.horizon_end.date() - s.at.date()).days <= c.horizon_days


def test_snapshots_are_local_midnights_on_both_sides_of_a_clock_change():
    planned = plan_snapshots(
        config(evaluation_snapshot=date(2017, 11, 19), every_days=28, gap_days=28), "America/New_York"
    )
    assert {(s.at.hour, s.at.minute) for s in planned} == {(0, 0)}
    offsets = {s.at.date().isoformat(): s.at.utcoffset() for s in planned}
    assert offsets["2017-10-22"] == timedelta(hours=-4) and offsets["2017-11-19"] == timedelta(hours=-5)


def test_a_gap_of_nothing_is_refused():
    with pytest.raises(ValueError, match="gap_days"):
        config(gap_days=0)
