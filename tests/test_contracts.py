"""What is said in several files agrees: params.yaml, config.py, dvc.yaml, paths.py, stages.py and the asset graph."""

import datetime
import re
from pathlib import Path

import pytest
import yaml

from instructue.changes import with_variant
from instructue.config import Config, load_config
from instructue.paths import Paths
from instructue.stages import STAGES
from orchestration.definitions import define
from orchestration.pipeline import load_pipeline
from tests.test_architecture import IMPORTS, SOURCES, TREES, imported

ROOT = Path(__file__).parent.parent
PIPELINE = load_pipeline(ROOT)
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))

ASSET_KEYS = sorted(
    [
        "base_models",
        "histories",
        "userqa",
        "user_model",
        "user_embeddings",
        "studies",
        "evaluation",
        "source/campaign",
        "source/profile",
        "source/promotion",
        "source/purchase",
        "source/redemption",
        "source/texts",
        "source/trip",
        "staged/campaign",
        "staged/profile",
        "staged/promotion",
        "staged/purchase",
        "staged/redemption",
        "staged/texts",
        "staged/trip",
    ]
)

# Code that a stage runs but whose change does not change what it makes: plumbing, and typed views of what DVC follows
# as parameters. Whoever changes the meaning of one of these runs the chain with --force.
PLUMBING = {
    "instructue",
    "instructue.sources.spec",
    "instructue.sources.table_spec",
    "instructue.sources.tables",
    "instructue.sources.yaml_lines",
    "instructue.training.tracking",
} | {
    f"instructue.{name}"
    for name in (
        "changes",
        "config",
        "config_model",
        "errors",
        "files",
        "paths",
        "progress",
        "report",
        "stages",
        "telemetry",
    )
}


def test_asset_keys():
    keys = [node.key.to_user_string() for node in define(ROOT).resolve_asset_graph().asset_nodes]
    assert sorted(keys) == ASSET_KEYS


def test_stages_are_the_same_everywhere_and_in_order():
    assert list(PIPELINE.steps) == list(STAGES)
    assert {step.name: step.cmd for step in PIPELINE.steps.values()} == {n: f"python -m instructue {n}" for n in STAGES}


def test_dvc_outs_are_the_paths_of_paths_py():
    paths = Paths(Path())
    report, card = paths.evaluation_report, paths.userqa_report
    expected = {
        "base_models": {paths.base_models},
        "sources": {paths.staged},
        "validation": {paths.sources, paths.quarantine, paths.validation_report},
        "histories": {paths.histories},
        "userqa": {paths.userqa, *(card.with_suffix(s) for s in (".md", ".html", ".json"))},
        "model": {paths.model},
        "embeddings": {paths.embeddings},
        "studies": {paths.studies_report},
        "evaluation": {*(report.with_suffix(s) for s in (".md", ".html", ".json")), paths.metrics, paths.plots},
    }
    assert {name: {Path(out) for out in step.outs} for name, step in PIPELINE.steps.items()} == expected


def test_dvc_deps_are_there_or_made_by_an_earlier_stage():
    order = list(PIPELINE.steps)
    for name in PIPELINE.steps:
        for dep in PIPELINE.steps[name].deps:
            maker = PIPELINE.maker(dep)
            if maker is None:
                assert (ROOT / dep).exists(), f"{name}: {dep} is neither in the checkout nor made by a stage"
            else:
                assert order.index(maker) < order.index(name)


def test_only_validation_reads_what_is_not_validated():
    assert [name for name, step in PIPELINE.steps.items() if "data/staged" in step.deps] == ["validation"]


def test_every_section_of_the_config_is_followed_by_a_stage():
    followed = {str(p).split(".")[0] for step in PIPELINE.steps.values() for p in step.params if isinstance(p, str)}
    assert followed == set(Config.model_fields) - {"variants"}
    for name, step in PIPELINE.steps.items():
        if name in Config.model_fields:
            assert name in step.params, f"stage {name} does not follow its own section"


DESCRIBED = [*(ROOT / "instructue" / "datasets").glob("*.yaml"), *(ROOT / "examples").rglob("*.yaml")]


@pytest.mark.parametrize("described", [d for d in DESCRIBED if "." not in d.stem], ids=lambda d: d.stem)
def test_followed_keys_exist_and_follow_one_file_per_data_set(described):
    """DVC cannot follow a key that is not there: our descriptions, which params.yaml may name, have all of them."""
    own = f"{PARAMS['data']['described_in']}/{PARAMS['data']['dataset']}.yaml"
    for step in PIPELINE.steps.values():
        for param in step.params:
            if isinstance(param, str):
                value = PARAMS
                for key in param.split("."):
                    value = value[key]
            else:
                ((file, keys),) = param.items()
                there = yaml.safe_load(described.read_text(encoding="utf-8"))
                assert (ROOT / file).is_file() and file == own
                assert set(keys) <= set(there), f"{step.name}: {described} has no {set(keys) - set(there)}"


