"""What a checkpoint must agree on, written and read."""

import json
from dataclasses import asdict

from instructue.network.user_model import Shape

SHAPE = Shape(sources=2, event_sources=1, windows=4, attributes=3, frequent=8, features=9, text_width=384, map_width=48,
              evidence_width=32, dim=128, layers=2, lora_rank=4, matryoshka=(32, 64))  # fmt: skip


def test_a_shape_is_the_same_when_read_from_json_and_one_without_widths_is_read_too():
    assert Shape(**json.loads(json.dumps(asdict(SHAPE)))) == SHAPE
    old = {name: value for name, value in asdict(SHAPE).items() if name != "matryoshka"}
    assert Shape(**old).matryoshka == ()
