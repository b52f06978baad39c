"""From chosen facts to the texts of triplets: a wording drawn for each, every text checked against its fact."""

import numpy as np
import polars as pl

from instructue.sources.spec import FactSpec
from instructue.sources.tables import Tables
from instructue.userqa.lexicon import Lexicon
from instructue.userqa.reword import Rejection
from instructue.userqa.schema import INSTRUCTION, NO, YES, conform
from instructue.userqa.verify import Claim, check
from instructue.userqa.windows import fact_end
from instructue.userqa.wording import Wordings, filled, wording_table

TEXTS = {INSTRUCTION: "answer", "answer": "answer", "opposite": "other"}  # text column -> what fills its {answer}


def worded(
    tables: Tables,
    asked: list[FactSpec],
    chosen: pl.DataFrame,
    wordings: Wordings,
    seed: int,
    team: Wordings | None = None,
) -> pl.DataFrame:
    """Chosen facts with texts: for each of TEXTS a wording drawn (X_text, X_by), and the plain one (X_plain).

    team: the wordings that are a team's own, for X_by.
    """
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
    table = wording_table(wordings, team or {})
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
        rows = rows.with_columns(
            filled("template", "value", answer).alias(f"{text}_text"),
            filled("plain", "value", answer).alias(f"{text}_plain"),
            pl.col("by").alias(f"{text}_by"),
            pl.col("form").alias(f"{text}_form"),
        ).drop("form", "u", "wordings", "wording", "template", "plain", "by")
    return rows


def verified(
    rows: pl.DataFrame, facts: dict[str, FactSpec], catalogue: frozenset[str], lexicon: Lexicon
) -> tuple[pl.DataFrame, list[Rejection]]:
    """Every text checked against the fact of its row; what fails is replaced by the plain template and returned.

    A team's own words are its own: read_own has checked their slots, numbers and polarity.
    """
    refused: list[Rejection] = []
    for text, answer in TEXTS.items():
        columns = ["kind", f"{text}_form", f"{text}_text", f"{text}_plain", "value", answer]
        different = rows.filter(pl.col(f"{text}_by") != "team").select(columns).unique(maintain_order=True)
        bad = []
        for kind, form, said, plain, value, true in different.iter_rows():
            fact = facts[kind]
            hidden = (true,) if form == INSTRUCTION and true and fact.shape != "top" else ()
            slot = value or (true if form != INSTRUCTION else None) or ""
            reason = check(
                said, Claim(form, plain, fact.about, slot, fact.binary, hidden, fact.days), catalogue, lexicon
            )
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
