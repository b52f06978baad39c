"""A rule: one expectation, in Great Expectations' words, with those that explain it to a person."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

Severity = Literal["critical", "warning"]
LARGEST = sys.float_info.max  # a bound of this size refuses infinities and nothing else


@dataclass(frozen=True)
class Rule:
    """An expectation to be: its class in Great Expectations, its arguments, how it reads.

    about: 'rows' when each row is judged, 'texts' when each distinct text is and with it the rows that have it,
    'table' when one figure of the whole table is; a figure is a column of the one-row frame of figures that goes
    to `data_checks.judge.judge` beside the rows. shows: columns whose values are shown of bad rows, if not those
    that the rule reads.
    """

    name: str
    sentence: str
    expected: str
    expectation: str
    arguments: dict[str, Any] = field(default_factory=dict)
    about: Literal["rows", "texts", "table"] = "rows"
    severity: Severity = "critical"
    shows: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """Columns that it reads."""
        one = self.arguments.get("column")
        return [one] if one else list(self.arguments.get("column_list", []))


Counted = tuple[list[Rule], dict[str, Any]]  # rules on figures of the table, and the figures by the rules' names
Part = Callable[[], Counted]


def given(column: str, meaning: str = "") -> Rule:
    """Neither empty nor NaN."""
    sentence = f"every row has a value for {column}{meaning}"
    return Rule(f"{column}_given", sentence, "none empty", "ExpectColumnValuesToNotBeNull", {"column": column})


def within(column: str, low: float | None, high: float | None) -> Rule:
    """A finite number inside inclusive bounds; None leaves a side open, infinities fail either way."""
    if low is not None and high is not None:
        words = f"from {low:,g} to {high:,g}"
    elif low is not None:
        words = f"of at least {low:,g}"
    else:
        words = f"of at most {high:,g}" if high is not None else "of any size"
    bounds = {
        "min_value": -LARGEST if low is None else float(low),
        "max_value": LARGEST if high is None else float(high),
    }
    sentence = f"{column} is a finite number {words}"
    return Rule(f"{column}_in_range", sentence, words, "ExpectColumnValuesToBeBetween", {"column": column, **bounds})


def between_times(column: str, start: datetime, end: datetime) -> Rule:
    """Local wall-clock time in [start, end)."""
    words = f"from {start:%Y-%m-%d} until before {end:%Y-%m-%d}"
    bounds = {"min_value": start, "max_value": end, "strict_max": True}
    sentence = f"{column} lies {words}, local time"
    return Rule(f"{column}_in_range", sentence, words, "ExpectColumnValuesToBeBetween", {"column": column, **bounds})


def among(name: str, sentence: str, column: str, values: list[Any], expected: str) -> Rule:
    """One of the listed values."""
    return Rule(name, sentence, expected, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": values})


def unique(columns: list[str], name: str = "key_unique") -> Rule:
    """No two rows share the values of all these columns; of those that do, the first in the file is the good one."""
    words = " and ".join([", ".join(columns[:-1]), columns[-1]] if len(columns) > 1 else columns)
    sentence = f"no row repeats the {words} of an earlier one"
    if len(columns) == 1:
        return Rule(name, sentence, "no repeats", "ExpectColumnValuesToBeUnique", {"column": words})
    return Rule(name, sentence, "no repeats", "ExpectCompoundColumnsToBeUnique", {"column_list": columns})


def long(column: str, low: int, high: int) -> Rule:
    """A text of so many characters."""
    arguments, words = {"column": column, "min_value": low, "max_value": high}, f"{low} to {high} characters"
    return Rule(f"{column}_length", f"{column} has {words}", words, "ExpectColumnValueLengthsToBeBetween", arguments)


def free_of(name: str, sentence: str, column: str, pattern: str, expected: str) -> Rule:
    """A text in which the regular expression `pattern` matches nowhere."""
    arguments = {"column": column, "regex": pattern}
    return Rule(name, sentence, expected, "ExpectColumnValuesToNotMatchRegex", arguments)


def about_texts(rule: Rule, severity: Severity = "critical", shows: tuple[str, ...] = ()) -> Rule:
    """The same rule on each distinct text: a row breaks it if its text does."""
    return replace(rule, about="texts", severity=severity, shows=list(shows))


def at_least_one_row() -> Rule:
    arguments = {"min_value": 1}
    return Rule("not_empty", "the table has rows", "1 or more", "ExpectTableRowCountToBeBetween", arguments, "table")


def figure_is(name: str, sentence: str, value: str, severity: Severity = "critical") -> Rule:
    """A figure of the table, words, equals `value`."""
    arguments = {"column": name, "value_set": [value]}
    return Rule(name, sentence, value, "ExpectColumnValuesToBeInSet", arguments, "table", severity)


def form(wanted: dict[str, Any], schema: dict[str, Any]) -> tuple[list[Rule], dict[str, str], list[str]]:
    """Rules that a table has these columns with these types (None: any), their figures, and the columns that do."""
    missing = [c for c in wanted if c not in schema]
    wrong = {c: schema[c] for c, t in wanted.items() if c in schema and t is not None and schema[c] != t}
    figures = {
        "columns": ", ".join(missing) + " missing" if missing else "all there",
        "types": ", ".join(f"{c} is {t}" for c, t in wrong.items()) or "as described",
    }
    rules = [
        figure_is("columns", f"the columns {', '.join(wanted)} are there", "all there"),
        figure_is("types", "every column has the type that its description says", "as described"),
    ]
    return rules, figures, [c for c in wanted if c not in missing and c not in wrong]


def figure_within(name: str, sentence: str, low: float, high: float, severity: Severity = "warning") -> Rule:
    """A figure of the table, a number, lies inside inclusive bounds."""
    return _figure(name, sentence, f"{low:g} to {high:g}", low, high, severity)


def share_within(name: str, sentence: str, high: float, severity: Severity = "warning") -> Rule:
    """A figure of the table, a share, lies in [0, high]."""
    return _figure(name, sentence, f"0% to {high:.0%}", 0, high, severity)


def _figure(name: str, sentence: str, expected: str, low: float, high: float, severity: Severity) -> Rule:
    arguments = {"column": name, "min_value": low, "max_value": high}
    return Rule(name, sentence, expected, "ExpectColumnMaxToBeBetween", arguments, "table", severity)
