"""Rules on the dictionary of event texts, judged once per distinct text and meant for every row that has it."""

import polars as pl

from data_checks.rules import Counted, Rule, about_texts, free_of, long, share_within
from instructue.sources.spec import SourceSpec

UNKNOWN = "unknown"  # how a missing or unmatched attribute reads in an event text
NO_VALUE = (UNKNOWN, "", "null", "nan", "n/a", "nil", "undefined")  # what exports write where nothing was
MOST_UNKNOWN = 0.2  # share of rows without an attribute
MOST_SILENT = 0.5  # share of users without an attribute of theirs: people leave fields of a form empty
LONGEST = 2000  # characters; an event is read in a few words

# Control characters but tab and line breaks, and marks that turn text around. What joins emoji together is none.
STEERING = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}\x{202a}-\x{202e}\x{2066}-\x{2069}\x{feff}]"
# A byte that was no character, and UTF-8 read as a one-byte code: a lead byte's letter (queries lower it), then what a
# continuation byte looks like; quotation marks and the hard space may follow such a letter in good Portuguese.
GARBLED = (
    r"\x{fffd}|[\x{c2}\x{c3}\x{e2}\x{e3}][\x{80}-\x{9f}\x{a1}-\x{aa}\x{ac}-\x{ba}\x{bc}-\x{bf}]"
    r"|\x{e2}\x{20ac}|\x{f0}[\x{178}\x{ff}]"
)
# What speaks to a language model and not about an event. Models only ever read it as text; so it warns.
PROMPT = (
    r"(?i)\b(ignore|disregard|forget)\b.{0,30}\b(instructions?|prompts?|rules)\b|<\|[a-z_]+\|>|\[/?inst\]"
    r"|</?(system|assistant|user)>|\b(system|assistant)\s*:|\byou are now\b|\bsystem prompt\b"
)


def readable(rows: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame | None:
    """Each text that the rows have, once: text_id, rows (how many have it), text_source (None where the dictionary
    lacks it), text and the attributes. None if the rows have no texts."""
    if "text_id" not in rows.columns:
        return None
    there = rows.lazy().select("text_id").drop_nulls()
    used = there.group_by("text_id").agg(rows=pl.len()).sort("text_id").collect(engine="streaming")
    return used.join(texts.rename({"source": "text_source"}), on="text_id", how="left", maintain_order="left")


def text_rules() -> list[Rule]:
    """Texts are whole, short and for people to read; what looks like a prompt is named and let through."""
    steering = "the text has no control characters and nothing that turns its direction"
    garbled = "the text was read in the encoding that it was written in"
    prompt = "the text says what happened and gives no orders to a language model"
    return [
        about_texts(long("text", 1, LONGEST)),
        about_texts(free_of("text_characters", steering, "text", STEERING, "none of them")),
        about_texts(free_of("text_encoding", garbled, "text", GARBLED, "no garbled letters")),
        about_texts(free_of("text_no_prompt", prompt, "text", PROMPT, "no orders"), "warning"),
    ]


def filled(source: SourceSpec, rows: pl.DataFrame, texts: pl.DataFrame | None) -> Counted:
    """Per attribute the share of rows, or of users of an attribute table, that have no value for it."""
    if texts is None or (source.kind == "attributes" and not {"user", "attribute"} <= set(rows.columns)):
        return [], {}
    if source.kind == "attributes":
        everyone = rows["user"].n_unique()
        having = dict(rows.group_by("attribute").agg(pl.col("user").n_unique()).iter_rows())
        shares, what, most = {a: 1 - having.get(a, 0) / everyone for a in source.attributes}, "users", MOST_SILENT
    else:
        empty = {a: pl.col(a).str.strip_chars().str.to_lowercase().is_in(NO_VALUE) for a in source.attributes}
        sums = texts.select((empty[a].fill_null(False) * pl.col("rows")).sum().alias(a) for a in empty).row(0)
        total = int(texts["rows"].sum()) or 1
        shares, what, most = {a: n / total for a, n in zip(empty, sums, strict=True)}, "rows", MOST_UNKNOWN
    rules = [
        share_within(f"{name}_filled", f"the share of {what} whose {name} is unknown is at most {most:.0%}", most)
        for name in shares
    ]
    return rules, {f"{name}_filled": share for name, share in shares.items()}
