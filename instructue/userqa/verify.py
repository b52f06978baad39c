"""Is a text true to the fact it was written from? Pure functions: a reason to refuse it, or None.

A small language model is fluent and wrong: it flips yes and no, moves next weeks into the past, invents. So a
wording may only use the plain template's own words, words that change no fact, and must keep every word that does.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from instructue.userqa.schema import INSTRUCTION, NO, YES
from instructue.userqa.wording import NUMBERS


def _set(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


PLACE = "Xx"  # stands for the slot's words while the rest is judged
NEGATIONS = _set("no not never none nothing nobody neither nor without cannot nowhere hardly")
AHEAD, FUTURE = _set("next coming following upcoming future within"), _set("will shall going")
BEHIND, PAST = _set("last past previous recent recently ago already far"), _set("was were did had has have")
FORWARD, BACKWARD = AHEAD - {"within"} | FUTURE - {"going"}, BEHIND | PAST
QUESTIONS = _set("what which who whom whose when where how why")
HEDGES = _set("if unless may might could would should perhaps probably possibly maybe")
REPEATABLE = _set("the a an of in to on and it its that")
ASKING = _set("whether know tell me we i you can want find out please question answer if")
# Words that no fact depends on.
FREE = (
    ASKING
    | QUESTIONS
    | _set(
        "a an the of to in on at by for with within during over through as is are be been being it its itself that "
        "this these those there they them their he she go going goes do does doing done has have having and so any "
        "anything some something ever now then end until period time span course both made make makes come comes "
        "one ones thing things say case us true happen happens"
    )
)
# Verbs that say the same, by stem.
SAME = {
    "purchas": "buy",
    "bought": "buy",
    "got": "buy",
    "get": "buy",
    "spent": "spend",
    "tri": "try",
    "redemption": "redeem",
    "us": "use",
    "usag": "use",
}
COMMANDS = re.compile(
    r"https?:|www\.|ignore (all|any|the|previous)|previous instruction|system prompt|assistant|<\|", re.I
)
PLAIN_CHARACTERS = re.compile(r"[A-Za-z0-9 ,.?'%\-]*")
LONGEST = 40  # words


@dataclass(frozen=True)
class Claim:
    """What a text must say: its form, the plain text it stands for, the slot's words, what it may not tell."""

    form: str
    plain: str
    about: str  # "horizon" or "history"
    value: str = ""
    binary: bool = False
    answers: tuple[str, ...] = ()  # for an instruction: answers that it must not give away


def words(text: str) -> list[str]:
    """Lower-case words; n't becomes a word of its own."""
    return re.findall(r"[a-z]+|\d+", text.lower().replace("n't", " not").replace("cannot", "can not").replace("'s", ""))


def numbers(text: str) -> list[int]:
    """Every number in digits or words, sorted; 'a' and 'one' as an article do not count."""
    named = {word: value for value, word in enumerate(NUMBERS) if value > 1}
    found = [int(w) if w.isdigit() else named[w] for w in words(text) if w.isdigit() or w in named]
    return sorted(found)


def stem(word: str) -> str:
    """Crude: enough for 'buys', 'buying', 'redeemed' and 'redeem' to meet."""
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 2 and not word.endswith("ss"):
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]
    return SAME.get(word, word)


def keys(text: str, free: frozenset[str]) -> set[str]:
    """Stems of the words that carry the meaning."""
    light = free | {PLACE.lower()} | NEGATIONS | FORWARD | BACKWARD | HEDGES | set(NUMBERS) | {"yes"}
    return {stem(w) for w in words(text) if w not in light and not w.isdigit()}


def check(text: str, claim: Claim, catalogue: frozenset[str] = frozenset()) -> str | None:
    """Why `text` may not stand for `claim`, or None. `catalogue`: other values that it must not mention, lower case."""
    if not text.strip():
        return "empty"
    frame, plain = text, claim.plain
    if claim.value:
        if text.count(claim.value) != claim.plain.count(claim.value):
            return "slot missing" if claim.value not in text else "slot repeated"
        frame, plain = text.replace(claim.value, PLACE), claim.plain.replace(claim.value, PLACE)
    said, meant = frame.lower(), plain.lower()
    if any(answer.lower() in said and answer.lower() not in meant for answer in claim.answers):
        return "gives the answer away"
    return _frame_reason(frame, plain, claim.form, claim.about, claim.binary, catalogue)


