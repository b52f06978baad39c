"""Rules of one data set's sources beyond what their description implies: one figure of the table, one range."""

from dataclasses import dataclass

import polars as pl

from data_checks.rules import Rule, figure_within, share_within


@dataclass(frozen=True)
class OwnRule:
    """figure: an expression over the staged table (times as naive local clock) that gives the rule's number."""

    rule: Rule
    figure: pl.Expr


def _silence(days: int) -> OwnRule:
    gap = pl.col("time").dt.date().unique().sort().diff().dt.total_days().max().fill_null(0)
    return OwnRule(
        figure_within("longest_silence", f"no stretch of more than {days} days is without an event", 0, days), gap
    )


def _share(name: str, sentence: str, condition: pl.Expr, high: float) -> OwnRule:
    return OwnRule(share_within(name, f"{sentence} at most {high:.0%} of rows", high), condition.mean())


_PRICE = figure_within("usual_price", "the median price is between 1 and 5", 1, 5)
_CAMPAIGN = figure_within("longest_campaign", "no campaign runs for more than a year", 1, 366)

# Data set -> source -> rules. Bounds are about twice what the whole of 2017 shows.
OWN_RULES: dict[str, dict[str, list[OwnRule]]] = {
    "complete_journey": {
        "purchase": [
            _silence(4),  # the stores close for one day, Christmas
            _share("given_away", "the price is 0 on", pl.col("amount") == 0, 0.03),
            OwnRule(_PRICE, pl.col("amount").median()),
        ],
        "trip": [_silence(4), _share("empty_handed", "nothing is paid on", pl.col("amount") == 0, 0.03)],
        "promotion": [_silence(14), _share("given_away", "the price is 0 on", pl.col("amount") == 0, 0.03)],
        "campaign": [OwnRule(_CAMPAIGN, pl.col("days").max())],
    }
}
