"""Rankings learnt from who had what before the snapshot, without labels: neighbours and factors.

Library: implicit (Frederickson). EASE: Steck 2019, "Embarrassingly shallow autoencoders for sparse data", WWW.
ALS: Hu, Koren and Volinsky 2008. BPR: Rendle et al. 2009. Each in a few settings; the caller chooses among them by
training users alone.
"""

from collections.abc import Callable

import numpy as np

SEED = 7
# Where wider grids did best. ALS: weighting, factors, weight of an occasion, with PENALTY; BPR: factors, learning rate,
# penalty, epochs.
ALS = (
    ("counts", 32, 0.1), ("counts", 96, 0.05), ("counts", 96, 0.1), ("counts", 192, 0.1),
    ("log", 32, 0.3), ("log", 96, 0.3), ("log", 192, 0.3), ("binary", 96, 0.3),
)  # fmt: skip
PENALTY = 10.0
BPR = ((16, 0.03, 0.03, 20), (64, 0.03, 0.03, 20), (64, 0.01, 0.03, 100), (64, 0.03, 0.1, 60))
WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "binary": lambda past: (past > 0).astype(np.float32),
    "log": np.log1p,
    "counts": lambda past: past,
}
Settings = dict[str, np.ndarray]


def rankings(name: str, past: np.ndarray) -> Settings:
    """Scores float32 [users, items] per setting of the ranker `name`, one of RANKERS.

    past [users, items]: on how many occasions before the snapshot, of all users. One thread, the same every time.
    Where nobody had anything all scores are zero.
    """
    from threadpoolctl import threadpool_limits

    if not past.any():
        return {"nothing to learn from": np.zeros(past.shape, np.float32)}
    with threadpool_limits(1):
        return {setting: scores.astype(np.float32) for setting, scores in RANKERS[name](past).items()}


def item_knn(past: np.ndarray) -> Settings:
    """Items like those that the user had, by cosine of (TF-IDF weighted) columns; an item is its own neighbour."""
    from implicit.nearest_neighbours import all_pairs_knn, normalize, tfidf_weight

    found = {}
    for weight, matrix in _weighted(past).items():
        columns = {"cosine": matrix.T.tocsr(), "tfidf": tfidf_weight(matrix.T.tocsr())}
        for kind, weighted in columns.items():
            rows = normalize(weighted).T.tocsr()
            for neighbours in (100, 1000):
                similarity = all_pairs_knn(rows, neighbours, num_threads=1, show_progress=False).tocsr()
                found[f"{kind}, {weight}, {neighbours} neighbours"] = (matrix @ similarity).toarray()
    return found


def ease(past: np.ndarray) -> Settings:
    """The linear map of a user's items onto each other item, in closed form."""
    found = {}
    for weight, penalties in (("binary", (300, 1000, 3000)), ("log", (1, 3, 10)), ("counts", (1, 3, 10))):
        matrix = WEIGHTS[weight](past)
        moments = (matrix.T @ matrix).astype(np.float64)
        for penalty in penalties:
            inverse = np.linalg.inv(moments + penalty * np.eye(len(moments)))
            turn = -inverse / np.diag(inverse)
            np.fill_diagonal(turn, 0)
            found[f"{weight}, penalty {penalty}"] = matrix @ turn.astype(np.float32)
    return found


def als(past: np.ndarray) -> Settings:
    """Implicit alternating least squares."""
    from implicit.cpu.als import AlternatingLeastSquares

    matrices, found = _weighted(past), {}
    for weight, factors, alpha in ALS:
        model = AlternatingLeastSquares(
            factors, PENALTY, alpha, np.float32, iterations=10, num_threads=1, random_state=SEED
        )
        model.fit(matrices[weight], show_progress=False)
        found[f"{weight}, {factors} factors, alpha {alpha}"] = _product(model)
    return found


def bpr(past: np.ndarray) -> Settings:
    """Bayesian personalised ranking; it knows only whether an item was had."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    matrix, found = _weighted(past)["binary"], {}
    for factors, rate, penalty, epochs in BPR:
        model = BayesianPersonalizedRanking(
            factors, rate, penalty, np.float32, epochs, num_threads=1, random_state=SEED, verify_negative_samples=True
        )
        model.fit(matrix, show_progress=False)
        found[f"{factors} factors, rate {rate}, penalty {penalty}, {epochs} epochs"] = _product(model)
    return found


def _weighted(past: np.ndarray) -> dict:
    """The past under each of WEIGHTS, scipy CSR float32."""
    from scipy.sparse import csr_matrix

    return {name: csr_matrix(weigh(past).astype(np.float32)) for name, weigh in WEIGHTS.items()}


def _product(model) -> np.ndarray:
    """Scores of a factor model: BPR's factors hold the items' biases as one more column."""
    return np.asarray(model.user_factors) @ np.asarray(model.item_factors).T


RANKERS: dict[str, Callable[[np.ndarray], Settings]] = {"item_knn": item_knn, "ease": ease, "als": als, "bpr": bpr}
