"""The userqa stage: facts computed, sampled, worded, every text verified against its fact, one table written."""

import re

import numpy as np
import polars as pl

from instructue.config import Config
from instructue.files import replacing, write_json
from instructue.paths import Paths
from instructue.report import StageReport
from instructue.sources.ingest import write_table
from instructue.sources.spec import FactSpec
from instructue.sources.tables import Tables, load_tables
from instructue.userqa.facts import Facts
from instructue.userqa.reword import Rejection, asks, reworded
from instructue.userqa.sample import choose
from instructue.userqa.schema import INSTRUCTION, NO, REJECTION_COLUMNS, REJECTIONS, TABLE, WORDINGS, YES, conform
from instructue.userqa.teachers import open_teacher
from instructue.userqa.verify import Claim, check
from instructue.userqa.windows import check_triplets, fact_end, training_examples
from instructue.userqa.wording import Wordings, filled, plain_wordings, wording_table

TEXTS = {INSTRUCTION: "answer", "answer": "answer", "opposite": "other"}  # text column -> what fills its {answer}


def build_userqa(config: Config, paths: Paths) -> StageReport:
    """Write triplets.parquet, wordings.json and rejections.parquet; returns counts, shares and samples.

    Raises LeakageError if a fact looks outside its window, ConfigError if the data set's facts are described wrongly.
    """
    tables, knobs = load_tables(config, paths), config.userqa
    asked, chosen = choose(Facts(tables, training_examples(tables), knobs.seed), knobs.triplets, knobs.seed)
    catalogue = known_values(tables)
    wordings, rejections, metrics = plain_wordings(asked, tables.dataset), [], {}
    teacher = open_teacher(knobs, paths) if knobs.wordings else None
    if teacher is not None:
        wordings, rejections, metrics = reworded(asks(asked, tables.dataset, chosen), teacher, knobs, catalogue)
        metrics |= {name: getattr(teacher, name) for name in ("calls", "cache_hits", "generated_tokens")}
        metrics["wording_seconds"] = round(teacher.seconds, 1)
    rows = worded(tables, asked, chosen, wordings, knobs.seed)
    rows, refused = verified(rows, {fact.name: fact for fact in asked}, catalogue)
    triplets = finished(rows, asked, tables.dataset.timezone)
    check_triplets(triplets, tables.histories)
    with replacing(paths.userqa) as temporary:
        temporary.mkdir(parents=True)
        write_table(triplets, temporary / TABLE)
        write_table(
            pl.DataFrame([*rejections, *refused], schema=REJECTION_COLUMNS, orient="row"), temporary / REJECTIONS
        )
        write_json(temporary / WORDINGS, wordings)
    return _report(triplets, wordings, rejections, refused, metrics)


def known_values(tables: Tables) -> frozenset[str]:
    """Every value of every attribute of the event sources, lower case: what a text must not mention by the way."""
    named = {attribute for source in tables.dataset.event_sources for attribute in source.attributes}
    return frozenset(
        v.lower()
        for name in sorted(named)
        for v in tables.texts[name].drop_nulls().unique().to_list()
        if re.search("[a-z]{3}", v.lower())
    )


def worded(tables: Tables, asked: list[FactSpec], chosen: pl.DataFrame, wordings: Wordings, seed: int) -> pl.DataFrame:
    """Chosen facts with texts: for each of TEXTS a wording drawn (X_text, X_by), and the plain one (X_plain)."""
    rng = np.random.default_rng([seed, 2])
    examples = tables.histories.select("example", "user", "snapshot")
    kinds = pl.DataFrame(
        {"kind": [f.name for f in asked], "source": [f.source for f in asked], "about": [f.about for f in asked]}
    )
    rows = chosen.join(examples, on="example", how="left", maintain_order="left").join(
        kinds, on="kind", how="left", maintain_order="left"
    )
    said = pl.col("polarity").fill_null(True)
    forms = {
        INSTRUCTION: pl.lit(INSTRUCTION),
        "answer": pl.when(said).then(pl.lit(YES)).otherwise(pl.lit(NO)),
        "opposite": pl.when(said & pl.col("polarity").is_not_null()).then(pl.lit(NO)).otherwise(pl.lit(YES)),
    }
    table = wording_table(wordings)
    sizes, plain = (
        table.select("kind", "form", "wordings").unique(),
        table.filter(wording=0).select("kind", "form", plain="template"),
    )
    for text, answer in TEXTS.items():
        on = ["kind", "form"]
        rows = rows.with_columns(form=forms[text], u=pl.Series(rng.random(rows.height)))
        rows = rows.join(sizes, on=on, how="left", maintain_order="left").join(
            plain, on=on, how="left", maintain_order="left"
        )
        rows = rows.with_columns(wording=(pl.col("u") * pl.col("wordings")).floor().cast(pl.UInt32))
        rows = rows.join(table.drop("wordings"), on=[*on, "wording"], how="left", maintain_order="left")
        by = pl.when(pl.col("wording") == 0).then(pl.lit("template")).otherwise(pl.lit("llm"))
        rows = rows.with_columns(
            filled("template", "value", answer).alias(f"{text}_text"),
            filled("plain", "value", answer).alias(f"{text}_plain"),
            by.alias(f"{text}_by"),
            pl.col("form").alias(f"{text}_form"),
        ).drop("form", "u", "wordings", "wording", "template", "plain")
    return rows


