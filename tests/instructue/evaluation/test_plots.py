"""Plots: readable in light and dark and without colour, nothing cut or overlapping; and the files for versions."""

import csv
import json
import re
from pathlib import Path

import pytest

from instructue.evaluation.report import drawing
from instructue.evaluation.report.claims import claims
from instructue.evaluation.report.dots import Dot, Dots, dots_height, draw_dots
from instructue.evaluation.report.forest import WIDTH, draw_forest, forest_entries, forest_height
from instructue.evaluation.report.maps import map_svgs
from instructue.evaluation.report.plots import forest_png, summary_png
from instructue.evaluation.report.versioned import write_metrics, write_plots
from instructue.evaluation.results import parse_results
from tests.instructue.evaluation.made_up import around, everything, made_up

CSS = Path(drawing.__file__).with_name("report.css.j2").read_text()
THEMES = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, flags=re.S)]
EMPTY = {"dataset": "d", "snapshot": "2017-10-01", "protocol": {}, "rows": [], "paired": []}


def test_every_stand_in_has_its_own_colour_and_a_variable_in_both_themes():
    assert len(THEMES) == 2 and all(set(drawing.COLOURS) <= set(theme) for theme in THEMES)
    assert len(set(drawing.COLOURS.values())) == len(drawing.COLOURS), "two stand-ins alike would become one variable"


