"""Where everything lies. The only module that names a data folder."""

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = "model.safetensors"  # in the folder of a model


@dataclass(frozen=True)
class Paths:
    """Locations below one project root.

    A stage writes to a temporary sibling and moves it into place (`instructue.files.replacing`),
    so every folder named here is either whole or absent.
    """

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    # One folder per stage that leaves data behind; dvc.yaml's outs are exactly these.
    @property
    def base_models(self) -> Path:
        return self.root / "data" / "base_models"

    @property
    def language_model(self) -> Path:
        return self.base_models / "language"

    @property
    def text_encoder(self) -> Path:
        return self.base_models / "text_encoder"

    @property
    def staged(self) -> Path:
        """Tidy tables as read, not yet validated; nothing but `validation` may read them."""
        return self.root / "data" / "staged"

    @property
    def sources(self) -> Path:
        """Tidy tables that passed validation: one Parquet file per source, and texts.parquet."""
        return self.root / "data" / "sources"

    @property
    def quarantine(self) -> Path:
        return self.root / "data" / "quarantine"

    @property
    def histories(self) -> Path:
        return self.root / "data" / "histories"

    @property
    def userqa(self) -> Path:
        return self.root / "data" / "userqa"

    @property
    def model(self) -> Path:
        return self.root / "data" / "model"

    @property
    def weights(self) -> Path:
        return self.model / WEIGHTS

    @property
    def embeddings(self) -> Path:
        return self.root / "data" / "embeddings"

    # Made on request, by nobody's stage.
    @property
    def prompts(self) -> Path:
        """Soft prompts learnt for single tasks, a small file each."""
        return self.root / "data" / "prompts"

    # Reports: small, for people.
    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def validation_report(self) -> Path:
        return self.reports / "validation"

    @property
    def userqa_report(self) -> Path:
        """Stem of userqa.md, userqa.html and userqa.json: the data card."""
        return self.reports / "userqa"

    @property
    def evaluation_report(self) -> Path:
        """Stem of evaluation.md, evaluation.html and evaluation.json."""
        return self.reports / "evaluation"

    @property
    def metrics(self) -> Path:
        """Our figures as flat JSON, for `dvc metrics diff`."""
        return self.reports / "metrics.json"

    @property
    def plots(self) -> Path:
        """CSV files for `dvc plots diff`."""
        return self.reports / "plots"

    @property
    def studies_report(self) -> Path:
        """The experiments about claims, which the evaluation's report shows."""
        return self.reports / "studies.json"

    # Local state: never versioned, safe to delete, costs time to rebuild.
    @property
    def cache(self) -> Path:
        return self.root / ".cache"

    @property
    def text_vectors(self) -> Path:
        """Vectors of all texts that were ever encoded here, by encoder and text."""
        return self.cache / "text_vectors"

    @property
    def userqa_versions(self) -> Path:
        """Figures of earlier UserQA, which the data card compares with."""
        return self.cache / "userqa_versions"

    def ingested(self, dataset: str) -> Path:
        """What reading the files of `dataset` gave, by their digests, where they are too large to be read at once."""
        return self.cache / "ingested" / dataset

    def volumes(self, dataset: str) -> Path:
        """Rows per source of `dataset` when they were last published, which the next validation compares with."""
        return self.cache / "volumes" / f"{dataset}.json"

    @property
    def mlflow_uri(self) -> str:
        return f"sqlite:///{self.root.resolve()}/mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlartifacts"

    @property
    def dagster_home(self) -> Path:
        return self.root / ".dagster"

    def table(self, source: str, *, staged: bool = False) -> Path:
        return (self.staged if staged else self.sources) / f"{source}.parquet"

    def texts(self, *, staged: bool = False) -> Path:
        return (self.staged if staged else self.sources) / "texts.parquet"
