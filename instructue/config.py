"""Every knob, typed: one frozen model per section of params.yaml, checked at load.

`python -m instructue params` prints this file's knobs with their ranges.
"""

from datetime import date
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from instructue.errors import ConfigError


class Section(BaseModel):
    """A section of params.yaml: unknown keys are refused, values cannot change after load."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Section):
    dataset: str = Field(description="A data set described in instructue/datasets, or a path to a .yaml file")
    folder: str | None = Field(description="Folder of the data files, in place of the described one; null keeps it")
    max_users: int = Field(ge=0, description="Keep at most this many users, chosen by a stable hash; 0 keeps all")


class ModelSourceConfig(Section):
    source: Literal["package", "folder", "hub"] = Field(description="Where the weights come from")
    name: str = Field(description="Python package, local folder or Hugging Face name")
    layers: int = Field(ge=0, description="Keep only the first so many transformer layers; 0 keeps all")


class BaseModelsConfig(Section):
    language: ModelSourceConfig = Field(
        description="The causal language model that reads soft tokens and writes answers"
    )
    text_encoder: ModelSourceConfig = Field(description="The frozen sentence encoder for event texts and answers")


class ValidationConfig(Section):
    validator: str = Field(pattern=r"^[\w.]+:\w+$", description="module:function that checks the staged tables")
    max_quarantined_share: float = Field(
        ge=0, le=1, description="Go on without bad rows up to this share of a source; above it the chain stops"
    )


class HistoriesConfig(Section):
    evaluation_snapshot: date = Field(description="Local midnight; labels come from it on, training ends before it")
    training_snapshots: int = Field(ge=1, le=52, description="How many rolling snapshots before it")
    every_days: int = Field(ge=1, le=366, description="Days between training snapshots")
    horizon_days: int = Field(
        ge=1, le=366, description="Longest horizon of a training snapshot, cut at the evaluation snapshot"
    )
    gap_days: int = Field(
        ge=1, le=366, description="The last training snapshot lies this long before the evaluation snapshot"
    )
    label_days: int = Field(ge=1, le=366, description="Length of the evaluation horizon")
    min_events: int = Field(
        ge=1, description="A user enters a snapshot with at least so many earlier events of the first source"
    )


class UserQAConfig(Section):
    triplets: int = Field(ge=8, description="How many triplets to sample, balanced over kinds and users")
    wordings: int = Field(
        ge=0,
        le=100,
        description="Wordings wanted of the language model per instruction template; a quarter as many per answer",
    )
    teacher: Literal["local", "openai", "template"] = Field(description="Who words instructions and answers")
    max_new_tokens: int = Field(ge=8, le=512, description="Longest wording, in tokens")
    temperature: float = Field(ge=0, le=2, description="Sampling temperature of the teacher")
    base_url: str | None = Field(description="OpenAI-compatible server, for teacher: openai")
    model: str | None = Field(description="Model name on that server")
    concurrency: int = Field(ge=1, le=256, description="Requests to that server under way at once")
    requests_per_minute: int = Field(ge=0, description="Most requests to that server per minute; 0: no limit")
    own: str | None = Field(
        description="Your own kinds, wordings and pairs of question and answer: a YAML file, from the project's root"
    )
    seed: int = Field(ge=0)


class NetworkConfig(Section):
    dim: int = Field(ge=8, le=4096, description="Width of the user embedding")
    map_width: int = Field(
        ge=0, description="Of dim, how many numbers hold the history's place on the map of all histories"
    )
    evidence_width: int = Field(
        ge=0, description="Of dim, how many numbers hold how much of what the instruction asks about the history has"
    )
    layers: int = Field(ge=1, le=200, description="Transformer layers of the language model used, from the bottom")
    lora_rank: int = Field(ge=1, le=512, description="Rank of the LoRA updates")
    windows_days: list[int] = Field(min_length=1, description="Ages in days that bound the pooled windows, ascending")
    frequent: int = Field(
        ge=0, le=256, description="Soft tokens for the most telling distinct event texts of a history"
    )
    retrieved: int = Field(ge=0, le=64, description="Soft tokens for the event texts nearest to the instruction")
    instruction_tokens: int = Field(ge=4, le=256, description="An instruction longer than this is cut, with a warning")
    answer_tokens: int = Field(
        ge=4, le=256, description="An answer longer than this is cut for the autoregressive loss"
    )

    @model_validator(mode="after")
    def _ascending(self) -> "NetworkConfig":
        if sorted(set(self.windows_days)) != self.windows_days or self.windows_days[0] < 1:
            raise ValueError(f"windows_days must ascend from at least 1, got {self.windows_days}")
        if self.map_width + self.evidence_width >= self.dim:
            raise ValueError(
                f"map_width {self.map_width} and evidence_width {self.evidence_width} must leave room in "
                f"dim {self.dim} for what the language model says"
            )
        return self


class TrainingConfig(Section):
    steps: int = Field(ge=1, description="Optimiser steps")
    users: int = Field(ge=2, description="Histories per step")
    instructions: int = Field(ge=1, le=64, description="Instructions packed behind each history")
    learning_rate: float = Field(gt=0, le=1, description="Peak rate for LoRA; warm-up then cosine to a tenth")
    adapter_learning_rate: float = Field(
        gt=0, le=1, description="Peak rate for encoders, adapters and heads, new at the start"
    )
    weight_decay: float = Field(ge=0, le=1)
    contrastive_weight: float = Field(ge=0, description="Weight of InfoNCE between user embedding and answer embedding")
    opposition_weight: float = Field(ge=0, description="Weight of InfoNCE over the right answer and its opposite alone")
    autoregressive_weight: float = Field(ge=0, description="Weight of next-token loss on the answer")
    autoregressive_share: float = Field(
        ge=0, le=1, description="Share of each pack's answers that carry the next-token loss"
    )
    history_weight: float = Field(
        ge=0, description="Weight of the general embedding's InfoNCE against its own event texts"
    )
    matryoshka: list[int] = Field(
        description="Widths below dim whose first numbers alone are to serve too, ascending; empty: the whole only"
    )
    source_dropout: float = Field(
        ge=0, lt=1, description="How often a source other than the first is hidden from a history"
    )
    temperature: float = Field(
        gt=0, le=1, description="InfoNCE temperature at the start; learnt, bounded below by 0.01"
    )
    dtype: Literal["bfloat16", "float32"] = Field(description="Arithmetic of the frozen language model")
    checkpoint_every: int = Field(ge=1, description="Steps between checkpoints that a killed run resumes from")
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _answers_are_written(self) -> "TrainingConfig":
        if self.autoregressive_weight and not round(self.autoregressive_share * self.instructions):
            raise ValueError(
                f"autoregressive_share {self.autoregressive_share} of {self.instructions} instructions rounds to "
                "no answer; raise it, or set autoregressive_weight to 0"
            )
        return self


class ModelConfig(Section):
    network: NetworkConfig
    training: TrainingConfig

    @model_validator(mode="after")
    def _nested(self) -> "ModelConfig":
        widths = self.training.matryoshka
        if widths and (sorted(set(widths)) != widths or not 8 <= widths[0] <= widths[-1] < self.network.dim):
            raise ValueError(
                f"training.matryoshka {widths} must ascend, from at least 8 to below dim {self.network.dim}"
            )
        return self


class EmbeddingsConfig(Section):
    batch_users: int = Field(ge=1, description="Histories per forward pass")
    untrained: bool = Field(description="Embed with the untrained network too, as a baseline")


class EvaluationConfig(Section):
    folds: int = Field(ge=2, le=20, description="Folds over users")
    repeats: int = Field(ge=1, le=20, description="Times the folds are drawn anew")
    inner_folds: int = Field(
        ge=2, le=20, description="Folds of the training users that a probe's strength is chosen on"
    )
    few_labels: list[int] = Field(description="Numbers of labelled rows to judge with too, beside all of them")
    few_draws: int = Field(
        ge=1, le=200, description="How many training sets of each such number are drawn; their scores are averaged"
    )
    bootstrap: int = Field(ge=100, description="Draws of users for the 95% intervals")
    tasks: list[str] = Field(description="Tasks to run, by name; empty runs all of the data set's")
    methods: list[str] = Field(description="Methods to judge, by name; empty judges all but those left out")
    leave_out: list[str] = Field(description="Methods not judged unless named, for what they cost")
    external: list[str] = Field(
        description="Parquet files of others' embeddings to judge beside ours: user, vector, and where they differ "
        "task, context, method"
    )
    map_users: int = Field(ge=0, description="Users drawn on the report's map of embeddings; 0 draws none")
    seed: int = Field(ge=0)


Claim = Literal["following", "robustness", "losses", "unseen_users", "taught"]


class StudiesConfig(Section):
    """Experiments about claims: what the instruction, the loss and the training are worth, and against what noise."""

    run: list[Claim] = Field(
        description="Which studies to run; losses trains two models more, unseen_users and taught one"
    )
    users: int = Field(ge=0, description="Users that following and robustness embed; 0 takes all")
    tasks: list[str] = Field(description="Tasks that robustness is measured on")
    noise: list[float] = Field(description="Shares of irrelevant events in a history, each in [0, 0.95]")
    paraphrases: int = Field(ge=1, le=20, description="Other wordings of each task's instruction")
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _shares(self) -> "StudiesConfig":
        if wrong := [share for share in self.noise if not 0 <= share <= 0.95]:
            raise ValueError(f"noise holds {wrong}; a share lies between 0 and 0.95")
        return self


class Config(Section):
    """The whole of params.yaml."""

    data: DataConfig
    base_models: BaseModelsConfig
    validation: ValidationConfig
    histories: HistoriesConfig
    userqa: UserQAConfig
    model: ModelConfig
    embeddings: EmbeddingsConfig
    studies: StudiesConfig
    evaluation: EvaluationConfig
    variants: dict[str, dict[str, Any]] = Field({}, description="Named sets of changes: section.key -> value")


def load_config(path: Path, variant: str | None = None) -> Config:
    """Read and check params.yaml; `variant` applies one of its named sets of changes.

    Raises ConfigError naming the file, the key and what it may be.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there; run from the project's root or give --root") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    return parse_config(raw if variant is None else with_variant(raw, variant), str(path))


def with_variant(raw: dict[str, Any], variant: str) -> dict[str, Any]:
    """A copy of raw params with the changes of one named variant applied."""
    import copy

    variants = raw.get("variants") or {}
    if variant not in variants:
        raise ConfigError(f"no variant {variant!r} in params.yaml; it has {sorted(variants)}")
    changed = copy.deepcopy(raw)
    for dotted, value in variants[variant].items():
        *sections, key = dotted.split(".")
        place = changed
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict) or key not in place:
            raise ConfigError(f"variant {variant!r} changes {dotted!r}, which is not in params.yaml")
        place[key] = value
    return changed


def parse_config(raw: Any, name: str) -> Config:
    """Check raw values against the models; `name` is what errors call their origin."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']} (got {e.get('input')!r:.80})" for e in error.errors()]
        raise ConfigError(f"{name} is not valid:\n" + "\n".join(lines)) from None
