"""Results invented for the tests of the report: a plain evaluation, and one with every part filled."""

import copy
from typing import Any

# task: family, users, positives, value by method; the first method is ours.
FIGURES = {
    "who_they_are": ("prediction", 801, 131, {"instructue": 0.78, "instructue_general": 0.77, "tfidf_lr": 0.86}),
    "what_they_buy": ("prediction", 2373, 413, {"instructue": 0.85, "instructue_general": 0.76, "tfidf_lr": 0.79}),
    "who_redeems": ("marketing", 2238, 293, {"instructue": 0.82, "instructue_general": 0.81, "tfidf_lr": 0.80}),
    "next_items": ("recommendation", 1984, 30120, {"instructue": 0.53, "own_frequency": 0.54, "popularity": 0.36}),
}
MARGIN = 0.02
FURTHER = ("aggregates_lightgbm", "aggregates_lr", "mean_text", "mean_text_per_source", "language_model", "two_tower",
           "coles", "cpc", "activity", "a_teams_own")  # fmt: skip


def made_up(figures=FIGURES) -> dict[str, Any]:
    """Results of FIGURES' shape; every interval is the value +- MARGIN."""
    rows, paired = [], []
    for task, (family, n, positives, values) in figures.items():
        metric = "ndcg@10" if family == "recommendation" else "auc"
        sure = {"task": task, "family": family, "n": n, "positives": positives}
        for method, value in {**values, "untrained": 0.5}.items():
            row = around(value)
            rows.append(sure | {"method": method, "labels": "all", "metric": metric} | row)
            few = [] if family == "recommendation" else [0, 20, 100]
            rows += [sure | {"method": method, "labels": labels, "metric": metric} | row for labels in few]
            if method != "instructue":
                paired.append(pair(task, method, values["instructue"] - value, metric))
    hit = {"family": "recommendation", "method": "instructue", "labels": "all", "metric": "hr@10"}
    rows.append({"task": "next_items", **hit, "value": 0.93, "low": 0.92, "high": 0.94, "n": 1984, "positives": 30120})
    macro = {"task": "macro", "family": "prediction", "labels": "all", "metric": "auc"}
    for method, value in (("instructue", 0.815), ("tfidf_lr", 0.825)):
        rows.append({**macro, "method": method, "value": value, "low": 0.8, "high": 0.84, "n": None, "positives": None})
    ours = {**macro, "method": "instructue", "baseline": "tfidf_lr"}
    paired.append({**ours, "difference": -0.01, "low": -0.03, "high": 0.01})
    return {
        "dataset": "A shop & its <customers>",
        "snapshot": "2017-10-01T00:00:00-04:00",
        "protocol": {"folds": 5, "repeats": 3, "bootstrap": 1000},
        "rows": rows,
        "paired": paired,
        "notes": ["`who_they_are` hides the profile."],
        "data": {"userqa": "a3bf4f1b2b0b822cd15d6c15b0f00a08"},
        "tasks": {"who_they_are": {"instruction": "How old is the user?", "description": "is 55 or older"}},
    }


def around(value: float, margin: float = MARGIN) -> dict[str, float]:
    return {"value": value, "low": round(value - margin, 4), "high": round(value + margin, 4)}


def pair(task: str, baseline: str, difference: float, metric: str = "auc", method: str = "instructue") -> dict:
    ends = around(round(difference, 4))
    named = {"task": task, "method": method, "baseline": baseline, "labels": "all", "metric": metric}
    return named | {"difference": ends["value"], "low": ends["low"], "high": ends["high"]}


def flipped(results: dict) -> dict:
    """The same comparisons with the other side winning."""
    turned = copy.deepcopy(results)
    for one in turned["paired"]:
        one |= {"difference": -one["difference"], "low": -one["high"], "high": -one["low"]}
    return turned


def jointly(results: dict, wider: float = 0.025) -> dict:
    """The same with joint intervals on single tasks, wider by `wider` on both sides."""
    for one in results["paired"]:
        if one["task"] != "macro":
            one |= {"joint_low": one["low"] - wider, "joint_high": one["high"] + wider}
    return results


