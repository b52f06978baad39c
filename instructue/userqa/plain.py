"""The same questions and answers in the plain templates' words, to learn what other wordings are worth."""

import polars as pl

from instructue.userqa.card.figures import answered
from instructue.userqa.schema import INSTRUCTION, NO, YES
from instructue.userqa.wording import Wordings, filled


def in_plain_words(triplets: pl.DataFrame, wordings: Wordings) -> pl.DataFrame:
    """The triplets, each text put as the first wording of its kind and form puts it; columns and order stay.

    Hand-written pairs, and open answers that no wording of their kind explains, stay as they are.
    """
    plain = pl.DataFrame(
        [(kind, *(forms.get(form, [None])[0] for form in (INSTRUCTION, YES, NO))) for kind, forms in wordings.items()],
        schema={"kind": pl.String, "ask": pl.String, "yes": pl.String, "no": pl.String},
        orient="row",
    )
    rows = triplets.join(plain, on="kind", how="left", maintain_order="left").with_columns(
        true=answered(triplets, wordings),
        false=answered(triplets.with_columns(answer=pl.col("opposite").fill_null("")), wordings),
        none=pl.lit(""),
    )
    binary, positive = pl.col("polarity").is_not_null(), pl.col("polarity").fill_null(True)
    said = pl.when(positive).then("yes").otherwise("no")
    otherwise = pl.when(binary & positive).then("no").otherwise("yes")
    explained = {"answer": binary | pl.col("true").is_not_null(), "opposite": binary | pl.col("false").is_not_null()}
    texts = {
        "instruction": filled("ask", "value", "none"),
        "answer": pl.when(explained["answer"]).then(filled(said, "value", "true")),
        "opposite": pl.when(explained["opposite"] & pl.col("opposite").is_not_null()).then(
            filled(otherwise, "value", "false")
        ),
    }
    return rows.with_columns(pl.coalesce(text, name).alias(name) for name, text in texts.items()).select(
        triplets.columns
    )
