"""Is a text true to the fact it was written from? Pure functions: a reason to refuse it, or None.

A small language model is fluent and wrong: it flips yes and no, moves next weeks into the past, invents. So what a
wording says is read as concepts (lexicon.py), spans of time, numbers, negations and the side of the snapshot, and each
must be that of the plain text. A word that the lexicon does not know may only stay if the plain text has it.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from instructue.userqa.lexicon import Lexicon, durations, stem, without_spans, words
from instructue.userqa.schema import INSTRUCTION, NO, YES
from instructue.userqa.wording import NUMBERS


def _set(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


PLACE = "Xx"  # stands for the slot's words while the rest is judged
NEGATIONS = _set("no not never none nothing nobody neither nor without nowhere hardly")
AHEAD = _set("ahead next coming following upcoming future within")
FUTURE = _set("will shall going expect likely plan intend soon would")
BEHIND, PAST = _set("last past previous recent recently ago already"), _set("was were had did")
DONE = re.compile(r"\b(?:has|have)(?: \w+)? (?:\w+ed|been|bought|spent|gone|made|got|taken|given|had|done|chosen)\b")
FORWARD = (AHEAD - {"within", "following"}) | _set("will shall expect likely plan intend soon")
BACKWARD = BEHIND | PAST
CLOSED, OPEN, TIMED, NEVER = (
    _set("whether"),
    _set("what which how name list"),
    _set("when"),
    _set("who whom whose where why"),
)
HEDGES = _set("if unless may might could would should perhaps probably possibly maybe likely possible chance expect")
REPEATABLE = _set("the a an no of in to on and it its that will be is for by or more less often up")
IMPERATIVES = _set("tell name list say predict find judge estimate guess decide wonder want state")
COMMANDS = re.compile(
    r"https?:|www\.|ignore (?:all|any|the|previous|these|your)|disregard|(?:previous|new|following) instruction"
    r"|system prompt|assistant|answer only|<\||\bprompt\b|you are now|pretend",
    re.I,
)
PLAIN_CHARACTERS = re.compile(r"[A-Za-z0-9 ,.?'%:\-]*")
SOMEBODY = _set("your yours my mine our ours us he she his her him")
VERB = "(?:buy|purchase|pick|get|try|redeem|use|spend|visit|come|shop|make|take|have|do|are|were)"
# What small models get wrong most: order in an indirect question, and verbs that do not agree.
GRAMMAR = tuple(
    re.compile(fault)
    for fault in (
        r"\b(?:tell me|know|predict|say|find out|wonder)\b(?: \w+)* (?:will|has|does|did|is) (?:the|this)\b",
        r"\b(?:do|have|are|were) (?:the|this) \w+ (?!s\b)",
        rf"\b(?:that|whether|if) (?:the|this) \w+ {VERB}\b",
        rf"^(?:yes|no) (?:the|this) \w+ {VERB}\b",
        r"\b(?:does|did|will|going to|likely to|expect \w+ \w+ to) (?:the \w+ |this \w+ )?"
        r"(?:\w+ed|bought|has|is|will|buying)\b",
        r"\b(?:has|have) (?:the \w+ |this \w+ )?(?:mainly |mostly |usually )?"
        r"(?:buy|get|try|use|shop|shops|spend|visit|pick)\b",
        r"\bpredicting\b|\bpredicted\b|\b(?:until|by) the (?:next|coming)\b",
        r"\b(?!no |up |for |that )(\w+) \1\b|\bfor the next\b.*\bin the next\b",
    )
)
LONGEST = 40  # words
GENERAL = Lexicon.of()


@dataclass(frozen=True)
class Claim:
    """What a text must say: its form, the plain text it stands for, the slot's words, what it may not tell."""

    form: str
    plain: str
    about: str  # "horizon" or "history"
    value: str = ""
    binary: bool = False
    answers: tuple[str, ...] = ()  # for an instruction: answers that it must not give away
    days: int | None = None  # the window's length, which may be named where the plain text leaves it out


def numbers(text: str) -> list[int]:
    """Every number in digits or words outside spans of time, sorted; 'one' does not count."""
    said = without_spans(text).split()
    named = {word: value for value, word in enumerate(NUMBERS) if value > 1}
    return sorted(int(w) if w.isdigit() else named[w] for w in said if w.isdigit() or w in named)


def check(text: str, claim: Claim, catalogue: frozenset[str] = frozenset(), lexicon: Lexicon = GENERAL) -> str | None:
    """Why `text` may not stand for `claim`, or None. `catalogue`: other values that it must not mention, lower case."""
    if not text.strip():
        return "empty"
    frame, plain = text, claim.plain
    if claim.value:
        frame, mentions = framed(text, claim.value)
        plain, needed = framed(plain, claim.value)
        if mentions != needed:
            return "slot repeated" if mentions else "slot missing"
    said, meant = frame.lower(), plain.lower()
    if any(answer.lower() in said and answer.lower() not in meant for answer in claim.answers):
        return "gives the answer away"
    return _frame_reason(frame, plain, claim.form, claim.about, claim.binary, claim.days, catalogue, lexicon)


