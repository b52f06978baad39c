"""Where nothing is learnt LoRA is added to the weights: the same numbers, also after the update has moved on."""

import pytest
import torch

from instructue.network.backbone import Backbone
from instructue.network.packing import Layout


@pytest.fixture(params=["Llama", "Qwen2"])  # Qwen2's queries, keys and values have biases
def backbone(language, request) -> Backbone:
    """Two small layers with LoRA."""
    torch.manual_seed(0)
    return Backbone(language(request.param), 2, 4, torch.float32)


def both(backbone: Backbone) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states with LoRA beside the weights, as in training, and added to them."""
    torch.manual_seed(1)
    embedded_ND, layout = torch.randn(10, backbone.width), Layout.plain(10)
    with torch.inference_mode():
        added = backbone(embedded_ND, layout)
    return backbone(embedded_ND, layout), added.clone()


def test_added_weights_follow_every_step_and_every_load(backbone):
    trained = [p for p in backbone.parameters() if p.requires_grad]
    # Training's optimiser changes weights without a new version.
    optimizer, before = torch.optim.AdamW(trained, lr=0.05, fused=True), both(backbone)[1]
    for _ in range(3):
        beside, added = both(backbone.train())
        torch.testing.assert_close(added, beside.detach(), rtol=1e-4, atol=1e-4)
        beside.pow(2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = both(backbone.train().eval())[1]
    torch.testing.assert_close(after, both(backbone)[0].detach(), rtol=1e-4, atol=1e-4)
    assert (after - before).abs().max() > 0.01
    backbone.load_lora_state({name: torch.zeros_like(value) for name, value in backbone.lora_state().items()})
    torch.testing.assert_close(both(backbone)[1], before, rtol=1e-4, atol=1e-4)