def test_series_differ_in_shape_as_well():
    assert len(set(drawing.SERIES_SHAPES)) == len(set(drawing.SERIES_SYMBOLS)) == drawing.MOST
    assert len(set(drawing.SHAPES.values())) == 3


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_colours_have_contrast_in_light_and_dark():
    """WCAG 2 AA, 4.5 to 1, against every background that text stands on."""
    for theme in THEMES:
        for ink in ("ink", "muted", "accent", "ahead", "behind", "undecided", *(f"s{i}" for i in range(6))):
            for paper in ("paper", "card", *(["ours"] if ink in ("ink", "muted", "accent") else [])):
                light, dark = sorted((_luminance(theme[ink]), _luminance(theme[paper])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)


def _overlaps(figure) -> list[tuple[str, str]]:
    """Pairs of texts that lie on each other, and texts that leave the figure, paired with 'edge'."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    ax = figure.axes[0]
    texts = [t for t in [*ax.texts, *ax.get_xticklabels(), ax.title, ax.xaxis.label] if t.get_text()]
    # Tick labels beyond the axis are made but not drawn.
    left, right = ax.get_xlim()
    drawn = [t for t in texts if t not in ax.get_xticklabels() or left <= t.get_position()[0] <= right]
    boxes = [t.get_window_extent() for t in drawn]
    found = []
    for i, box in enumerate(boxes):
        if box.x0 < -0.5 or box.x1 > figure.bbox.width + 0.5 or box.y0 < -0.5 or box.y1 > figure.bbox.height + 0.5:
            found.append((drawn[i].get_text(), "edge"))
        found += [(drawn[i].get_text(), drawn[j].get_text()) for j in range(i) if box.overlaps(boxes[j])]
    return found


def test_forest_labels_neither_overlap_nor_leave_the_figure():
    from matplotlib.figure import Figure

    given = made_up()
    for pair in given["paired"]:  # a name longer than there is room for, on every task
        if pair["baseline"] == "untrained":
            pair["baseline"] = "two_stage_gradient_boosted_trees_with_every_feature"
    entries = forest_entries(parse_results(given), "prediction")
    assert len(entries) > 8
    with drawing.styled():
        figure = Figure(figsize=(WIDTH / 72, forest_height(len(entries)) / 72))
        draw_forest(figure, entries, "Prediction", "auc")
        assert not _overlaps(figure)
        figure.axes[0].text(0, 0, "InstructUE, no instruction on top of everything that is there")
        assert _overlaps(figure), "the checker sees a fault"


def test_dot_labels_neither_overlap_nor_leave_the_figure():
    from matplotlib.figure import Figure

    lines = [Dots("a task with a very long name that goes on and on", [])]
    lines += [Dots("InstructUE, no instruction", [Dot("x", 0, 0.7 + i / 50, 0.6, 0.9)], bold=i == 0) for i in range(5)]
    with drawing.styled():
        figure = Figure(figsize=(360 / 72, dots_height(lines) / 72))
        height = dots_height(lines)
        ax = figure.add_axes((0.45, 34 / height, 0.4, 1 - 58 / height))
        draw_dots(ax, "Prediction", lines, "AUC on average")
        assert not _overlaps(figure)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_all_dots_of_a_line_are_seen_whole(count):
    from matplotlib.figure import Figure

    lines = [Dots("a line", [Dot(str(i), i, 0.7, 0.6, 0.9) for i in range(count)])] * 2
    with drawing.styled():
        height = dots_height(lines)
        ax = Figure(figsize=(5, height / 72)).add_axes((0.45, 34 / height, 0.4, 1 - 58 / height))
        draw_dots(ax, "Prediction", lines, "AUC")
    places = sorted(line.get_ydata()[0] for line in ax.lines if line.get_marker() not in ("None", ""))
    points = (height - 58) / len(lines)  # of one line's room
    assert len(places) == 2 * count and (places[0] + 0.5) * points > 3
    assert all((b - a) * points > 5 for a, b in zip(places, places[1:], strict=False))


def test_forest_shows_general_untrained_and_the_four_strongest():
    entries = forest_entries(parse_results(everything()), "prediction")
    first = [entry[1].baseline for entry in entries[1:7] if not isinstance(entry, str)]
    assert first == ["instructue_general", "untrained", "tfidf_lr", "aggregates_lightgbm", "aggregates_lr", "mean_text"]
    assert isinstance(entries[7], str)


def test_noise_is_drawn_as_curves_of_method_and_kind_and_the_rest_as_dots():
    noise, alone, unknown = claims(parse_results(everything()))
    assert noise.legend == ["InstructUE, random", "InstructUE, popular", "TF-IDF + LR, random", "TF-IDF + LR, popular"]
    assert noise.curves and len(noise.plots) == 1 and "80%: −0.080" in noise.plots[0]
    assert not alone.curves and "contrastive alone, InstructUE: 0.700 (0.680 to 0.720)" in alone.plots[0]
    assert unknown.curves and unknown.legend == [] and "by users" in unknown.plots[0]


def test_noise_of_many_methods_gets_a_plot_per_kind():
    given = everything()
    change = {"task": "who_they_are", "metric": "auc", "n": 801, "baseline": "no noise"}
    given["studies"] = [given["studies"][0]]
    given["studies"][0]["rows"] = [
        change | {"method": f"m{m}", "setting": f"{kind} {share}%"} | around(-share / 1000)
        for m in range(4) for kind in ("random", "popular") for share in (0, 20, 80)
    ]  # fmt: skip
    (claim,) = claims(parse_results(given))
    assert len(claim.plots) == 2 and claim.legend == ["m0", "m1", "m2", "m3"]
    assert "who_they_are, popular" in claim.plots[1]


def test_a_study_of_levels_and_changes_draws_the_changes_from_no_noise_on():
    given = everything()
    level = {"task": "who_they_are", "method": "instructue", "n": 801}
    given["studies"] = [given["studies"][0] | {"name": "robustness_random"}]
    given["studies"][0]["rows"] = [
        level | {"metric": metric, "baseline": baseline, "setting": share} | around(value)
        for share in (0.0, 0.4, 0.8)
        for metric, baseline, value in (
            ("auc", None, 0.7), ("auc_difference", "instructue_general", 0.05), ("auc_change", "no noise", -share / 10)
        )
        if share or metric != "auc_change"
    ]  # fmt: skip
    (claim,) = claims(parse_results(given))
    assert len(claim.plots) == 2 and "0%: 0.000, 40%: −0.040, 80%: −0.080" in claim.plots[0]
    assert "against InstructUE, no instruction" in claim.plots[1] and "difference in AUC" in claim.plots[1]


def test_settings_and_what_was_subtracted_name_the_dots():
    given = everything()
    row = {"task": "macro", "method": "instructue", "n": 801, "setting": "joint", "metric": "auc_difference"}
    given["studies"] = [given["studies"][1] | {"rows": [row | {"baseline": b} | around(0.01) for b in ("one", "two")]}]
    (claim,) = claims(parse_results(given))
    assert "joint minus the other" in claim.plots[0] and "against two, InstructUE: +0.010" in claim.plots[0]
    for one in given["studies"][0]["rows"]:
        one["baseline"] = "tfidf_lr"
    (claim,) = claims(parse_results(given))
    assert "difference in AUC" in claim.plots[0] and "against TF-IDF + LR, InstructUE: +0.010" in claim.plots[0]


def test_maps_show_every_user_once_and_inside():
    ((_, svg), (_, other)) = map_svgs(parse_results(everything()))[0]
    for drawn in (svg, other):
        assert drawn.count("h0") == 40 and drawn.count("l3.8") == 20
        numbers = [float(x) for pair in re.findall(r"M(-?[\d.]+) (-?[\d.]+)", drawn) for x in pair]
        assert min(numbers) > 0 and max(numbers) < 340


@pytest.mark.parametrize("given", [made_up(), everything(), EMPTY], ids=["plain", "everything", "empty"])
def test_pictures_are_written_for_any_results(given, tmp_path):
    for draw in (forest_png, summary_png):
        picture = draw(given, tmp_path / "p.png").read_bytes()
        assert picture.startswith(b"\x89PNG") and len(picture) > 1000
        assert draw(parse_results(given), tmp_path / "again.png").read_bytes() == picture


def test_metrics_of_ours_are_a_small_flat_file(tmp_path):
    found = json.loads(write_metrics(everything(), tmp_path / "metrics.json").read_text())
    assert found["next_items"] == {"ndcg@10": 0.53, "hr@10": 0.93}
    assert found["macro_prediction"] == {"auc": 0.815} and found["who_redeems"] == {"auc": 0.82}


def test_plot_files_have_headers_and_forget_what_is_gone(tmp_path):
    folder = tmp_path / "plots"
    names = [path.name for path in write_plots(everything(), folder)]
    assert names == ["comparison.csv", "few_labels.csv", "ours.csv", "robustness.csv"]
    tables = {name: list(csv.DictReader((folder / name).open())) for name in names}
    assert list(tables["comparison.csv"][0]) == ["task", "method", "metric", "value", "low", "high"]
    assert list(tables["few_labels.csv"][0]) == ["task", "method", "labels", "value"]
    assert {line["labels"] for line in tables["few_labels.csv"]} == {"0", "20", "100", "all"}
    assert {line["task"] for line in tables["ours.csv"]} == {
        "who_they_are", "what_they_buy", "who_redeems", "next_items", "macro_prediction"}  # fmt: skip
    assert "robustness.csv" not in [path.name for path in write_plots(made_up(), folder)]
    assert not (folder / "robustness.csv").exists()


def test_averages_over_tasks_are_a_line_per_family(tmp_path):
    given = made_up()
    few = {"task": "macro", "family": "prediction", "method": "instructue", "metric": "auc", "n": None}
    given["rows"] += [few | {"labels": labels, "positives": None} | around(0.6) for labels in (100, 0, 20)]
    write_plots(given, tmp_path / "plots")
    lines = (tmp_path / "plots" / "few_labels_average.csv").read_text().splitlines()
    assert lines == ["labels,prediction", "0,0.6", "20,0.6", "100,0.6"]
