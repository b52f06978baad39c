"""The suite of user embeddings: one unit vector per user, task, context and method, and not all the same."""

from typing import Any

import numpy as np
import polars as pl

from data_checks.judge import judge
from data_checks.outcome import CheckOutcome
from data_checks.rules import Rule, at_least_one_row, figure_is, figure_within, form, given, unique, within

TOLERANCE = 1e-3  # on the length of a unit vector in float32
MOST_ALIKE = 0.999  # length of the mean of unit vectors: 1 when all are the same
KEY = ["user", "task", "context", "method"]


def check_embeddings(frame: pl.DataFrame) -> list[CheckOutcome]:
    """Judge a table with columns user, task, context, method and vector (a fixed-size array of float32)."""
    wanted = {
        "user": pl.Int64(),
        "task": pl.String(),
        "context": pl.String(),
        "method": pl.String(),
        "vector": _vector_type(frame),
    }
    rules, figures, sound = form(wanted, dict(frame.schema))
    rules.append(at_least_one_row())
    rows = frame.select(c for c in sound if c != "vector").with_row_index("row")
    if frame.height and len(sound) == len(wanted):
        vectors = frame["vector"].to_numpy()
        length = np.linalg.norm(vectors.astype(np.float64), axis=1)
        rows = rows.with_columns(length=pl.Series(length))
        more, values = _spread(frame, vectors)
        rules, figures = [*rules, *_rules(), *more], figures | values
    return judge("embeddings", rules, rows, figures)


def _vector_type(frame: pl.DataFrame) -> pl.DataType:
    """float32 arrays of the width that is there, or of any if there is none."""
    found = frame.schema.get("vector")
    return pl.Array(pl.Float32, found.size if isinstance(found, pl.Array) else 1)


def _rules() -> list[Rule]:
    return [
        *[given(c) for c in KEY],
        unique(KEY),
        given("length", ": no number in its vector is NaN"),
        within("length", 1 - TOLERANCE, 1 + TOLERANCE),
    ]


def _spread(frame: pl.DataFrame, vectors: np.ndarray) -> tuple[list[Rule], dict[str, Any]]:
    """How alike a method's vectors are, and whether every method covers the same users."""
    methods = frame["method"].to_numpy()
    finite = np.isfinite(vectors).all(axis=1)
    alike, users = {}, {}
    for method in sorted({m for m in methods if m is not None}):
        own = methods == method
        alike[method] = float(np.linalg.norm(vectors[own & finite].mean(axis=0))) if (own & finite).sum() > 1 else 0.0
        users[method] = frame.filter(pl.Series(own))["user"].drop_nulls().unique()
    fewest = [m for m, u in users.items() if len(u) < max(map(len, users.values()))]
    worst = max(alike, key=alike.__getitem__, default="")
    return [
        figure_within("spread", "the vectors of no method are nearly all the same", 0, MOST_ALIKE),
        figure_is("users_covered", "every method embeds the same number of users", "all", "warning"),
    ], {
        "spread": alike.get(worst, 0.0),
        "users_covered": ", ".join(f"{m} has {len(users[m])}" for m in fewest) or "all",
    }