def framed(text: str, value: str) -> tuple[str, int]:
    """The text with PLACE for every mention of `value` as whole words, and how many there are."""
    low, sought = text.lower(), value.lower()
    parts, last, start = [], 0, 0
    while (at := low.find(sought, start)) >= 0:
        start = end = at + len(sought)
        if not (low[at - 1 : at].isalnum() or low[end : end + 1].isalnum()):
            parts.append(text[last:at])
            last = end
    return PLACE.join([*parts, text[last:]]), len(parts)


@cache
def _frame_reason(frame, plain, form, about, binary, days, catalogue, lexicon) -> str | None:
    claim = Claim(form, plain, about, binary=binary, days=days)
    for reason, broken in RULES.items():
        if broken(frame, plain, claim, lexicon):
            return reason
    others = _phrases(frame, catalogue) - _phrases(plain, catalogue)
    return "other value" if any(not lexicon.knows(phrase) for phrase in others) else None


def _phrases(text: str, catalogue: frozenset[str]) -> set[str]:
    """The catalogue's values that the text mentions."""
    spoken = re.findall(r"[a-z0-9&'/\-]+", text.lower())
    runs = (" ".join(spoken[i : i + n]) for n in range(1, 6) for i in range(len(spoken) - n + 1))
    return {run for run in runs if run in catalogue} if catalogue else set()


def _length(frame: str, plain: str, claim: Claim, lexicon: Lexicon) -> bool:
    return not 3 <= len(words(frame)) <= min(LONGEST, 2 * len(words(plain)) + 8)


def _ending(frame: str, plain: str, claim: Claim, lexicon: Lexicon) -> bool:
    stops, meant = (re.findall(r"[.?!]+(?=\s|$)", part) for part in (frame, plain))
    if len(stops) > len(meant) or not frame.lstrip()[:1].isupper():
        return True
    opening = set(words(frame)[:3])
    asks = {"?", "."} if opening & IMPERATIVES else {"?"}
    return (
        not stops
        or not frame.rstrip().endswith(stops[-1])
        or stops[-1] not in (asks if claim.form == INSTRUCTION else {"."})
    )


def _polarity(frame: str, plain: str, claim: Claim, lexicon: Lexicon) -> bool:
    said = words(frame)
    if claim.form == INSTRUCTION:
        if said[0] in {"yes", "no"}:
            return True
        # What was never bought may be said so in many ways.
        fresh = "first" in lexicon.concepts(plain)
        return not fresh and _negations(frame, lexicon) != _negations(plain, lexicon)
    head = {YES: "yes", NO: "no"}[claim.form] if claim.binary else None
    if (said[0] if said[0] in {"yes", "no"} else None) != head or "yes" in said[1:]:
        return True
    return _negations(frame, lexicon) != _negations(plain, lexicon)


def _negations(text: str, lexicon: Lexicon) -> int:
    return sum(concept in NEGATION_STEMS for concept in lexicon.concepts(text))


NEGATION_STEMS = frozenset(map(stem, NEGATIONS))


def _numbers(frame: str, plain: str, claim: Claim, lexicon: Lexicon) -> bool:
    if numbers(frame) != numbers(plain):
        return True
    said, meant = durations(frame), durations(plain)
    true = {d.days for d in meant} | ({float(claim.days)} if claim.days else set())
    known = all(any(d.fits(days) for days in true) for d in said)
    return not known or (bool(meant) and not said)


def _time(frame: str, plain: str, claim: Claim, lexicon: Lexicon) -> bool:
    """Words of the wrong side of the snapshot, or none of the right one where the plain text has one."""
    said, meant = set(words(frame.replace(" to come", " ahead"))), set(words(plain))
    if claim.about == "horizon":
        compared = {"compare", "before"} & set(lexicon.concepts(plain))
        wrong = (said & (PAST if compared else BACKWARD)) - meant
        # 'never bought' says that it is the first time, not that it is past.
        perfect = DONE.search(" ".join(words(frame))) and not DONE.search(" ".join(words(plain)))
        perfect = perfect and "first" not in lexicon.concepts(plain)
        needed = next((marks for marks in (AHEAD, AHEAD | FUTURE) if meant & marks), frozenset())
        return bool(wrong or perfect or (needed and not said & needed))
    if said & (FORWARD if claim.form != INSTRUCTION else FORWARD - {"expect", "likely"}) - meant:
        return True
    return bool(meant & BEHIND and durations(plain)) and not said & BEHIND


