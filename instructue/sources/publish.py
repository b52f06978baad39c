"""The `validation` stage: staged tables are judged; good rows are published, bad ones quarantined with the reason.

The judge is named in params.yaml (validation.validator) and called as
`validate(dataset, tables, texts, origins, report, max_quarantined_share, before) -> list of outcomes`; see `Outcome`.
"""

import importlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from instructue.config import Config
from instructue.errors import ConfigError, DataError, ValidationFailed
from instructue.files import replacing, write_json
from instructue.paths import Paths
from instructue.report import StageReport
from instructue.sources.ingest import write_table
from instructue.sources.readers import Reader, data_folder, origin
from instructue.sources.spec import DatasetSpec, load_dataset
from instructue.sources.staged import Staged, read_staged

NAMED = 3  # bad rows named in the error, per expectation


class Outcome(Protocol):
    """What a validator says of one expectation: rows at positions `bad` may not be published, and if a blocking
    expectation does not hold, nothing is."""

    name: str
    source: str
    sentence: str
    passed: bool
    blocking: bool
    observed: str
    expected: str
    checked: int
    failed: int
    bad: np.ndarray
    bad_values: list[str]


def validate_and_publish(config: Config, paths: Paths) -> StageReport:
    """Judge the staged tables, write the results page and the quarantine, publish what is good.

    Raises ValidationFailed, with all outcomes as `.outcomes` and the counts as `.report`, when a blocking expectation
    does not hold: what was published before then still stands. Raises DataError when `sources` has not run.
    """
    dataset = load_dataset(config.data.description())
    validate = _validator(config.validation.validator)
    tables = Staged({s.name: paths.table(s.name, staged=True) for s in dataset.sources})
    texts = read_staged(paths.texts(staged=True))
    folder = data_folder(dataset, config.data.folder)
    origins = {s.name: origin(dataset, folder, s.file) for s in dataset.sources}
    with replacing(paths.validation_report) as page:
        page.mkdir(parents=True)
        allowed = config.validation.max_quarantined_share
        outcomes = list(validate(dataset, tables, texts, origins, page, allowed, _before(paths, dataset)))
    bad = {
        name: bad_rows(table, [o for o in outcomes if o.source == name], origins[name].name)
        for name, table in tables.items()
    }
    bad = {name: _by_file(dataset, folder, name, rows) for name, rows in bad.items()}
    _write_quarantine(paths.quarantine, tables.rows, bad)
    report = _report(dataset, tables.rows, bad, outcomes, paths)
    if stopping := [o for o in outcomes if o.blocking and not o.passed]:
        failure = ValidationFailed(_message(stopping, outcomes, tables, origins, config, paths))
        failure.outcomes, failure.report = outcomes, report
        raise failure
    _publish(paths, tables, bad)
    write_json(paths.volumes(dataset.name), report.rows)
    return report


