"""From a row of the table to Dagster assets: one op per stage, whatever the number of its outputs."""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from instructue.errors import InstructUEError, ValidationFailed
from instructue.show import summary
from instructue.telemetry import hub_off
from orchestration import checks, metadata, records
from orchestration.assets.table import OWNERS, Made, Row
from orchestration.pipeline import Pipeline
from orchestration.processes import run_function
from orchestration.resources import Project, StageConfig
from orchestration.versioning import Done, Version, run_stage

log = logging.getLogger("instructue.run")


def build(row: Row, by_stage: dict[str, Row], pipeline: Pipeline) -> dg.AssetsDefinition:
    """The assets of one stage. Their upstream is what dvc.yaml says that the stage reads."""
    upstream = [made.key for stage in pipeline.upstream(row.stage) for made in by_stage[stage].assets]
    code = pipeline.code_version(row.stage)
    specs = [
        dg.AssetSpec(
            list(made.key),
            deps=[list(key) for key in ([made.after] if made.after else upstream)],
            code_version=code,
            group_name=row.group,
            kinds=set(row.kinds),
            owners=list(OWNERS),
            description=made.description,
            metadata={"stage": row.stage, "made by": pipeline.steps[row.stage].cmd},
        )
        for made in row.assets
    ]
    judged = [
        dg.AssetCheckSpec(
            checks.NAME, asset=list(made.key), blocking=True, description="No blocking expectation is broken."
        )
        for made in row.assets
        if made.judged
    ]

    @dg.multi_asset(name=row.stage, specs=specs, check_specs=judged, can_subset=False)
    def stage(
        context: dg.AssetExecutionContext, config: StageConfig, project: Project
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from make(row, project, context, rerun=config.rerun)

    return stage


def make(
    row: Row, project: Project, context: dg.AssetExecutionContext, *, rerun: bool = False
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Make one stage up to date and report each of its assets; on a failure no asset counts as materialised."""
    try:
        done, record = _run(row, project, context, rerun)
    except InstructUEError as error:
        if isinstance(error, ValidationFailed) and row.judge is not None:
            suites = error.suites if isinstance(error, checks.Unfit) else row.judge(project.config(), project.paths)
            yield from (checks.result(key, suite) for key, suite in _judged(row, suites))
        raise dg.Failure(f"{row.stage}: {error}", allow_retries=False) from error
    verdicts = dict(_judged(row, record.suites))
    for made in row.assets:
        key = dg.AssetKey(list(made.key))
        yield dg.MaterializeResult(
            asset_key=key,
            data_version=dg.DataVersion(_hash(made, done.version)),
            metadata=_metadata(made, done, record, project.paths.root),
            check_results=[checks.result(key, verdicts[key])] if key in verdicts else [],
        )


def _run(row: Row, project: Project, context: dg.AssetExecutionContext, rerun: bool) -> tuple[Done, records.Record]:
    """Run the stage, or find it up to date. Raises InstructUEError."""
    paths = project.paths

    def work() -> records.Record:
        config = project.config()  # read in here, where an edit meanwhile is noticed
        hub_off(config.base_models.language.source, config.base_models.text_encoder.source)
        log.info("%s ...", row.stage)
        started = time.monotonic()
        report = run_function(row.stage, config, paths, context)
        seconds = time.monotonic() - started
        log.info("%s", "\n".join(summary(report, seconds)))
        # Judged before it becomes a version: what is unfit is never recorded.
        return records.Record(report, _judge(row, project), seconds)

    with contextlib.chdir(paths.root):  # so that folders named in params.yaml are relative to the root
        done = run_stage(paths.root, row.stage, work, force=rerun)
        if done.reused:
            log.info("%s: up to date", row.stage)
        record = done.result or records.load(paths, done.version)
        if record is None:  # made by `dvc repro`, which leaves no record
            record = records.Record(suites=_judge(row, project))
    records.save(paths, done.version, record)
    return done, record


def _judge(row: Row, project: Project) -> dict[str, records.Suite]:
    """The verdicts on what lies there now. Raises Unfit."""
    suites = row.judge(project.config(), project.paths) if row.judge else {}
    if not checks.is_fit(suites):
        raise checks.Unfit(suites)
    return suites


def _judged(row: Row, suites: dict[str, records.Suite]) -> list[tuple[dg.AssetKey, records.Suite]]:
    return [(dg.AssetKey(list(made.key)), suites[made.name]) for made in row.assets if made.judged]


def _hash(made: Made, version: Version) -> str:
    """DVC's hash of the asset's own file, or of all that the stage made."""
    return version.files.get(made.table, version.id) if made.own and made.table else version.id


def _metadata(made: Made, done: Done, record: records.Record, root: Path) -> dict[str, Any]:
    found = metadata.parquet(root / made.table) if made.table else {}
    if record.report is not None:
        said = record.report.parts.get(made.name) if made.own else record.report
        found |= metadata.report(said, root) if said is not None else {}
    found |= {"dvc hash": _hash(made, done.version), "dvc bytes": done.version.bytes, "reused": done.reused}
    if record.seconds is not None:
        found["seconds"] = round(record.seconds, 2)
    return found
