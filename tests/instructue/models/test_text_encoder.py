"""Texts become vectors once: the same to the bit alone, in company, and from what was kept."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from instructue.config import load_config
from instructue.errors import DataError
from instructue.models import text_encoder
from instructue.models.bert import Bert
from instructue.models.bring import locate
from instructue.models.text_encoder import Library, TextEncoder
from tests.conftest import ROOT

TEXTS = [
    "Will the household buy coffee within four weeks?",
    "COFFEE",
    "",
    *(f"Will the household buy {w} within {n} weeks?" for n in (2, 3, 4, 6) for w in ("milk", "bread", "frozen pizza")),
    "ice cream and " * 200,
]


@pytest.fixture(scope="module")
def folder():
    return locate(load_config(ROOT / "params.yaml").base_models.text_encoder)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def encoder(request, folder):
    return TextEncoder(folder, request.param)


@cache
def library(folder, dtype) -> Library:
    return Library(folder, dtype)


def test_vectors_are_those_of_sentence_transformers(encoder, folder):
    said = np.concatenate([library(folder, encoder.dtype).encode([text]) for text in TEXTS])
    ours = encoder.encode([*TEXTS, TEXTS[0]])
    assert ours.dtype == np.float32 and ours.shape == (len(TEXTS) + 1, encoder.width)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(ours[:-1], said, atol=1e-6 if encoder.dtype == "float32" else 1e-2)
    assert encoder.model.lengths(TEXTS) == library(folder, encoder.dtype).lengths(TEXTS)
    for text in TEXTS:  # to the bit, where both compute the same batch
        assert np.array_equal(encoder.model.encode([text] * 2), library(folder, encoder.dtype).encode([text] * 2))
    assert np.array_equal(ours[0], ours[-1])


def _set(name: str, **values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    change.__name__ = f"{name} {' '.join(values)}"
    return change


def _renamed(old: str, new: str, pooler: bool = True) -> Callable[[Path], None]:
    """Weights under the names of older files, and of larger models."""

    def change(folder: Path) -> None:
        file = folder / "model.safetensors"
        state = {k: v for k, v in load_file(file).items() if pooler or "pooler" not in k}
        save_file({k.replace(old, new, 1): v for k, v in state.items()}, file, metadata={"format": "pt"})

    change.__name__ = f"weights named {new}"
    return change


def _as_it_is(folder: Path) -> None:
    assert folder.is_dir()


def _no_normalising(folder: Path) -> None:
    file = folder / "modules.json"
    file.write_text(json.dumps(json.loads(file.read_text())[:2]))


@pytest.mark.parametrize(
    ("change", "known"),
    [
        (_as_it_is, True),
        (_no_normalising, True),
        (_set("1_Pooling/config.json", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False), False),
        (_set("sentence_bert_config.json", max_seq_length=8), True),
        (_set("sentence_bert_config.json", do_lower_case=True), False),
        (_set("config.json", hidden_act="relu"), False),
        (_set("config.json", is_decoder=True), False),
        (_set("config_sentence_transformers.json", prompts={"q": "query: "}, default_prompt_name="q"), False),
        (_set("config_sentence_transformers.json", truncate_dim=16), False),
        (_set("tokenizer_config.json", do_lower_case=False), False),
        (_set("tokenizer_config.json", strip_accents=False), False),
        (_set("tokenizer_config.json", tokenize_chinese_chars=False), False),
        (_set("tokenizer_config.json", truncation_side="left"), False),
        (_set("tokenizer.json", normalizer=None), False),
        (_renamed("LayerNorm.weight", "LayerNorm.gamma"), False),
        (_renamed("", "bert.", pooler=False), False),
    ],
    ids=lambda value: None if isinstance(value, bool) else value.__name__,
)
def test_an_encoder_of_another_make_goes_through_the_library(folder, tmp_path, change, known):
    """Whichever way it goes, its vectors are the library's."""
    import shutil

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    change(other)
    encoder = TextEncoder(other)
    assert isinstance(encoder.model, Bert) == known == Bert.knows(other)
    texts, library = [*TEXTS[:4], TEXTS[-1], "Crème brûlée 日本語"], Library(other, "float32")
    said = np.concatenate([library.encode([text]) for text in texts])
    said /= np.linalg.norm(said, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(texts), said, atol=1e-6)


def test_a_vector_depends_on_its_text_alone(encoder):
    together = encoder.encode(TEXTS)
    for some in ([5], [4, 5, 6], [*range(len(TEXTS))][::-1], [7, 7, 1, 3]):
        assert np.array_equal(encoder.encode([TEXTS[n] for n in some]), together[some])


def test_what_is_kept_is_not_computed_again_and_is_the_same_to_the_bit(encoder, folder, tmp_path):
    first = TextEncoder(folder, encoder.dtype, tmp_path)
    assert np.array_equal(first.encode(TEXTS[:5]), encoder.encode(TEXTS[:5]))
    later = TextEncoder(folder, encoder.dtype, tmp_path)
    assert np.array_equal(later.encode(TEXTS), encoder.encode(TEXTS))
    assert (first.computed, later.computed) == (5, len(TEXTS) - 5)
    last = TextEncoder(folder, encoder.dtype, tmp_path)
    assert np.array_equal(last.encode([*TEXTS[::-1], TEXTS[1]]), encoder.encode([*TEXTS[::-1], TEXTS[1]]))
    assert last.computed == 0 and "model" not in vars(last)


def test_another_encoder_or_dtype_is_computed_anew(folder, tmp_path):
    import shutil

    kept, changed = tmp_path / "kept", tmp_path / "changed"
    shutil.copytree(folder, changed)
    (changed / "README.md").write_text("another")
    assert TextEncoder(folder, "float32", kept).encode(TEXTS[:2]).any()
    for encoder in (TextEncoder(folder, "bfloat16", kept), TextEncoder(changed, "float32", kept)):
        encoder.encode(TEXTS[:3])
        assert encoder.computed == 3


def test_vectors_of_other_code_or_libraries_are_computed_anew(folder, tmp_path, monkeypatch):
    def computed() -> int:
        encoder = TextEncoder(folder, "float32", tmp_path / "kept")
        encoder.encode(TEXTS[:2])
        return encoder.computed

    assert (computed(), computed()) == (2, 0)
    code = tmp_path / "bert.py"
    code.write_text("another formula")
    monkeypatch.setattr(text_encoder, "CODE", (code,))
    assert (computed(), computed()) == (2, 0)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0" if name == "tokenizers" else "1")
    assert (computed(), computed()) == (2, 0)


def test_a_killed_run_keeps_what_it_had(folder, tmp_path, monkeypatch):
    killed = TextEncoder(folder, "float32", tmp_path)
    compute, batches = killed._compute, []

    def dying(texts):
        if len(batches) == 2:
            raise KeyboardInterrupt
        batches.append(texts)
        return compute(texts)

    monkeypatch.setattr(killed, "_compute", dying)
    with pytest.raises(KeyboardInterrupt):
        killed.encode(TEXTS)
    resumed = TextEncoder(folder, "float32", tmp_path)
    resumed.encode(TEXTS)
    assert resumed.computed == len(TEXTS) - sum(map(len, batches))


def test_a_damaged_shelf_is_named_with_the_mend(folder, tmp_path):
    TextEncoder(folder, "float32", tmp_path).encode(TEXTS[:1])
    for file in tmp_path.iterdir():
        file.write_bytes(b"no database" * 1000)
    with pytest.raises(DataError, match="is damaged .* delete it"):
        TextEncoder(folder, "float32", tmp_path).encode(TEXTS[:1])
