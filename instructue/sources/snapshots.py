"""The time rules: a snapshot is a moment T; history lies strictly before T, the horizon is [T, T + h)."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from instructue.config import HistoriesConfig
from instructue.errors import ConfigError


@dataclass(frozen=True)
class Snapshot:
    """One moment, the end of its horizon and what it is for. Both moments are zone-aware local midnights."""

    at: datetime
    horizon_end: datetime
    split: str  # "train" or "evaluation"


def plan_snapshots(config: HistoriesConfig, timezone: str) -> list[Snapshot]:
    """Rolling training snapshots, oldest first, then the evaluation snapshot.

    Every training horizon ends at or before the evaluation snapshot: it is cut there, never past it.
    """
    zone = ZoneInfo(timezone)

    def midnight(days_before: int) -> datetime:
        return datetime.combine(config.evaluation_snapshot - timedelta(days=days_before), time(), tzinfo=zone)

    evaluation = midnight(0)
    training = []
    for index in range(config.training_snapshots):
        before = config.gap_days + index * config.every_days
        horizon = max(0, before - config.horizon_days)
        training.append(Snapshot(midnight(before), midnight(horizon), "train"))
    planned = [*reversed(training), Snapshot(evaluation, midnight(-config.label_days), "evaluation")]
    for snapshot in planned[:-1]:
        if snapshot.horizon_end > evaluation:
            raise ConfigError(f"training horizon {snapshot.at} - {snapshot.horizon_end} passes the evaluation snapshot")
    return planned
