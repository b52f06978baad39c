"""The generated world goes through the chain's first stages by its own description, and its tasks find their labels."""

import numpy as np
import polars as pl
import pytest
import yaml

from instructue.evaluation.attainable import attainable_on
from instructue.evaluation.population import Population
from instructue.evaluation.tasks import asked, load_tasks
from instructue.sources.histories import build_histories
from instructue.sources.snapshots import plan_snapshots
from instructue.sources.spec import load_dataset
from instructue.sources.tables import Tables, load_events
from instructue.sources.values import values_of
from instructue.stages import STAGES
from instructue.superapp.write import Wish, generate
from instructue.userqa.allowed import check_fact, kept_back
from instructue.userqa.derived import derived_facts


@pytest.fixture(scope="module")
def project(make_project, tmp_path_factory):
    """A world of 24 users in one file per source, gone through sources and validation."""
    world = tmp_path_factory.mktemp("superapp") / "world"
    generate(Wish(users=24, seed=2), world)
    changes = {"data.dataset": "superapp", "data.described_in": str(world), "data.max_users": 0,
               "histories.training_snapshots": 6}  # fmt: skip
    config, paths = make_project(folder=world, changes=changes)
    for stage in ("sources", "validation"):
        STAGES[stage](config, paths)
    return config, paths, world


@pytest.fixture(scope="module")
def tables(project):
    """Its tables with histories; vectors, which no label reads, are empty."""
    config, paths, _ = project
    dataset = load_dataset(config.data.description())
    events = load_events(dataset, paths)
    snapshots = plan_snapshots(config.histories, dataset.timezone)
    histories = build_histories(dataset, events, snapshots, config.histories.min_events)
    texts = pl.read_parquet(paths.texts())
    values = values_of(dataset, texts)
    vectors, of_values = (np.zeros((size, 0), np.float32) for size in (texts.height, len(values.said)))
    return Tables(dataset, events, texts, histories, vectors, values, of_values)


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


def test_histories_meet_fresh_words_only_at_the_evaluation_snapshot(tables):
    assert tables.histories["snapshot"].n_unique() == 7
    fresh = tables.texts.filter(pl.col("query").str.contains("plane tickets|discover"))["text_id"]
    seen = {}
    for split in ("train", "evaluation"):
        rows = tables.histories.filter(pl.col("split") == split)
        ends = rows.select("search_start", "search_end").rows()
        seen[split] = sum(tables.events["search"][a:b]["text_id"].is_in(fresh.implode()).sum() for a, b in ends)
    assert seen["train"] == 0 < seen["evaluation"]


def test_every_task_finds_its_labels_and_what_they_were_drawn_from(project, tables):
    config, population = project[0], Population.of(tables)
    tasks = load_tasks(config.data.description())
    assert {task.family for task in tasks} == {"prediction", "marketing", "recommendation"}
    for task in tasks:
        if task.name in {"next_programs", "first_programs"}:
            task = task.model_copy(update={"label": task.label.model_copy(update={"min_users": 5})})
        labels, questions = task.label.labels(population), asked(task, population)
        assert labels.height == questions.height > 0 and "{" not in questions["instruction"].str.join().item()
        best = {part["metric"]: part["value"] for part in attainable_on(task, population)}
        if task.family == "recommendation":
            assert best["hr@10"] > 0.2 and set(best) == {"ndcg@10", "hr@10", "recall@10"}
        elif labels["label"].n_unique() == 2:
            assert best["auc"] > 0.5 and "lift@10%" in best
        else:
            assert not best  # too few users to have both answers
        assert attainable_on(task.model_copy(update={"chances": None}), population) == []
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
