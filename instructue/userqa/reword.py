"""Asks the teacher for other wordings of each kind's templates and keeps those that pass every check.

A template is worded once with an example value in its slot, not once per triplet: thousands of triplets cost a few
hundred short completions. The plain template always stays as the first wording.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from instructue.config import UserQAConfig
from instructue.sources.spec import DatasetSpec, FactSpec
from instructue.userqa.prompts import STARTS, quoted, reword
from instructue.userqa.schema import INSTRUCTION
from instructue.userqa.teacher import CachedTeacher, Decoding
from instructue.userqa.verify import Claim, check, gist
from instructue.userqa.wording import templates

Rejection = tuple[str, str, str]  # text, kind, reason


@dataclass(frozen=True)
class Ask:
    """One template to be worded: its kind and form, the example put into its slot, the claim to check against."""

    fact: FactSpec
    form: str
    template: str
    slot: str  # "{value}", "{answer}" or ""
    claim: Claim
    who: str

    @property
    def starts(self) -> list[str]:
        asks = "ask whether" if self.fact.binary else "ask what"
        chosen = STARTS[asks if self.form == INSTRUCTION else self.form if self.fact.binary else "answer"]
        side = "last" if self.fact.about == "history" else "next"
        return [start.format(who=self.who, side=side) for start in chosen]

    def candidates(self, wordings: int) -> int:
        """Instructions need variety most: answers get half as many."""
        return wordings if self.form == INSTRUCTION else -(-wordings // 2)

    @property
    def sentence(self) -> str:
        """The plain text with its example as quoted data."""
        return self.template.replace(self.slot, quoted(self.claim.value)) if self.slot else self.claim.plain


def asks(facts: Iterable[FactSpec], dataset: DatasetSpec, chosen: pl.DataFrame) -> list[Ask]:
    """Every template of every kind, each with an example from the chosen facts."""
    out = []
    for fact in facts:
        rows = chosen.filter(pl.col("kind") == fact.name)
        answers = tuple(rows["answer"].drop_nulls().unique().sort().to_list()) if fact.shape != "top" else ()
        for form, template in templates(fact, dataset).items():
            slot = next((s for s in ("{value}", "{answer}") if s in template), "")
            example = _example(rows[slot.strip("{}")]) if slot else ""
            plain = template.replace(slot, example) if slot else template
            told = answers if form == INSTRUCTION else ()
            out.append(
                Ask(fact, form, template, slot, Claim(form, plain, fact.about, example, fact.binary, told), dataset.who)
            )
    return out


def _example(values: pl.Series) -> str:
    """The most usual value, short and plain if there is one: the teacher copies such words most faithfully."""
    counted = values.drop_nulls().value_counts(sort=True, name="n").sort(["n", values.name], descending=[True, False])
    easy = counted.filter(pl.col(values.name).str.contains(r"^[a-z]+( [a-z]+)?$"))
    return str((easy if easy.height else counted)[values.name][0])


def reworded(
    wanted: list[Ask], teacher: CachedTeacher, config: UserQAConfig, catalogue: frozenset[str] = frozenset()
) -> tuple[dict[str, dict[str, list[str]]], list[Rejection], dict[str, float]]:
    """Accepted templates by kind and form, plain first; the rejections; and how many were asked, accepted, per side."""
    jobs = [(ask, ask.starts[i % len(ask.starts)]) for ask in wanted for i in range(ask.candidates(config.wordings))]
    decoding = Decoding(config.max_new_tokens, config.temperature, config.seed)
    texts = teacher.complete([reword(ask.form, ask.sentence, start) for ask, start in jobs], decoding)
    wordings: dict[str, dict[str, list[str]]] = {}
    for ask in wanted:
        wordings.setdefault(ask.fact.name, {})[ask.form] = [ask.template]
    rejections: list[Rejection] = []
    counts: dict[str, float] = dict.fromkeys(
        ("instructions_asked", "instructions_accepted", "answers_asked", "answers_accepted"), 0
    )
    for (ask, start), text in zip(jobs, texts, strict=True):
        side = "instructions" if ask.form == INSTRUCTION else "answers"
        counts[f"{side}_asked"] += 1
        kept = wordings[ask.fact.name][ask.form]
        template, reason = judged(ask, (start + text).strip(), kept, catalogue)
        if reason:
            rejections.append((template, ask.fact.name, reason))
        else:
            counts[f"{side}_accepted"] += 1
            kept.append(template)
    return wordings, rejections, counts


def judged(ask: Ask, text: str, kept: list[str], catalogue: frozenset[str] = frozenset()) -> tuple[str, str | None]:
    """The text with its example turned back into a slot, and why it is refused, if it is."""
    text = " ".join(text.replace('"', "").split())
    reason = check(text, ask.claim, catalogue)
    template = text.replace(ask.claim.value, ask.slot) if ask.slot else text
    if reason is None and ("{" in template.replace(ask.slot, "") if ask.slot else "{" in template):
        reason = "characters"
    if reason is None and gist(template) in {gist(other) for other in kept}:
        reason = "duplicate"
    return template, reason
