"""The trained project's model, users of it and what the embeddings stage makes of them."""

import polars as pl
import pytest

from instructue import InstructUE
from instructue.embedding.embed import embed
from instructue.sources.tables import load_tables

COFFEE, AGE = "Will this household buy coffee soon?", "How old are the adults of this household, would you say?"
ANSWERS = pl.DataFrame({"text": ["Yes, it will buy coffee.", "No, it will not."]})


@pytest.fixture(scope="package")
def model(trained):
    return InstructUE.from_pretrained(trained[1].root)


@pytest.fixture(scope="package")
def users(trained):
    tables = load_tables(*trained)
    return tables.histories.filter(pl.col("split") == "evaluation")["user"].head(9).to_list()


@pytest.fixture(scope="package")
def stored(trained, users):
    """What the embeddings stage makes of them: (users, answers)."""
    config, paths = trained
    quick = config.model_copy(update={"embeddings": config.embeddings.model_copy(update={"untrained": False})})
    asked = [(u, "coffee", "", COFFEE, []) for u in users] + [(u, "age", "", AGE, ["profile"]) for u in users]
    types = {"user": pl.Int64, "task": pl.String, "context": pl.String, "instruction": pl.String}
    requests = pl.DataFrame(asked, schema={**types, "hides": pl.List(pl.String)}, orient="row")
    return embed(quick, paths, requests, ANSWERS)


@pytest.fixture(scope="package")
def events(trained, users):
    """The users' published rows, up to the moment: source -> table with text_id."""
    _, paths = trained
    tables = load_tables(*trained)
    mine = {name: frame.filter(pl.col("user").is_in(users)) for name, frame in tables.events.items()}
    moment = tables.histories.filter(pl.col("split") == "evaluation")["snapshot"][0]
    return {n: f.filter(pl.col("time") < moment) if "time" in f.columns else f for n, f in mine.items()}


@pytest.fixture(scope="package")
def general(model, users):
    return model.encode(users)


@pytest.fixture(scope="package")
def bundle(model, tmp_path_factory):
    """Saved without base models, which would be copied for every fault below."""
    return model.save_pretrained(tmp_path_factory.mktemp("saved") / "bundle", base_models=False)
