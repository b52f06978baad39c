"""Templates that differ in nouns alone ("Will the user have any N within four weeks?"): worded once, for all of them.

Kinds that are derived for one source after another have such templates. What is accepted for one of them is carried
over with the others' nouns and judged there anew.
"""

from collections.abc import Callable, Sequence

from instructue.userqa.ask import Ask
from instructue.userqa.nouns import filled_in, pattern_of

Judge = Callable[[Ask, str, list[str]], tuple[str, str | None]]  # -> the template, why it is refused


def families(wanted: Sequence[Ask]) -> list[list[Ask]]:
    """Asks whose templates have one pattern, in the order of the first of each."""
    found: dict[tuple[str, ...], list[Ask]] = {}
    for ask in wanted:
        key = (ask.form, *map(str, (ask.fact.about, ask.fact.days, ask.fact.binary)))
        found.setdefault((*key, *(pattern_of(t, ask.nouns) for t in ask.templates)), []).append(ask)
    return list(found.values())


def speaker(family: list[Ask], lacking: Callable[[Ask], int], turn: int) -> list[Ask]:
    """Who asks the teacher in a round for all of its family, each in turn; nobody where nothing is missing."""
    left = [ask for ask in family if lacking(ask) > 0]
    return [left[turn % len(left)]] if left else []


def carried(family: list[Ask], to: Ask, kept: Callable[[Ask], list[str]], most: int, judge: Judge) -> list[str]:
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
