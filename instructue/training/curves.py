"""A picture of the loss parts over the steps."""

from pathlib import Path

from instructue.files import replacing

SHOWN = [
    ("contrastive", "contrastive (InfoNCE)"),
    ("opposition", "right answer against its opposite"),
    ("autoregressive", "autoregressive"),
    ("history", "general embedding against own events"),
]


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """One small panel per loss part: each step, and a running mean."""
    from matplotlib.figure import Figure

    shown = [(key, title) for key, title in SHOWN if any(key in row for row in history)]
    figure = Figure(figsize=(3.2 * len(shown), 2.8), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        values = [row[key] for row in history if key in row]
        axes.plot(values, color="#b8c4d6", linewidth=0.8)
        axes.plot(_running_mean(values, 0.9), color="#1f4e8c", linewidth=1.8)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _running_mean(values: list[float], keep: float) -> list[float]:
    out: list[float] = []
    mean, weight = 0.0, 0.0
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(mean / weight)
    return out