def _before(paths: Paths, dataset: DatasetSpec) -> dict[str, int]:
    """Rows per source when they were last published here; none the first time."""
    try:
        return json.loads(paths.volumes(dataset.name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _validator(name: str) -> Callable[..., Sequence[Outcome]]:
    module, function = name.split(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"validation.validator {name!r} in params.yaml cannot be loaded: {error}") from error


def bad_rows(table: pl.DataFrame, outcomes: Sequence[Outcome], file: str) -> pl.DataFrame:
    """One row per bad row of one source: position, source, file, row, rule, severity, reason, value, user, time.

    A row that breaks several rules has them all, joined by '; ', in the order of the suite.
    """
    each = [
        pl.DataFrame(
            {"position": o.bad, "value": o.bad_values}, schema={"position": pl.Int64, "value": pl.String}
        ).with_columns(
            source=pl.lit(o.source),
            rule=pl.lit(o.name),
            reason=pl.lit(o.sentence),
            severity=pl.lit("blocking" if o.blocking else "tolerated"),
        )
        for o in outcomes
        if not o.passed
    ]
    columns = [c for c in ("row", "user", "time") if c in table.columns]
    empty = pl.DataFrame(
        schema={
            c: pl.Int64 if c == "position" else pl.String
            for c in ("position", "value", "source", "rule", "reason", "severity")
        }
    )
    joined = pl.concat([empty, *[e.select(empty.columns) for e in each]]).group_by("position", maintain_order=True)
    one = joined.agg(
        pl.first("source"), *[pl.col(c).str.join("; ") for c in ("rule", "reason", "value")], pl.first("severity")
    )
    rows = table[one["position"].to_numpy()].select(columns)
    wide = pl.concat([one.with_columns(file=pl.lit(file)), rows], how="horizontal").sort("position")
    order = ["position", "source", "file", "row", "rule", "severity", "reason", "value", "user", "time"]
    return wide.select([c for c in order if c in wide.columns])


def _by_file(dataset: DatasetSpec, folder: Path, source: str, bad: pl.DataFrame) -> pl.DataFrame:
    """Bad rows of a table of several files with the file and the row in it in place of the pattern and its row."""
    table = dataset.source(source).file
    spec = dataset.table(table)
    if not bad.height or "row" not in bad.columns or (spec.file is not None and (folder / spec.file).is_file()):
        return bad
    with Reader(dataset, folder) as reader:
        return bad.with_columns(**reader.locate(table, bad["row"]).to_dict())


def _write_quarantine(folder: Path, read: dict[str, int], bad: dict[str, pl.DataFrame]) -> None:
    """A file per source with bad rows, and the counts of all."""
    with replacing(folder) as temporary:
        temporary.mkdir(parents=True)
        for name, rows in bad.items():
            if rows.height:
                write_table(rows.drop("position"), temporary / f"{name}.parquet")
        write_json(temporary / "summary.json", {name: _counts(read[name], bad[name]) for name in read})


def _counts(read: int, bad: pl.DataFrame) -> dict[str, int]:
    return {"read": read, "kept": read - bad.height, "quarantined": bad.height}


def _publish(paths: Paths, tables: Staged, bad: dict[str, pl.DataFrame]) -> None:
    """All good rows, as one folder moved into place. Raises DataError if a row was lost or doubled on the way."""
    with replacing(paths.sources) as temporary:
        temporary.mkdir(parents=True)
        shutil.copyfile(paths.texts(staged=True), temporary / "texts.parquet")
        for name, read in tables.rows.items():
            target, rows = temporary / f"{name}.parquet", bad[name]
            if rows.height:
                keep = np.ones(read, bool)
                keep[rows["position"].to_numpy()] = False
                write_table(tables[name].filter(pl.Series(keep)), target)
            else:
                shutil.copyfile(paths.table(name, staged=True), target)
            set_aside = paths.quarantine / f"{name}.parquet"
            parted = [_height(target), _height(set_aside) if rows.height else 0]
            if sum(parted) != read:
                raise DataError(
                    f"source {name!r}: {read} rows were read, but {parted[0]} kept + {parted[1]} quarantined"
                )


def _height(path: Path) -> int:
    return pl.scan_parquet(path).select(pl.len()).collect().item()


def _report(
    dataset: DatasetSpec,
    read: dict[str, int],
    bad: dict[str, pl.DataFrame],
    outcomes: Sequence[Outcome],
    paths: Paths,
) -> StageReport:
    report = StageReport("validation", links={"page": str(paths.validation_report / "index.html")})
    for source in dataset.sources:
        name = source.name
        own, counts = [o for o in outcomes if o.source == name], _counts(read[name], bad[name])
        broken = {
            "failed": sum(not o.passed and o.blocking for o in own),
            "warned": sum(not o.passed and not o.blocking for o in own),
        }
        rows = [
            {
                "rule": o.name,
                "expectation": o.sentence,
                "severity": "blocking" if o.blocking else "warning",
                "passed": o.passed,
                "observed": o.observed,
                "failed": o.failed,
            }
            for o in own
        ]
        metrics: dict[str, float] = {**counts, "expectations": len(own), **broken}
        report.parts[name] = StageReport(
            "validation",
            rows={name: counts["kept"]},
            metrics=metrics,
            tables={"expectations": rows},
            links={"page": f"{report.links['page']}#{name}"},
        )
        report.rows[name] = counts["kept"]
        for key, value in metrics.items():
            report.metrics[key] = report.metrics.get(key, 0) + value
    return report


def _message(
    stopping: Sequence[Outcome],
    outcomes: Sequence[Outcome],
    tables: Mapping[str, pl.DataFrame],
    origins: dict[str, Path],
    config: Config,
    paths: Paths,
) -> str:
    """What stopped the chain: source, file, rows, rule, reason, and the mend."""
    lines = [f"validation stopped, nothing was published: {len(stopping)} of {len(outcomes)} expectations block"]
    rows_only = [o for o in stopping if len(o.bad)]
    # Where rows are named, the share that they make up says nothing new.
    shares = {o.source for o in rows_only}
    said = ""
    for outcome in (o for o in stopping if len(o.bad) or o.source not in shares or o.name != "quarantined_share"):
        if outcome.source != said:
            said = outcome.source
            lines.append(f"  source {said!r} from {origins[said]}")
        lines.append(f"    rule {outcome.name}: {outcome.sentence}; found {outcome.observed}")
        if len(outcome.bad):
            lines[-1] += f"; rows that break it: {outcome.failed:,} of {outcome.checked:,}"
        lines += [f"      {line}" for line in _first_rows(tables[outcome.source], outcome)]
    if rows_only:
        lines.append(f"  all bad rows, with reasons: {paths.quarantine}")
    lines.append(f"  results page: {paths.validation_report / 'index.html'}")
    mend = "Mend the file and run `sources` and `validation` again"
    if all(len(o.bad) or o.name == "quarantined_share" for o in stopping):
        share = config.validation.max_quarantined_share
        mend += f", or raise validation.max_quarantined_share (now {share:g}) to go on without these rows"
    return "\n".join([*lines, f"{mend}."])


def _first_rows(table: pl.DataFrame, outcome: Outcome) -> list[str]:
    """The first bad rows by their number in the file, from 0."""
    columns = [c for c in ("row", "user", "time") if c in table.columns]
    found = table[outcome.bad].select(columns).with_columns(value=pl.Series(outcome.bad_values, dtype=pl.String))
    lines = [
        f"row {r.get('row')}: {r['value']} (" + ", ".join(f"{c} {r[c]}" for c in columns[1:]) + ")"
        for r in found.sort(columns[0]).head(NAMED).to_dicts()
    ]
    return [*lines, f"and {len(outcome.bad) - NAMED:,} more"] if len(outcome.bad) > NAMED else lines
