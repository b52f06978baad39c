"""Training in several processes from Dagster: below a Pipes session, so that what they log shows on the asset's run."""

import logging
import os
from pathlib import Path

import dagster as dg

from instructue.config import Config
from instructue.paths import Paths
from instructue.report import StageReport
from instructue.stages import STAGES

log = logging.getLogger("instructue.run")
WORKER = "orchestration.worker"


def run_function(stage: str, config: Config, paths: Paths, context: dg.AssetExecutionContext) -> StageReport:
    """Run a stage's function: in this process, or in model.training.processes of them. Raises InstructUEError."""
    if stage == "model" and config.model.training.processes > 1:
        return through_pipes(config, paths, context)
    return STAGES[stage](config, paths)


def through_pipes(config: Config, paths: Paths, context: dg.AssetExecutionContext, worker: str = WORKER) -> StageReport:
    """Train in several processes; the first one's log goes to Dagster, its report comes back as the stage's."""
    from instructue.training.launch import in_processes

    here = str(Path(__file__).parent.parent)  # the worker finds this package wherever Dagster found it
    env = {"PYTHONPATH": os.pathsep.join(p for p in (os.environ.get("PYTHONPATH"), here) if p)}

    def call(command: list[str]) -> int:
        try:
            dg.PipesSubprocessClient(env=env).run(context=context, command=command)
        except dg.DagsterError as error:
            log.warning("%s", error)  # what failed is in the file that in_processes reads
            return 1
        return 0

    return in_processes(config, paths, call, worker)
