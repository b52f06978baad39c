"""The benchmark of ingestion runs all its parts on a world of a few users; its figures say what they should."""

import time

import pytest

from benchmarks import ingest


@pytest.fixture
def in_process(monkeypatch):
    """Its parts in this process, where nothing has to be imported anew."""

    def child(what, world, project, rows):
        started = time.perf_counter()
        found = ingest.CHILDREN[what](world, project, rows)
        return {"seconds": time.perf_counter() - started, "cpu_s": 1.0, "peak_gib": ingest.peak_gib()} | found

    monkeypatch.setattr(ingest, "child", child)


def test_a_small_run(in_process, tmp_path, capsys):
    found = ingest.measure(3000, 500, 3000, tmp_path)
    ingest.show(found)
    assert 1000 < found["events"] < 10_000
    ours = found["sources_s"] + found["histories_s"]
    assert found["vs_floor"] == pytest.approx(ours / found["floor_s"])
    assert found["events_per_s"] == pytest.approx(found["events"] / ours)
    # Of four sources with more than 500 events, one more file is read and the others are not.
    assert found["pieces_made"] == found["pieces_made_again"] == 4
    assert "x the floor" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.parquet"))
    assert 0.01 < found["peak_gib"] < 64
