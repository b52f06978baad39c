"""`python -m instructue init`: propose a description of a team's files or database, checked by reading through it."""

import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from instructue.errors import ConfigError, DataError, InstructUEError
from instructue.files import replacing
from instructue.sources.events import tidy
from instructue.sources.init.ahead import look_ahead
from instructue.sources.init.columns import snake
from instructue.sources.init.describe_yaml import params_of, tasks_of, yaml_of
from instructue.sources.init.guess import propose
from instructue.sources.init.tables import bare, find_tables, look_at
from instructue.sources.readers import Reader, data_folder
from instructue.sources.spec import DatasetSpec, read_dataset

CHECKED = 10_000  # rows read of each source to check the proposal
SCHEMA = Path(__file__).parent.parent.parent / "datasets" / "dataset.schema.json"


@dataclass(frozen=True)
class Proposal:
    """What init made: the description's text and its spec, and texts per source."""

    yaml: str
    dataset: DatasetSpec
    samples: dict[str, list[str]]


def init(place: str, out: Path) -> Proposal:
    """Propose a description of the files or tables at `place`, and write it to `out`; beside it tasks and params.

    `place`: a folder, a DuckDB or SQLite file, or env:VARIABLE that holds a PostgreSQL URL. The description has been
    loaded, and rows read through it. Raises ConfigError if nothing looks like users' events, or if `out` is there.
    """
    if out.suffix != ".yaml":
        raise ConfigError(f"--out {out}: a description is a .yaml file")
    if there := [p for p in (out, *beside(out)) if p.exists()]:
        raise ConfigError(f"{there[0]} is there already; remove it or give another name with --out")
    folder, places = find_tables(place)
    with Reader(bare(folder, places), Path(folder)) as reader:
        tables = look_at(reader)
        sources = propose(reader, tables)
        if not sources or not sources[0].events:
            raise DataError(f"the events of {place} have no column that an event's text could be made of")
        ahead = look_ahead(reader, [s for s in sources if s.events])
    from_here = os.path.relpath(folder, out.parent.resolve() if out.parent != Path() else Path())
    text = yaml_of(snake(out.stem), from_here, tables, sources, ahead, str(SCHEMA.resolve()))
    with replacing(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
        # Beside its place, so that relative paths mean the same.
        checked = temporary.rename(temporary.with_name(f"{temporary.name}.yaml"))
        try:
            dataset = read_dataset(checked)
            samples = sample_texts(dataset)
        except InstructUEError as error:
            kept = out.with_name(f"{out.stem}.rejected.yaml")
            checked.replace(kept)
            raise DataError(f"the proposal does not work: {error}\nIt is kept as {kept}; mend it there") from error
        checked.rename(temporary)
    for path, said in zip(beside(out), (tasks_of(sources, ahead), params_of(out.stem, ahead)), strict=True):
        with replacing(path) as temporary:
            temporary.write_text(said, encoding="utf-8")
    return Proposal(text, read_dataset(out), samples)


def beside(out: Path) -> tuple[Path, Path]:
    """Where the tasks and the changes to params.yaml go."""
    return out.with_suffix(".tasks.yaml"), out.with_suffix(".params.yaml")


def default_out(place: str) -> Path:
    """NAME.yaml in the current folder, by the name of the folder, file or variable."""
    name = place.removeprefix("env:") if place.startswith("env:") else Path(place).resolve().stem
    return Path(f"{snake(name)}.yaml")


def sample_texts(dataset: DatasetSpec, most: int = 5, rows: int = CHECKED) -> dict[str, list[str]]:
    """Texts of each source as events of its first `rows` rows read, the most frequent first.

    Raises DataError or ConfigError as Reader.rows, and if a source gives no rows.
    """
    samples = {}
    with Reader(dataset, data_folder(dataset)) as reader:
        for source in dataset.sources:
            limited = source.model_copy(update={"query": f"select * from ({source.query}) limit {rows}"})
            events, texts = tidy(dataset, source, reader.rows(limited))
            if not events.height:
                raise DataError(f"source {source.name!r} gives no rows")
            on = ["attribute", "value"] if source.kind == "attributes" else source.attributes
            often = events.group_by(on).agg(pl.len().alias("times")).join(texts, on=on)
            samples[source.name] = often.sort(["times", "text"], descending=[True, False])["text"].head(most).to_list()
    return samples


def show(proposal: Proposal, out: Path) -> str:
    """What init says to a person: where the description is, how its events read, what to do next."""
    lines = [f"wrote {out}, loaded it and read rows through it; wrote {', '.join(map(str, beside(out)))}", ""]
    for source in proposal.dataset.sources:
        lines.append(f"{source.name} ({source.kind}), texts:")
        lines += [f"  {text}" for text in proposal.samples[source.name]]
    checks = [f"  line {n}: {line.strip()}" for n, line in enumerate(proposal.yaml.splitlines(), 1) if "CHECK" in line]
    lines += ["", f"check these lines of {out}:", *checks[1:]]
    counted = beside(out)[0].read_text(encoding="utf-8").splitlines()[1]
    lines += ["", f"{beside(out)[0]}: {counted.removeprefix('# ')}"]
    return "\n".join(
        [*lines, "", f"next: python -m instructue describe {out}", f"then: make run DATASET={out.with_suffix('')}"]
    )
