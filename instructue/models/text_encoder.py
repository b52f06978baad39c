"""The frozen sentence encoder (as sentence-transformers'): unique texts in, unit vectors out, each text once for ever.

Texts of equally many tokens are computed together. So no work goes into padding, and a vector depends on its text
alone, not on the texts beside it: what was kept on disk is, to the bit, what would be computed anew.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from pathlib import Path
from sqlite3 import DatabaseError
from typing import TYPE_CHECKING, Any

import numpy as np

from instructue.errors import DataError
from instructue.files import sha256
from instructue.paths import Paths
from instructue.progress import track

if TYPE_CHECKING:
    from instructue.models.bert import Bert

TOKENS = 2560  # computed at once
COMPUTE = ("torch", "tokenizers", "sentence-transformers", "transformers")  # a vector's last bits may rest on them
CODE = tuple(Path(__file__).with_name(name) for name in ("bert.py", "tokenizer.py"))
MOST_BYTES = 4 * 2**30  # kept on disk, some two million texts; beyond it those kept longest ago make room


class TextEncoder:
    """all-MiniLM-L6-v2 or any other sentence-transformers folder; loaded when a text is not kept.

    dtype: what it computes in; bfloat16 is three times as fast where the processor has it, and moves a vector by a
    thousandth. kept: the folder where vectors are kept by encoder, dtype and text; None: nowhere.
    """

    def __init__(self, folder: Path, dtype: str = "float32", kept: Path | None = None) -> None:
        self.folder, self.dtype, self.kept = folder, dtype, kept
        self.computed = 0  # texts so far that were not kept

    @classmethod
    def of(cls, paths: Paths, dtype: str = "float32") -> "TextEncoder":
        """The project's own, which keeps what it encodes."""
        return cls(paths.text_encoder, dtype, paths.text_vectors)

    @cached_property
    def model(self) -> "Bert | Library":
        from instructue.models.bert import Bert

        return (Bert if Bert.knows(self.folder) else Library)(self.folder, self.dtype)

    @property
    def width(self) -> int:
        return self.model.width

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """float32 [texts, width], unit length. Repeated texts are encoded once."""
        place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        unique = list(place)
        with self._shelf() as shelf:
            vectors, missing = self._kept(shelf, unique)
            batches = self._batches([unique[number] for number in missing])
            for batch in track(batches, "encoding texts") if progress else batches:
                numbers = [missing[n] for n in batch]
                vectors[numbers] = self._compute([unique[number] for number in numbers])
                if shelf is not None:
                    with shelf.transact():
                        for number in numbers:
                            shelf.set(self._key(unique[number]), vectors[number].tobytes())
        return vectors if len(unique) == len(texts) else vectors[[place[text] for text in texts]]

    def _kept(self, shelf: Any, texts: list[str]) -> tuple[np.ndarray, list[int]]:
        """The texts' vectors, filled in as far as they are kept, and the numbers of those that are not."""
        vectors, missing = None, []
        for number, text in enumerate(texts):
            kept = shelf.get(self._key(text)) if shelf is not None else None
            if kept is None:
                missing.append(number)
                continue
            if vectors is None:
                vectors = np.empty((len(texts), len(kept) // 4), np.float32)
            vectors[number] = np.frombuffer(kept, np.float32)
        return np.empty((len(texts), self.width), np.float32) if vectors is None else vectors, missing

    def _compute(self, texts: list[str]) -> np.ndarray:
        self.computed += len(texts)
        # Products with very few rows go another way through the processor, with other last bits.
        together = texts if len(texts) > 1 else texts * 2
        made = self.model.encode(together)[: len(texts)]
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    def _batches(self, texts: list[str]) -> list[list[int]]:
        """Numbers of texts of equally many tokens, the longest first."""
        if not texts:
            return []
        lengths = self.model.lengths(texts)
        order = sorted(range(len(texts)), key=lambda number: -lengths[number])
        return [
            same[start : start + size]
            for length, group in groupby(order, key=lambda number: lengths[number])
            for same, size in [(list(group), max(2, TOKENS // max(1, length)))]
            for start in range(0, len(same), size)
        ]

    @contextmanager
    def _shelf(self) -> Iterator[Any]:
        """Where vectors are kept, open; None where they are not. Raises DataError if it cannot be read."""
        if self.kept is None:
            yield None
            return
        import diskcache

        try:
            with diskcache.Cache(str(self.kept), size_limit=MOST_BYTES) as shelf:
                yield shelf
        except DatabaseError as error:
            raise DataError(f"{self.kept} is damaged ({error}); delete it, and its texts are encoded anew") from error

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(self._identity + text.encode()).digest()

    @cached_property
    def _identity(self) -> bytes:
        """Of all that shapes a vector: the encoder's files, what it computes in, and what computes."""
        from importlib.metadata import version

        digest = hashlib.sha256(" ".join([self.dtype, *map(version, COMPUTE), *map(sha256, CODE)]).encode())
        for file in sorted(file for file in self.folder.rglob("*") if file.is_file()):
            digest.update(f"{file.relative_to(self.folder)} {sha256(file)}".encode())
        return digest.digest()


class Library:
    """Any sentence-transformers folder, run by that library."""

    def __init__(self, folder: Path, dtype: str) -> None:
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": dtype})
        self.width = int(self.model.get_embedding_dimension())

    def lengths(self, texts: list[str]) -> list[int]:
        """How many tokens each text has."""
        tokenizer: Any = self.model.tokenizer
        if not callable(tokenizer):  # a model of word vectors adds them up, whatever the length
            return [1] * len(texts)
        read = tokenizer(texts, truncation=True, max_length=self.model.max_seq_length)
        return [len(ids) for ids in read["input_ids"]]

    def encode(self, texts: list[str]) -> np.ndarray:
        """[n, width] float32 of texts of equally many tokens."""
        made = self.model.encode(texts, batch_size=len(texts), convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(made, dtype=np.float32)
