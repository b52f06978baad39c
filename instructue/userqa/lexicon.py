"""What words mean to the check of wordings: phrases to concepts, spans of time to days, words that can be swapped."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import yaml

from instructue.sources.spec import DatasetSpec
from instructue.userqa.wording import NUMBERS, span

FILE = Path(__file__).with_name("lexicon.yaml")
ARTICLES = frozenset({"a", "an", "the"})
CONTRACTIONS = {"won't": "will not", "can't": "can not", "cannot": "can not", "n't": " not", "'ll": " will", "'s": ""}
DAYS = {"day": 1.0, "week": 7.0, "fortnight": 14.0, "month": 30.4, "quarter": 91.0, "year": 365.0}
COARSE, TOLERANCE = frozenset({"month", "quarter", "year"}), 0.12  # a month may stand for four weeks, not five weeks
WHOLE = frozenset({"evening", "morning", "during", "spring", "king"})  # their endings are none
_UNIT = rf"({'|'.join(DAYS)})s?\b"
_AMOUNT = rf"(\d+|{'|'.join(NUMBERS[1:])}|an?)"
_SPAN = re.compile(
    rf"\b{_AMOUNT}[ -]{_UNIT}|\b(?:next|coming|following|last|past|previous|preceding) {_UNIT}"
    rf"|\b{_UNIT} (?:ahead|before|to come)"
)


@dataclass(frozen=True)
class Duration:
    """A length of time in days; `coarse` if said in months or longer, where calendars differ."""

    days: float
    coarse: bool

    def fits(self, days: float) -> bool:
        return abs(self.days - days) <= (TOLERANCE * days if self.coarse else 0)


@dataclass(frozen=True, eq=False)
class Lexicon:
    """phrases: stems -> concepts; swaps: exact phrases that can stand for each other.

    lost, added: concepts that may be left out or put in; beside: what one concept allows to be added; implied: what
    it says besides.
    """

    phrases: Mapping[tuple[str, ...], tuple[str, ...]]
    lost: frozenset[str]
    added: frozenset[str]
    beside: Mapping[str, list[str]]
    implied: Mapping[str, list[str]]
    swaps: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, dataset: DatasetSpec | None = None) -> "Lexicon":
        """The general words, and those that a data set adds: `synonyms` and its noun for a user."""
        general = yaml.safe_load(FILE.read_text(encoding="utf-8"))
        listed = [(name.split(), phrases) for name, phrases in general["concepts"].items()]
        if dataset is not None:
            listed += [([phrases[0]], phrases) for phrases in dataset.synonyms]
            listed.append((["user"], [dataset.who, f"{dataset.who}s"]))
        found = {_stems(phrase): tuple(names) for names, phrases in listed for phrase in phrases}
        optional = frozenset(general["optional"])
        return cls(
            found,
            optional | frozenset(general["droppable"]),
            optional | frozenset(general["addable"]),
            general["beside"],
            general["implied"],
            tuple(tuple(options) for options in general["swaps"]),
        )

    @cached_property
    def longest(self) -> int:
        """Words of the longest phrase."""
        return max(map(len, self.phrases))

    def concepts(self, text: str) -> list[str]:
        """The concepts of a text without its spans of time, in order; a word that is not known is its own stem."""
        tokens = _stems(without_spans(text))
        found: list[str] = []
        place = 0
        while place < len(tokens):
            for size in range(min(self.longest, len(tokens) - place), 0, -1):
                names = self.phrases.get(tokens[place : place + size])
                if names is not None:
                    break
            else:
                size, names = 1, (tokens[place],)
            found += names
            place += size
        return found

    def knows(self, phrase: str) -> bool:
        """Whether a phrase has a meaning of its own here, whatever catalogue it also stands in."""
        return _stems(phrase) in self.phrases

    def variants(self, sentence: str, who: str, days: int | None) -> list[str]:
        """The sentence itself, then with one or two of its phrases swapped; each is said of the same fact."""
        months = _months(days)
        words = {"who": who, "span": span(days), "days": str(days or ""), "months": months}
        words["a_months"] = f"a {months}" if months == "month" else months
        found = [sentence]
        for options in self.swaps:
            filled = [o.format(**words) for o in options if "months}" not in o or months]
            if not days:
                filled = [o for o, raw in zip(filled, options, strict=False) if "{span}" not in raw]
            here = next((o for o in filled if re.search(rf"\b{re.escape(o)}\b", sentence)), None)
            if here is not None:
                pattern = re.compile(rf"\b{re.escape(here)}\b")
                others = [o for o in filled if o != here]
                found += [
                    pattern.sub(lambda _, o=o: o, old, count=1) for old in found[: 1 + len(options)] for o in others
                ]
        return list(dict.fromkeys(found))


def words(text: str) -> list[str]:
    """Lower-case words and numbers, contractions in full."""
    said = text.lower()
    for short, full in CONTRACTIONS.items():
        said = said.replace(short, full)
    return re.findall(r"[a-z]+|\d+", said)


def durations(text: str) -> list[Duration]:
    """Every span of time that is named."""
    found = []
    for amount, unit, *bare in _SPAN.findall(" ".join(words(text))):
        number = 1 if not amount or amount in ARTICLES else int(amount) if amount.isdigit() else NUMBERS.index(amount)
        name = unit or "".join(bare)
        found.append(Duration(number * DAYS[name], name in COARSE))
    return found


def without_spans(text: str) -> str:
    """The text's words, spans of time left out."""
    return _SPAN.sub(" ", " ".join(words(text)))


def _stems(text: str) -> tuple[str, ...]:
    return tuple(stem(word) for word in words(text) if word not in ARTICLES)


@cache
def stem(word: str) -> str:
    """Crude: enough for 'buys', 'buying', 'redeemed' and 'redeem' to meet."""
    if word in WHOLE:
        return word
    for ending in ("ies", "ied"):
        if word.endswith(ending) and len(word) > 4:
            return word[:-3] + "y"
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 2 and not word.endswith("ss"):
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]
    return word


def _months(days: int | None) -> str:
    """28 -> 'month', 91 -> 'three months'; '' for what is no whole number of months."""
    number = round((days or 0) / DAYS["month"])
    if not number or not Duration(number * DAYS["month"], True).fits(days or 0):
        return ""
    return "month" if number == 1 else f"{NUMBERS[number]} months"
