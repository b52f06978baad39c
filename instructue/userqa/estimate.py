"""What a run will ask of the teacher, before it does."""

from collections.abc import Sequence

from instructue.config import UserQAConfig
from instructue.userqa.alike import families
from instructue.userqa.ask import ROUNDS, Ask
from instructue.userqa.lexicon import Lexicon
from instructue.userqa.teacher import CachedTeacher, Decoding

TOKENS = 12  # of a wording, as long as nothing is known of the teacher


def calls_of(wanted: Sequence[Ask], config: UserQAConfig) -> tuple[int, int]:
    """(calls of the first round, most calls that all rounds can make)."""
    first = sum(ask.asked(ask.wanted(config.wordings), 0) for ask in first_of(wanted))
    most = sum(ask.asked(ask.wanted(config.wordings), turn) for ask in wanted for turn in range(ROUNDS))
    return first, most


def first_of(wanted: Sequence[Ask]) -> list[Ask]:
    """Those that the first round asks: one of all whose templates are alike."""
    return [family[0] for family in families(wanted)]


def foreseen(wanted: Sequence[Ask], config: UserQAConfig, teacher: CachedTeacher, lexicon: Lexicon) -> str:
    """One line: calls, tokens and time if all wordings pass at once, what is kept of them, and the most it can be."""
    first, most = calls_of(wanted, config)
    prompts = [prompt for ask in first_of(wanted) for prompt in ask.first(config, lexicon)]
    kept = teacher.kept(prompts, Decoding.of(config))
    tokens, seconds = teacher.pace() or (TOKENS, None)
    left = first - kept
    took = f", {left * seconds:,.0f} s at the pace of earlier runs" if seconds is not None else ""
    return (
        f"wording {len(wanted)} templates: {first:,} calls if all pass, {kept:,} kept from earlier runs; "
        f"left {left:,} calls, {left * tokens:,.0f} tokens{took}; about twice that with what is refused, "
        f"never more than {most:,} calls"
    )
