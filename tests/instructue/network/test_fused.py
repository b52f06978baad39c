"""Pieces of a layer in few passes: their numbers and gradients are those of the library's own modules."""

from pathlib import Path
from typing import Any

import pytest
import torch

from instructue.errors import ConfigError
from instructue.network import fused
from instructue.network.backbone import PEFT, Backbone
from instructue.network.decoder import LORA_TARGETS
from instructue.network.packing import Layout

TOKENS = 11
FAMILY = ["Llama", "Mistral", "Qwen2", "Qwen3"]  # Qwen2's queries have biases, Qwen3's are normed


@pytest.fixture(params=FAMILY)
def folder(language, request) -> Path:
    return language(request.param)


def library(folder: Path, state: dict[str, torch.Tensor], x_ND: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """Hidden states of transformers' and peft's own modules in float32, with these LoRA weights, and the model."""
    import peft
    import transformers

    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=LORA_TARGETS)
    model = peft.get_peft_model(plain, lora)
    peft.set_peft_model_state_dict(model, {k: v.float() for k, v in state.items()})
    return model.base_model.model.model(inputs_embeds=x_ND[None]).last_hidden_state[0], model


def ours(folder: Path, dtype: torch.dtype) -> Backbone:
    torch.manual_seed(1)
    backbone = Backbone(folder, 2, 4, dtype)
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return backbone


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("rows", [4, 512])
def test_layers_and_gradients_are_the_librarys(folder, dtype, near, rows, monkeypatch):
    monkeypatch.setattr(fused, "ROWS", rows)
    backbone, x = ours(folder, dtype), torch.randn(TOKENS, 32)
    mine, theirs = x.to(dtype, copy=True).requires_grad_(), x.clone().requires_grad_()
    weight_ND = torch.randn(TOKENS, 32)
    out = backbone(mine, Layout.plain(TOKENS))
    (out.float() * weight_ND).sum().backward()
    expected, model = library(folder, backbone.lora_state(), theirs)
    (expected * weight_ND).sum().backward()
    learnt = {PEFT + n: p.grad for n, p in backbone.named_parameters() if p.requires_grad}
    library_learnt = {n.replace(".default", ""): p.grad for n, p in model.named_parameters() if p.requires_grad}
    found = {"out": out, "x": mine.grad} | learnt
    right = {"out": expected, "x": theirs.grad} | library_learnt
    assert found.keys() == right.keys() and len(found) == 2 + 2 * 2 * len(LORA_TARGETS)
    for name, value in right.items():
        apart = (found[name].float() - value).norm() / value.norm()
        assert apart < near, (name, float(apart))


def test_autocast_rules_over_the_weights_type(folder):
    backbone, x = ours(folder, torch.float32), torch.randn(TOKENS, 32)
    found = []
    for cast in (False, True):
        for inference in (False, True):
            leaf = x.clone().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=cast), torch.inference_mode(inference):
                out = backbone(leaf, Layout.plain(TOKENS)).float()
                if not inference:
                    out.square().sum().backward()
            found.append((out.detach().clone(), leaf.grad))
    exact, merged, rounded, rounded_merged = found
    torch.testing.assert_close(exact[0], merged[0], rtol=1e-4, atol=1e-4)
    for other in (rounded[0], rounded_merged[0]):
        assert 1e-4 < (other - exact[0]).norm() / exact[0].norm() < 0.05
    assert 1e-4 < (rounded[1] - exact[1]).norm() / exact[1].norm() < 0.1


def test_nothing_is_learnt_where_weights_stay(folder):
    backbone, x = ours(folder, torch.float32), torch.randn(TOKENS, 32)
    free, still = x.clone().requires_grad_(), x.clone().requires_grad_()
    backbone(free, Layout.plain(TOKENS)).square().sum().backward()
    backbone.requires_grad_(False)
    backbone(still, Layout.plain(TOKENS)).square().sum().backward()
    torch.testing.assert_close(still.grad, free.grad)


def test_a_language_model_of_another_family_is_refused(tmp_path):
    import transformers

    config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=20)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="gpt2"):
        Backbone(tmp_path, 1, 2, torch.float32)
