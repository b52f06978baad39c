"""A trained model as other libraries' users know models: load it, encode users, ask, save.

    from instructue import InstructUE
    model = InstructUE.from_pretrained("path/to/model")
    model.encode(histories, "Will this user buy coffee soon?", at="2017-10-01")

docs/model.md shows each way to call it. Nothing heavy is imported before the first model is loaded.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from instructue.api import prompts
from instructue.api.origin import Origin, find
from instructue.errors import ConfigError, DataError

if TYPE_CHECKING:
    from instructue.api.given import Late
    from instructue.api.network import Network
    from instructue.sources.tables import Tables
    from instructue.tuning.prompt import About

log = logging.getLogger(__name__)
Instructions = str | Sequence[str] | Sequence[Sequence[str]] | None


class InstructUE:
    """One vector per user, conditioned on an instruction in plain language; `from_pretrained` makes one.

    Vectors are float32 of unit length, `dim` wide, comparable by inner product with `encode_answers`' and, under one
    instruction, with each other.
    """

    def __init__(self, network: "Network") -> None:
        self.network = network

    @classmethod
    def from_pretrained(
        cls, where: str | Path, *, project: str | Path | None = None, base_models: str | Path | None = None
    ) -> "InstructUE":
        """Load a model from a folder (of save_pretrained, a project's data/model, a project's root) or from MLflow
        ("models:/NAME/VERSION", "runs:/ID/model").

        project: the folder with params.yaml that trained it, for users by id and for what data/model leaves to it.
        base_models: the folder with base models, where they are not beside the model.
        Raises DataError (nothing there, damaged, foreign), ConfigError (of a newer version, base models missing or
        others than in training, other event texts).
        """
        from instructue.telemetry import telemetry_off

        telemetry_off()
        origin = find(where, project, base_models)
        from instructue.api.network import Network

        return cls(Network(origin))

    @property
    def origin(self) -> Origin:
        return self.network.origin

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self.network.dim

    @property
    def widths(self) -> list[int]:
        """Values that `dim=` may take, ascending; the last is the whole vector."""
        return [*self.network.parts.model.shape.matryoshka, self.dim]

    def encode(
        self,
        histories: Sequence[Any] | Mapping[str, Any],
        instructions: Instructions = None,
        *,
        at: Any = None,
        users: Sequence[Any] | None = None,
        late: "Late" = "refuse",
        hide: Sequence[str] = (),
        prompt: str | Path | None = None,
        dim: int | None = None,
        batch_size: int = 32,
    ) -> np.ndarray:
        """Vectors of users: [n, dim], or [n, K, dim] where each history has a list of K instructions.

        histories: user ids of the project's published data; or events never seen, as one mapping source -> table with
        a column `user` (rows ascend by user, or follow `users`), or as a list of mappings, one per history.
        instructions: None (general), a text for all, a text per history, or a list per history; [[...]] serves all.
        at: the moment that histories end before, for all or per history: ISO text, date or datetime, without a zone
        on the data set's clock. Ids without one end at the evaluation snapshot.
        late: what to do about given events at or after it: "refuse" or "cut". hide: sources not to look at.
        prompt: in place of instructions one learnt by learn_prompt, by its name or its file.
        dim: the first so many numbers alone, at unit length, where training taught that width (`widths`).

        Raises DataError (users, sources, columns or values that are wrong), LeakageError (a late event), ConfigError.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}: at least 1")
        width = self._width(dim)
        learnt = None
        if prompt is not None:
            if instructions is not None:
                raise ConfigError("give instructions or prompt=, which stands for one")
            learnt = prompts.find(self.origin, prompt)
            instructions, hide = learnt.about.instruction, sorted({*hide, *learnt.about.hide})
        tables = self._tables(histories, users, at, late)
        asked, several = _asked(instructions, tables.histories.height)
        for text in self.network.cut_short({text for row in asked or () for text in row}):
            limit = self.network.config.network.instruction_tokens
            log.warning("only the first %d tokens of this instruction are read: %s", limit, text)
        vectors = _first(self.network.embed(tables, asked, tuple(hide), batch_size, learnt), width)
        return vectors if several else vectors[:, 0]

    def encode_answers(self, texts: Sequence[str], *, dim: int | None = None) -> np.ndarray:
        """Vectors [n, dim] of answers or item texts, in the users' space."""
        if isinstance(texts, str):
            raise ConfigError("encode_answers takes a list of texts")
        width = self._width(dim)
        vectors = self.network.answers(_texts(texts, "answer")) if len(texts) else np.zeros((0, self.dim), np.float32)
        return _first(vectors, width)

    def learn_prompt(
        self,
        name: str,
        instruction: str,
        yes: str,
        no: str,
        histories: Sequence[Any] | Mapping[str, Any],
        labels: Sequence[Any] | np.ndarray,
        *,
        at: Any = None,
        users: Sequence[Any] | None = None,
        late: "Late" = "refuse",
        hide: Sequence[str] = (),
        folder: str | Path | None = None,
        seed: int = 7,
    ) -> "About":
        """Learn a soft prompt for one task from labels, everything else frozen, and save it as NAME.safetensors.

        It starts as the instruction's words; yes and no are the answers to it. Histories are given as to `encode`,
        labels are one true or false each, in their order. `folder`: default beside the model. What is returned says
        how much better than the words it does on rows held out, and that it keeps to them where it does no better.
        The prompt serves `encode(..., prompt=NAME)` and `probability(...)` of this very model.

        Raises as encode does, and DataError for labels that are none or too few.
        """
        from instructue.tuning.prompt import save_prompt

        path, words = prompts.file_of(self.origin, name, folder), (instruction, yes, no)
        _texts(words, "instruction or answer")
        tables = self._tables(histories, users, at, late)
        truths = prompts.checked(labels, tables.histories.height)
        learnt = prompts.learn_prompt(self.network, tables, name, words, truths, hide, seed)
        save_prompt(learnt, path)
        return learnt.about

    def probability(self, histories: Sequence[Any] | Mapping[str, Any], prompt: str | Path, **given: Any) -> np.ndarray:
        """[n] how likely "yes" is under a learnt prompt; what else is given is as to `encode`, but for what the prompt
        settles: instructions and dim. Raises as it does."""
        if settled := sorted({"instructions", "dim"} & given.keys()):
            raise ConfigError(f"probability takes no {' and no '.join(settled)}: a prompt is of one, on whole vectors")
        about = prompts.find(self.origin, prompt).about
        yes, no = self.encode_answers([about.yes, about.no])
        gap = self.encode(histories, prompt=prompt, **given) @ (yes - no)
        return 1 / (1 + np.exp(-(gap * about.scale + about.bias)))

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Cosine of every vector of `a` [..., dim] with every one of `b` [m, dim]: [..., m]."""
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        b = b[None] if b.ndim == 1 else b
        if b.ndim != 2 or a.ndim < 1 or a.shape[-1] != b.shape[1]:
            raise ConfigError(f"similarity of shapes {a.shape} and {b.shape}: wanted [..., width] and [m, width]")
        return _unit(a) @ _unit(b).T

    def answer(
        self,
        history: Any,
        instruction: str,
        *,
        at: Any = None,
        late: "Late" = "refuse",
        hide: Sequence[str] = (),
        max_new_tokens: int | None = None,
    ) -> str:
        """The text that the same network writes after <USER>, greedily; `history` is one id or one mapping.

        At most max_new_tokens (default: what answers were cut to in training). It is trained on short answers and
        says what is likely, not what is known. Raises as encode does.
        """
        if not isinstance(instruction, str):
            raise ConfigError("answer takes one instruction")
        most = self.network.config.network.answer_tokens if max_new_tokens is None else max_new_tokens
        if most < 1:
            raise ConfigError(f"max_new_tokens={most}: at least 1")
        _texts([instruction], "instruction")
        tables = self._tables([history], None, at, late)
        return self.network.decode(self.network.write(tables, instruction, tuple(hide), most))

    def save_pretrained(
        self, folder: str | Path, *, base_models: bool = True, evaluation: str | Path | None = None
    ) -> Path:
        """Write a bundle that from_pretrained loads anywhere, with a model card README.md; returns the folder.

        base_models False leaves them out (the bundle names them by checksum and then needs base_models=FOLDER).
        evaluation: an evaluation.json for the card; default the project's, if it is of this model.
        Raises ConfigError where `folder` holds something else than a bundle.
        """
        from instructue.api.export import export

        return export(self.network, Path(folder), base_models, Path(evaluation) if evaluation else None)

    def _width(self, dim: int | None) -> int:
        if dim is not None and dim not in self.widths:
            raise ConfigError(f"dim={dim}: this model was trained for {self.widths} (model.training.matryoshka)")
        return dim or self.dim

    def _tables(self, histories: Any, users: Sequence[Any] | None, at: Any, late: "Late") -> "Tables":
        from instructue.api.given import events_given, published

        base = self.network.base
        if isinstance(histories, Mapping):
            return events_given(base, histories, users, at, late, self.network.text_vectors)
        if isinstance(histories, str | bytes) or not hasattr(histories, "__len__") or hasattr(histories, "columns"):
            raise ConfigError(
                f"histories are a {type(histories).__name__}; give a list of user ids, a mapping source -> table, or a "
                "list of such mappings"
            )
        every = list(histories)
        if not every:
            raise DataError("no histories are given")
        kinds = {isinstance(history, Mapping) for history in every}
        if len(kinds) > 1:
            raise ConfigError("histories are user ids and events mixed; give either")
        if kinds == {True}:
            return events_given(base, every, users, at, late, self.network.text_vectors)
        return published(base, self.origin.project, every, at)


def _asked(instructions: Instructions, count: int) -> tuple[list[list[str]] | None, bool]:
    """Instructions as a list per history, and whether the caller asked for several each."""
    if instructions is None:
        return None, False
    if isinstance(instructions, str):
        return [_texts([instructions], "instruction")] * count, False
    every = list(instructions)
    several = bool(every) and all(not isinstance(row, str) for row in every)
    if several and len(every) == 1:
        every = every * count
    if len(every) != count:
        raise ConfigError(
            f"{len(every)} instructions for {count} histories; give one text, one per history, or a list per history"
        )
    rows = [_texts(row if several else [row], "instruction") for row in every]
    if len({len(row) for row in rows}) > 1 or not rows[0]:
        raise ConfigError("each history needs the same number of instructions, at least one")
    return rows, several


def _texts(texts: Any, what: str) -> list[str]:
    found = list(texts)
    for text in found:
        if not isinstance(text, str) or not text.strip():
            general = "; for a general embedding give instructions=None" if what == "instruction" else ""
            raise ConfigError(f"{what} {text!r} is no text{general}")
    return found


def _first(vectors: np.ndarray, width: int) -> np.ndarray:
    return vectors if vectors.shape[-1] == width else _unit(vectors[..., :width])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
