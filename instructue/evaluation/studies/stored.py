"""reports/studies.json: what the studies stage leaves for the evaluation's report."""

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from instructue.errors import DataError
from instructue.evaluation.results import Study
from instructue.files import write_json

STUDIES = TypeAdapter(list[Study])


def write_studies(path: Path, studies: list[Study]) -> None:
    """A list of studies as JSON, whole or not at all."""
    write_json(path, STUDIES.dump_python(studies, mode="json"))


def read_studies(path: Path) -> list[Study]:
    """What write_studies wrote; an empty list if there is no such file. Raises DataError for any other content."""
    if not path.is_file():
        return []
    try:
        return STUDIES.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, ValueError) as error:
        raise DataError(f"{path} is no list of studies ({error}); run `python -m instructue studies` again") from None
