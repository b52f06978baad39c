"""The suite of UserQA triplets: whole, worded, balanced, and blind to what comes after the evaluation snapshot."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import polars as pl

from data_checks.judge import judge
from data_checks.outcome import CheckOutcome
from data_checks.rules import Rule, among, at_least_one_row, figure_is, figure_within, form, given, long, unique
from instructue.userqa.schema import ABOUT, BY, COLUMNS, INSTRUCTION, OWN_PAIRS, SHARE_OF_YES

LONGEST = 400  # characters; what the network cuts is counted in tokens and warned of there
FEWEST = 30  # triplets of a kind before its shares mean anything
CROWD = 0.25  # of all triplets, for one kind; where kinds are few, three times an even share
GUESSED = 0.7  # share of yes/no answers that kind and value alone may guess right
DRAWN = 20  # triplets per wording, from which on every wording comes up
UNSEEN = r"[\p{Cc}\u2028-\u202e\u2066-\u2069\ufeff\ufffd]"  # control characters, and those that turn text around
SLOT = r"\{[a-z_]*\}"
TEXTS = ("instruction", "answer", "opposite")


def check_userqa(
    triplets: pl.DataFrame,
    evaluation_snapshot: datetime | date,
    wordings: Mapping[str, Mapping[str, list[str]]] | None = None,
) -> list[CheckOutcome]:
    """Judge a triplets table; `evaluation_snapshot` is a local date, or a moment in the table's zone or without one.

    wordings: wordings.json, kind -> form -> texts; without it, that they are used is not judged.
    No row is dropped on these grounds: what is `bad` is to be mended where it was made.
    """
    moment = _local(triplets, evaluation_snapshot)
    wanted = {c: t() if t is not pl.Datetime else None for c, (t, _, _) in COLUMNS.items()}
    rules, figures, sound = form(wanted, dict(triplets.schema))
    rules.append(at_least_one_row())
    rows = triplets.select(sound).with_row_index("row")
    times = [triplets.schema.get(c) for c in ("snapshot", "horizon_end")]
    if rows.height and len(sound) == len(COLUMNS) and all(isinstance(t, pl.Datetime) for t in times):
        rows = _derived(rows, moment)
        rules += _rules()
        for found in (_balance(rows), _spread(rows), _worded(rows, wordings)):
            rules, figures = [*rules, *found[0]], figures | found[1]
    return judge("userqa", rules, rows, figures)


def _local(triplets: pl.DataFrame, moment: datetime | date) -> datetime:
    if not isinstance(moment, datetime):
        return datetime(moment.year, moment.month, moment.day)
    zone = getattr(triplets.schema.get("snapshot"), "time_zone", None)
    if moment.tzinfo is None or zone is None:
        return moment.replace(tzinfo=None)
    from zoneinfo import ZoneInfo

    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def _derived(rows: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """Rows with what the rules on several columns read, as words."""
    naive = rows.with_columns(pl.col("snapshot", "horizon_end").dt.replace_time_zone(None))
    after, snapshot = pl.col("horizon_end"), pl.col("snapshot")
    horizon = (
        pl.when(pl.col("about") == "history")
        .then(pl.when(after.is_null()).then(pl.lit("none")).otherwise(pl.lit("not asked for")))
        .when(after.is_null())
        .then(pl.lit("missing"))
        .when(after <= snapshot)
        .then(pl.lit("before its snapshot"))
        .otherwise(pl.when(after <= moment).then(pl.lit("seen")).otherwise(pl.format("reaches to {}", after)))
    )
    answer = pl.col("answer")
    echo = pl.when(answer == pl.col("instruction")).then(pl.lit("the instruction")).when(answer == pl.col("opposite"))
    return naive.with_columns(
        horizon=horizon,
        echo=echo.then(pl.lit("its opposite")).otherwise(pl.lit("none")),
        history=pl.when(snapshot < moment).then(pl.lit("seen")).otherwise(pl.format("snapshot at {}", snapshot)),
        choice=pl.when(pl.col("polarity").is_null() | pl.col("opposite").is_not_null())
        .then(pl.lit("given"))
        .otherwise(pl.lit("missing")),
        **_texts(),
    )


def _texts() -> dict[str, pl.Expr]:
    """What is wrong with a row's texts, as words: `unfilled`, `unseen`, `given_away`, `said`."""
    polarity, question = pl.col("polarity"), pl.col("instruction").str.to_lowercase()
    answer, opposite = (
        pl.col(c).str.to_lowercase().str.strip_chars(" .!?").fill_null("") for c in ("answer", "opposite")
    )
    told = question.str.contains(answer, literal=True) & (answer != "")
    # "Tea or coffee?" names the answer and its opposite alike.
    both = question.str.contains(opposite, literal=True) & (opposite != "")
    says = pl.when(answer.str.contains(r"^yes\b")).then(True).when(answer.str.contains(r"^no\b")).then(False)
    return {
        "unfilled": _first(SLOT),
        "unseen": _first(UNSEEN),
        "given_away": pl.when(polarity.is_null() & (pl.col("kind") != OWN_PAIRS) & told & ~both)
        .then(pl.lit("told"))
        .otherwise(pl.lit("no")),
        "said": pl.when(says != polarity).then(pl.lit("other")).otherwise(pl.lit("as is")),
    }


