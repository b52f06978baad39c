"""Where a vector's first numbers are to serve alone, every part of it is among them."""

from dataclasses import asdict

import pytest

from instructue.network.user_model import Shape, spread

SHAPE = Shape(sources=2, event_sources=1, windows=4, attributes=3, frequent=8, features=9, text_width=384, map_width=48,
              evidence_width=32, dim=128, layers=2, lora_rank=4, matryoshka=(32, 64))  # fmt: skip


@pytest.mark.parametrize("width", [8, 16, 32, 64, 128])
def test_every_prefix_has_its_share_of_each_part(width):
    order = spread(SHAPE.columns).tolist()
    assert sorted(order) == list(range(128))
    for part in SHAPE.columns:
        assert abs(len(set(part) & set(order[:width])) - width * len(part) / 128) <= 1
    assert 127 in order[:8], "the constant that tells the size of the evidence's other numbers is among the first"
    map_columns = [column for column in order if 48 <= column < 96]
    assert map_columns == sorted(map_columns), "the map's columns come as telling as they are"


def test_a_shape_is_the_same_when_read_from_json_and_one_without_widths_is_read_too():
    import json

    assert Shape(**json.loads(json.dumps(asdict(SHAPE)))) == SHAPE
    old = {name: value for name, value in asdict(SHAPE).items() if name != "matryoshka"}
    assert Shape(**old).matryoshka == ()