def test_params_yaml_and_config_have_the_same_keys_and_every_variant_loads():
    def keys(raw: dict, model: type, prefix: str = "") -> None:
        assert set(raw) == set(model.model_fields), prefix
        for name, field in model.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                keys(raw[name], field.annotation, f"{prefix}{name}.")

    keys(PARAMS, Config)
    for variant in [None, *PARAMS["variants"]]:
        assert isinstance(load_config(ROOT / "params.yaml", variant), Config)


@pytest.mark.parametrize("variant", [None, *PARAMS["variants"]])
def test_dvc_can_read_params_yaml(variant):
    """DVC's templates know no dates: `2017-10-01` stands in quotes."""

    def check(value, at: str) -> None:
        assert not isinstance(value, datetime.date), f"params.yaml: put quotes round {at}: {value}"
        for key, inner in value.items() if isinstance(value, dict) else ():
            check(inner, f"{at}.{key}" if at else key)

    check(with_variant(PARAMS, variant) if variant else PARAMS, "")


def closure(stage: str) -> set[str]:
    """Every module of ours that a stage's function leads to, from its own imports on."""
    (function,) = [n for n in TREES["instructue.stages"].body if getattr(n, "name", None) == stage]
    todo, found = imported(function), set()
    if stage == "validation":  # named in params.yaml, not imported
        todo.append(PARAMS["validation"]["validator"].split(":")[0])
    while todo:
        module = todo.pop()
        if module in SOURCES and module not in found:
            found.add(module)
            todo += IMPORTS[module]
    return found


# Reached, but shaping nothing that the stage makes: through a module that serves another stage too, or as a mere check.
INGESTING = {"merge", "pieces", "rowwise"}
READING = {"readers", "formats", "databases", *INGESTING}
ENCODING = {"text_encoder", "bert", "tokenizer"}
OTHERS = {
    "base_models": ENCODING,
    "sources": {"histories", "snapshots", *ENCODING},
    "validation": {"histories", "snapshots", *ENCODING, "ingest", "events", "values", *INGESTING},
    "histories": {"events", *READING},
    "userqa": {"bring", "ingest", "histories", "snapshots", "events", *READING, *ENCODING, "values"},
    "model": {"bring", "ingest", "histories", "snapshots", "events", *READING},
    "embeddings": {"bring", "ingest", "histories", "snapshots", "events", *READING},
    "studies": {"bring", "ingest", "histories", "snapshots", "events", *READING},
    "evaluation": {"bring", "ingest", "histories", "snapshots", "events", *READING, *ENCODING, "values"},
}


@pytest.mark.parametrize("stage", list(STAGES))
def test_code_that_a_stage_runs_is_followed(stage):
    code = PIPELINE.code(stage)

    def covered(module: str) -> bool:
        file = SOURCES[module].relative_to(ROOT).as_posix()
        return any(file == dep or file.startswith(dep + "/") for dep in code)

    missing = {
        module for module in closure(stage) - PLUMBING
        if not covered(module) and SOURCES[module].name != "__init__.py"
        and module.split(".")[-1] not in OTHERS.get(stage, set())
    }  # fmt: skip
    assert not missing, f"dvc.yaml: stage {stage} runs {sorted(missing)} and does not follow it"


@pytest.mark.parametrize("stage", list(STAGES))
def test_code_that_a_stage_does_not_run_is_not_followed(stage):
    reached = {SOURCES[module].relative_to(ROOT).as_posix() for module in closure(stage)}
    for dep in PIPELINE.code(stage):
        if dep.endswith(".yaml"):
            continue
        assert any(file == dep or file.startswith(dep + "/") for file in reached), f"{stage} never runs {dep}"


def test_a_new_report_does_not_retrain():
    for stage in ("userqa", "model"):
        assert not [
            d
            for d in PIPELINE.code(stage)
            if re.match(r"instructue/(evaluation|embedding)|orchestration|data_checks", d)
        ]
    followed = {dep for dep in PIPELINE.code("embeddings") if "evaluation" in dep}
    assert "instructue/evaluation" not in followed and "instructue/evaluation/report" not in followed


def test_constraints_pin_what_pyproject_asks_for():
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[\w.-]+==[\w.!]+", line), f"constraints.txt: {line!r} is not name==version"
            name, version = line.split("==")
            pinned[canonicalize_name(name)] = version
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for requirement in map(Requirement, asked):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{requirement}: constraints.txt has {version}"
        )


def test_dagster_parses_selections():
    """DVC's dependencies can pull in an antlr under which every selection string raises."""
    from orchestration.doctor import selections

    finding = selections()
    assert finding.ok, finding.detail
