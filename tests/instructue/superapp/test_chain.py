"""The generated world goes through the chain's first stages by its own description, and its tasks find their labels."""

import polars as pl
import pytest
import yaml

from instructue.evaluation.population import Population
from instructue.evaluation.tasks import asked, load_tasks
from instructue.models.bring import bring_text_encoder
from instructue.sources.spec import load_dataset
from instructue.sources.tables import load_tables
from instructue.stages import STAGES
from instructue.evaluation.attainable import attainable, attainable_ranking, read_chances
from instructue.superapp.write import Wish, generate
from instructue.userqa.allowed import check_fact, kept_back
from instructue.userqa.derived import derived_facts


@pytest.fixture(scope="module")
def project(make_project, tmp_path_factory):
    """A world of 24 users in one file per source, gone through sources, validation and histories."""
    world = tmp_path_factory.mktemp("superapp") / "world"
    generate(Wish(users=24, seed=2), world)
    changes = {"data.dataset": str(world / "superapp.yaml"), "data.max_users": 0, "histories.training_snapshots": 6}
    config, paths = make_project(folder=world, changes=changes)
    for stage in ("sources", "validation"):
        STAGES[stage](config, paths)
    bring_text_encoder(config.base_models.text_encoder, paths.text_encoder)
    STAGES["histories"](config, paths)
    return config, paths, world


def test_all_sources_are_read_and_pass_validation(project):
    config, paths, world = project
    dataset = load_dataset(config.data.description())
    for source, folder in zip(dataset.event_sources, dataset.tables, strict=False):
        told = pl.read_parquet(world / folder / "*.parquet")
        found = pl.read_parquet(paths.table(source.name))
        assert found.height == told.height > 50, source.name
        assert found["row"].is_unique().all()
    assert set(pl.read_parquet(paths.texts())["source"]) == {s.name for s in dataset.sources}
    texts = pl.read_parquet(paths.texts())["text"].to_list()
    assert any(text.startswith("searched for flights to ") for text in texts)


def test_histories_meet_fresh_words_only_at_the_evaluation_snapshot(project):
    config, paths, _ = project
    tables = load_tables(config, paths)
    assert tables.histories["snapshot"].n_unique() == 7
    fresh = tables.texts.filter(pl.col("query").str.contains("plane tickets|discover"))["text_id"]
    seen = {}
    for split in ("train", "evaluation"):
        rows = tables.histories.filter(pl.col("split") == split)
        ends = rows.select("search_start", "search_end").rows()
        seen[split] = sum(tables.events["search"][a:b]["text_id"].is_in(fresh.implode()).sum() for a, b in ends)
    assert seen["train"] == 0 < seen["evaluation"]


def names(task, population) -> list[str]:
    return task.ranking.catalogue(population)


def test_every_task_finds_its_labels_and_what_they_were_drawn_from(project):
    config, paths, world = project
    population = Population.of(load_tables(config, paths))
    tasks = load_tasks(config.data.description())
    assert {task.family for task in tasks} == {"prediction", "marketing", "recommendation"}
    for task in tasks:
        if task.name in {"next_programs", "first_programs"}:
            task = task.model_copy(update={"label": task.label.model_copy(update={"min_users": 5})})
        labels, questions = task.label.labels(population), asked(task, population)
        assert labels.height == questions.height > 0 and "{" not in questions["instruction"].str.join().item()
        truth = world / "truth" / f"{task.name}.parquet"
        if task.family == "recommendation":
            chances = read_chances(world / "truth" / "next_programs.parquet", population.users, names(task, population))
            relevant = task.ranking.relevant(population, names(task, population))
            assert attainable_ranking(chances, relevant)["hr@10"] > 0.2
        elif labels["label"].n_unique() == 2:
            assert attainable(pl.read_parquet(truth), labels)["auc"] > 0.5
    offers = next(task for task in tasks if task.name == "takes_offer").label.labels(population)
    assert set(offers.columns) == {"user", "context", "label", "treated"} and offers["context"].n_unique() == 6


def test_its_questions_fit_its_sources_and_ask_nothing_that_a_task_predicts(project):
    config, _, world = project
    dataset = load_dataset(config.data.description())
    kept = kept_back(config.data.description(), dataset)
    facts = [*dataset.facts, *derived_facts(dataset, kept)]
    for fact in facts:
        check_fact(fact, dataset, kept)
    assert {fact.source for fact in facts} == {source.name for source in dataset.sources}


def test_the_committed_description_is_the_one_that_a_world_holds(project):
    world = project[2]
    own = yaml.safe_load((world / "superapp.yaml").read_text(encoding="utf-8"))
    assert own["name"] == load_dataset("superapp").name and own["folder"] == ""