def everything() -> dict[str, Any]:
    """An evaluation with every part that the report can show, and with many methods."""
    results = jointly(made_up())
    binary = {task: figures for task, figures in FIGURES.items() if figures[0] != "recommendation"}
    for task, (family, n, positives, values) in binary.items():
        sure = {"task": task, "family": family, "n": n, "positives": positives, "metric": "auc"}
        for i, method in enumerate(FURTHER):
            results["rows"].append(sure | {"method": method, "labels": "all"} | around(0.7 - i / 100))
            results["paired"].append(pair(task, method, values["instructue"] - 0.7 + i / 100))
        both = sure | {"method": "aggregates_with_instructue", "labels": "all"} | around(0.9)
        results["rows"].append(both)
        results["paired"].append(pair(task, "aggregates_with_instructue", -0.1))
        added = pair(task, "aggregates_lightgbm", 0.03, method="aggregates_with_instructue")
        results["paired"].append(added)
    similar = {"task": "next_items", "family": "recommendation", "n": 1984, "positives": 30120, "metric": "ndcg@10"}
    results["rows"].append(similar | {"method": "instructue_similarity", "labels": 0} | around(0.2))
    return results | _closer() | {"studies": _studies()}


def _closer() -> dict[str, Any]:
    counted = {"n": 90, "positives": 12}
    bins = [{"predicted": p / 10, "observed": p / 11, "n": 230} for p in range(10)]
    points = [{"x": i % 7, "y": i % 5, "label": i % 3 == 0} for i in range(60)]
    seen = {"task": "who_redeems", "context": "campaign 18", "baseline": "tfidf_lr"}
    return {
        "slices": [
            {"task": "who_redeems", "context": f"campaign {c}", "method": method, "metric": "auc", **counted}
            | around(0.7 + c / 1000, 0.1)
            for c in range(30)
            for method in ("instructue", "tfidf_lr", "untrained")
        ],
        "calibration": [
            {"task": "who_redeems", "method": method, "brier": 0.11, "ece": 0.03, "ece_low": 0.02, "ece_high": 0.04,
             "bins": bins}
            for method in ("untrained", "instructue", "tfidf_lr")
        ],
        "uplift": [
            {"task": "who_redeems", "method": method, "share": [0, 0.5, 1], "gain": [0, 0.04, 0.05]}
            for method in ("tfidf_lr", "instructue")
        ],
        "maps": [{"task": t, "method": "instructue", "points": points} for t in ("who_they_are", "what_they_buy")],
        "examples": [
            seen | {"user": "u1", "label": True, "score": 0.9, "baseline_score": 0.2, "events": ["<tea>"]},
            seen | {"user": "u2", "label": True, "score": 0.1, "baseline_score": 0.2, "events": []},
        ],
        "attainable": [{"task": "who_they_are", "metric": "auc", "value": 0.912}],
    }  # fmt: skip


def _studies() -> list[dict[str, Any]]:
    change = {"task": "who_they_are", "metric": "auc", "n": 801, "baseline": "no noise"}
    noise = [
        change | {"method": method, "setting": f"{kind} {share}"} | around(-share / 10)
        for method in ("instructue", "tfidf_lr")
        for kind in ("random", "popular")
        for share in (0, 0.4, 0.8)
    ]
    told = {"question": "Does it?", "answer": "By +0.040 AUC (95% interval +0.020 to +0.060).", "notes": []}
    alone = {"task": "macro", "method": "instructue", "setting": "contrastive alone", "metric": "auc", "n": 9}
    size = {"task": "who_they_are", "method": "instructue", "metric": "auc", "n": None}
    return [
        told | {"name": "robustness", "title": "Noise", "varied": "share of irrelevant events", "rows": noise},
        told | {"name": "losses", "title": "Losses alone", "varied": "loss", "rows": [alone | around(0.7)]},
        told | {"name": "never_heard_of", "title": "Unknown", "varied": "users",
                "rows": [size | {"setting": float(n)} | around(n / 1000) for n in (100, 200, 400)]},
    ]  # fmt: skip
