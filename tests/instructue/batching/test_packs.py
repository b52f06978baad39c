"""What a pack holds of answers: every token that something is predicted from, and nothing behind."""

import numpy as np
import pytest

from instructue.batching.features import HistoryFeatures
from instructue.batching.packs import Ask, Packer
from instructue.sources.tables import load_tables

END, PAD, WIDTH = 1, 0, 3


@pytest.fixture(scope="module")
def packer(asked) -> Packer:
    config, paths = asked
    features = HistoryFeatures(load_tables(config, paths), config.model.network.windows_days, 8)
    return Packer(features, 4, 2, lambda text: [ord(letter) for letter in text], PAD, END)


def segments(packer, answers):
    vectors = np.zeros((len(answers), len(answers[0]), packer.features.vectors.shape[1]), np.float32)
    asked = [["?"] * len(row) for row in answers]
    return packer.pack(np.arange(len(answers)), [Ask(asked, vectors, answers, 4, WIDTH)]).groups[0]


def test_the_end_of_an_answer_is_predicted_and_not_read(packer):
    group = segments(packer, [["ab", "a"], ["abcd", ""]])
    a, b, c = (ord(letter) for letter in "abc")
    assert group.answer_BKJ.tolist() == [[[a, b, PAD], [a, PAD, PAD]], [[a, b, c], [PAD, PAD, PAD]]]
    assert group.target_BKJ.tolist() == [
        [[a, b, END, -100], [a, END, -100, -100]],
        [[a, b, c, END], [END, -100, -100, -100]],
    ]


def test_where_no_answer_has_a_token_its_end_alone_is_predicted(packer):
    group = segments(packer, [["", ""]])
    assert group.answer_BKJ.shape == (1, 2, 0)
    assert group.target_BKJ.tolist() == [[[END], [END]]]
