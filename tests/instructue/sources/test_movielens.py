"""Real data of another kind, described and not coded: CSV files to tidy tables; what `init` proposes for them."""

import sys
from pathlib import Path

import polars as pl
import pytest

from instructue.evaluation.tasks import load_tasks
from instructue.sources.init.run import init, show
from instructue.sources.readers import Reader, data_folder
from instructue.sources.spec import read_dataset
from instructue.stages import STAGES

EXAMPLE = Path(__file__).parents[3] / "examples" / "movielens"


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """The CSV files of the first 4 viewers."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        from write_csv import write_csv_files  # pyright: ignore[reportMissingImports]
    finally:
        sys.path.remove(str(EXAMPLE))
    folder = tmp_path_factory.mktemp("movielens") / "files"
    write_csv_files(folder, users=4)
    return folder


def test_from_csv_files_to_tidy_tables(films, make_project):
    changes = {"data.dataset": "movielens", "data.described_in": str(EXAMPLE), "data.max_users": 0}
    config, paths = make_project(folder=films, changes=changes)
    STAGES["sources"](config, paths)
    events, raw = pl.read_parquet(paths.table("rating", staged=True)), pl.read_csv(films / "ratings.csv")
    assert events.height == raw.height and events["stars"].sum() == raw["rating"].sum()
    first = raw.with_row_index("row").join(events.select("row", "user", "time"), on="row")
    assert (first["userId"] == first["user"]).all() and (first["time"].dt.epoch("s") == first["timestamp"]).all()
    text = pl.read_parquet(paths.texts(staged=True))["text"].gather(events["text_id"])
    assert text.str.contains(r"^(liked|found fair|disliked) .+, [a-z-]+").mean() > 0.99
    assert {task.name for task in load_tasks(config.data.description())} == {
        "comes_back_1y", "likes_drama_1y", "next_genre_1y",
    }  # fmt: skip


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
    assert {task.name for task in load_tasks(str(out))} <= {"rating_soon", "next_genres", "next_title"}
    said = show(proposal, out)
    assert "Drama" in said and "timezone: UTC  # CHECK" in said and "make run DATASET=" in said
