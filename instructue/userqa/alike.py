"""Templates that differ in nouns alone ("Will the user have any N within four weeks?"): worded once, for all of them.

Kinds that are derived for one source after another have such templates. What is accepted for one of them is carried
over with the others' nouns and judged there anew.
"""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from instructue.sources.spec import DatasetSpec, FactSpec

if TYPE_CHECKING:
    from instructue.userqa.reword import Ask

Nouns = dict[str, str]  # N: a source's events, E: one of them, A: the attribute, all in words
Judge = Callable[["Ask", str, list[str]], tuple[str, str | None]]  # -> the template, why it is refused


def nouns(event: str, attribute: str = "") -> Nouns:
    """Of a source's event, as its description calls it, and one of its attributes."""
    one = re.sub(r"[{}]", "", event)
    return {"N": plural(one), "E": one, "A": attribute.replace("_", " ")}


def nouns_of(fact: FactSpec, dataset: DatasetSpec) -> Nouns:
    """Those that a fact's templates may hold."""
    return nouns(dataset.source(fact.source).event, fact.attribute or "")


def plural(noun: str) -> str:
    """'purchase of an item' -> 'purchases of an item', 'search query' -> 'search queries'."""
    head, *rest = re.split(r"(?= (?:of|to|from|in|at|on|with|for|by) )", noun, maxsplit=1)
    if re.search(r"[^aeiou]y$", head):
        head = head[:-1] + "ies"
    else:
        head += "es" if re.search(r"(s|x|z|ch|sh)$", head) else "s"
    return head + "".join(rest)


def filled_in(pattern: str, by: Nouns) -> str:
    """'Will there be any N?' with the nouns in place of the letters."""
    return re.sub(r"\b[NEA]\b", lambda letter: by[letter[0]], pattern)


def pattern_of(text: str, of: Nouns) -> str:
    """The reverse of filled_in; a slot as {value} is no noun, whatever an attribute is called."""
    letters = {word: letter for letter, word in reversed(of.items()) if word}
    words = "|".join(re.escape(word) for word in sorted(letters, key=len, reverse=True))
    return re.sub(rf"(?<![{{\w])(?:{words})(?![}}\w])", lambda found: letters[found[0]], text)


def families(wanted: Sequence["Ask"]) -> list[list["Ask"]]:
    """Asks whose templates have one pattern, in the order of the first of each."""
    found: dict[tuple[str, ...], list[Ask]] = {}
    for ask in wanted:
        key = (ask.form, *map(str, (ask.fact.about, ask.fact.days, ask.fact.binary)))
        found.setdefault((*key, *(pattern_of(t, ask.nouns) for t in ask.templates)), []).append(ask)
    return list(found.values())


def speaker(family: list["Ask"], lacking: Callable[["Ask"], int], turn: int) -> list["Ask"]:
    """Who asks the teacher in a round for all of its family, each in turn; nobody where nothing is missing."""
    left = [ask for ask in family if lacking(ask) > 0]
    return [left[turn % len(left)]] if left else []


def carried(family: list["Ask"], to: "Ask", kept: Callable[["Ask"], list[str]], most: int, judge: Judge) -> list[str]:
    """At most `most` wordings of the others in `to`'s own nouns, each judged as if it had been written for it."""
    taken: list[str] = []
    for other in family:
        for text in kept(other)[1:] if other is not to else ():
            if len(taken) >= most:
                return taken
            own = filled_in(pattern_of(text, other.nouns), to.nouns)
            template, reason = judge(to, own.replace(to.slot, to.claim.value) if to.slot else own, kept(to) + taken)
            if reason is None:
                taken.append(template)
    return taken
