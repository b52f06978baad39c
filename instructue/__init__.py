"""Instruction-aware user embeddings. `InstructUE` is loaded when it is first asked for: importing this is nothing."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instructue.api.model import InstructUE

__all__ = ["InstructUE"]

# torch reads it at its first tensor: large ones lie in large pages, of which far fewer are faulted in (decisions.md).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def __getattr__(name: str) -> Any:
    if name == "InstructUE":
        from instructue.api.model import InstructUE

        return InstructUE
    raise AttributeError(f"module 'instructue' has no attribute {name!r}")
