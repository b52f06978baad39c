"""What is asked of the teacher: a template, the example in its slot, and the prompts that show it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import polars as pl

from instructue.config import UserQAConfig
from instructue.sources.spec import DatasetSpec, FactSpec
from instructue.userqa.lexicon import Lexicon
from instructue.userqa.nouns import Nouns, nouns_of
from instructue.userqa.prompts import STARTS, quoted, reword
from instructue.userqa.schema import INSTRUCTION
from instructue.userqa.verify import Claim
from instructue.userqa.wording import span, templates

ROUNDS = 8
VARIANTS = 4  # sentences shown to the teacher for one template: prompts of one sentence share its reading
SPARE = 1.5  # asked for each wording that is missing: some are refused


@dataclass(frozen=True)
class Ask:
    """One template to be worded: its kind and form, the example put into its slot, the claim to check against."""

    fact: FactSpec
    form: str
    template: str
    slot: str  # "{value}", "{answer}" or ""
    claim: Claim
    who: str
    nouns: Nouns

    @property
    def starts(self) -> list[str]:
        asks = "ask whether" if self.fact.binary else "ask what"
        form = asks if self.form == INSTRUCTION else self.form if self.fact.binary else "answer"
        window = span(self.fact.days)
        said = [s for s in STARTS[form, self.fact.about] if window or "{span}" not in s]
        return [start.format(who=self.who, span=window) for start in said]

    @property
    def templates(self) -> list[str]:
        """The plain template, and for an instruction the other ways that the fact names."""
        named = {"who": self.who, "span": span(self.fact.days), "value": "{value}"}
        return [self.template, *(text.format(**named) for text in self.fact.also if self.form == INSTRUCTION)]

    @property
    def sentences(self) -> list[str]:
        """The same with the example as quoted data, as the teacher sees it."""
        return [s.replace(self.slot, quoted(self.claim.value)) if self.slot else s for s in self.templates]

    def wanted(self, wordings: int) -> int:
        """Instructions need variety most: answers get a quarter as many."""
        return wordings if self.form == INSTRUCTION else -(-wordings // 4)

    def first(self, config: UserQAConfig, lexicon: Lexicon) -> list[str]:
        """The prompts of the first round."""
        source = self.prompts(lexicon, config.seed)
        return [next(source)[0] for _ in range(self.asked(self.wanted(config.wordings), 0))]

    def asked(self, missing: int, turn: int) -> int:
        """How many candidates to ask for in a round: more each time, as some are refused."""
        return round(max(missing, 0) * (SPARE + turn)) if turn < self.rounds else 0

    @property
    def rounds(self) -> int:
        """How often what is missing is asked for again."""
        return ROUNDS if self.form == INSTRUCTION else 2

    def prompts(self, lexicon: Lexicon, seed: int) -> Iterator[tuple[str, str]]:
        """(prompt, its forced beginning) without end: every start with every variant of the sentence, mixed."""
        sentences = self.sentences
        others = [v for s in sentences for v in lexicon.variants(s, self.who, self.fact.days)][1:]
        rng = np.random.default_rng([seed, len(others)])
        picked = rng.permutation(len(others))[: VARIANTS - len(sentences)]
        pairs = list(product(self.starts, dict.fromkeys([*sentences, *(others[place] for place in sorted(picked))])))
        while True:
            # Each start in turn, each time with another variant: the first few already differ.
            order = rng.permutation(len(pairs))
            turn: Counter[str] = Counter()
            ranked = []
            for place in order:
                turn[pairs[place][0]] += 1
                ranked.append((turn[pairs[place][0]], place))
            for _, place in sorted(ranked):
                start, variant = pairs[place]
                yield reword(self.form, variant, start), start


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
            claim = Claim(form, plain, fact.about, example, fact.binary, told, fact.days)
            out.append(Ask(fact, form, template, slot, claim, dataset.who, nouns_of(fact, dataset)))
    return out


def _example(values: pl.Series) -> str:
    """The most usual value, short and plain if there is one: the teacher copies such words most faithfully."""
    counted = values.drop_nulls().value_counts(sort=True, name="n").sort(["n", values.name], descending=[True, False])
    for plain in (r"^[a-z]+( [a-z]+)?$", r"^[a-z ]+(, [a-z ]+)* and [a-z ]+$"):
        easy = counted.filter(pl.col(values.name).str.contains(plain))
        if easy.height:
            return str(easy[values.name][0])
    return str(counted[values.name][0])
