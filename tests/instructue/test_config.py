"""params.yaml: the committed one loads, and what is wrong is named."""

import copy
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from instructue.changes import with_variant
from instructue.config import Config, load_config, parse_config
from instructue.config_model import Section
from instructue.errors import ConfigError

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def raw() -> dict:
    return yaml.safe_load(PARAMS.read_text(encoding="utf-8"))


FREE = {("variants",), ("studies", "ablations")}  # names of a team's own


def leaves(section: dict, path: tuple[str, ...] = ()):
    for key, value in section.items():
        if (*path, key) == ("variants",):
            continue
        if isinstance(value, dict) and (*path, key) not in FREE:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def test_the_committed_params_load_and_so_do_their_variants(raw):
    config = load_config(PARAMS)
    assert config.model_dump(mode="json", exclude={"variants"}) == {k: v for k, v in raw.items() if k != "variants"}
    for name, changes in raw["variants"].items():
        changed = load_config(PARAMS, name)
        for dotted, value in changes.items():
            found = changed
            for part in dotted.split("."):
                found = getattr(found, part)
            assert found == value, (name, dotted)


def test_every_key_is_needed_and_none_other_is_taken(raw):
    for path in leaves(raw):
        for damage, says in (
            (lambda place, key: place.pop(key), "Field required"),
            (lambda place, key: place.update({f"{key}_": 1}), "Extra inputs"),
        ):
            broken = copy.deepcopy(raw)
            place = broken
            for part in path[:-1]:
                place = place[part]
            damage(place, path[-1])
            with pytest.raises(ConfigError, match=rf"(?s)params.yaml is not valid.*{'.'.join(path)}_?: {says}"):
                parse_config(broken, "params.yaml")


def test_every_knob_says_what_it_is_for_or_has_a_bound():
    def fields(model: type[BaseModel], path: str = ""):
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                yield from fields(field.annotation, f"{path}{name}.")
            else:
                yield f"{path}{name}", field

    silent = [name for name, field in fields(Config) if not field.description and not field.metadata]
    assert silent == []


@pytest.mark.parametrize(
    ("dotted", "value", "says"),
    [
        ("validation.max_quarantined_share", 1.5, "less than or equal to 1"),
        ("validation.validator", "data_checks.runner", "match pattern"),
        ("data.max_users", -1, "greater than or equal to 0"),
        ("histories.evaluation_snapshot", "1 October", "valid date"),
        ("model.network.windows_days", [28, 7], r"must ascend from at least 1, got \[28, 7\]"),
        ("model.training.matryoshka", [64, 128], r"\[64, 128\] must ascend, from at least 8 to below dim 128"),
        ("userqa.teacher", "oracle", "'local', 'openai' or 'template'"),
        ("model.training.users", "many", "valid integer"),
    ],
)
def test_values_out_of_range_name_the_key_and_the_value(raw, dotted, value, says):
    raw["variants"] = {"broken": {dotted: value}}
    with pytest.raises(ConfigError, match=rf"(?s){dotted.split('.')[-1]}.*{says}"):
        parse_config(with_variant(raw, "broken"), "params.yaml")


def test_a_variant_changes_a_copy_and_names_what_it_cannot_change(raw):
    before = copy.deepcopy(raw)
    assert with_variant(raw, "debug")["data"]["max_users"] == 240 and raw == before
    with pytest.raises(ConfigError, match="no variant 'nightly' in params.yaml; it has"):
        with_variant(raw, "nightly")
    for dotted in ("data.users", "nowhere.at_all", "data.max_users.more"):
        raw["variants"]["debug"] = {dotted: 1}
        with pytest.raises(ConfigError, match=rf"variant 'debug' changes '{dotted}', which is not in params.yaml"):
            with_variant(raw, "debug")


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"params.yaml is not there; run from the project's root"):
        load_config(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("data: [")
    with pytest.raises(ConfigError, match=r"params.yaml is not YAML"):
        load_config(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"params.yaml is not valid"):
        load_config(tmp_path / "params.yaml")


def test_a_loaded_config_cannot_be_changed():
    config = load_config(PARAMS)
    with pytest.raises(ValueError, match="frozen"):
        config.data.max_users = 3