def _first(pattern: str) -> pl.Expr:
    """The first of a row's texts that has the pattern, or 'none'."""
    found = pl.coalesce(pl.when(pl.col(text).str.contains(pattern)).then(pl.lit(text)) for text in TEXTS)
    return found.fill_null("none")


def _rules() -> list[Rule]:
    horizon = "every horizon ends after its snapshot, at or before the evaluation snapshot"
    return [
        *[given(c) for c, (_, nullable, _) in COLUMNS.items() if not nullable],
        unique(["triplet"]),
        unique(["example", "instruction"], "asked_once"),
        long("instruction", 8, LONGEST),
        long("answer", 2, LONGEST),
        among(
            "answer_differs", "the answer is neither the instruction nor its own opposite", "echo", ["none"], "neither"
        ),
        among("about_known", f"about is one of {', '.join(ABOUT)}", "about", list(ABOUT), "known"),
        among(
            "instruction_by_known",
            f"instructions are worded by one of {', '.join(BY)}",
            "instruction_by",
            list(BY),
            "known",
        ),
        among("answer_by_known", f"answers are worded by one of {', '.join(BY)}", "answer_by", list(BY), "known"),
        among("history_seen", "every snapshot lies before the evaluation snapshot", "history", ["seen"], "before it"),
        among("horizon_seen", horizon, "horizon", ["seen", "none"], "by then"),
        among("slots_filled", "no text has a slot left, such as {value}", "unfilled", ["none"], "none left"),
        among("characters_seen", "no text has control characters or turns its direction", "unseen", ["none"], "none"),
        among("answer_withheld", "no instruction tells an open answer", "given_away", ["no"], "not told"),
        among("polarity_said", "an answer that begins with yes or no says its polarity", "said", ["as is"], "as it is"),
        among("choice_given", "every yes or no has its opposite", "choice", ["given"], "given"),
    ]


def _balance(rows: pl.DataFrame) -> tuple[list[Rule], dict[str, Any]]:
    """Kinds answer yes or no always or never, and then neither nearly always."""
    polarity = pl.col("polarity")
    kinds = rows.group_by("kind").agg(n=pl.len(), open=polarity.null_count(), yes=polarity.mean())
    mixed = kinds.filter((pl.col("open") > 0) & (pl.col("open") < pl.col("n"))).sort("kind")["kind"].to_list()
    low, high = SHARE_OF_YES
    # What is drawn within bounds may lose a few rows later, which shows where a kind is small.
    slack = (low * high / pl.col("n")).sqrt()
    outside = (pl.col("yes") < low - slack) | (pl.col("yes") > high + slack)
    lopsided = kinds.filter(pl.col("n") >= FEWEST, outside).sort("kind")
    figures = {
        "polarity_whole": ", ".join(mixed) or "all",
        "polarity_balanced": ", ".join(f"{k} {y:.0%}" for k, y in lopsided.select("kind", "yes").iter_rows()) or "all",
    }
    sentence = f"in every kind that answers yes or no, {low:.0%} to {high:.0%} are yes, give or take a standard error"
    return [
        figure_is("polarity_whole", "a kind answers yes or no on all of its rows or on none", "all"),
        figure_is("polarity_balanced", sentence, "all"),
    ], figures


