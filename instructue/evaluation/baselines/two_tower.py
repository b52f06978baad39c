"""A general two-tower retrieval model, told nothing of the question: users beside the texts of what they do next.

Both towers and the in-batch softmax with its correction for frequent items are those of Yi et al. 2019,
"Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys. It learns from the training
snapshots, whose horizons end by the evaluation's, and embeds users as they are at the evaluation's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from instructue.errors import LeakageError
from instructue.evaluation.baselines.features import leading
from instructue.evaluation.population import Population
from instructue.sources.histories import check_labels_unseen, check_no_leak
from instructue.sources.tables import Tables

DIM, HIDDEN, TEXT_WIDTH = 128, 384, 96
BATCH, EPOCHS, PATIENCE = 512, 40, 4
RATE, WEIGHT_DECAY, DROPOUT, TEMPERATURE = 5e-4, 1e-4, 0.2, 0.1
HELD_OUT = 0.1  # share of users by whom training is stopped
SEED = 7


def two_tower(population: Population, hides: Sequence[str]) -> np.ndarray:
    """User tower outputs at the evaluation snapshot, unit rows float32 [population, 128]; zeros without examples.

    Sources in `hides` are neither seen nor predicted. Raises LeakageError if a training horizon reaches the snapshot.
    """
    tables = population.tables
    training = tables.histories.filter(pl.col("split") == "train")
    if training.is_empty():
        return np.zeros((population.size, DIM), np.float32)
    check_labels_unseen(tables.histories)
    check_no_leak(tables.dataset, tables.events, training)
    seen = [s.name for s in tables.dataset.sources if s.name not in hides]
    streams = [s.name for s in tables.dataset.event_sources if s.name not in hides]
    ahead = Ahead.of(tables, training, streams)
    if (late := ahead.latest) is not None and late >= population.snapshot:
        raise LeakageError(f"a text to be learnt from stands at {late}, not before {population.snapshot}")
    texts = leading(tables.vectors, TEXT_WIDTH)
    x, x_now = (inputs(tables, histories, seen, texts) for histories in (training, population.histories))
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-6, scale, np.inf)
    return fit((x - mean) / scale, training["user"].to_numpy(), ahead, tables.vectors, (x_now - mean) / scale)


def inputs(tables: Tables, histories: pl.DataFrame, sources: list[str], texts: np.ndarray) -> np.ndarray:
    """Per source the mean text vector, log counts and log days since the last event: float32 [histories, columns].

    texts [texts, width]. Attribute tables have no time; they give the mean vector alone.
    """
    from scipy.sparse import csr_matrix

    blocks = []
    for name in sources:
        table, shape = tables.events[name], (histories.height, len(texts))
        if tables.dataset.source(name).kind == "events":
            row, event = spans(histories, f"{name}_start", f"{name}_end")
            blocks.append(_rhythm(histories, table, row, event))
            text = table["text_id"].to_numpy()[event]
        else:
            places = histories.select("user").with_row_index("place").join(table.select("user", "text_id"), on="user")
            row, text = places["place"].to_numpy(), places["text_id"].to_numpy()
        counts = csr_matrix((np.ones(len(row), np.float32), (row, text)), shape=shape)
        blocks.append(np.asarray(counts @ texts) / np.maximum(np.asarray(counts.sum(axis=1)), 1))
    return np.concatenate(blocks, axis=1).astype(np.float32)


def _rhythm(histories: pl.DataFrame, table: pl.DataFrame, row: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Log counts in all, in 91 and in 28 days, and log days since the last event, [histories, 4]."""
    n = histories.height
    moments = histories["snapshot"].dt.epoch("s").to_numpy()
    age = (moments[row] - table["time"].dt.epoch("s").to_numpy()[event]) / 86400
    since = np.full(n, 400.0)
    since[row] = age  # events ascend in time, and the last assignment stands
    counts = [np.bincount(row[age <= days], minlength=n) for days in (np.inf, 91, 28)]
    return np.log1p(np.stack([*counts, np.maximum(since, 0)], axis=1))


def spans(histories: pl.DataFrame, start: str, end: str) -> tuple[np.ndarray, np.ndarray]:
    """Row ranges unrolled: the place of the history and the row of the event, both [events]."""
    first, last = histories[start].to_numpy().astype(np.int64), histories[end].to_numpy().astype(np.int64)
    length = np.maximum(last - first, 0)
    row = np.repeat(np.arange(len(length)), length)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length) + first[row]


