"""The whole chain in this process, recorded in the project's Dagster instance: what `make run` does."""

import os
import time
from pathlib import Path

import dagster as dg

from instructue.errors import ConfigError
from instructue.paths import Paths
from instructue.show import print_results
from orchestration.assets import load_rows
from orchestration.assets.table import Row
from orchestration.definitions import define
from orchestration.resources import rerunning


def run_chain(root: Path, selected: list[str], *, force: bool = False, refresh: bool = False) -> int:
    """Make the selected stages or assets (none: all) up to date. Prints what came of it; 0 if all went well."""
    started = time.monotonic()
    _, rows = load_rows(root)
    chosen = choose(rows, selected)
    rerun = [row.stage for row in chosen] if force else ["sources"] if refresh else []
    with dg.DagsterInstance.get() as instance:
        result = execute(root, instance, chosen, rerun)
    if not result.success:
        for event in result.all_events:
            if event.is_step_failure:
                print(f"\n{what_failed(event)}")
        print("\nThe chain stopped there; what was made before is kept. Mend the cause and run the same command again.")
        return 1
    reused = {reused_stage(e) for e in result.all_events if e.is_step_materialization} - {None}
    _conclude(root, chosen, reused, time.monotonic() - started)
    return 0


def choose(rows: list[Row], selected: list[str]) -> list[Row]:
    """The rows of the named stages or assets; an asset stands for all that its stage makes. Raises ConfigError."""
    if not selected:
        return rows
    names = {row.stage: {row.stage, *("/".join(made.key) for made in row.assets)} for row in rows}
    known = set().union(*names.values())
    if unknown := sorted(set(selected) - known):
        raise ConfigError(f"no stage or asset {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [row for row in rows if names[row.stage] & set(selected)]


def execute(root: Path, instance: dg.DagsterInstance, chosen: list[Row], rerun: list[str]) -> dg.ExecuteInProcessResult:
    """Materialise the assets of `chosen` in this process."""
    job = define(root).resolve_job_def("whole_chain")
    return job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        asset_selection=[dg.AssetKey(list(made.key)) for row in chosen for made in row.assets],
        run_config={
            **rerunning(rerun),
            # Dagster's own log is for its web page; here each stage says one line.
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
    )


def what_failed(event: dg.DagsterEvent) -> str:
    """Why a step failed: our own words where the error was meant for people, else Dagster's."""
    failure = event.step_failure_data
    said = failure.user_failure_data
    if said is not None and said.description:
        return said.description
    return failure.error.to_string() if failure.error else f"{event.step_key} failed"


def reused_stage(event: dg.DagsterEvent) -> str | None:
    """The stage of a materialisation that did no work."""
    found = event.step_materialization_data.materialization.metadata.get("reused")
    return event.step_key if found is not None and found.value else None


def _conclude(root: Path, chosen: list[Row], reused: set[str | None], seconds: float) -> None:
    paths = Paths(root)
    results = paths.evaluation_report.with_suffix(".json")
    if results.is_file():
        print()
        print_results(results)
    ran = [row.stage for row in chosen if row.stage not in reused]
    print(f"\neverything is up to date ({seconds:.0f} s)" if not ran else f"\nran {', '.join(ran)} in {seconds:.0f} s")
    print("look next at:")
    for what, path in (
        ("what the embeddings are worth", paths.evaluation_report.with_suffix(".html")),
        ("what the data checks found", paths.validation_report / "index.html"),
    ):
        if path.is_file():
            print(f"  {os.path.relpath(path)}  {what}")
    print("  make ui  the graph, every asset with its figures and checks (with the same DATASET and VARIANT)")
    if (root / "mlflow.db").is_file():
        store = f"sqlite:///{os.path.relpath(root / 'mlflow.db')}"
        print(f"  .venv/bin/mlflow ui --backend-store-uri {store}  training curves")
