"""A soft prompt: what stands in for one instruction's words once a task has labels, and the file that holds it."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from instructue.batching.packs import Pack
from instructue.errors import ConfigError, DataError
from instructue.files import replacing

FORMAT = 1
HEADER = "instructue_prompt"


@dataclass(frozen=True)
class About:
    """The header of a prompt's file. model: sha256 of the weights it was learnt on; hide: sources not looked at.

    steps: how many were worth taking, 0 where the instruction's own words did best on rows held out; loss_before and
    loss_after are the logistic losses there; the latter is the best round's, so a little too good. scale and bias turn
    similarity to `yes` less `no` into log odds.
    """

    name: str
    instruction: str
    yes: str
    no: str
    model: str
    labels: int
    positives: int
    hide: list[str]
    steps: int
    loss_before: float
    loss_after: float
    scale: float
    bias: float


@dataclass(frozen=True)
class Prompt:
    """said_ID: token embeddings in place of the instruction's, as many as it has; query_V: in place of its vector."""

    about: About
    said_ID: Tensor
    query_V: Tensor

    def put(self, pack: Pack) -> Pack:
        """The pack with the prompt in place of its one instruction, whose words still choose what is retrieved."""
        assert pack.length_U.tolist() == [len(self.said_ID)], "a prompt has as many tokens as its instruction"
        return replace(pack, prompts={0: self.said_ID}, query_UV=self.query_V[None])


def save_prompt(prompt: Prompt, path: Path) -> None:
    """Write it as safetensors with a JSON header, whole or not at all."""
    header = {HEADER: json.dumps({"format": FORMAT, **asdict(prompt.about)})}
    with replacing(path) as temporary:
        save_file({"said": prompt.said_ID.contiguous(), "query": prompt.query_V.contiguous()}, str(temporary), header)


def load_prompt(path: Path, model: str) -> Prompt:
    """Read what save_prompt wrote. Raises DataError if it is damaged or foreign, ConfigError if it is of a newer
    version, or was learnt on another model than the one of this digest."""
    try:
        with safe_open(str(path), "pt") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            if header.pop("format") > FORMAT:
                raise ConfigError(f"{path} was written by a newer version; upgrade")
            prompt = Prompt(About(**header), file.get_tensor("said"), file.get_tensor("query"))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no prompt, or damaged: {error}; learn it again") from None
    if prompt.about.model != model:
        raise ConfigError(
            f"{path} was learnt on another model ({prompt.about.model:.12}) than this one ({model:.12}); load that "
            "model, or learn the prompt again"
        )
    return prompt
