"""What a stage says when it is done: the same for the terminal, Dagster and MLflow."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class StageReport:
    """Figures and samples of one stage run, all plain values.

    rows: row counts by table. metrics: figures by name. tables: small samples for people,
    name -> list of flat dicts. plots: name -> PNG or SVG file. links: name -> URL or file path.
    parts: the same again per output, where one stage makes several things (one per source).
    """

    stage: str
    rows: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    plots: dict[str, Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    parts: dict[str, "StageReport"] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: dict[str, Any]) -> "StageReport":
        """A report from what dataclasses.asdict made of it, after a way through JSON."""
        parts = {name: cls.of(part) for name, part in kept["parts"].items()}
        plots = {name: Path(path) for name, path in kept["plots"].items()}
        return cls(**kept | {"parts": parts, "plots": plots})