def _spread(rows: pl.DataFrame) -> tuple[list[Rule], dict[str, Any]]:
    """No kind crowds out the others, one history per example, and kind and value don't tell the answer."""
    counts = rows.filter(pl.col("kind") != OWN_PAIRS)["kind"].value_counts(name="n").sort("kind")
    most = max(CROWD, 3 / max(counts.height, 1))
    crowding = counts.filter(pl.col("n") > most * int(counts["n"].sum()))["kind"].to_list()
    split = rows.group_by("example").agg(several=pl.struct("user", "snapshot").n_unique() > 1)
    guessed = _guessed(rows)
    easy = guessed.filter(pl.col("n") >= FEWEST, pl.col("right") > GUESSED).sort("kind")
    figures = {
        "kinds_even": ", ".join(crowding) or "none",
        "example_one_history": int(split["several"].sum()),
        "answer_not_guessed": ", ".join(f"{k} {r:.0%}" for k, r in easy.select("kind", "right").iter_rows()) or "none",
    }
    guess = f"a guess from kind and value alone is right on at most {GUESSED:.0%} of a kind's yes and no"
    return [
        figure_is("kinds_even", f"no kind takes more than {most:.0%} of all triplets", "none"),
        figure_within("example_one_history", "every example has one user and one snapshot", 0, 0, "critical"),
        figure_is("answer_not_guessed", guess, "none", "warning"),
    ], figures


def _guessed(rows: pl.DataFrame) -> pl.DataFrame:
    """kind, n, right: how often the more frequent answer among the other rows of the same kind and value is right."""
    group, yes = ["kind", "value"], pl.col("polarity").cast(pl.Int32)
    others = pl.len().over(group) - 1
    chance = (yes.sum().over(group) - yes) / others
    right = pl.when(chance == 0.5).then(0.5).otherwise(((chance > 0.5) == pl.col("polarity")).cast(pl.Float64))
    binary = rows.filter(pl.col("polarity").is_not_null()).with_columns(right=pl.when(others > 0).then(right))
    return binary.group_by("kind").agg(n=pl.col("right").count(), right=pl.col("right").mean())


def _worded(
    rows: pl.DataFrame, wordings: Mapping[str, Mapping[str, list[str]]] | None
) -> tuple[list[Rule], dict[str, Any]]:
    """Every kind is worded in as many ways as there are for it."""
    if wordings is None:
        return [], {}
    # The value taken out, what is left is the wording; a value may begin the sentence and then has a capital.
    value, question = (pl.col(c).str.to_lowercase() for c in ("value", "instruction"))
    shape = question.str.split(value.fill_null("\0")).list.join("{value}")
    used = rows.with_columns(shape=shape).group_by("kind").agg(n=pl.len(), used=pl.col("shape").n_unique()).sort("kind")
    listed = {kind: len(forms.get(INSTRUCTION, [])) for kind, forms in wordings.items()}
    unknown = [kind for kind in used["kind"] if kind not in listed and kind != OWN_PAIRS]
    short = [
        f"{kind} {found} of {listed[kind]}"
        for kind, n, found in used.iter_rows()
        if kind in listed and found < listed[kind] <= n / DRAWN
    ]
    figures = {"kinds_worded": ", ".join(unknown) or "all", "wordings_used": ", ".join(short) or "all"}
    sentence = f"every wording of an instruction is in use, where a kind has {DRAWN} triplets for each"
    return [
        figure_is("kinds_worded", "every kind has its wordings on file", "all"),
        figure_is("wordings_used", sentence, "all", "warning"),
    ], figures