@cache
def _frame_reason(frame: str, plain: str, form: str, about: str, binary: bool, catalogue: frozenset[str]) -> str | None:
    claim = Claim(form, plain, about, binary=binary)
    for reason, broken in RULES.items():
        if broken(frame, plain, claim):
            return reason
    return "other value" if _phrases(frame, catalogue) - _phrases(plain, catalogue) else None


def _phrases(text: str, catalogue: frozenset[str]) -> set[str]:
    """The catalogue's values that the text mentions."""
    spoken = re.findall(r"[a-z0-9&'/\-]+", text.lower())
    runs = (" ".join(spoken[i : i + n]) for n in range(1, 6) for i in range(len(spoken) - n + 1))
    return {run for run in runs if run in catalogue} if catalogue else set()


def _length(frame: str, plain: str, claim: Claim) -> bool:
    return not 3 <= len(words(frame)) <= min(LONGEST, 2 * len(words(plain)) + 6)


def _ending(frame: str, plain: str, claim: Claim) -> bool:
    stops, meant = (re.findall(r"[.?!]+(?=\s|$)", part) for part in (frame, plain))
    if len(stops) > len(meant) or not frame.lstrip()[:1].isupper():
        return True
    opening = set(words(frame)[:3])
    asks = {"."} if "want" in opening else {"?", "."} if "tell" in opening else {"?"}
    return (
        not stops
        or not frame.rstrip().endswith(stops[-1])
        or stops[-1] not in (asks if claim.form == INSTRUCTION else {"."})
    )


def _polarity(frame: str, plain: str, claim: Claim) -> bool:
    said, meant = words(frame), words(plain)
    if claim.form == INSTRUCTION:
        return said[0] in {"yes", "no"} or _negations(said) != _negations(meant)
    head = {YES: "yes", NO: "no"}[claim.form] if claim.binary else None
    if (said[0] if said[0] in {"yes", "no"} else None) != head or len({"yes"} & set(said[1:])):
        return True
    return _negations(said[1:]) != _negations(meant[1:])


def _negations(said: list[str]) -> int:
    return sum(word in NEGATIONS for word in said)


def _numbers(frame: str, plain: str, claim: Claim) -> bool:
    return numbers(frame) != numbers(plain)


def _time(frame: str, plain: str, claim: Claim) -> bool:
    """Words of the wrong direction, or none of the right one where the plain text has one."""
    said, meant = set(words(frame)), set(words(plain))
    wrong = BACKWARD if claim.about == "horizon" else FORWARD
    return bool(said & wrong - meant) or any(
        meant & needed and not said & allowed
        for needed, allowed in ((AHEAD, AHEAD), (BEHIND, BEHIND), ({"will"}, FUTURE))
    )


def _repeats(frame: str, plain: str, claim: Claim) -> bool:
    said, meant = Counter(words(frame)), Counter(words(plain))
    return any(n > max(1, meant[word]) for word, n in said.items() if word not in REPEATABLE)


def _other_question(frame: str, plain: str, claim: Claim) -> bool:
    return claim.form == INSTRUCTION and bool(QUESTIONS & set(words(frame)) - set(words(plain)))


def _hedged(frame: str, plain: str, claim: Claim) -> bool:
    allowed = set(words(plain)) | ({"if"} if claim.form == INSTRUCTION else set())
    return bool(set(words(frame)) & HEDGES - allowed)


def _free(claim: Claim) -> frozenset[str]:
    return FREE if claim.form == INSTRUCTION else FREE - ASKING


def _invented(frame: str, plain: str, claim: Claim) -> bool:
    return bool(keys(frame, _free(claim)) - keys(plain, frozenset()))


def _lost(frame: str, plain: str, claim: Claim) -> bool:
    return bool(keys(plain, FREE) - keys(frame, frozenset()))


RULES: dict[str, Callable[[str, str, Claim], bool]] = {
    "command": lambda frame, plain, claim: bool(COMMANDS.search(frame)) and not COMMANDS.search(plain),
    "characters": lambda frame, plain, claim: not PLAIN_CHARACTERS.fullmatch(frame),
    "length": _length,
    "polarity": _polarity,
    "number": _numbers,
    "time": _time,
    "hedged": _hedged,
    "invented": _invented,
    "meaning lost": _lost,
    "repeats itself": _repeats,
    "other question": _other_question,
    "ending": _ending,
}


def gist(text: str) -> tuple[str, ...]:
    """What near duplicates share: their words in order, articles left out."""
    return tuple(word for word in words(text) if word not in {"a", "an", "the"})
