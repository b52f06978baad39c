"""What moves from one data set's network into another's, and what stays."""

from dataclasses import replace

import torch

from instructue.batching.features import AMOUNTS, BASE_FEATURES
from instructue.network.evidence import SHARPNESS
from instructue.network.user_model import Shape
from instructue.tuning.transplant import transplanted

HERE = Shape(
    sources=3, event_sources=2, windows=2, attributes=1, frequent=1, features=BASE_FEATURES + 2, text_width=6,
    map_width=2, evidence_width=4, dim=8, layers=1, lora_rank=1,
)  # fmt: skip
THERE = replace(HERE, sources=4, event_sources=3, features=BASE_FEATURES + 1)
WIDTH = 5


def state_of(shape: Shape, seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    sizes: dict[str, tuple[int, ...]] = {
        "head.weight": (2, 4),
        "place_size_C": (2,),
        "missing_PD": (shape.prefix, 4),
        "lora.q": (3, 3),
        "summary.weight": (4, 4 * shape.event_sources + shape.map_width),
        "evidence.asked.weight": (2, 7),
        "evidence.start.weight": (2, len(SHARPNESS) * shape.event_sources * AMOUNTS),
        "encoders.mean_F": (shape.features,),
    }
    for source in range(shape.sources):
        sizes |= {
            f"encoders.encoders.{source}.text.weight": (WIDTH, 6),
            f"encoders.encoders.{source}.figures.weight": (WIDTH, shape.features),
            f"encoders.adapters.{source}.project.weight": (4, WIDTH),
        }
    return {name: torch.randn(size, generator=draw) for name, size in sizes.items()}


def test_what_hangs_on_no_source_moves_and_what_was_fitted_here_stays():
    there, here = state_of(THERE, 1), state_of(HERE, 2)
    taught = transplanted(there, THERE, here, HERE)
    assert {k: v.shape for k, v in taught.items()} == {k: v.shape for k, v in here.items()}
    for name in ("head.weight", "lora.q"):
        assert torch.equal(taught[name], there[name]), name
    for name in ("place_size_C", "evidence.asked.weight", "missing_PD", "encoders.mean_F"):
        assert torch.equal(taught[name], here[name]), name


def test_an_encoder_starts_as_the_mean_of_its_kind():
    there, here = state_of(THERE, 1), state_of(HERE, 2)
    taught = transplanted(there, THERE, here, HERE)
    events = torch.stack([there[f"encoders.encoders.{s}.text.weight"] for s in range(3)]).mean(0)
    assert torch.equal(taught["encoders.encoders.0.text.weight"], events)
    assert torch.equal(taught["encoders.encoders.1.text.weight"], events)
    assert torch.equal(taught["encoders.adapters.2.project.weight"], there["encoders.adapters.3.project.weight"])
    figures = torch.stack([there[f"encoders.encoders.{s}.figures.weight"] for s in range(3)]).mean(0)
    moved, own = taught["encoders.encoders.0.figures.weight"], here["encoders.encoders.0.figures.weight"]
    assert torch.equal(moved[:, :BASE_FEATURES], figures[:, :BASE_FEATURES])
    assert torch.equal(moved[:, BASE_FEATURES:], own[:, BASE_FEATURES:])


def test_weights_that_read_all_sources_are_their_mean_for_each():
    there, here = state_of(THERE, 1), state_of(HERE, 2)
    taught = transplanted(there, THERE, here, HERE)
    read = there["evidence.start.weight"].view(2, len(SHARPNESS), 3, AMOUNTS)
    moved = taught["evidence.start.weight"].view(2, len(SHARPNESS), 2, AMOUNTS)
    for source in range(2):
        torch.testing.assert_close(moved[:, :, source], read.mean(2))
    summary = there["summary.weight"]
    torch.testing.assert_close(
        taught["summary.weight"][:, :4], (summary[:, :4] + summary[:, 4:8] + summary[:, 8:12]) / 3
    )
    assert torch.equal(taught["summary.weight"][:, -2:], summary[:, -2:])
