"""What a check found: the only type that leaves data_checks."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class CheckOutcome:
    """One expectation on one table, judged.

    bad: positions in the checked table of rows that may not be published; empty when the expectation is
    about the table as a whole. bad_values: what stands there, as text, in the same order.
    noted, noted_values: the same of rows that break an expectation that only warns; they are published.
    """

    name: str = field(metadata={"about": "identifier, unique within a source"})
    source: str = field(metadata={"about": "table it is about"})
    sentence: str = field(metadata={"about": "the expectation in plain words"})
    passed: bool = field(metadata={"about": "whether it holds"})
    blocking: bool = field(metadata={"about": "whether nothing may be published when it does not hold"})
    observed: str = field(metadata={"about": "what was found"})
    expected: str = field(metadata={"about": "what was asked for"})
    checked: int = field(metadata={"about": "rows looked at"})
    failed: int = field(default=0, metadata={"about": "rows that break it"})
    bad: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    bad_values: list[str] = field(default_factory=list)
    noted: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    noted_values: list[str] = field(default_factory=list)

    @property
    def severity(self) -> str:
        """'block' or 'warn'; a row that may not be published blocks, also where a share of such rows is tolerated."""
        return "block" if self.blocking or len(self.bad) else "warn"

    @property
    def verdict(self) -> str:
        """'passed', 'failed' (stops the chain), 'quarantined' (its rows are left out) or 'warned'."""
        if self.passed:
            return "passed"
        if self.blocking:
            return "failed"
        return "quarantined" if len(self.bad) else "warned"


def quarantined_rows(outcomes: list[CheckOutcome]) -> np.ndarray:
    """Positions, ascending and distinct, of all rows of one table that may not be published."""
    return np.unique(np.concatenate([np.empty(0, np.int64), *[o.bad for o in outcomes]]))
