"""The language model's tokenizer is the one that transformers reads from the same folder."""

import json
import shutil

import pytest

from instructue.errors import DataError
from instructue.models.tokenizer import Words

TEXTS = [
    "",
    "Will this household react to a coupon?",
    "  two  spaces, ÜMLAUTS — and 日本語 \n\t1,234.50 <USER> <|im_end|> ",
    "coffee " * 300,
]


@pytest.fixture
def folder(asked):
    return asked[1].language_model


def test_ids_and_texts_are_those_of_transformers(folder):
    from transformers import AutoTokenizer

    library, words = AutoTokenizer.from_pretrained(folder), Words(folder)
    assert (words.end_id, words.pad_id) == (library.eos_token_id, library.pad_token_id)
    for text in TEXTS:
        ids = words.ids(text)
        assert ids == library(text, add_special_tokens=False)["input_ids"]
        said = [*ids, words.end_id]
        assert words.text(said) == library.decode(said, skip_special_tokens=True)


def test_special_tokens_as_other_files_spell_them(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    file = tmp_path / "other" / "tokenizer_config.json"
    said = json.loads(file.read_text())
    said["eos_token"] = {"content": said["eos_token"], "special": True}
    del said["pad_token"]
    file.write_text(json.dumps(said))
    other = Words(tmp_path / "other")
    assert other.end_id == other.pad_id == Words(folder).end_id
    del said["eos_token"]
    file.write_text(json.dumps(said))
    with pytest.raises(DataError, match="names no token that ends a text"):
        _ = Words(tmp_path / "other").end_id


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_file_is_named_with_the_mend(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / name).write_text("{")
    with pytest.raises(DataError, match=rf"{name} cannot be read .*run the base_models stage again"):
        Words(tmp_path / "other").ids("coffee")
