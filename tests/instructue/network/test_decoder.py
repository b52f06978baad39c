"""The language model as read by us: weights, names, draws and angles are those of transformers and peft."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from instructue.errors import ConfigError, DataError
from instructue.network.backbone import Backbone
from instructue.network.decoder import LORA_TARGETS
from instructue.network.packing import Layout

TOKENS = torch.tensor([3, 41, 7, 7, 22, 19, 0, 5])


def library(folder: Path, layers: int = 2):
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, num_hidden_layers=layers)


def assert_alike(folder: Path, layers: int = 2) -> None:
    """Hidden states and logits of a fresh backbone are transformers' own."""
    plain, backbone = library(folder, layers), Backbone(folder, layers, 4, torch.float32)
    with torch.no_grad():
        hidden = backbone(backbone.embed(TOKENS), Layout.plain(len(TOKENS)))
        torch.testing.assert_close(hidden, plain.model(TOKENS[None]).last_hidden_state[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(backbone.logits(hidden), plain(TOKENS[None]).logits[0], rtol=1e-5, atol=1e-5)


@pytest.fixture
def changed(language, tmp_path):
    """A small Llama's folder that may be changed."""
    folder = tmp_path / "changed"
    shutil.copytree(language("Llama"), folder)
    return folder


def say(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3"])
@pytest.mark.parametrize("layers", [1, 2])
def test_hidden_states_and_logits_are_those_of_transformers(language, family, layers):
    assert_alike(language(family), layers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lora_is_drawn_and_named_as_in_peft(language, dtype):
    import peft
    import transformers

    folder = language("Qwen2")
    torch.manual_seed(5)
    ours = Backbone(folder, 2, 4, dtype).lora_state()
    after = torch.get_rng_state()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    torch.manual_seed(5)
    theirs = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, target_modules=LORA_TARGETS))
    assert torch.equal(torch.get_rng_state(), after)
    state = peft.get_peft_model_state_dict(theirs)
    assert list(ours) == list(state)
    assert all(torch.equal(ours[name], value) and value.dtype == ours[name].dtype for name, value in state.items())
    assert sum(p.numel() for p in theirs.parameters() if p.requires_grad) == sum(v.numel() for v in ours.values())


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0},
        {
            "rope_type": "llama3",
            "rope_theta": 50.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
        {"rope_type": "yarn", "rope_theta": 50.0, "factor": 4.0, "original_max_position_embeddings": 16},
    ],
    ids=lambda rope: rope["rope_type"],
)
def test_stretched_positions_are_those_of_transformers(changed, rope):
    places = torch.arange(40)
    before = Backbone(changed, 1, 4, torch.float32).model.rotary(places, torch.float32)
    say(changed, rope_parameters=rope, max_position_embeddings=64)
    assert_alike(changed)
    ours = Backbone(changed, 1, 4, torch.float32).model.rotary(places, torch.float32)
    theirs = library(changed).model.rotary_emb(torch.zeros(1), places[None])
    for mine, right, plain in zip(ours, theirs, before, strict=True):
        torch.testing.assert_close(mine, right[0], rtol=1e-6, atol=1e-6)
        assert (mine - plain).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["dynamic", "longrope", "foo"])
def test_places_that_rest_on_the_whole_are_refused(changed, kind):
    say(changed, rope_parameters={"rope_type": kind, "rope_theta": 50.0, "factor": 4.0})
    with pytest.raises(ConfigError, match=f"stretched by '{kind}'.*linear, llama3, yarn"):
        Backbone(changed, 1, 4, torch.float32)


@pytest.mark.parametrize("scaling", [None, {"type": "linear", "factor": 3.0}])
def test_settings_as_older_files_spell_them(changed, scaling):
    said = json.loads((changed / "config.json").read_text())
    said |= {"rope_theta": 300.0, "rope_scaling": scaling}
    del said["rope_parameters"]
    (changed / "config.json").write_text(json.dumps(said))
    assert_alike(changed)


def test_weights_in_several_files_and_a_tied_head(changed):
    state = load_file(changed / "model.safetensors")
    (changed / "model.safetensors").unlink()
    del state["lm_head.weight"]
    say(changed, tie_word_embeddings=True)
    first = {name: value for name, value in state.items() if "layers.0" in name}
    parts = [first, {name: value for name, value in state.items() if name not in first}]
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name, part in zip(names, parts, strict=True):
        save_file(part, changed / name, metadata={"format": "pt"})
    where = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    (changed / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    assert_alike(changed)


def test_what_was_read_is_not_the_file_itself(changed):
    """A file that is replaced while a model is up must not change or kill it."""
    backbone = Backbone(changed, 1, 4, torch.float32)
    before = backbone.model.embed_tokens.weight.clone()
    file = changed / "model.safetensors"
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        opened.write(b"\0" * (file.stat().st_size // 2))
    assert torch.equal(backbone.model.embed_tokens.weight, before)
    assert all(parameter.abs().sum() > 0 for parameter in backbone.parameters() if not parameter.requires_grad)


def test_what_is_missing_is_named(changed):
    state = load_file(changed / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, changed / "model.safetensors")
    assert Backbone(changed, 1, 4, torch.float32)
    with pytest.raises(DataError, match=r"no layers\.1\.mlp\.up_proj\.weight"):
        Backbone(changed, 2, 4, torch.float32)
    (changed / "model.safetensors").unlink()
    with pytest.raises(DataError, match="holds no weights"):
        Backbone(changed, 1, 4, torch.float32)
    said = json.loads((changed / "config.json").read_text())
    del said["hidden_size"]
    (changed / "config.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match="config.json has no 'hidden_size'"):
        Backbone(changed, 1, 4, torch.float32)
    for damaged in (b"{", b"[]", b"\xff\xfe"):
        (changed / "config.json").write_bytes(damaged)
        with pytest.raises(DataError, match=r"config\.json cannot be read .*fetch the language model again"):
            Backbone(changed, 1, 4, torch.float32)


def test_damaged_weights_are_named(changed):
    (changed / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"model\.safetensors cannot be read .*fetch the language model again"):
        Backbone(changed, 1, 4, torch.float32)


@pytest.mark.parametrize("values", [{"num_attention_heads": 2}, {"head_dim": 16}, {"num_key_value_heads": 1}])
def test_weights_of_other_sizes_than_said_are_refused(changed, values):
    say(changed, **values)
    with pytest.raises(DataError, match=r"_proj of the language model has \d+ rows, by its config.json \d+"):
        Backbone(changed, 1, 4, torch.float32)


@pytest.mark.parametrize(("family", "part"), [("Qwen3", "q_norm.weight"), ("Qwen2", "k_proj.bias")])
def test_what_a_family_always_has_is_missed(language, tmp_path, family, part):
    shutil.copytree(language(family), tmp_path / "changed")
    file = tmp_path / "changed" / "model.safetensors"
    state = load_file(file)
    del state[f"model.layers.0.self_attn.{part}"]
    save_file(state, file)
    with pytest.raises(DataError, match=rf"no layers\.0\.self_attn\.{part}"):
        Backbone(tmp_path / "changed", 1, 4, torch.float32)


def test_weights_with_biases_everywhere(tmp_path):
    import transformers

    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, num_hidden_layers=2, attention_bias=True, mlp_bias=True, hidden_act="silu", **sizes
    )
    model = transformers.LlamaForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path)
    assert_alike(tmp_path)


def test_another_activation_is_refused(changed):
    say(changed, hidden_act="gelu")
    with pytest.raises(ConfigError, match="with silu"):
        Backbone(changed, 1, 4, torch.float32)
