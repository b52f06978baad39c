"""How methods, metrics and numbers are called and written in reports."""

MINUS = "\N{MINUS SIGN}"

METHODS: dict[str, tuple[str, str]] = {
    "instructue": ("InstructUE", "one vector per user, conditioned on the task's instruction; linear probe"),
    "instructue_general": ("InstructUE, no instruction", "the same model asked for a general vector; linear probe"),
    "instructue_similarity": ("InstructUE, similarity", "likeness of user vector and item text; no label is used"),
    "instructue_scorer": ("InstructUE, scorer", "a light learnt scorer on user vectors and item texts"),
    "aggregates_with_instructue": ("Aggregates and InstructUE", "hand-made figures and our vector; boosted trees"),
    "two_stage_with_instructue": (
        "Two-stage and InstructUE",
        "the two-stage ranker with our vector among its features",
    ),
    "untrained": ("Untrained", "the same network before any training; linear probe"),
    "mean_text": ("Mean text", "mean sentence embedding of the user's events; linear probe"),
    "mean_text_per_source": ("Mean text per source", "mean sentence embeddings, one per source; linear probe"),
    "language_model": ("Language model", "the raw language model's last state on the history as text; linear probe"),
    "two_tower": ("Two-tower", "history and answer encoders trained without instructions; linear probe"),
    "coles": ("CoLES", "contrastive embedding of event sequences (pytorch-lifestream); linear probe"),
    "cpc": ("CPC", "contrastive predictive coding of event sequences (pytorch-lifestream); linear probe"),
    "aggregates_lightgbm": ("Aggregates + LightGBM", "hand-made counts, sums and recencies; boosted trees"),
    "aggregates_lr": ("Aggregates + LR", "hand-made counts, sums and recencies; logistic regression"),
    "tfidf_lr": ("TF-IDF + LR", "weighted counts of event texts; logistic regression"),
    "two_stage": ("Two-stage LightGBM", "candidates by counting, ranked by boosted trees on hand-made figures"),
    "item_knn": ("Item kNN", "items that go with what the user chose before"),
    "ease": ("EASE", "one linear map from all items had to all items, in closed form (Steck 2019)"),
    "recent_frequency": ("Recent frequency", "how often the user had it before, counting less the longer ago"),
    "als": ("ALS", "factors of users and items by alternating least squares on what was chosen"),
    "bpr": ("BPR", "factors of users and items, learnt to rank what was chosen above what was not"),
    "own_frequency": (
        "Own frequency",
        "how often the user did it before; in recommendation, the items chosen most often",
    ),
    "recency": ("Recency", "how lately the user did it"),
    "activity": ("Activity", "how much the user did at all"),
    "popularity": ("Popularity", "everybody gets what most users chose"),
    "adoption_rate": ("Adoption rate", "everybody gets what most users newly took up"),
}
METRICS = {
    "auc": "AUC",
    "auc_without_labels": "AUC without labels",
    "ks": "KS",
    "average_precision": "Average precision",
    "lift@10%": "Lift at 10%",
    "ndcg@10": "NDCG@10",
    "hr@10": "HR@10",
    "recall@10": "Recall@10",
    "qini": "Qini",
    "auuc": "AUUC",
    "brier": "Brier",
    "ece": "ECE",
    "cosine": "Cosine similarity",
    "neighbour_lift": "Lift among neighbours",
}
METRIC_NOTES = {
    "auc": "AUC: how often a user who did it ranks above one who did not; 0.5 is guessing, 1 is perfect.",
    "ks": "KS: the widest gap between the score distributions of those who did and those who did not.",
    "ndcg@10": "NDCG@10: how many of the right items stand in the first ten, weighted to the top; 1 is perfect.",
    "hr@10": "HR@10: share of users with at least one right item among the first ten.",
    "recall@10": "Recall@10: share of a user's right items that stand among the first ten.",
    "average_precision": "Average precision: mean precision over those who did it; the share of them is guessing.",
    "lift@10%": "Lift at 10%: how many times more of them are in the best tenth than in a tenth at random.",
    "qini": "Qini: area between the uplift curve and treating at random; 0 is random.",
    "auuc": "AUUC: area under the uplift curve.",
}
FAMILIES = {
    "prediction": "Prediction",
    "marketing": "Marketing",
    "recommendation": "Recommendation",
}


def method_title(name: str) -> str:
    return METHODS[name][0] if name in METHODS else name.replace("_", " ")


def is_use(name: str) -> bool:
    """A further way to use our vectors (a scorer, or ours added to what a team has): neither ours alone nor a rival."""
    return name.endswith("_with_instructue") or (name.startswith("instructue_") and name != "instructue_general")


def is_rival(name: str) -> bool:
    """A method that does without our trained vectors; the untrained network is one."""
    return name not in ("instructue", "instructue_general") and not is_use(name)


def method_note(name: str) -> str:
    return METHODS[name][1] if name in METHODS else ""


def metric_title(name: str) -> str:
    """Of a change or difference in a metric, the metric's title."""
    name = name.removesuffix("_difference").removesuffix("_change")
    return METRICS.get(name, name.replace("_", " "))


def number(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.3f}".replace("-", MINUS)


def signed(value: float | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    return f"{value:+.3f}".replace("-", MINUS) if round(value, 3) else "0.000"


def interval(low: float | None, high: float | None, form=number) -> str:
    """'0.726 to 0.766', or an empty text where an end is missing."""
    return "" if low is None or high is None else f"{form(low)} to {form(high)}"


def percent(value: float) -> str:
    return f"{value:.0%}"


def label_text(labels: str | int) -> str:
    return {"all": "all", 0: "0 (zero-shot)"}.get(labels, str(labels))


def moment(text: str) -> str:
    """An ISO moment as people write it: '2017-10-01 06:00', and '2017-10-01' for a midnight."""
    return text[:16].replace("T", " ").removesuffix(" 00:00") if text[10:11] in ("T", " ") else text
