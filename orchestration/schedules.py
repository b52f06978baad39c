"""The weekly run, off until a person switches it on."""

import dagster as dg

from orchestration.jobs import whole_chain
from orchestration.resources import rerunning


@dg.schedule(
    job=whole_chain,
    cron_schedule="0 4 * * 1",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Mondays at 4: reads the sources anew; if their bytes are the same, nothing after them runs.",
)
def weekly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run per date, however often the tick is evaluated."""
    # A team's files lie outside of the project, so DVC cannot tell that they changed: read them.
    return dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y-%m-%d}", run_config=rerunning(["sources"]))
