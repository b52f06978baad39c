"""Embeds many users under many instructions: each history once, however many instructions stand behind it."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from instructue.batching.ahead import ahead
from instructue.batching.packs import Ask, Pack
from instructue.config import Config
from instructue.errors import DataError, LeakageError
from instructue.files import replacing
from instructue.models.text_encoder import TextEncoder
from instructue.paths import Paths
from instructue.progress import track
from instructue.report import StageReport
from instructue.sources.ingest import write_table
from instructue.sources.tables import Tables, load_tables
from instructue.training.build import Parts, build, load, load_triplets

OURS, GENERAL, UNTRAINED = "instructue", "instructue_general", "untrained"


@dataclass
class Job:
    """One pass: histories that hide the same sources and carry the same number of instructions, padded to it."""

    examples: np.ndarray
    hidden: tuple[str, ...]
    instructions: list[list[str]]
    rows: np.ndarray  # [B, K] row of the requests table, -1 for padding


def embed_tasks(config: Config, paths: Paths, requests: pl.DataFrame, answers: pl.DataFrame) -> StageReport:
    """The embeddings stage: see embed; writes embeddings.parquet and answers.parquet below data/embeddings."""
    users, said = embed(config, paths, requests, answers)
    with replacing(paths.embeddings) as temporary:
        temporary.mkdir(parents=True)
        write_table(users, temporary / "embeddings.parquet")
        write_table(said, temporary / "answers.parquet")
    return _describe(users, said)


def embed(
    config: Config, paths: Paths, requests: pl.DataFrame, answers: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Embed every request (user, task, context, instruction, hides) at the evaluation snapshot, every user in
    general, and every answer (text and any further columns).

    Returns (users, answers): user, task, context, method, vector (unit length), snapshot; and the answers with
    vector, in the users' space, and text_vector. Raises ConfigError if the model is of another data version.
    """
    tables = load_tables(config, paths)
    trained = load(paths.model, config.model, tables, paths)
    rows = _with_examples(tables, requests)
    jobs = make_jobs(rows, config.embeddings.batch_users)
    instructions, encoder = sorted(rows["instruction"].unique()), TextEncoder.of(paths)
    known = dict(zip(instructions, encoder.encode(instructions), strict=True))
    frames = embed_jobs(trained, config, rows, jobs, known, OURS, GENERAL)
    if config.embeddings.untrained:
        fresh = build(config.model, tables, paths, load_triplets(paths, tables)["instruction"])
        frames += embed_jobs(fresh, config, rows, jobs, known, UNTRAINED, None)
    # The snapshot travels along, so that an evaluation at another one can refuse these vectors.
    snapshot = tables.histories.filter(pl.col("split") == "evaluation")["snapshot"][0]
    stamp = pl.lit(snapshot, tables.histories.schema["snapshot"]).alias("snapshot")
    users = pl.concat(frames).sort("method", "task", "context", "user").with_columns(stamp)
    return users, embed_answers(trained, encoder, answers)


def embed_answers(parts: Parts, encoder: TextEncoder, answers: pl.DataFrame) -> pl.DataFrame:
    """The answers with `vector` [dim], comparable with user embeddings by inner product, and `text_vector`."""
    encoded = encoder.encode(answers["text"].to_list())
    with torch.inference_mode():
        vectors = parts.model.embed_answers(torch.from_numpy(encoded)).float().numpy()
    return answers.with_columns(
        pl.Series("vector", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])),
        pl.Series("text_vector", encoded, dtype=pl.Array(pl.Float32, encoded.shape[1])),
    )


def _with_examples(tables: Tables, requests: pl.DataFrame) -> pl.DataFrame:
    """Requests joined to their history's row. Raises DataError for users without one at the evaluation snapshot."""
    evaluation = tables.histories.with_row_index("position").filter(pl.col("split") == "evaluation")
    if evaluation["snapshot"].n_unique() != 1:
        raise LeakageError(f"expected one evaluation snapshot, found {evaluation['snapshot'].n_unique()}")
    rows = requests.join(evaluation.select("user", "position"), on="user", how="left")
    if lost := rows["position"].null_count():
        raise DataError(f"{lost} requests name users without a history at the evaluation snapshot")
    return rows.with_row_index("request")


