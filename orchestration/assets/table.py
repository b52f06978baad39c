"""The assets, one row per stage: what it makes, in which group, and how a person would describe it."""

from dataclasses import dataclass

from instructue.sources.spec import DatasetSpec, SourceSpec
from orchestration import checks

OWNERS = ("team:user-modelling",)
TEXTS = "texts"

Key = tuple[str, ...]


@dataclass(frozen=True)
class Made:
    """One asset that a stage makes.

    table: the Parquet file that it is described by. own: whether it is that one file, not all that the stage makes.
    after: the asset that it comes from, if not from all that the stage reads. judged: whether a suite checks it.
    """

    key: Key
    description: str
    table: str | None = None
    own: bool = False
    after: Key | None = None
    judged: bool = False

    @property
    def name(self) -> str:
        """What suites and report parts call it."""
        return self.key[-1]


@dataclass(frozen=True)
class Row:
    """One stage, its assets, and who judges them."""

    stage: str
    group: str
    kinds: tuple[str, ...]
    assets: tuple[Made, ...]
    judge: checks.Judge | None = None


def rows(dataset: DatasetSpec) -> list[Row]:
    """All stages, in the order of the story that the groups tell."""
    staged = [staged_source(s) for s in dataset.sources] + [texts("staged", None, "As read.")]
    checked = [checked_source(s) for s in dataset.sources] + [texts("source", ("staged", TEXTS), "Published.")]
    return [
        one("base_models", "foundations", "huggingface", key="base_models", says="""
            One folder per base model: the language model that reads the history and writes answers, and the text
            encoder for event texts and answers. Converted once, with checksums."""),
        Row("sources", "sources_as_read", ("duckdb", "parquet"), tuple(staged)),
        Row("validation", "sources_checked", ("greatexpectations", "parquet"), tuple(checked), checks.judge_sources),
        one("histories", "questions", "polars", "parquet", key="histories",
            table="data/histories/histories.parquet", says=f"""
            One row per {dataset.who} and snapshot: which rows of each source are its history (strictly before the
            snapshot) and which its horizon. Beside it one vector per event text and per value of
            its attributes."""),
        one("userqa", "questions", "huggingface", key="userqa", table="data/userqa/triplets.parquet",
            judge=checks.judge_userqa, says="""
            One row per (history, instruction, answer) triplet: made from what happened after the history ended, worded
            by a language model, checked against the facts. To read: reports/userqa.html, its data card."""),
        one("model", "user_model", "pytorch", "mlflow", key="user_model", says="""
            One model: embed(history, instruction) -> vector. Trained jointly by contrastive and autoregressive loss;
            its run is in MLflow."""),
        one("embeddings", "user_model", "pytorch", "parquet", key="user_embeddings",
            table="data/embeddings/embeddings.parquet", judge=checks.judge_embeddings, says=f"""
            One row per {dataset.who}, task, context and method: a vector of unit length. An empty task means without
            instruction."""),
        one("studies", "evaluation", "pytorch", "scikitlearn", key="studies", says=f"""
            One row per study, task, method and setting, with a 95% interval over {dataset.who}s: whether the vector
            follows the question, what irrelevant events take from it, what each loss is worth."""),
        one("evaluation", "evaluation", "scikitlearn", key="evaluation", says=f"""
            One row per task, method and metric, with a 95% interval over {dataset.who}s: what the embeddings are worth
            beside their baselines. To read: reports/evaluation.html."""),
    ]  # fmt: skip


def one(
    stage: str,
    group: str,
    *kinds: str,
    key: str,
    says: str,
    table: str | None = None,
    judge: checks.Judge | None = None,
) -> Row:
    """A stage that makes a single asset."""
    made = Made((key,), " ".join(says.split()), table, judged=judge is not None)
    return Row(stage, group, kinds, (made,), judge)


def staged_source(source: SourceSpec) -> Made:
    """One table as read."""
    said = f"{grain(source)} As read; nothing but the validation may use it."
    return Made(("staged", source.name), said, f"data/staged/{source.name}.parquet", own=True)


def checked_source(source: SourceSpec) -> Made:
    """The same table, checked and published."""
    said = f"{grain(source)} Checked and published; what failed lies in data/quarantine with its reason."
    table, after = f"data/sources/{source.name}.parquet", ("staged", source.name)
    return Made(("source", source.name), said, table, own=True, after=after, judged=True)


def texts(prefix: str, after: Key | None, said: str) -> Made:
    """The dictionary of event texts that goes with the tables."""
    folder = "staged" if prefix == "staged" else "sources"
    said = f"One row per distinct event text, over all sources; text_id is its number. {said}"
    return Made((prefix, TEXTS), said, f"data/{folder}/{TEXTS}.parquet", own=True, after=after)


def grain(source: SourceSpec) -> str:
    """What one row is."""
    if source.kind == "attributes":
        return f"One row per user and filled attribute ({source.title})."
    return f"One row per {source.event} ({source.title}), by user and time."
