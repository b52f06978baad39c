"""A team's own tasks: labels from its files, embedded by its model, judged and reported like the data set's."""

import json

import numpy as np
import polars as pl
import pytest

from instructue.embedding import embed
from instructue.errors import ConfigError, DataError
from instructue.evaluation.own import Wish, evaluate_own
from instructue.evaluation.population import Population
from instructue.paths import Paths
from instructue.sources.tables import load_tables
from instructue.stages import STAGES

TASKS = """
tasks:
  - name: likes_mornings
    family: marketing
    description: answered the morning offer
    instruction: "Will this {who} answer the {offer} offer?"
    "yes": "Yes, the {who} will answer it."
    "no": "No, the {who} will not answer it."
    label: {rule: file, path: labels.csv, label: answered, context: [offer], treatment: mailed}
  - name: next_items
    family: recommendation
    description: what it takes next
    instruction: "What will the {who} take next?"
    answer: "The {who} will take {item}."
    label: {rule: item_file, path: taken.csv, items: items.csv}
"""


@pytest.fixture(scope="module")
def project(trained, tmp_path_factory):
    """The trained project under another root, with a team's files beside its tasks."""
    config, paths = trained
    own = Paths(tmp_path_factory.mktemp("own"))
    for folder in (paths.base_models, paths.sources, paths.histories, paths.model):
        target = own.root / folder.relative_to(paths.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(folder, target_is_directory=True)
    few = config.evaluation.model_copy(update={"tasks": ["coupon_use_8w"], "few_labels": [], "map_users": 0})
    plain = config.embeddings.model_copy(update={"untrained": False})
    config = config.model_copy(update={"evaluation": few, "embeddings": plain})
    STAGES["embeddings"](config, own)
    users = Population.of(load_tables(config, own)).users.to_list()
    rng, folder = np.random.default_rng(0), own.root / "team"
    folder.mkdir()
    (folder / "ours.tasks.yaml").write_text(TASKS)
    pl.DataFrame(
        [(user, offer, int(rng.random() < 0.5), ("no", "yes")[int(rng.random() < 0.5)])
         for user in users for offer in ("coffee", "tea")],
        schema=["user", "offer", "answered", "mailed"], orient="row",
    ).write_csv(folder / "labels.csv")  # fmt: skip
    pl.DataFrame({"item": ["a", "b", "c", "d"], "text": ["apples", "bread", "cheese", "dates"]}).write_csv(
        folder / "items.csv"
    )
    pl.DataFrame({"user": users, "item": rng.choice(["a", "b", "c"], len(users))}).write_csv(folder / "taken.csv")
    return config, own, folder / "ours.tasks.yaml"


METHODS = ["instructue", "instructue_general", "mean_text", "popularity", "instructue_similarity"]


@pytest.fixture(scope="module")
def judged(project):
    """The report of the team's tasks, embedded and judged once; so no test rests on the order of the others."""
    config, paths, file = project
    return evaluate_own(config, paths, Wish(file, [], METHODS))


def test_own_tasks_are_embedded_judged_and_reported(project, judged):
    _, paths, file = project
    report = judged
    stem = Wish(file, [], METHODS).stem(paths)
    results = json.loads(stem.with_name(f"{stem.name}.json").read_text())
    found = {(r["task"], r["method"], r["labels"]) for r in results["rows"]}
    assert found >= {
        ("likes_mornings", "instructue", "all"), ("likes_mornings", "instructue", 0),
        ("likes_mornings", "instructue_general", "all"), ("likes_mornings", "mean_text", "all"),
        ("next_items", "instructue", "all"), ("next_items", "popularity", "all"),
        ("next_items", "instructue_similarity", "all"),
    }  # fmt: skip
    assert results["tasks"]["likes_mornings"]["instruction"] == "Will this household answer the {offer} offer?"
    assert {s["context"] for s in results["slices"]} == {"coffee", "tea"}
    metrics = {r["metric"] for r in results["rows"] if r["task"] == "likes_mornings"}
    assert {"auc", "qini", "auuc"} <= metrics and {u["task"] for u in results["uplift"]} == {"likes_mornings"}
    assert "likes_mornings" in stem.with_name(f"{stem.name}.html").read_text()
    assert report.links["html"].endswith(f"{stem.name}.html")


def test_instructions_name_the_context_and_move_the_vector(project, judged):
    _, paths, _ = project
    folder = next((paths.cache / "evaluation" / "embeddings").iterdir())
    own = pl.read_parquet(folder / "embeddings.parquet").filter(pl.col("method") == "instructue")
    both = own.filter(pl.col("task") == "likes_mornings").pivot(on="context", index="user", values="vector")
    assert not np.allclose(both["coffee"].to_numpy(), both["tea"].to_numpy(), atol=1e-4)


def test_what_was_embedded_is_not_embedded_again(project, judged, monkeypatch):
    config, paths, file = project

    def never(*_):
        raise AssertionError("embedded again")

    monkeypatch.setattr(embed, "embed", never)
    evaluate_own(config, paths, Wish(file, [], METHODS))
    file.with_name("other.tasks.yaml").write_text(TASKS.replace("answer the {offer}", "react to the {offer}"))
    with pytest.raises(AssertionError, match="embedded again"):
        evaluate_own(config, paths, Wish(file.with_name("other.tasks.yaml"), [], METHODS))


def test_a_task_that_is_not_there_is_named(project):
    config, paths, file = project
    with pytest.raises(ConfigError, match="no task likes_evenings; it has"):
        evaluate_own(config, paths, Wish(file, ["likes_evenings"]))


def test_a_method_without_vectors_is_named_with_the_mend(project):
    config, paths, _ = project
    with pytest.raises(DataError, match="untrained has no vectors .* set embeddings.untrained: true in params.yaml"):
        evaluate_own(config, paths, Wish(None, [], ["untrained"]))
