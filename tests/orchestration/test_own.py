"""`make run DATASET=shop`: from a folder of CSV files to a project of its own, which follows the team's description."""

import os
import shutil
from contextlib import chdir

import pytest
import yaml

from instructue.__main__ import main
from instructue.config import load_config
from instructue.errors import ConfigError
from instructue.paths import Paths
from instructue.stages import STAGES
from orchestration.own import own_project
from orchestration.pipeline import load_pipeline
from orchestration.versioning import is_up_to_date, run_stage

FOLLOW = ("sources", "validation", "histories", "userqa")  # a part of the description


@pytest.fixture(scope="module")
def described(make_chain):
    """A checkout with a folder of logs in it, described by `init`."""
    root = make_chain()
    (root / "logs").mkdir()
    lines = [f"{n},{n % 9},2024-0{n % 6 + 1}-{n % 28 + 1:02} 10:00:00,thing {n % 4}" for n in range(400)]
    (root / "logs" / "orders.csv").write_text("order_id,customer_id,ordered_at,product\n" + "\n".join(lines))
    assert main(["init", "logs", "--out", "shop.yaml", "--root", str(root)]) == 0
    return root


@pytest.fixture
def shop(described, tmp_path):
    """The same for one test alone."""
    return shutil.copytree(described, tmp_path / "checkout")


def staged(own) -> bool:
    """Make `sources` up to date; whether it had to run."""
    with chdir(own):
        return not run_stage(
            own, "sources", lambda: STAGES["sources"](load_config(own / "params.yaml"), Paths(own))
        ).reused


def test_a_change_of_the_description_reruns_what_reads_it(shop):
    own = own_project(shop, "shop", None)
    assert own == shop / "runs" / "shop" and staged(own) and not staged(own)
    assert Paths(own).table("order", staged=True).is_file() and not (shop / "data").exists()
    described = shop / "shop.yaml"
    described.write_text(described.read_text().replace('text: "{product}"', 'text: "bought {product}"'))
    assert own_project(shop, "shop.yaml", None) == own
    assert not is_up_to_date(own, "sources") and staged(own) and is_up_to_date(own, "sources")
    # A key that was not there is seen too.
    described.write_text(described.read_text() + "synonyms: [[buy, purchase]]\n")
    own_project(shop, "shop", None)
    assert not is_up_to_date(own, "sources")


def test_every_stage_follows_the_whole_description_and_the_files_of_its_tasks(shop):
    (shop / "churn.csv").write_text("user,label\n" + "\n".join(f"{n},{n % 2}" for n in range(9)))
    tasks = yaml.safe_load((shop / "shop.tasks.yaml").read_text())
    tasks["tasks"][0]["label"] = {"rule": "file", "path": "churn.csv"}
    (shop / "shop.tasks.yaml").write_text(yaml.safe_dump(tasks))
    chain = load_pipeline(own_project(shop, "shop", None))
    for name, step in chain.steps.items():
        assert ("../../shop.yaml" in step.deps) == (name in FOLLOW), name
        assert ("../../churn.csv" in step.deps) == ("../../shop.tasks.yaml" in step.deps), name
        assert all(isinstance(param, str) for param in step.params)
        for dep in chain.code(name):
            assert (chain.root / dep).exists(), f"{name}: {dep}"
    assert sum("../../churn.csv" in step.deps for step in chain.steps.values()) == 4


def test_params_are_the_checkouts_with_the_data_sets_own_and_the_variants_changes(shop):
    params = shop / "params.yaml"
    raw = yaml.safe_load(params.read_text())
    raw["variants"] = {"tiny": {"model.training.steps": 2, "histories.training_snapshots": 1}}
    params.write_text(yaml.safe_dump(raw))
    config = load_config(own_project(shop, "shop", "tiny") / "params.yaml")
    assert (config.data.dataset, config.data.described_in, config.data.folder) == ("shop", "../..", None)
    assert config.model.training.steps == 2 and config.histories.training_snapshots == 1
    assert config.histories.label_days < 92 and str(config.histories.evaluation_snapshot) > "2024-05"
    assert config.studies.tasks == [] and config.userqa.seed == raw["userqa"]["seed"]
    # A variant alone is of the checkout's own data set, with all that params.yaml says of it.
    alone = own_project(shop, None, "tiny")
    config = load_config(alone / "params.yaml")
    assert alone.name == "complete_journey-tiny" and config.data.folder == raw["data"]["folder"]
    assert os.path.samefile(alone / config.data.described_in, shop / "instructue" / "datasets")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("shop.params.yaml", "histories.label_day: 30\n", r"shop\.params\.yaml changes 'histories\.label_day'"),
        ("shop.params.yaml", "histories.label_days: 0\n", "histories.label_days: Input should be greater"),
        ("shop.params.yaml", "just words\n", "holds no changes"),
        ("shop.tasks.yaml", "tasks: []\n", r"shop\.tasks\.yaml is not a valid list of tasks"),
        ("shop.yaml", "name: shop\n", r"shop\.yaml is not a valid data set description"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(shop, file, text, said):
    (shop / file).write_text(text)
    with pytest.raises(ConfigError, match=said):
        own_project(shop, "shop", None)
    with pytest.raises(ConfigError, match="init FOLDER --out other.yaml"):
        own_project(shop, "other", None)
    assert not (shop / "runs").exists()
