"""The knobs of the model, and what a section of params.yaml is."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from instructue.changes import with_changes
from instructue.errors import ConfigError


class Section(BaseModel):
    """A section of params.yaml: unknown keys are refused, values cannot change after load."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(Section):
    dim: int = Field(ge=8, le=4096, description="Width of the user embedding")
    map_width: int = Field(
        ge=0,
        description="Of dim, how many dimensions hold the history's place on the map of all histories",
    )
    evidence_width: int = Field(
        ge=0, description="Of dim, how many dimensions hold how much of what the instruction asks about the history has"
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
        if 0 < self.evidence_width < 4:
            raise ValueError(f"evidence_width {self.evidence_width} holds nothing; it is 0 or at least 4")
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
    micro_batch: int = Field(
        ge=0,
        description="Histories per forward pass: a step takes less memory, its gradient is the same; 0: all at once",
    )
    processes: int = Field(ge=1, le=64, description="Processes that share each step's histories, started by torchrun")
    device: Literal["auto", "cpu", "cuda"] = Field(description="Where training computes; auto: a GPU if there is one")
    checkpoint_every: int = Field(ge=1, description="Steps between checkpoints that a killed run resumes from")
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _each_process_has_histories(self) -> "TrainingConfig":
        if self.processes > self.users:
            raise ValueError(f"processes {self.processes} share {self.users} users a step; lower one, raise the other")
        return self

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

    def changed(self, changes: dict[str, Any]) -> "ModelConfig":
        """The same with other values, named as "network.layers". Raises ConfigError for one that may not be."""
        raw = with_changes(self.model_dump(), changes, "a change of the model")
        try:
            return ModelConfig.model_validate(raw)
        except ValidationError as error:
            raise ConfigError(
                "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            ) from None
