"""Instruction-aware user embeddings. `InstructUE` is loaded when it is first asked for: importing this is nothing."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instructue.api.model import InstructUE

__all__ = ["InstructUE"]


def __getattr__(name: str) -> Any:
    if name == "InstructUE":
        from instructue.api.model import InstructUE

        return InstructUE
    raise AttributeError(f"module 'instructue' has no attribute {name!r}")