def _repeats(frame: str, plain: str, claim: Claim, lexicon: Lexicon) -> bool:
    """A word three times, or again right after itself or the next word: what a small model does when it loops."""
    said, meant = without_spans(frame).split(), Counter(without_spans(plain).split())
    often = any(n > max(2, meant[word]) for word, n in Counter(said).items() if word not in REPEATABLE)
    pairs = Counter(pair for pair in pairwise(said) if not REPEATABLE.issuperset(pair))
    near = any(word in said[at + 1 : at + 3] and word not in REPEATABLE for at, word in enumerate(said))
    twice = lexicon.concepts(frame).count("stop") > max(1, lexicon.concepts(plain).count("stop"))
    return often or near or twice or any(n > 1 for n in pairs.values())


def _other_question(frame: str, plain: str, claim: Claim, lexicon: Lexicon) -> bool:
    """Yes or no asked as which, which as yes or no, or when as how."""
    if claim.form != INSTRUCTION:
        return False
    said = re.sub(r"\bhow (?:likely|probable)\b|\bwhat (?:is|are) the (?:chances?|odds)\b", "", " ".join(words(frame)))
    asked, meant = set(said.split()), set(words(plain))
    if (asked & NEVER) - meant:
        return True
    if claim.binary:
        return bool(asked & (OPEN | TIMED) - meant - {"name", "list"})
    if meant & (OPEN | TIMED) and not asked & (OPEN | TIMED):
        return True
    return bool(asked & TIMED - meant) and not meant & _set("day weekday time")


def _hedged(frame: str, plain: str, claim: Claim, lexicon: Lexicon) -> bool:
    return (
        claim.form != INSTRUCTION
        and bool(set(words(frame)) & HEDGES - set(words(plain)) - {"would"})
        and words(frame)[:3] != ["we", "can", "expect"]
    )


def _meant(text: str, lexicon: Lexicon) -> set[str]:
    light = (
        NEGATION_STEMS | {PLACE.lower(), "yes"} | set(map(stem, AHEAD | BEHIND | FUTURE | HEDGES | PAST | OPEN | TIMED))
    )
    found = {c for c in lexicon.concepts(text) if c not in light and c not in NUMBERS and not c.isdigit()}
    return found | {more for concept in found for more in lexicon.implied.get(concept, ())}


def _invented(frame: str, plain: str, claim: Claim, lexicon: Lexicon) -> bool:
    meant = _meant(plain, lexicon)
    beside = {more for concept in meant for more in lexicon.beside.get(concept, ())}
    return bool(_meant(frame, lexicon) - meant - beside - lexicon.added)


def _lost(frame: str, plain: str, claim: Claim, lexicon: Lexicon) -> bool:
    told = {"day", "week"} if "when" in words(frame) else set()
    return bool(_meant(plain, lexicon) - _meant(frame, lexicon) - lexicon.lost - told)


def _subject(frame: str, plain: str, claim: Claim, lexicon: Lexicon) -> bool:
    """Somebody else: 'your', or 'you' and 'we' where the user is not named."""
    said = set(words(frame))
    if said & SOMEBODY - set(words(plain)):
        return True
    spoken = words(frame)
    if any(one in {"which", "what", "name"} and lexicon.concepts(other) == ["user"] for one, other in pairwise(spoken)):
        return True
    named = "user" in lexicon.concepts(frame) or said & {"it", "they"}
    return not named and bool(said & {"you", "we", "i"}) and "user" in lexicon.concepts(plain)


def _grammar(frame: str, plain: str, claim: Claim, lexicon: Lexicon) -> bool:
    said = " ".join(words(frame))
    return any(fault.search(said) for fault in GRAMMAR) or said.count("will") > max(1, plain.lower().count("will"))


RULES: dict[str, Callable[[str, str, Claim, Lexicon], bool]] = {
    "command": lambda frame, plain, claim, lexicon: bool(COMMANDS.search(frame)) and not COMMANDS.search(plain),
    "characters": lambda frame, plain, claim, lexicon: not PLAIN_CHARACTERS.fullmatch(frame),
    "length": _length,
    "polarity": _polarity,
    "number": _numbers,
    "time": _time,
    "hedged": _hedged,
    "invented": _invented,
    "meaning lost": _lost,
    "repeats itself": _repeats,
    "other question": _other_question,
    "other subject": _subject,
    "grammar": _grammar,
    "ending": _ending,
}


def gist(text: str) -> tuple[str, ...]:
    """What near duplicates share: their words in order, articles left out."""
    return tuple(word for word in words(text) if word not in {"a", "an", "the"})