def verified(
    rows: pl.DataFrame, facts: dict[str, FactSpec], catalogue: frozenset[str]
) -> tuple[pl.DataFrame, list[Rejection]]:
    """Every text checked against the fact of its row; what fails is replaced by the plain template and returned."""
    refused: list[Rejection] = []
    for text, answer in TEXTS.items():
        columns = ["kind", f"{text}_form", f"{text}_text", f"{text}_plain", "value", answer]
        different = rows.select(columns).unique(maintain_order=True)
        bad = []
        for kind, form, said, plain, value, true in different.iter_rows():
            fact = facts[kind]
            hidden = (true,) if form == INSTRUCTION and true and fact.shape != "top" else ()
            slot = value or (true if form != INSTRUCTION else None) or ""
            reason = check(said, Claim(form, plain, fact.about, slot, fact.binary, hidden), catalogue)
            if reason:
                bad.append((kind, said, plain))
                refused.append((said, kind, reason))
        if bad:
            table = (
                pl.DataFrame(bad, schema=["kind", f"{text}_text", f"{text}_plain"], orient="row")
                .unique()
                .with_columns(bad=True)
            )
            rows = rows.join(table, on=["kind", f"{text}_text", f"{text}_plain"], how="left", maintain_order="left")
            failed = pl.col("bad").fill_null(False)
            rows = rows.with_columns(
                pl.when(failed).then(f"{text}_plain").otherwise(f"{text}_text").alias(f"{text}_text"),
                pl.when(failed).then(pl.lit("template")).otherwise(f"{text}_by").alias(f"{text}_by"),
            ).drop("bad")
    return rows, refused


def finished(rows: pl.DataFrame, asked: list[FactSpec], timezone: str) -> pl.DataFrame:
    """The triplets table, exactly as the schema says."""
    otherwise = pl.col("polarity").is_not_null() | pl.col("other").is_not_null()
    ends = [pl.when(pl.col("kind") == f.name).then(fact_end(f)) for f in asked if f.about == "horizon"]
    end = pl.coalesce(ends) if ends else pl.lit(None, dtype=pl.Datetime("us", timezone))
    # Two kinds may come to word the same question of one example: it is asked once.
    once = rows.unique(["example", "instruction_text"], keep="first", maintain_order=True)
    triplets = once.with_columns(
        triplet=pl.int_range(pl.len()),
        instruction=pl.col("instruction_text"),
        answer=pl.col("answer_text"),
        opposite=pl.when(otherwise).then("opposite_text"),
        horizon_end=end,
    )
    return conform(triplets, timezone)


def _report(
    triplets: pl.DataFrame,
    wordings: Wordings,
    rejections: list[Rejection],
    refused: list[Rejection],
    metrics: dict[str, float],
) -> StageReport:
    for side in ("instructions", "answers"):
        if metrics.get(f"{side}_asked"):
            metrics[f"{side}_acceptance"] = round(metrics[f"{side}_accepted"] / metrics[f"{side}_asked"], 4)
    examples = triplets.group_by("example").len()["len"]
    metrics |= {
        "examples": len(examples),
        "triplets_per_example_least": int(examples.min() or 0),
        "instructions_by_llm": round(float((triplets["instruction_by"] == "llm").mean() or 0), 4),
        "answers_by_llm": round(float((triplets["answer_by"] == "llm").mean() or 0), 4),
        "refused_when_filled": len(refused),
    }
    per_kind = (
        triplets.group_by("kind")
        .agg(triplets=pl.len(), examples=pl.col("example").n_unique(), share_of_yes=pl.col("polarity").mean().round(3))
        .sort("kind")
    )
    kinds = [
        row | {f"{form}_wordings": len(texts) for form, texts in wordings[row["kind"]].items()}
        for row in per_kind.to_dicts()
    ]
    table = pl.DataFrame([*rejections, *refused], schema=REJECTION_COLUMNS, orient="row")
    reasons = (
        table.group_by("reason")
        .agg(rejected=pl.len(), example=pl.col("text").first())
        .sort(["rejected", "reason"], descending=[True, False])
    )
    sample = (
        triplets.group_by("kind", maintain_order=True)
        .first()
        .sort("kind")
        .gather_every(max(1, len(kinds) // 8))
        .head(8)
    )
    shown = sample.select("kind", "snapshot", "instruction", "answer", "opposite", "instruction_by").with_columns(
        pl.col("snapshot").cast(pl.String)
    )
    return StageReport(
        "userqa",
        rows={"triplets": triplets.height, "rejections": table.height},
        metrics=metrics,
        tables={"kinds": kinds, "rejected": reasons.to_dicts(), "sample": shown.to_dicts()},
    )
