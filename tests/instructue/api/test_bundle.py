"""Bundles: what was saved loads anywhere and says what it is; what is not whole is refused with its cause."""

import json
import os
import shutil

import numpy as np
import pytest

from instructue import InstructUE
from instructue.errors import ConfigError, DataError
from instructue.files import sha256
from instructue.paths import Paths
from instructue.training.tracking import trained_in

COFFEE = "Will this household buy coffee soon?"
AT = "2017-10-01"


def test_what_was_saved_gives_the_same_vectors_anywhere(model, events, general, tmp_path):
    folder = model.save_pretrained(tmp_path / "model")
    again = InstructUE.from_pretrained(folder)
    np.testing.assert_array_equal(again.encode(events, COFFEE, at=AT), model.encode(events, COFFEE, at=AT))
    with pytest.raises(ConfigError, match="give project=FOLDER"):
        again.encode([1, 2])
    second = again.save_pretrained(tmp_path / "second")
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (second / name).read_bytes() == (folder / name).read_bytes()
    held = {path.name for path in folder.iterdir()}
    assert held == {"README.md", "config.json", "dataset.yaml", "model.safetensors", "text_vectors.safetensors",
                    "texts.parquet", "base_models"}  # fmt: skip
    own = tmp_path / "thesis"
    own.mkdir()
    (own / "chapter.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="something else"):
        model.save_pretrained(own)
    assert (own / "chapter.txt").is_file()


def test_the_card_says_what_is_known_and_what_is_not(model, bundle, trained, tmp_path):
    config, paths = trained
    card = (bundle / "README.md").read_text()
    assert "It has not been evaluated." in card and "not in this folder" in card
    settings = json.loads((bundle / "config.json").read_text())
    for said in (
        settings["data"]["userqa"],
        settings["bundle"]["sha256"]["model.safetensors"],
        "| `training.steps` | 6 |",
        "Apache-2.0",
    ):
        assert said in card
    row = {"task": "t1", "family": "prediction", "labels": "all", "metric": "auc", "n": 90, "positives": 30}
    rows = [row | {"method": "instructue", "value": 0.61, "low": 0.58, "high": 0.64},
            row | {"method": "tfidf_lr", "value": 0.72, "low": 0.69, "high": 0.75}]  # fmt: skip
    pair = {"task": "t1", "method": "instructue", "baseline": "tfidf_lr", "labels": "all", "metric": "auc",
            "difference": -0.11, "low": -0.14, "high": -0.08}  # fmt: skip
    example = {"task": "t1", "user": "77", "context": "", "label": True, "score": 0.1, "baseline": "tfidf_lr",
               "baseline_score": 0.9, "events": ["a private matter"]}  # fmt: skip
    results = {"dataset": "complete_journey", "snapshot": AT, "protocol": {}, "rows": rows, "paired": [pair],
               "examples": [example], "data": {"embeddings": "0", "histories": "0"}}  # fmt: skip
    (tmp_path / "evaluation.json").write_text(json.dumps(results))
    judged = model.save_pretrained(tmp_path / "judged", base_models=False, evaluation=tmp_path / "evaluation.json")
    card = (judged / "README.md").read_text()
    assert "0.610 (0.580 to 0.640)" in card and "0.720 (0.690 to 0.750)" in card
    assert "−0.110 AUC on `t1` against TF-IDF + LR, 95% interval −0.140 to −0.080" in card.split("## Limits")[1]
    assert not [path for path in judged.rglob("*") if path.is_file() and b"a private matter" in path.read_bytes()]
    # The same figures lying about in a project whose embeddings are not those that they are of.
    root = beside(paths, tmp_path / "project")
    (root / "reports").mkdir()
    (root / "reports" / "evaluation.json").write_text(json.dumps(results))
    stale = InstructUE.from_pretrained(root).save_pretrained(tmp_path / "stale", base_models=False)
    card = (stale / "README.md").read_text()
    assert "evaluation is not of this model" in card and "0.610" not in card


def beside(paths: Paths, root):
    """Another root with the same params and data."""
    root.mkdir()
    shutil.copyfile(paths.params, root / "params.yaml")
    (root / "data").symlink_to(paths.root / "data")
    return root


def test_models_come_out_of_mlflow(trained, users, general, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    _, paths = trained
    root = beside(paths, tmp_path / "project")
    shutil.copyfile(paths.root / "mlflow.db", root / "mlflow.db")
    run = trained_in(paths, sha256(paths.model / "model.safetensors"))
    uri = Paths(root).mlflow_uri
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_registered_model("users")
    client.create_model_version("users", f"{client.get_run(run).info.artifact_uri}/model", run)
    for name in (f"runs:/{run}/model", "models:/users/1"):
        loaded = InstructUE.from_pretrained(name, project=root)
        np.testing.assert_array_equal(loaded.encode(users), general)
    with pytest.raises(DataError, match="cannot be fetched"):
        InstructUE.from_pretrained("models:/users/2", project=root)


def changed(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def newer_bundle(folder):
    settings = json.loads((folder / "config.json").read_text())
    changed(folder, bundle=settings["bundle"] | {"format": 9})


def shortened(path):
    path.write_bytes(path.read_bytes()[:-100])


def other_network(folder):
    """A consistent bundle whose weights are of another network than its config.json says."""
    settings = json.loads((folder / "config.json").read_text())
    changed(folder, network=settings["network"] | {"lora_rank": 3})


FAULTS = {
    "no config": (lambda f: (f / "config.json").unlink(), DataError, "no model bundle|no config.json"),
    "half a config": (lambda f: shortened(f / "config.json"), DataError, "damaged or foreign"),
    "bytes": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), DataError, "damaged"),
    "another library's": (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), DataError, "foreign"),
    "newer network": (lambda f: changed(f, format=9), ConfigError, "newer version.*upgrade"),
    "newer bundle": (newer_bundle, ConfigError, "newer version.*upgrade"),
    "weights cut": (lambda f: shortened(f / "model.safetensors"), DataError, "model.safetensors is damaged"),
    "texts missing": (lambda f: (f / "texts.parquet").unlink(), DataError, "texts.parquet is missing"),
    "other base model": (lambda f: changed(f, base_model="0" * 64), ConfigError, "another base language model"),
    "other texts": (lambda f: changed(f, texts="0" * 64), ConfigError, "another dictionary of event texts"),
    "other network": (other_network, ConfigError, "shape"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bundle_that_is_not_whole_is_refused_with_its_cause(fault, bundle, trained, tmp_path):
    plant, kind, match = FAULTS[fault]
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    plant(folder)
    with pytest.raises(kind, match=match):
        InstructUE.from_pretrained(folder, base_models=trained[1].base_models)


def test_base_models_are_needed_and_checked(bundle, trained, tmp_path):
    _, paths = trained
    with pytest.raises(ConfigError, match="base models of .* are missing"):
        InstructUE.from_pretrained(bundle)
    copy = tmp_path / "base_models"
    shutil.copytree(paths.base_models, copy, copy_function=os.link)
    assert InstructUE.from_pretrained(bundle, base_models=copy).dim
    weights = copy / "text_encoder" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.unlink()  # the link, not the project's file
    weights.write_bytes(damaged)
    with pytest.raises(DataError, match="text_encoder.*damaged"):
        InstructUE.from_pretrained(bundle, base_models=copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["text_encoder"]["sha256"]["model.safetensors"] = "0" * 64
    (copy / "manifest.json").unlink()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="another text encoder"):
        InstructUE.from_pretrained(bundle, base_models=copy)
    with pytest.raises(DataError, match="no such folder"):
        InstructUE.from_pretrained(tmp_path / "nowhere")
    alone = tmp_path / "alone"
    shutil.copytree(paths.model, alone)
    with pytest.raises(ConfigError, match="give project=FOLDER"):
        InstructUE.from_pretrained(alone)
    assert InstructUE.from_pretrained(alone, project=paths.root).dim
