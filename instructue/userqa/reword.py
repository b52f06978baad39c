"""Asks the teacher for other wordings of each kind's templates and keeps those that pass every check.

A template is worded with an example value in its slot, not once per triplet: thousands of triplets cost a few thousand
short completions. What is shown to the teacher is the template with phrases swapped for others that mean the same, and
what it writes begins as it is told to; so even a small model's sentences differ. Whoever is refused is asked for again
in the next round. Templates that differ in nouns alone are asked for once (alike.py). The plain template always stays
as the first wording.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from instructue.config import UserQAConfig
from instructue.userqa.alike import carried, families, speaker
from instructue.userqa.ask import ROUNDS, Ask
from instructue.userqa.lexicon import Lexicon
from instructue.userqa.schema import INSTRUCTION
from instructue.userqa.teacher import CachedTeacher, Decoding
from instructue.userqa.verify import check, framed, gist

Rejection = tuple[str, str, str]  # text, kind, reason
NEAR = 0.995  # cosine from which two wordings of one template are the same
Encode = Callable[[list[str]], np.ndarray]  # texts -> unit vectors [texts, width]


@dataclass
class Outcome:
    """wordings: kind -> form -> accepted templates, plain first; what was refused; counts per side."""

    wordings: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    carried: set[tuple[str, str, str]] = field(default_factory=set)  # kind, form, text: asked for another template
    near: set[tuple[str, str, str]] = field(default_factory=set)  # taken out again

    def of(self, ask: Ask) -> list[str]:
        """What is accepted for one template, itself first."""
        return self.wordings[ask.fact.name][ask.form]


def reworded(
    wanted: list[Ask],
    teacher: CachedTeacher,
    config: UserQAConfig,
    lexicon: Lexicon,
    catalogue: frozenset[str] = frozenset(),
    encode: Encode | None = None,
) -> Outcome:
    """Wordings of every template, up to config.wordings of each; the rejections; and how many were asked, accepted.

    encode, if given, finds wordings that differ in letters only.
    """
    decoding = Decoding.of(config)
    found = Outcome()
    for ask in wanted:
        found.wordings.setdefault(ask.fact.name, {})[ask.form] = [ask.template]
    sources = {id(ask): ask.prompts(lexicon, config.seed) for ask in wanted}
    related = families(wanted)
    vectors: dict[str, np.ndarray] = {}

    def lacking(ask: Ask) -> int:
        return ask.wanted(config.wordings) + 1 - len(found.of(ask))

    for turn in range(ROUNDS):
        jobs = []
        for ask in (ask for family in related for ask in speaker(family, lacking, turn)):
            jobs += [(ask, *next(sources[id(ask)])) for _ in range(ask.asked(lacking(ask), turn))]
        if not jobs:
            break
        texts = teacher.complete([prompt for _, prompt, _ in jobs], decoding)
        _keep(jobs, texts, found, config, lexicon, catalogue)
        for family in related:
            _carry(family, found, lacking, lexicon, catalogue)
        if encode is not None:
            _without_near(wanted, found, encode, vectors)
    return found


def _carry(family: list[Ask], found: Outcome, lacking: Callable[[Ask], int], lexicon: Lexicon, catalogue) -> None:
    """What one of a family has, for the others."""

    def judge(ask: Ask, text: str, kept: list[str]) -> tuple[str, str | None]:
        template, reason = judged(ask, text, kept, lexicon, catalogue)
        taken_out = (ask.fact.name, ask.form, template) in found.near
        return template, "near duplicate" if taken_out else reason

    for ask in family:
        taken = carried(family, ask, found.of, lacking(ask), judge)
        found.of(ask).extend(taken)
        found.carried |= {(ask.fact.name, ask.form, text) for text in taken}


def _keep(jobs, texts: list[str], found: Outcome, config: UserQAConfig, lexicon: Lexicon, catalogue) -> None:
    for (ask, _, start), text in zip(jobs, texts, strict=True):
        side = "instructions" if ask.form == INSTRUCTION else "answers"
        kept = found.wordings[ask.fact.name][ask.form]
        if len(kept) > ask.wanted(config.wordings):
            continue
        found.counts[f"{side}_asked"] += 1
        template, reason = judged(ask, (start + text).strip(), kept, lexicon, catalogue)
        if reason:
            found.rejections.append((template, ask.fact.name, reason))
        else:
            kept.append(template)
            found.counts[f"{side}_accepted"] += 1


def judged(
    ask: Ask, text: str, kept: list[str], lexicon: Lexicon, catalogue: frozenset[str] = frozenset()
) -> tuple[str, str | None]:
    """The text with its example turned back into a slot, and why it is refused, if it is."""
    text = " ".join(text.replace('"', "").split())
    if not (ask.slot and text.startswith(ask.claim.value)):  # what fills a slot in front is capitalised later
        text = text[:1].upper() + text[1:]
    reason = check(text, ask.claim, catalogue, lexicon)
    template = text.replace(ask.claim.value, ask.slot) if ask.slot else text
    if reason is None and _reordered(ask, text, lexicon):
        reason = "order"
    if reason is None and ask.slot and ask.slot not in template:
        reason = "slot missing"
    if reason is None and ("{" in template.replace(ask.slot, "") if ask.slot else "{" in template):
        reason = "characters"
    if reason is None and gist(template) in {gist(other) for other in kept}:
        reason = "duplicate"
    return template, reason


def _reordered(ask: Ask, text: str, lexicon: Lexicon) -> bool:
    """Whether an open answer says the same concepts in another order: a small model swaps who does what to whom."""
    if ask.form == INSTRUCTION or ask.fact.binary:
        return False
    said, meant = (lexicon.concepts(framed(part, ask.claim.value)[0]) for part in (text, ask.claim.plain))
    ignored = lexicon.lost | lexicon.added
    shared = {*said} & {*meant} - ignored
    return [c for c in said if c in shared] != [c for c in meant if c in shared]


def _without_near(wanted: list[Ask], found: Outcome, encode: Encode, vectors: dict[str, np.ndarray]) -> None:
    """Take out wordings whose vector is nearly that of an earlier one of the same template; `vectors` grows."""
    texts = [t for ask in wanted for t in found.wordings[ask.fact.name][ask.form]]
    if new := [text for text in dict.fromkeys(texts) if text not in vectors]:
        vectors |= dict(zip(new, encode(new), strict=True))
    for ask in wanted:
        kept: list[str] = []
        for text in found.wordings[ask.fact.name][ask.form]:
            if kept and max(float(vectors[text] @ vectors[other]) for other in kept) > NEAR:
                found.near.add((ask.fact.name, ask.form, text))
                if (ask.fact.name, ask.form, text) not in found.carried:
                    found.rejections.append((text, ask.fact.name, "near duplicate"))
                    found.counts[f"{'instructions' if ask.form == INSTRUCTION else 'answers'}_accepted"] -= 1
            else:
                kept.append(text)
        found.wordings[ask.fact.name][ask.form] = kept