@dataclass(frozen=True)
class Ahead:
    """What follows each training history within its horizon: text [events], in runs start[i] : start[i] + length[i]."""

    text: np.ndarray
    start: np.ndarray
    length: np.ndarray
    latest: datetime | None

    @classmethod
    def of(cls, tables: Tables, training: pl.DataFrame, sources: list[str]) -> "Ahead":
        rows, texts, times = [], [], []
        for name in sources:
            row, event = spans(training, f"{name}_end", f"{name}_horizon")
            rows.append(row)
            texts.append(tables.events[name]["text_id"].to_numpy()[event])
            times.append(tables.events[name]["time"][event].max())
        row, text = np.concatenate(rows), np.concatenate(texts).astype(np.int64)
        order = np.argsort(row, kind="stable")
        length = np.bincount(row, minlength=training.height)
        latest = max((time for time in times if time is not None), default=None)
        return cls(text[order], np.cumsum(length) - length, length, latest)

    def drawn(self, examples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One text of each example's horizon, [examples]."""
        return self.text[self.start[examples] + (rng.random(len(examples)) * self.length[examples]).astype(np.int64)]


def fit(x: np.ndarray, users: np.ndarray, ahead: Ahead, vectors: np.ndarray, x_now: np.ndarray) -> np.ndarray:
    """Train on x [examples, columns] until held-out users get no better, and embed x_now: unit rows [n, 128]."""
    import torch

    rng = np.random.default_rng(SEED)
    known, place = np.unique(users, return_inverse=True)
    held = (rng.permutation(len(known)) < max(1, HELD_OUT * len(known)))[place]
    taught, watched = np.flatnonzero(~held & (ahead.length > 0)), np.flatnonzero(held & (ahead.length > 0))
    if len(taught) < 2 or len(watched) < 2:
        return np.zeros((len(x_now), DIM), np.float32)
    towers = Towers(x, vectors, ahead)
    answers = ahead.drawn(watched, rng)
    best, state, waited = np.inf, towers.state(), 0
    for _ in range(EPOCHS):
        for batch in np.array_split(rng.permutation(taught), max(1, len(taught) // BATCH)):
            towers.step(batch, ahead.drawn(batch, rng))
        if (loss := towers.loss_on(watched, answers)) < best - 1e-3:
            best, state, waited = loss, towers.state(), 0
        elif (waited := waited + 1) == PATIENCE:
            break
    towers.modules.load_state_dict(state)
    return towers.users(torch.from_numpy(x_now.astype(np.float32)))


class Towers:
    """A user and an item tower with their optimiser; scores are cosines over a temperature."""

    def __init__(self, x: np.ndarray, vectors: np.ndarray, ahead: Ahead) -> None:
        import torch
        from torch import nn

        with torch.random.fork_rng():
            torch.manual_seed(SEED)
            user = nn.Sequential(
                nn.Dropout(DROPOUT),
                nn.Linear(x.shape[1], HIDDEN),
                nn.GELU(),
                nn.Dropout(DROPOUT),
                nn.Linear(HIDDEN, DIM),
            )
            item = nn.Sequential(nn.Linear(vectors.shape[1], HIDDEN), nn.GELU(), nn.Linear(HIDDEN, DIM))
            self._state = torch.random.get_rng_state()
        self.modules = nn.ModuleDict({"user": user, "item": item})
        self.optimiser = torch.optim.AdamW(self.modules.parameters(), RATE, weight_decay=WEIGHT_DECAY)
        self.x, self.texts = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(vectors)
        often = np.bincount(ahead.text, minlength=len(vectors)) + 1.0
        self.log_often = torch.from_numpy(np.log(often / often.sum()).astype(np.float32))

    def step(self, examples: np.ndarray, answers: np.ndarray) -> None:
        import torch

        self.modules.train()
        with torch.random.fork_rng():  # dropout's own stream, which nothing else moves on
            torch.random.set_rng_state(self._state)
            loss = self._loss(examples, answers)
            self._state = torch.random.get_rng_state()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def loss_on(self, examples: np.ndarray, answers: np.ndarray) -> float:
        import torch

        self.modules.eval()
        with torch.inference_mode():
            batches = np.array_split(np.arange(len(examples)), max(1, len(examples) // BATCH))
            return float(np.mean([float(self._loss(examples[b], answers[b])) for b in batches]))

    def _loss(self, examples: np.ndarray, answers: np.ndarray):
        import torch
        from torch.nn.functional import cross_entropy, normalize

        asked, told = torch.from_numpy(examples), torch.from_numpy(answers)
        users = normalize(self.modules["user"](self.x[asked]), dim=1)
        items = normalize(self.modules["item"](self.texts[told]), dim=1)
        # The text of another row that is this row's too is no wrong answer.
        same = (told[:, None] == told) & ~torch.eye(len(told), dtype=torch.bool)
        logits = users @ items.T / TEMPERATURE - self.log_often[told]
        return cross_entropy(logits.masked_fill(same, -1e9), torch.arange(len(told)))

    def users(self, x) -> np.ndarray:
        import torch
        from torch.nn.functional import normalize

        self.modules.eval()
        with torch.inference_mode():
            return normalize(self.modules["user"](x), dim=1).numpy()

    def state(self) -> dict:
        return {name: value.clone() for name, value in self.modules.state_dict().items()}
