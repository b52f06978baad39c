"""The JSON Schema of a data set's description, for editors: `python -m instructue.sources.schema` writes it."""

import json
from pathlib import Path
from typing import Any

from instructue.sources.spec import DatasetSpec

PLACE = Path(__file__).parent.parent / "datasets" / "dataset.schema.json"


def dataset_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of DatasetSpec."""
    found = DatasetSpec.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "InstructUE data set"}


def schema_text() -> str:
    """The schema as it is committed."""
    return json.dumps(dataset_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PLACE.write_text(schema_text(), encoding="utf-8")
