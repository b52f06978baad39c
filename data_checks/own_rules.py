"""Rules of one data set's sources beyond what their description implies: one figure of the table, one range."""

from dataclasses import dataclass

import polars as pl

from data_checks.rules import Rule, figure_within, share_within

DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class OwnRule:
    """figure: an expression over the staged table (times as naive local clock) that gives the rule's number."""

    rule: Rule
    figure: pl.Expr


# Neighbours often share their time, as a user's rows lie together: runs of it are looked at, not rows.
_RUNS = pl.col("time").dt.timestamp("us").rle().struct


def _silence(days: int) -> OwnRule:
    gap = (_RUNS.field("value") // DAY).unique().sort().diff().max().fill_null(0)
    return OwnRule(
        figure_within("longest_silence", f"no stretch of more than {days} days is without an event", 0, days), gap
    )


def _share(name: str, sentence: str, share: pl.Expr, high: float) -> OwnRule:
    return OwnRule(share_within(name, f"{sentence} at most {high:.0%} of rows", high), share)


_WHOLE = _share("fractional", "the quantity is no whole number on", (pl.col("quantity") % 1 != 0).mean(), 0.01)
_DATED = _RUNS.field("len").filter(_RUNS.field("value") % DAY == 0).sum() / pl.col("time").count()
_AT_MIDNIGHT = _share("dated_only", "the time is midnight on", _DATED, 0.05)

# Days on which nothing happens, by data set.
CLOSED: dict[str, list[str]] = {"complete_journey": ["2017-12-25"]}

_PRICE = figure_within("usual_price", "the median price is between 1 and 5", 1, 5)
_CAMPAIGN = figure_within("longest_campaign", "no campaign runs for more than a year", 1, 366)

# Data set -> source -> rules. Bounds are about twice what the whole of 2017 shows.
OWN_RULES: dict[str, dict[str, list[OwnRule]]] = {
    "complete_journey": {
        "purchase": [
            _silence(4),  # the stores close for one day, Christmas
            _share("given_away", "the price is 0 on", (pl.col("amount") == 0).mean(), 0.03),
            _WHOLE,
            _AT_MIDNIGHT,
            OwnRule(_PRICE, pl.col("amount").median()),
        ],
        "trip": [
            _silence(4),
            _AT_MIDNIGHT,
            _share("empty_handed", "nothing is paid on", (pl.col("amount") == 0).mean(), 0.03),
        ],
        "promotion": [_silence(14), _share("given_away", "the price is 0 on", (pl.col("amount") == 0).mean(), 0.03)],
        "campaign": [OwnRule(_CAMPAIGN, pl.col("days").max())],
    }
}
