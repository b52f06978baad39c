"""Tokenizers of base models, read by the library `tokenizers` alone: importing transformers takes seconds."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from instructue.errors import DataError
from instructue.files import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MEND = "run the base_models stage again"


class Words:
    """A language model's: texts to token ids and back.

    Reads a folder's tokenizer.json and tokenizer_config.json; raises DataError if they cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        said = read_json(folder / "tokenizer_config.json", _MEND)
        self._special = {name: said.get(f"{name}_token") for name in ("eos", "pad")}

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        return read_tokenizer(self.folder)

    def ids(self, text: str) -> list[int]:
        """Of the text alone: nothing stands before or behind it."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def text(self, ids: list[int]) -> str:
        """What tokens say, without marks such as the end."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    @property
    def end_id(self) -> int:
        """Of the token that ends a text. Raises DataError if there is none."""
        found = self._id("eos")
        if found is None:
            raise DataError(f"{self.folder} names no token that ends a text (eos_token); bring another language model")
        return found

    @property
    def pad_id(self) -> int:
        """Of the token that fills up; the end's where there is none of its own."""
        found = self._id("pad")
        return self.end_id if found is None else found

    def _id(self, name: str) -> int | None:
        token = self._special[name]
        token = token["content"] if isinstance(token, dict) else token
        return None if token is None else self._tokenizer.token_to_id(token)


def read_tokenizer(folder: Path, longest: int | None = None) -> "Tokenizer":
    """A folder's tokenizer.json, which adds no padding and cuts texts to `longest` tokens where that is given."""
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    try:
        read = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise DataError(f"{file} cannot be read ({error}); {_MEND}") from error
    read.no_padding()
    read.no_truncation()
    if longest is not None:
        read.enable_truncation(longest)
    return read
