"""A project on the slice with histories, template-worded UserQA and the 2-layer cut of the real language model.

Event texts' vectors, half a minute's work, are left empty: UserQA never reads them.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from instructue.config import Config
from instructue.files import write_json
from instructue.models.bring import MANIFEST, locate
from instructue.paths import Paths
from instructue.sources.histories import build_histories
from instructue.sources.ingest import write_table
from instructue.sources.snapshots import plan_snapshots
from instructue.sources.spec import load_dataset
from instructue.sources.tables import VECTORS, load_events, write_vectors
from instructue.sources.values import dictionary_digest, values_of
from instructue.userqa.generate import build_userqa


@pytest.fixture(scope="session")
def language(based) -> Path:
    """The folder of the 2-layer cut of the real language model. Read only."""
    return based[1].language_model


@pytest.fixture(scope="session")
def asked(make_project, published, language) -> tuple[Config, Paths]:
    """Read only."""
    changes = {"userqa.teacher": "template", "histories.training_snapshots": 3}
    config, paths = make_project(changes=changes)
    paths.histories.mkdir(parents=True)
    paths.sources.symlink_to(published[1].sources)
    dataset = load_dataset(config.data.description())
    snapshots = plan_snapshots(config.histories, dataset.timezone)
    table = build_histories(dataset, load_events(dataset, paths), snapshots, config.histories.min_events)
    write_table(table, paths.histories / "histories.parquet")
    texts = pl.read_parquet(paths.texts())
    values = values_of(dataset, texts)
    empty = (np.zeros((size, 1), np.float32) for size in (texts.height, len(values.said)))
    write_vectors(paths.histories / VECTORS, dictionary_digest(texts, values), *empty)
    paths.base_models.mkdir(parents=True)
    paths.language_model.symlink_to(language)
    paths.text_encoder.symlink_to(locate(config.base_models.text_encoder))
    write_json(paths.base_models / MANIFEST, {"language": {"sha256": {"model.safetensors": "the cut"}}})
    build_userqa(config, paths)
    return config, paths
