"""Verdicts of data_checks as Dagster asset checks. A suite is in the form of reports/validation/results.json."""

import json
from collections.abc import Callable
from typing import Any

import dagster as dg

from instructue.config import Config
from instructue.errors import DataError, ValidationFailed
from instructue.paths import Paths
from orchestration.metadata import table
from orchestration.pages import address
from orchestration.records import Suite

NAME = "expectations"
SHOWN = 10  # bad rows per check

Judge = Callable[[Config, Paths], dict[str, Suite]]


class Unfit(ValidationFailed):
    """A blocking expectation on a stage's outputs failed; they were not recorded as a version."""

    def __init__(self, suites: dict[str, Suite]) -> None:
        self.suites = suites
        lines = [
            f"  {name}: {e['sentence']}; found {e['observed']}"
            for name, suite in suites.items()
            for e in suite["expectations"]
            if e["verdict"] == "failed"
        ]
        super().__init__("\n".join(["outputs are unfit and were not recorded:", *lines]))


def judge_sources(_: Config, paths: Paths) -> dict[str, Suite]:
    """What the validation stage found, per source."""
    path = paths.validation_report / "results.json"
    try:
        suites = json.loads(path.read_text(encoding="utf-8"))["sources"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read ({error}); run the validation stage again") from error
    page = paths.validation_report / "index.html"
    return {name: suite | {"page": address(f"{page}#{name}", paths.root)} for name, suite in suites.items()}


def judge_userqa(config: Config, paths: Paths) -> dict[str, Suite]:
    """The UserQA suite on the triplets."""
    import polars as pl

    from data_checks.record import suite_record
    from data_checks.userqa_suite import check_userqa

    triplets = pl.read_parquet(paths.userqa / "triplets.parquet")
    wordings = json.loads((paths.userqa / "wordings.json").read_text(encoding="utf-8"))
    return {"userqa": suite_record(check_userqa(triplets, config.histories.evaluation_snapshot, wordings))}


def judge_embeddings(_: Config, paths: Paths) -> dict[str, Suite]:
    """The embeddings suite on the table of vectors."""
    import polars as pl

    from data_checks.embeddings_suite import check_embeddings
    from data_checks.record import suite_record

    return {"user_embeddings": suite_record(check_embeddings(pl.read_parquet(paths.embeddings / "embeddings.parquet")))}


def is_fit(suites: dict[str, Suite]) -> bool:
    """Whether no blocking expectation failed."""
    return all(suite["verdict"] != "failed" for suite in suites.values())


def result(key: dg.AssetKey, suite: Suite) -> dg.AssetCheckResult:
    """A suite as an asset check: an error stops what comes after, a warning does not."""
    broken = [e for e in suite["expectations"] if e["verdict"] != "passed"]
    # What failed comes first; the rest shows what was looked at.
    ordered = sorted(suite["expectations"], key=lambda e: e["verdict"] == "passed")
    shown = [
        {
            "verdict": e["verdict"],
            "severity": e["severity"],
            "expectation": e["sentence"],
            "found": e["observed"],
            "expected": e["expected"],
            "bad rows": e["failed_rows"],
        }
        for e in ordered
    ]
    bad = [{"rule": e["name"], **row} for e in broken for row in e["first_bad_rows"][:SHOWN]]
    metadata: dict[str, Any] = {"rows checked": suite["read"], "expectations": table(shown)}
    if bad:
        metadata["first bad rows"] = table(bad[:SHOWN])
    if suite.get("page"):
        metadata["results page"] = dg.MetadataValue.url(suite["page"])
    held = len(suite["expectations"]) - len(broken)
    said = f"{held} of {len(suite['expectations'])} expectations hold on {suite['read']:,} rows"
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=NAME,
        passed=not broken,
        metadata=metadata,
        severity=dg.AssetCheckSeverity.ERROR if suite["verdict"] == "failed" else dg.AssetCheckSeverity.WARN,
        description="; ".join([said, *(f"{e['sentence']}: found {e['observed']}" for e in broken)]),
    )
