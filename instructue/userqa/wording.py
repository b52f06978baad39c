"""From a fact's templates to texts: static words filled in once per kind, slots filled in columns."""

from collections.abc import Mapping

import polars as pl

from instructue.sources.spec import DatasetSpec, FactSpec
from instructue.userqa.schema import INSTRUCTION, NO, YES

NUMBERS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
)

# kind -> form -> wordings, the plain template first
Wordings = Mapping[str, Mapping[str, list[str]]]


def span(days: int | None) -> str:
    """28 -> 'four weeks', 1 -> 'one day', 30 -> '30 days'; None, the whole history, -> ''."""
    if days is None:
        return ""
    number, unit = (days // 7, "week") if days % 7 == 0 else (days, "day")
    return f"{NUMBERS[number] if number < len(NUMBERS) else number} {unit}{'' if number == 1 else 's'}"


def templates(fact: FactSpec, dataset: DatasetSpec) -> dict[str, str]:
    """The fact's plain templates by form, with only {value} and {answer} left to fill."""
    forms = {INSTRUCTION: fact.ask, YES: fact.answer}
    if fact.otherwise is not None:
        forms[NO] = fact.otherwise
    return {form: text.replace("{who}", dataset.who).replace("{span}", span(fact.days)) for form, text in forms.items()}


def plain_wordings(facts: list[FactSpec], dataset: DatasetSpec) -> dict[str, dict[str, list[str]]]:
    """Every kind's plain templates as its only wordings."""
    return {fact.name: {form: [text] for form, text in templates(fact, dataset).items()} for fact in facts}


def wording_table(wordings: Wordings, team: Wordings) -> pl.DataFrame:
    """kind, form, wording (its number within, 0 = plain), template, by (whom), wordings (how many there are)."""
    rows = []
    for kind, forms in wordings.items():
        for form, texts in forms.items():
            own = set(team.get(kind, {}).get(form, ()))
            for place, text in enumerate(texts):
                by = "template" if place == 0 else "team" if text in own else "llm"
                rows.append((kind, form, place, text, by, len(texts)))
    names = {"kind": pl.String, "form": pl.String, "wording": pl.UInt32, "template": pl.String, "by": pl.String}
    return pl.DataFrame(rows, schema=names | {"wordings": pl.UInt32}, orient="row")


def filled(template: str | pl.Expr, value: str, answer: str) -> pl.Expr:
    """Template column with {value} and {answer} replaced by those columns' texts; it begins with a capital."""
    text = pl.col(template) if isinstance(template, str) else template
    with_value = text.str.replace("{value}", pl.col(value).fill_null(""), literal=True)
    whole = with_value.str.replace("{answer}", pl.col(answer).fill_null(""), literal=True)
    return pl.concat_str(whole.str.head(1).str.to_uppercase(), whole.str.slice(1))


def in_words(items: pl.Expr) -> pl.Expr:
    """['a', 'b', 'c'] -> 'a, b and c'."""
    head = items.list.head(items.list.len() - 1).list.join(", ")
    return (
        pl.when(items.list.len() > 1)
        .then(pl.concat_str(head, pl.lit(" and "), items.list.last()))
        .otherwise(items.list.first())
    )
