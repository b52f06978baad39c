"""Prompts learnt for one task from labels: by name beside the model, learnt and put to use."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from instructue.api.origin import Origin
from instructue.errors import ConfigError, DataError, InstructUEError
from instructue.files import sha256
from instructue.paths import WEIGHTS

if TYPE_CHECKING:
    from instructue.api.network import Network
    from instructue.sources.tables import Tables
    from instructue.tuning.prompt import Prompt

PROMPTS, ENDING = "prompts", ".safetensors"
FEWEST, MOST, OF_EACH = 8, 4096, 4  # labels in all; of each answer, one for each fold


def folder_of(origin: Origin) -> Path:
    """Where a model's prompts lie: in a bundle, else in its project, whose data/model belongs to the model stage."""
    return origin.bundle / PROMPTS if origin.exported or origin.project is None else origin.project.prompts


def file_of(origin: Origin, name: str, folder: str | Path | None = None) -> Path:
    """Raises ConfigError where the name is none."""
    if not re.fullmatch(r"[\w-]+", name):
        raise ConfigError(f"prompt {name!r}: a name has letters, digits, _ and - only")
    return (folder_of(origin) if folder is None else Path(folder)) / f"{name}{ENDING}"


def digest(origin: Origin) -> str:
    """What names a model in a prompt's file: the sha256 of its weights."""
    return sha256(origin.bundle / WEIGHTS)


def find(origin: Origin, prompt: str | Path) -> "Prompt":
    """A prompt by its name, or by its file's path. Raises DataError (none there, damaged), ConfigError (another
    model's, a newer version's)."""
    from instructue.tuning.prompt import load_prompt

    path = Path(prompt) if str(prompt).endswith(ENDING) else file_of(origin, str(prompt))
    if not path.is_file():
        there = sorted(file.stem for file in path.parent.glob(f"*{ENDING}"))
        raise DataError(f"no prompt at {path}; there are {there}. learn_prompt makes one")
    return load_prompt(path, digest(origin))


def belonging(origin: Origin) -> list[Path]:
    """The files beside a model that were learnt on it; those of an earlier one may still lie there."""
    from instructue.tuning.prompt import load_prompt

    model, found = digest(origin), []
    for path in sorted(folder_of(origin).glob(f"*{ENDING}")):
        with contextlib.suppress(InstructUEError):
            load_prompt(path, model)
            found.append(path)
    return found


def checked(labels: Any, count: int) -> np.ndarray:
    """[R] of bool. Raises DataError for what is no yes or no, for too few, too many, or too few of one answer."""
    found = np.asarray(labels)
    if found.shape != (count,):
        raise DataError(f"labels of shape {found.shape} for {count} histories; give one each")
    if found.dtype.kind not in "biuf" or not np.isin(found, (0, 1)).all():
        raise DataError("labels are true or false, 1 or 0, and nothing else")
    yes = found.astype(bool)
    if not FEWEST <= count <= MOST:
        raise DataError(f"{count} labels; a prompt is learnt from {FEWEST} to {MOST}")
    if min(yes.sum(), (~yes).sum()) < OF_EACH:
        raise DataError(f"{yes.sum()} of {count} labels are yes; at least {OF_EACH} of each answer are needed")
    return yes


def learn_prompt(
    network: "Network", tables: "Tables", name: str, words: tuple[str, str, str], yes: np.ndarray, hide: Sequence[str],
    seed: int,
) -> "Prompt":  # fmt: skip
    """A prompt for `words` (instruction, yes, no) from one label per history of the tables."""
    import torch

    from instructue.tuning import learn
    from instructue.tuning.prompt import About, Prompt

    users = tables.histories["user"].to_numpy()
    # Fewer would leave a prompt without rows to learn from, and its loss without a number.
    if (several := len(np.unique(users))) < learn.FOLDS:
        raise DataError(f"the labels are of {several} users; give those of {learn.FOLDS} or more, one for each fold")
    rng = np.random.default_rng(seed)
    packs = [(rows, network.pack(tables, rows, words[0], tuple(hide))) for rows in learn.batches_of(yes, rng)]
    folds = learn.folds_of(users, yes, rng)
    said_yes, said_no = torch.tensor(network.answers(list(words[1:])))
    training, parts = network.config.training, network.parts
    labelled = learn.Labelled.of(yes, folds, said_yes - said_no)
    learnt = learn.learn(parts.model, packs, labelled, training.temperature, parts.dtype)
    about = About(
        name, *words, digest(network.origin), len(yes), int(yes.sum()), sorted(hide), learnt.steps,
        learnt.loss_before, learnt.loss_after, learnt.scale, learnt.bias,
    )  # fmt: skip
    return Prompt(about, learnt.said_ID, learnt.query_V)
