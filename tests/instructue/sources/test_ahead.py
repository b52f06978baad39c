"""How far init looks ahead: until enough users come back, and it says how many do."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest
import yaml

from instructue.sources.init.run import init, show

START, DAYS = datetime(2020, 1, 1, 12), 600  # the last event falls on day 599


def logs(folder, back: int):
    """120 users with 12 orders in the first days, of whom 60 come back on day `back`; one with the last event."""
    rows = [(user, START + timedelta(days=day)) for user in range(120) for day in range(12)]
    rows += [(user, START + timedelta(days=back)) for user in range(60)]
    rows += [(999, START + timedelta(days=DAYS - 1))]
    things = ["coffee", "tea", "bread"]
    table = pl.DataFrame(rows, schema=["customer_id", "ordered_at"], orient="row")
    table = table.with_columns(item=pl.Series([things[n % 3] for n in range(len(rows))]))
    folder.mkdir()
    table.write_csv(folder / "orders.csv")
    return folder


# Labels take the last 92 days, from day 508 on; a horizon of 182 days does not fit into a fifth of the time.
@pytest.mark.parametrize(("back", "days"), [(520, 28), (568, 91)])
def test_it_looks_as_far_ahead_as_enough_users_come_back(tmp_path, back, days):
    out = tmp_path / "shop.yaml"
    proposal = init(str(logs(tmp_path / "files", back)), out)
    params = yaml.safe_load(out.with_suffix(".params.yaml").read_text())
    tasks = yaml.safe_load(out.with_suffix(".tasks.yaml").read_text())["tasks"]
    assert {task["label"]["days"] for task in tasks} == {days}
    assert params["histories.label_days"] == 92
    snapshot = date.fromisoformat(params["histories.evaluation_snapshot"])
    assert snapshot == (START + timedelta(days=DAYS - 92)).date()
    assert f"of 120 users with 10 events or more before it 60 have an order within {days // 7} weeks." in show(
        proposal, out
    )


def test_it_says_so_where_too_few_come_back(tmp_path):
    out = tmp_path / "shop.yaml"
    said = show(init(str(logs(tmp_path / "files", 40)), out), out)
    assert "CHECK: At 2021-05-23, of 120 users with 10 events or more before it 0 have an order" in said
    assert "Take an earlier evaluation snapshot" in said
