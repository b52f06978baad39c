"""What the data card says in numbers: counts, balance, lengths, wordings, acceptance, coverage, cost; plain values."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from instructue.sources.tables import Tables
from instructue.userqa.schema import ABOUT, BY, INSTRUCTION, SHARE_OF_YES
from instructue.userqa.wording import Wordings

FEWEST = 30  # triplets of a kind before its share of yes means anything
Rows = list[dict[str, Any]]


def figures(
    triplets: pl.DataFrame,
    wordings: Wordings,
    rejections: pl.DataFrame,
    metrics: Mapping[str, float],
    tables: Tables,
) -> dict[str, Any]:
    """Every figure of one version; shares are in [0, 1], lengths in words.

    Seconds among `metrics` are left out: a card made twice from the same triplets is the same file.
    """
    return {
        "dataset": {"name": tables.dataset.name, "title": tables.dataset.title, "who": tables.dataset.who},
        "triplets": triplets.height,
        "kinds": _kinds(triplets, wordings),
        "sources": _counts(triplets, "source"),
        "snapshots": _counts(triplets.with_columns(pl.col("snapshot").dt.date().cast(pl.String)), "snapshot"),
        "about": sorted(_counts(triplets, "about"), key=lambda row: ABOUT.index(row["about"])),
        "lengths": {text: _lengths(triplets[text]) for text in ("instruction", "answer")},
        "writers": _writers(triplets),
        "users": _users(triplets, tables),
        "acceptance": _acceptance(rejections, metrics),
        "cost": _cost(metrics, triplets.height),
        "metrics": {name: value for name, value in sorted(metrics.items()) if not name.endswith("seconds")},
    }


def _kinds(triplets: pl.DataFrame, wordings: Wordings) -> Rows:
    """One row per kind, in order of source and name."""
    days = (pl.col("horizon_end").dt.date() - pl.col("snapshot").dt.date()).dt.total_days()
    # A value may begin the sentence, and then has a capital.
    value, question = (pl.col(c).str.to_lowercase() for c in ("value", "instruction"))
    asked = question.str.split(value.fill_null("\0")).list.join("{value}")
    told = answered(triplets, wordings)
    found = (
        triplets.with_columns(days=days, asked=asked, told=told)
        .group_by("kind")
        .agg(
            pl.col("source", "about").first(),
            pl.col("days").max(),
            triplets=pl.len(),
            users=pl.col("user").n_unique(),
            yes=pl.col("polarity").mean(),
            asked_in=pl.col("asked").n_unique(),
            by_template=(pl.col("instruction_by") == "template").mean(),
            values=pl.col("told").drop_nulls().n_unique(),
            top=pl.col("told").drop_nulls().mode().sort().first(),
            top_share=pl.col("told").drop_nulls().unique_counts().max() / pl.len(),
        )
        .sort("source", "kind")
    )
    low, high = SHARE_OF_YES
    return [
        {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
        | {
            "wordings": {form: len(texts) for form, texts in wordings.get(row["kind"], {}).items()},
            "balanced": row["yes"] is None or row["triplets"] < FEWEST or low <= row["yes"] <= high,
        }
        for row in found.to_dicts()
    ]


def answered(triplets: pl.DataFrame, wordings: Wordings) -> pl.Series:
    """What each row is about in few words: the value asked for or, in its absence, what its answer fills in.

    An answer is taken apart by the kind's own templates, in lower case; null where there is neither a value nor a
    known template.
    """
    frames = [
        (kind, *text.lower().split("{answer}"))
        for kind, forms in wordings.items()
        for form, texts in forms.items()
        for text in texts
        if form != INSTRUCTION and text.count("{answer}") == 1
    ]
    table = pl.DataFrame(frames, schema={"kind": pl.String, "head": pl.String, "tail": pl.String}, orient="row")
    open_rows = triplets.filter(pl.col("value").is_null() & pl.col("polarity").is_null())
    answer, head, tail = pl.col("answer").str.to_lowercase(), pl.col("head"), pl.col("tail")
    inner = answer.str.strip_prefix(head).str.strip_suffix(tail)
    # Of several templates that fit, the longest leaves the least beside the answer.
    told = (
        open_rows.select("triplet", "kind", "answer")
        .join(table, on="kind")
        .filter(answer.str.starts_with(head) & answer.str.ends_with(tail))
        .select("triplet", told=inner, size=inner.str.len_chars())
        .sort("triplet", "size", "told")
        .unique("triplet", keep="first")
    )
    joined = triplets.select("triplet", "value").join(told, on="triplet", how="left", maintain_order="left")
    return joined.select(pl.coalesce("value", "told").alias("told"))["told"]


def _counts(triplets: pl.DataFrame, column: str) -> Rows:
    counted = triplets.group_by(column).agg(
        triplets=pl.len(), kinds=pl.col("kind").n_unique(), users=pl.col("user").n_unique()
    )
    return counted.sort(column).to_dicts()


def _lengths(texts: pl.Series) -> dict[str, Any]:
    """Words of the texts: quantiles, and how many texts have so many words."""
    words = texts.str.count_matches(r"\S+").alias("words")
    if words.is_empty():
        return {"least": 0, "median": 0, "p95": 0, "most": 0, "histogram": []}
    table = words.value_counts(name="texts").sort("words")
    return {
        "least": words.min(),
        "median": int(words.quantile(0.5, "lower") or 0),
        "p95": int(words.quantile(0.95, "lower") or 0),
        "most": words.max(),
        "histogram": [list(row) for row in table.iter_rows()],
    }


def _writers(triplets: pl.DataFrame) -> Rows:
    """Per text, how many triplets were worded by whom."""
    rows = []
    for text in ("instruction", "answer"):
        counted = dict(triplets[f"{text}_by"].value_counts().iter_rows())
        rows.append({"text": text, **{by: counted.get(by, 0) for by in (*BY, *sorted(set(counted) - set(BY)))}})
    return rows


def _users(triplets: pl.DataFrame, tables: Tables) -> dict[str, Any]:
    training = tables.histories.filter(pl.col("split") == "train")
    each = triplets.group_by("user").len()["len"]
    table = each.alias("triplets").value_counts(name="users").sort("triplets")
    return {
        "covered": len(each),
        "training": training["user"].n_unique(),
        "all": tables.events[tables.dataset.event_sources[0].name]["user"].n_unique(),
        "histories": triplets["example"].n_unique(),
        "training_histories": training.height,
        "least": each.min() or 0,
        "median": int(each.quantile(0.5, "lower") or 0),
        "most": each.max() or 0,
        "histogram": [list(row) for row in table.iter_rows()],
    }


def _acceptance(rejections: pl.DataFrame, metrics: Mapping[str, float]) -> dict[str, Any]:
    """What the teacher was asked for, what was accepted, and every reason of rejection with its first example."""
    asked = sum(int(metrics.get(f"{side}_asked", 0)) for side in ("instructions", "answers"))
    accepted = sum(int(metrics.get(f"{side}_accepted", 0)) for side in ("instructions", "answers"))
    reasons = (
        rejections.group_by("reason")
        .agg(rejected=pl.len(), kinds=pl.col("kind").n_unique(), kind=pl.col("kind").first(), text=pl.first("text"))
        .sort(["rejected", "reason"], descending=[True, False])
    )
    return {
        "asked": asked,
        "accepted": accepted,
        "share": round(accepted / asked, 4) if asked else None,
        "rejected": rejections.height,
        "reasons": reasons.to_dicts(),
    }


def _cost(metrics: Mapping[str, float], triplets: int) -> dict[str, Any] | None:
    """Completions and tokens that serve all triplets, in all and per 1,000; None where no model was asked.

    Counted whether asked now or kept from an earlier run, so that a run that goes on has the same card.
    """
    if "completions" not in metrics or not triplets:
        return None
    completions, tokens = int(metrics["completions"]), int(metrics["completion_tokens"])
    return {
        "completions": completions,
        "tokens": tokens,
        "completions_per_1000": round(completions * 1000 / triplets, 2),
        "tokens_per_1000": round(tokens * 1000 / triplets, 1),
        "one_by_one_per_1000": 2000,
        "one_by_one_tokens_per_1000": round(2000 * tokens / completions, 1) if completions else 0,
    }
