"""What a recommender in production does: candidates from several simple rankings, then boosted trees over them.

The candidates' features come from the past; those that are learnt from labels (adoption rates, probes on embeddings)
are out of fold for the users whom the trees learn from, as they are for those who are scored.
"""

from dataclasses import dataclass

import numpy as np

from instructue.evaluation.baselines.collaborative import Settings
from instructue.evaluation.baselines.learners import adoption_rate, popularity
from instructue.evaluation.judged import Judged
from instructue.evaluation.metrics import ndcg, top_items
from instructue.evaluation.probe import probe_ridge
from instructue.evaluation.protocol import Protocol, Split
from instructue.evaluation.recommendation import Basket, judge_splits
from instructue.evaluation.tasks import TaskSpec

CANDIDATES = 30  # of each ranking
ROUNDS = 120
TREES = {
    "objective": "binary",
    "learning_rate": 0.06,
    "num_leaves": 15,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.6,
    "lambda_l2": 5.0,
    "max_bin": 63,
    "deterministic": True,
    "force_col_wise": True,
    "num_threads": 1,
    "verbosity": -1,
    "seed": 0,
}


@dataclass(frozen=True)
class Evidence:
    """What stage two may look at, per user of a basket and item, [n, items] each.

    fixed: figures of the past, made without labels. ranked: per label-free ranker its settings, of which the training
    users of a fold choose one. embeddings: features [n, columns] per method, to be turned into scores by a probe.
    """

    fixed: dict[str, np.ndarray]
    ranked: dict[str, Settings]
    embeddings: dict[str, np.ndarray]


def judge_two_stage(name: str, task: TaskSpec, basket: Basket, evidence: Evidence, protocol: Protocol) -> Judged:
    """Out-of-fold ranking by trees over candidates; an item that is no candidate comes after all that are."""
    return judge_splits(name, task, basket, protocol, lambda split: scored(basket, evidence, split))


def scored(basket: Basket, evidence: Evidence, split: Split) -> np.ndarray:
    """Scores [test, items] by trees that learnt from the training users of one split, minus infinity elsewhere."""
    import lightgbm

    columns = _columns(basket, evidence, split)
    shown = [i for i, name in enumerate(columns) if name != "days since"]
    stacked = np.stack(list(columns.values()))  # [columns, n, items]
    candidates = np.zeros(basket.seen.shape, bool)
    for column in stacked[shown]:
        best = top_items(np.where(basket.seen, -np.inf, column), CANDIDATES)
        np.put_along_axis(candidates, best, True, axis=1)
    candidates &= ~basket.seen
    taught, asked = np.zeros_like(candidates), np.zeros_like(candidates)
    taught[split.train], asked[split.test] = candidates[split.train], candidates[split.test]
    labels = basket.relevant[taught]
    out = np.full(candidates.shape, -np.inf)
    if labels.any() and not labels.all():
        params = TREES | {"min_data_in_leaf": int(np.clip(len(labels) // 500, 2, TREES["min_data_in_leaf"]))}
        model = lightgbm.train(params, lightgbm.Dataset(stacked[:, taught].T, labels.astype(float)), ROUNDS)
        out[asked] = np.asarray(model.predict(stacked[:, asked].T, num_threads=1))
    return out[split.test]


def _columns(basket: Basket, evidence: Evidence, split: Split) -> dict[str, np.ndarray]:
    """Every feature [n, items] float32 as this split's trees see it."""
    columns = {"own count": basket.past, "popularity": popularity(basket.past)} | evidence.fixed
    for name, settings in evidence.ranked.items():
        columns[name] = _chosen(settings, basket, split.train)
    columns["adoption"] = outside(split, basket, lambda taught, asked: _adoption(basket, taught, asked))
    for name, x in evidence.embeddings.items():
        columns[name] = outside(split, basket, lambda taught, asked, x=x: probe_scores(x, basket, split, taught, asked))
    return {name: np.asarray(values, np.float32) for name, values in columns.items()}


def _chosen(settings: Settings, basket: Basket, train: np.ndarray) -> np.ndarray:
    """The setting with the best NDCG@10 on the training users."""
    seen, relevant = basket.seen[train], basket.relevant[train]
    gains = {name: ndcg(np.where(seen, -np.inf, scores[train]), relevant).mean() for name, scores in settings.items()}
    return settings[max(gains, key=gains.__getitem__)]


def outside(split: Split, basket: Basket, learn) -> np.ndarray:
    """Scores [n, items] that no user's own labels entered: test users by all training users, these by inner folds.

    learn(rows taught, rows asked) -> scores [asked, items].
    """
    out = np.zeros(basket.past.shape, np.float32)
    out[split.test] = learn(split.train, split.test)
    for fold in np.unique(split.inner):
        held = split.inner == fold
        out[split.train[held]] = learn(split.train[~held], split.train[held])
    return out


def _adoption(basket: Basket, taught: np.ndarray, asked: np.ndarray) -> np.ndarray:
    return adoption_rate(basket.relevant[taught], basket.seen[taught], len(asked))


def probe_scores(x: np.ndarray, basket: Basket, split: Split, taught: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Ridge scores; the penalty is chosen within the rows taught."""
    inner = dict(zip(split.train.tolist(), split.inner.tolist(), strict=True))
    folds = np.array([inner[row] for row in taught.tolist()])
    # Of two inner folds one is asked about, so the other is cut anew to choose by.
    folds = folds if len(np.unique(folds)) > 1 else np.arange(len(taught)) % 2
    shown = (basket.seen[taught], np.zeros_like(basket.seen[asked]), basket.relevant[taught])
    return probe_ridge(x[taught], basket.happened[taught], x[asked], folds, *shown)[0]
