"""What a run will ask of the teacher, before it does."""

from collections.abc import Sequence

from instructue.config import UserQAConfig
from instructue.userqa.reword import ROUNDS, Ask
from instructue.userqa.teacher import CachedTeacher

TOKENS = 12  # of a wording, as long as nothing is known of the teacher


def calls_of(wanted: Sequence[Ask], config: UserQAConfig) -> tuple[int, int]:
    """(calls of the first round, most calls that all rounds can make)."""
    first = sum(ask.asked(ask.wanted(config.wordings), 0) for ask in wanted)
    most = sum(ask.asked(ask.wanted(config.wordings), turn) for ask in wanted for turn in range(ROUNDS))
    return first, most


def foreseen(wanted: Sequence[Ask], config: UserQAConfig, teacher: CachedTeacher) -> str:
    """One line: calls, tokens and time, from least (all pass at once) to most (none ever does)."""
    first, most = calls_of(wanted, config)
    pace = teacher.pace()
    tokens, seconds = pace or (TOKENS, None)
    said = f"wording {len(wanted)} templates: {first:,} to {most:,} calls"
    said += f", {first * tokens:,.0f} to {most * tokens:,.0f} tokens"
    took = f", {first * seconds:,.0f} to {most * seconds:,.0f} s at the pace of earlier runs" if seconds else ""
    return f"{said}{took}; what is kept from earlier runs costs nothing"
