"""The model stage: the same data and code leave the same bytes, and MLflow finds the run by the weights."""

import shutil

from instructue.files import sha256
from instructue.paths import Paths
from instructue.training.fit import fit
from instructue.training.tracking import trained_in


def test_a_second_training_leaves_the_same_bytes_and_the_run_is_found_by_them(trained, tmp_path):
    config, paths = trained
    again = Paths(tmp_path)
    shutil.copyfile(paths.params, again.params)
    again.base_models.parent.mkdir()
    for name in ("base_models", "sources", "histories", "userqa"):
        getattr(again, name).symlink_to(getattr(paths, name))
    run = fit(config, again).links["mlflow_run"]
    left = {file.name: sha256(file) for file in again.model.iterdir()}
    assert left == {file.name: sha256(file) for file in paths.model.iterdir()}
    assert trained_in(again, left["model.safetensors"]) == run
    assert trained_in(again, "of no model") == ""
