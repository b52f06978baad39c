"""The userqa stage: facts computed, sampled, worded, every text verified against its fact, one table written."""

import re
import sys
from dataclasses import dataclass, field

import polars as pl

from instructue.config import Config, UserQAConfig
from instructue.files import replacing, write_json
from instructue.models.text_encoder import TextEncoder
from instructue.paths import Paths
from instructue.report import StageReport
from instructue.sources.ingest import write_table
from instructue.sources.spec import FactSpec
from instructue.sources.tables import Tables, load_tables
from instructue.userqa.ask import asks
from instructue.userqa.card.write import write_card
from instructue.userqa.estimate import foreseen
from instructue.userqa.facts import Facts
from instructue.userqa.lexicon import Lexicon
from instructue.userqa.own import Own, own_pairs, own_templates, with_all_kinds
from instructue.userqa.pairs import with_pairs
from instructue.userqa.reword import Rejection, reworded
from instructue.userqa.sample import choose
from instructue.userqa.schema import REJECTION_COLUMNS, REJECTIONS, TABLE, WORDINGS
from instructue.userqa.teachers import open_teacher
from instructue.userqa.texts import finished, verified, worded
from instructue.userqa.windows import check_triplets, training_examples
from instructue.userqa.wording import plain_wordings

SPENT = ("calls", "cache_hits", "generated_tokens")  # by this run: another run of the same version spends less
COUNTED = (*SPENT, "completions", "completion_tokens")


@dataclass
class Worded:
    """What kinds may be worded with: kind -> form -> templates, what was refused, and figures of the teacher."""

    wordings: dict[str, dict[str, list[str]]]
    rejections: list[Rejection] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


def build_userqa(config: Config, paths: Paths) -> StageReport:
    """Write triplets.parquet, wordings.json, rejections.parquet and the data card; returns the card's figures.

    Raises LeakageError if a fact looks outside its window or asks what a task predicts, ConfigError if facts or a
    team's own file are described wrongly, DataError naming what a pair or a server got wrong.
    """
    knobs = config.userqa
    tables, own, asked, chosen = find_facts(config, paths)
    catalogue, lexicon = known_values(tables), Lexicon.of(tables.dataset)
    said = find_wordings(asked, tables, chosen, knobs, paths, lexicon, catalogue)
    team = own_templates(own, tables.dataset.model_copy(update={"facts": asked}))
    for kind, forms in team.items():
        for form, texts in forms.items():
            said.wordings[kind][form][1:1] = texts
    rows = worded(tables, asked, chosen, said.wordings, knobs.seed, team)
    rows, refused = verified(rows, {fact.name: fact for fact in asked}, catalogue, lexicon)
    pairs, unplaced = own_pairs(own, tables)
    triplets = with_pairs(finished(rows, asked, tables.dataset.timezone), pairs)
    check_triplets(triplets, tables.histories)
    rejections = pl.DataFrame([*said.rejections, *refused, *unplaced], schema=REJECTION_COLUMNS, orient="row")
    metrics = said.metrics | {"refused_when_filled": len(refused)}
    lasting = {name: value for name, value in metrics.items() if name not in SPENT}
    report, versions = paths.userqa_report, paths.userqa_versions
    card = write_card(triplets, asked, said.wordings, rejections, lasting, tables, report, versions, knobs.seed)
    with replacing(paths.userqa) as temporary:
        temporary.mkdir(parents=True)
        write_table(triplets, temporary / TABLE)
        write_table(rejections, temporary / REJECTIONS)
        write_json(temporary / WORDINGS, said.wordings)
    return StageReport(
        "userqa",
        rows={"triplets": triplets.height, "rejections": rejections.height},
        metrics=metrics | card.metrics,
        tables=card.tables,
        links=card.links,
    )


def estimate(config: Config, paths: Paths) -> str:
    """What the stage would ask of the teacher; writes nothing."""
    teacher = open_teacher(config.userqa, paths) if config.userqa.wordings else None
    if teacher is None:
        return "userqa.teacher is template, or no wordings are wanted: no model is asked"
    tables, _, asked, chosen = find_facts(config, paths)
    return foreseen(asks(asked, tables.dataset, chosen), config.userqa, teacher, Lexicon.of(tables.dataset))


def find_facts(config: Config, paths: Paths) -> tuple[Tables, Own, list[FactSpec], pl.DataFrame]:
    """The tables with all kinds described, a team's own file, the kinds that are asked, and the facts chosen."""
    tables, kept, own = with_all_kinds(
        load_tables(config, paths), config.data.description(), config.userqa.own, paths.root
    )
    seed = config.userqa.seed
    asked, chosen = choose(Facts(tables, training_examples(tables), seed, kept), config.userqa.triplets, seed)
    return tables, own, asked, chosen


def find_wordings(
    asked: list[FactSpec],
    tables: Tables,
    chosen: pl.DataFrame,
    knobs: UserQAConfig,
    paths: Paths,
    lexicon: Lexicon,
    catalogue: frozenset[str],
) -> Worded:
    """The plain templates, and the teacher's wordings of them if there is one."""
    teacher = open_teacher(knobs, paths) if knobs.wordings else None
    if teacher is None:
        return Worded(plain_wordings(asked, tables.dataset))
    wanted = asks(asked, tables.dataset, chosen)
    print(foreseen(wanted, knobs, teacher, lexicon), file=sys.stderr, flush=True)
    found = reworded(wanted, teacher, knobs, lexicon, catalogue, TextEncoder.of(paths).encode)
    figures: dict[str, float] = dict(found.counts)
    figures |= {name: getattr(teacher, name) for name in COUNTED}
    figures["wording_seconds"] = round(teacher.seconds, 1)
    return Worded(found.wordings, found.rejections, figures)


def known_values(tables: Tables) -> frozenset[str]:
    """Every value of every attribute of the event sources, lower case: what a text must not mention by the way."""
    named = {attribute for source in tables.dataset.event_sources for attribute in source.attributes}
    return frozenset(
        v.lower()
        for name in sorted(named)
        for v in tables.texts[name].drop_nulls().unique().to_list()
        if re.search("[a-z]{3}", v.lower())
    )