def make_jobs(rows: pl.DataFrame, batch: int) -> list[Job]:
    """Group requests by history and hidden sources, sort by their number, cut into batches."""
    grouped = (
        rows.with_columns(pl.col("hides").list.sort().list.join(","))
        .sort("hides", "position", "request")
        .group_by("hides", "position", maintain_order=True)
        .agg("request", "instruction")
        .with_columns(pl.col("request").list.len().alias("count"))
        .sort("hides", "count", "position")
    )
    jobs = []
    for part in grouped.partition_by("hides", maintain_order=True):
        for start in range(0, part.height, batch):
            chunk = part[start : start + batch]
            most = chunk["count"].max()
            # Padding repeats the last instruction; its result is dropped.
            instructions = [[*i, *[i[-1]] * (most - len(i))] for i in chunk["instruction"].to_list()]
            numbers = np.asarray([[*r, *[-1] * (most - len(r))] for r in chunk["request"].to_list()])
            hidden = tuple(h for h in part["hides"][0].split(",") if h)
            jobs.append(Job(chunk["position"].to_numpy(), hidden, instructions, numbers))
    return jobs


def embed_jobs(
    parts: Parts,
    config: Config,
    rows: pl.DataFrame,
    jobs: list[Job],
    known: dict[str, np.ndarray],
    method: str,
    general: str | None,
) -> list[pl.DataFrame]:
    """Run all jobs; returns the frames of instructed and, if named, general embeddings."""
    out = np.zeros((rows.height, parts.model.shape.dim), np.float32)
    alone: dict[tuple[int, str], np.ndarray] = {}
    tasks = rows["task"].to_list()
    names = parts.features.names
    parts.model.eval()

    def packed(number: int) -> Pack:
        job = jobs[number]
        hidden = np.tile(np.isin(names, job.hidden), (len(job.examples), 1))
        ask = _ask(job.instructions, known, config.model.network.instruction_tokens)
        return parts.packer.pack(job.examples, [Ask.general(len(job.examples)), ask], hidden)

    made = ahead(packed, range(len(jobs)))
    for (_, pack), job in zip(made, track(jobs, f"embedding users ({method})"), strict=True):
        with torch.inference_mode(), torch.autocast("cpu", dtype=parts.dtype, enabled=parts.dtype != torch.float32):
            output = parts.model(pack)
        told = output.embeddings[1].float().numpy()
        out[job.rows[job.rows >= 0]] = told[job.rows >= 0]
        for example, requests, vector in zip(
            job.examples.tolist(), job.rows, output.embeddings[0][:, 0].float().numpy(), strict=True
        ):
            # A general vector that saw every source stands under no task, one that hid some under the tasks that do.
            under = {tasks[r] for r in requests if r >= 0} if job.hidden else {""}
            alone |= {(example, task): vector for task in under}
    frames = [_frame(rows["user"], rows["task"], rows["context"], method, out)]
    if general:
        user_of = dict(zip(rows["position"].to_list(), rows["user"].to_list(), strict=True))
        users = pl.Series("user", [user_of[p] for p, _ in alone], dtype=rows["user"].dtype)
        under = pl.Series("task", [task for _, task in alone], dtype=pl.String)
        empty = pl.Series("context", [""] * len(users), dtype=pl.String)
        frames.append(_frame(users, under, empty, general, np.stack(list(alone.values()))))
    return frames


def _ask(instructions: list[list[str]], known: dict[str, np.ndarray], limit: int) -> Ask:
    return Ask(instructions, np.stack([[known[i] for i in row] for row in instructions]), None, limit)


def _frame(user: pl.Series, task: pl.Series, context: pl.Series, method: str, vectors: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user": user,
            "task": task,
            "context": context,
            "method": pl.Series([method] * len(user), dtype=pl.String),
            "vector": pl.Series(vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])),
        }
    )


def _describe(table: pl.DataFrame, answers: pl.DataFrame) -> StageReport:
    counts = table.group_by("method", "task").len("vectors").sort("method", "task")
    return StageReport(
        "embeddings",
        rows={"embeddings": table.height, "answers": answers.height},
        metrics={"users": table["user"].n_unique(), "width": table["vector"].dtype.shape[0]},
        tables={"vectors": counts.to_dicts()},
    )
