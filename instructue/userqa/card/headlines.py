"""The card in sentences: what a reader in a hurry should know of one version."""

from typing import Any

from instructue.userqa.card.figures import FEWEST
from instructue.userqa.schema import INSTRUCTION, SHARE_OF_YES

CROWDED = 0.6  # a kind with several values is named when one takes more than this share


def headlines(card: dict[str, Any]) -> list[tuple[str, str]]:
    """What a reader in a hurry should know: (what, sentence)."""
    kinds, users = card["kinds"], card["users"]
    binary = [k for k in kinds if k["yes"] is not None and k["triplets"] >= FEWEST]
    off = [f"{k['kind']} ({k['yes']:.0%})" for k in binary if not k["balanced"]]
    low, high = SHARE_OF_YES
    crowded = [
        f"{k['kind']} ({k['top']}: {k['top_share']:.0%})"
        for k in kinds
        if k["triplets"] >= FEWEST and k["values"] > 1 and k["top_share"] > CROWDED
    ]
    asked_in = sorted(k["wordings"].get(INSTRUCTION, k["asked_in"]) for k in kinds) or [0]
    balance = f"All {len(binary)} kinds that answer yes or no have {low:.0%} to {high:.0%} yes."
    if off:
        balance = f"Outside {low:.0%} to {high:.0%} yes: {', '.join(off)}."
    return [
        ("Users", f"{users['covered']:,} of {users['training']:,} users with a training history ({users['all']:,} in "
                  f"all), {users['least']} to {users['most']} triplets each, {users['median']} in the middle."),
        ("Balance", balance),
        ("Wordings", f"An instruction is worded in {asked_in[0]} to {asked_in[-1]} ways per kind, "
                     f"{asked_in[len(asked_in) // 2]} in the middle."),
        ("Crowding", f"More than {CROWDED:.0%} of a kind is one value: {', '.join(crowded)}." if crowded
         else f"In no kind with several values does one take more than {CROWDED:.0%}."),
        ("Acceptance", _accepted(card["acceptance"])),
        ("Since the last version", _since(card["difference"])),
    ]  # fmt: skip


def _accepted(acceptance: dict[str, Any]) -> str:
    if not acceptance["asked"]:
        return f"No model was asked for wordings; {acceptance['rejected']:,} texts were refused."
    return (
        f"{acceptance['accepted']:,} of {acceptance['asked']:,} wordings asked for were accepted "
        f"({acceptance['share']:.0%}); {acceptance['rejected']:,} texts were refused in all."
    )


def _since(changed: dict[str, Any] | None) -> str:
    if changed is None:
        return "This is the first version here: there is none to compare with."
    moved = [f"{side}: {', '.join(changed[side])}" for side in ("added", "removed") if changed[side]]
    return (
        f"Against {changed['previous']}: {changed['same']:.0%} of the triplets are the same word for word, "
        f"{changed['same_facts']:.0%} ask about a fact that it asked about. Kinds {'; '.join(moved) or 'are the same'}."
    )
