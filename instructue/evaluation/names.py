"""How methods, metrics and numbers are called and written in reports."""

MINUS = "\N{MINUS SIGN}"

METHODS: dict[str, tuple[str, str]] = {
    "instructue": ("InstructUE", "one vector per user, conditioned on the task's instruction; linear probe"),
    "instructue_general": ("InstructUE, no instruction", "the same model asked for a general vector; linear probe"),
    "untrained": ("Untrained", "the same network before any training; linear probe"),
    "mean_text": ("Mean text", "mean sentence embedding of the user's events; linear probe"),
    "aggregates_lightgbm": ("Aggregates + LightGBM", "hand-made counts, sums and recencies; boosted trees"),
    "aggregates_lr": ("Aggregates + LR", "hand-made counts, sums and recencies; logistic regression"),
    "tfidf_lr": ("TF-IDF + LR", "weighted counts of event texts; logistic regression"),
    "item_knn": ("Item kNN", "items that go with what the user chose before"),
    "popularity": ("Popularity", "everybody gets what most users chose"),
    "own_frequency": ("Own frequency", "the user gets what he or she chose most often before"),
    "adoption_rate": ("Adoption rate", "everybody gets what most users newly took up"),
}
METRICS = {
    "auc": "AUC",
    "ks": "KS",
    "average_precision": "Average precision",
    "lift@10%": "Lift at 10%",
    "ndcg@10": "NDCG@10",
    "hr@10": "HR@10",
    "recall@10": "Recall@10",
}
METRIC_NOTES = {
    "auc": "AUC: how often a user who did it ranks above one who did not; 0.5 is guessing, 1 is perfect.",
    "ks": "KS: the widest gap between the score distributions of those who did and those who did not.",
    "ndcg@10": "NDCG@10: how many of the right items stand in the first ten, weighted to the top; 1 is perfect.",
    "hr@10": "HR@10: share of users with at least one right item among the first ten.",
}
FAMILIES = {
    "prediction": "Prediction",
    "marketing": "Marketing",
    "recommendation": "Recommendation",
}


def method_title(name: str) -> str:
    return METHODS[name][0] if name in METHODS else name.replace("_", " ")


def method_note(name: str) -> str:
    return METHODS[name][1] if name in METHODS else ""


def metric_title(name: str) -> str:
    return METRICS.get(name, name)


def number(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.3f}".replace("-", MINUS)


def signed(value: float | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    return f"{value:+.3f}".replace("-", MINUS) if round(value, 3) else "0.000"


def interval(low: float | None, high: float | None, form=number) -> str:
    """'0.726 to 0.766', or an empty text where an end is missing."""
    return "" if low is None or high is None else f"{form(low)} to {form(high)}"


def label_text(labels: str | int) -> str:
    return {"all": "all", 0: "0 (zero-shot)"}.get(labels, str(labels))


def moment(text: str) -> str:
    """An ISO moment as people write it: '2017-10-01 06:00', and '2017-10-01' for a midnight."""
    return text[:16].replace("T", " ").removesuffix(" 00:00") if text[10:11] in ("T", " ") else text
