"""The real population, read from the installed package without the slow promotions, and a small cut of it."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from instructue.config import Config, load_config, parse_config
from instructue.evaluation.population import Population
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.tasks import TaskSpec, load_tasks, tasks_path
from instructue.paths import Paths
from instructue.sources import spec
from instructue.sources.events import number_texts, stable_sample, tidy, with_text_ids
from instructue.sources.histories import build_histories
from instructue.sources.readers import Reader, data_folder
from instructue.sources.snapshots import plan_snapshots
from instructue.sources.tables import VECTORS, Tables, write_vectors
from instructue.sources.values import dictionary_digest, values_of

ROOT = Path(__file__).parents[3]
NAME = "complete_journey"


@pytest.fixture(scope="session")
def config() -> Config:
    return load_config(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def dataset_file(tmp_path_factory) -> Path:
    """Complete Journey's description without promotions and facts, its tasks beside it, as a team would have it."""
    folder, origin = tmp_path_factory.mktemp("dataset"), Path(spec.__file__).parent.parent / "datasets"
    raw = yaml.safe_load((origin / f"{NAME}.yaml").read_text(encoding="utf-8"))
    raw["sources"] = [s for s in raw["sources"] if s["name"] != "promotion"]
    raw.pop("facts", None)
    (folder / "own.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    (folder / "own.tasks.yaml").write_text(tasks_path(NAME).read_text(encoding="utf-8"), encoding="utf-8")
    return folder / "own.yaml"


@pytest.fixture(scope="session")
def full_tables(config: Config, dataset_file: Path) -> Tables:
    dataset = spec.load_dataset(str(dataset_file))
    events, texts = {}, []
    with Reader(dataset, data_folder(dataset)) as reader:
        for source in dataset.sources:
            events[source.name], own = tidy(dataset, source, reader.rows(source))
            texts.append(own)
    return _tables(config, dataset, events, number_texts(texts))


def _tables(config: Config, dataset: spec.DatasetSpec, events: dict[str, pl.DataFrame], texts: pl.DataFrame) -> Tables:
    tables = {
        s.name: events[s.name] if "text_id" in events[s.name].columns else with_text_ids(s, events[s.name], texts)
        for s in dataset.sources
    }
    snapshots = plan_snapshots(config.histories, dataset.timezone)
    values = values_of(dataset, texts)
    vectors = np.random.default_rng(0).normal(size=(texts.height, 24)).astype(np.float32)
    return Tables(
        dataset,
        tables,
        texts,
        build_histories(dataset, tables, snapshots, config.histories.min_events),
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        values,
        np.zeros((len(values.said), 24), np.float32),
    )


@pytest.fixture(scope="session")
def full(full_tables: Tables) -> Population:
    return Population.of(full_tables)


@pytest.fixture(scope="session")
def small_tables(config: Config, full_tables: Tables) -> Tables:
    """160 households of the full data."""
    users = stable_sample(full_tables.events["purchase"]["user"], 160).implode()
    events = {name: frame.filter(pl.col("user").is_in(users)) for name, frame in full_tables.events.items()}
    return _tables(config, full_tables.dataset, events, full_tables.texts)


@pytest.fixture(scope="session")
def small(small_tables: Tables) -> Population:
    return Population.of(small_tables)


@pytest.fixture(scope="session")
def tasks() -> dict[str, TaskSpec]:
    return {task.name: task for task in load_tasks(NAME)}


@pytest.fixture(scope="session")
def protocol(config: Config, full: Population, tasks: dict[str, TaskSpec]) -> Protocol:
    return Protocol.draw(config.evaluation, full, list(tasks.values()))


@pytest.fixture(scope="session")
def small_config(dataset_file: Path) -> Config:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw["data"] |= {"dataset": dataset_file.stem, "described_in": str(dataset_file.parent)}
    slow = ["language_model", "two_tower", "bpr"]  # test_baselines.py and test_rankers.py have them
    raw["evaluation"] |= {"repeats": 1, "bootstrap": 100, "few_labels": [16], "few_draws": 5, "leave_out": slow}
    return parse_config(raw, "params.yaml")


@pytest.fixture(scope="session")
def small_root(small_tables: Tables, tmp_path_factory) -> Paths:
    """A project in which the stages up to histories have run on the small cut."""
    paths = Paths(tmp_path_factory.mktemp("project"))
    for folder in (paths.sources, paths.histories):
        folder.mkdir(parents=True)
    for name, frame in small_tables.events.items():
        frame.write_parquet(paths.table(name))
    small_tables.texts.write_parquet(paths.texts())
    small_tables.histories.write_parquet(paths.histories / "histories.parquet")
    named = dictionary_digest(small_tables.texts, small_tables.values)
    write_vectors(paths.histories / VECTORS, named, small_tables.vectors, small_tables.value_vectors)
    return paths
