"""Every knob, typed: one frozen model per section of params.yaml, checked at load.

`python -m instructue params` prints this file's knobs with their ranges.
"""

from datetime import date
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from instructue.changes import with_variant
from instructue.config_model import ModelConfig, Section
from instructue.errors import ConfigError

OURS = "instructue/datasets"  # in a checkout; elsewhere the installed package has them


class DataConfig(Section):
    dataset: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="Name of the data set; NAME.yaml describes it")
    described_in: str = Field(
        description="Folder of NAME.yaml and NAME.tasks.yaml, from the project's root; ours lie in instructue/datasets"
    )
    folder: str | None = Field(description="Folder of the data files, in place of the described one; null keeps it")
    max_users: int = Field(ge=0, description="Keep at most this many users, chosen by a stable hash; 0 keeps all")
    partition_rows: int = Field(
        ge=0,
        description="A source with more rows is read and sorted so many at a time, and what its files gave is kept in "
        ".cache; 0 reads any at once. The tables are the same to the byte",
    )

    def description(self, root: Path = Path()) -> str:
        """What load_dataset and load_tasks read, of the project in `root`: one of ours by name, else a path.

        dvc.yaml follows the same file, as ${data.described_in}/${data.dataset}.yaml.
        """
        return self.dataset if self.described_in == OURS else str(root / self.described_in / f"{self.dataset}.yaml")


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


Claim = Literal[
    "following", "robustness", "item_by_item", "losses", "ablations", "unseen_users", "taught", "transfer"
]  # fmt: skip


class StudiesConfig(Section):
    """Experiments about claims: what the instruction, the loss and the training are worth, and against what noise."""

    run: list[Claim] = Field(
        description="Which studies to run; losses trains two models more, unseen_users and taught one each, "
        "ablations one per entry"
    )
    users: int = Field(ge=0, description="Users that following, robustness and item_by_item embed; 0 takes all")
    items: int = Field(ge=10, le=1000, description="Items that item_by_item asks about, per user")
    tasks: list[str] = Field(
        description="Tasks that robustness is measured on; empty takes the first three yes-or-no tasks"
    )
    noise: list[float] = Field(description="Shares of irrelevant events in a history, each in [0, 0.95]")
    ablations: dict[str, dict[str, Any]] = Field(
        description="What ablations changes in the section model, by name: {network.layers: 8}"
    )
    transfer_from: str | None = Field(
        description="Folder of a model that another data set taught, from the project's root, for the study transfer"
    )
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

    @model_validator(mode="after")
    def _ablations(self) -> "Config":
        for name, changes in self.studies.ablations.items():
            try:
                self.model.changed(changes)
            except ConfigError as error:
                raise ValueError(f"studies.ablations, {name!r}: {error}") from None
        return self


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


def parse_config(raw: Any, name: str) -> Config:
    """Check raw values against the models; `name` is what errors call their origin."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']} (got {e.get('input')!r:.80})" for e in error.errors()]
        raise ConfigError(f"{name} is not valid:\n" + "\n".join(lines)) from None
