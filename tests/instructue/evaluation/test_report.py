"""The evaluation report: what it says follows the numbers, and it opens with no network."""

import copy
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from instructue.errors import DataError
from instructue.evaluation import results as results_module
from instructue.evaluation.plots import STYLE, WIDTH, _forest, _forest_height, forest_lines, forest_png
from instructue.evaluation.report import render, write_reports
from instructue.evaluation.results import parse_results, schema_text
from instructue.evaluation.tables import summary_rows, tables, tiles
from instructue.evaluation.verdict import judge, losses, strongest, verdict

# task: family, users, positives, value by method; the first method is ours.
FIGURES = {
    "who_they_are": ("prediction", 801, 131, {"instructue": 0.78, "instructue_general": 0.77, "tfidf_lr": 0.86}),
    "what_they_buy": ("prediction", 2373, 413, {"instructue": 0.85, "instructue_general": 0.76, "tfidf_lr": 0.79}),
    "who_redeems": ("marketing", 2238, 293, {"instructue": 0.82, "instructue_general": 0.81, "tfidf_lr": 0.80}),
    "next_items": ("recommendation", 1984, 30120, {"instructue": 0.53, "own_frequency": 0.54, "popularity": 0.36}),
}
MARGIN = 0.02


def made_up(figures=FIGURES) -> dict:
    """Results of FIGURES' shape; every interval is the value +- MARGIN."""
    rows, paired = [], []
    for task, (family, n, positives, values) in figures.items():
        metric = "ndcg@10" if family == "recommendation" else "auc"
        sure = {"task": task, "family": family, "n": n, "positives": positives}
        for method, value in {**values, "untrained": 0.5}.items():
            row = {"value": value, "low": round(value - MARGIN, 4), "high": round(value + MARGIN, 4)}
            rows.append(sure | {"method": method, "labels": "all", "metric": metric} | row)
            few = [] if family == "recommendation" else [0, 20, 100]
            rows += [sure | {"method": method, "labels": labels, "metric": metric} | row for labels in few]
            difference = round(values["instructue"] - value, 4)
            if method != "instructue":
                ends = {"low": round(difference - MARGIN, 4), "high": round(difference + MARGIN, 4)}
                pair = {"task": task, "method": "instructue", "baseline": method, "labels": "all", "metric": metric}
                paired.append(pair | {"difference": difference} | ends)
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


def flipped(results: dict) -> dict:
    """The same comparisons with the other side winning."""
    turned = copy.deepcopy(results)
    for pair in turned["paired"]:
        pair |= {"difference": -pair["difference"], "low": -pair["high"], "high": -pair["low"]}
    return turned


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    stem = tmp_path_factory.mktemp("reports") / "v1.2" / "evaluation.final"  # a dot must not be taken for a suffix
    write_reports(made_up(), stem)
    return stem


def test_writes_three_files_and_the_json_is_what_was_given(written):
    assert sorted(path.name for path in written.parent.iterdir()) == [
        "evaluation.final.html",
        "evaluation.final.json",
        "evaluation.final.md",
    ]
    assert json.loads((written.parent / "evaluation.final.json").read_text()) == made_up()


def test_html_opens_with_no_network(written):
    page = (written.parent / "evaluation.final.html").read_text()
    loads = re.findall(r"""(?:src|href|srcset|action|data)\s*=\s*["']?([^"'\s>]*)|url\(([^)]*)\)""", page)
    outside = [target for pair in loads for target in pair if target and not target.strip("\"'").startswith("#")]
    assert loads and not outside
    assert not re.search(r"<(script|link|iframe|object|embed|img)\b|@import|https?://", page)
    assert "<svg" in page and "A shop &amp; its &lt;customers&gt;" in page


def test_every_plot_has_an_alternative_text_and_is_well_formed(written):
    page = (written.parent / "evaluation.final.html").read_text()
    plots = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(plots) == 3 + 3  # families, and tasks with few labels
    for plot in plots:
        element = ElementTree.fromstring(plot.replace("xlink:href", "href"))
        assert element.get("role") == "img" and len(element.get("aria-label", "")) > 40
        assert not re.search(r"#[0-9a-fA-F]{6}\b(?!\w)", re.sub(r'(href|clip-path|id)="[^"]*"', "", plot)), (
            "a fixed colour"
        )


def test_verdict_states_each_claim_with_its_interval():
    stands, adds, loses = (sentence for _, sentence in verdict(parse_results(made_up())))
    assert stands.startswith("Against the strongest baseline of each task it is ahead on 1 of 4 tasks")
    assert "+0.060 AUC on `what_they_buy` against TF-IDF + LR, 95% interval +0.040 to +0.080" in stands
    assert "behind on 1 (−0.080 AUC on `who_they_are` against TF-IDF + LR, 95% interval −0.100 to −0.060)" in stands
    assert stands.endswith("and undecided on 2.")
    assert "untrained it is ahead on 4 of 4 tasks" in adds and "without an instruction it is ahead on 1 of 3" in adds
    assert loses.startswith("It loses to one or more baselines on 1 of 4 tasks: −0.080 AUC on `who_they_are`")


def test_verdict_flips_with_the_numbers():
    stands, adds, loses = (sentence for _, sentence in verdict(parse_results(flipped(made_up()))))
    assert stands.startswith(
        "Against the strongest baseline of each task it is behind on 4 of 4 tasks (at worst −0.350"
    )
    assert "ahead" not in stands
    assert "untrained it is behind on 4 of 4 tasks (at worst −0.350 AUC on `what_they_buy`" in adds
    assert "without an instruction it is behind on 1 of 3 tasks (−0.090 AUC on `what_they_buy`" in adds
    assert loses.startswith("It loses to one or more baselines on 4 of 4 tasks: −0.350 AUC on `what_they_buy`")
    assert loses.endswith("; and 1 task more, listed under losses.")


def test_verdict_without_a_loss_names_the_comparison_nearest_to_one():
    winning = made_up()
    for pair in winning["paired"]:
        if pair["high"] < 0:
            pair |= {"difference": 0.001, "low": -0.019, "high": 0.004}
    loses = verdict(parse_results(winning))[2][1]
    assert loses.startswith("No comparison with a baseline is a decided loss")
    assert "+0.001 AUC on `who_they_are` against TF-IDF + LR, 95% interval −0.019 to +0.004" in loses


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.03, "ahead"),
        (-0.03, -0.01, "behind"),
        (-0.01, 0.03, "undecided"),
        (0.0, 0.03, "undecided"),
        (None, 1, None),
    ],
)
def test_outcome_follows_the_interval_alone(low, high, expected):
    pair = {"task": "t", "method": "instructue", "baseline": "b", "labels": "all", "metric": "auc"}
    judged = judge(
        parse_results(made_up()),
        results_module.Paired.model_validate(pair | {"difference": 0.01, "low": low, "high": high}),
    )
    assert (judged.outcome if judged else None) == expected


def test_strongest_baseline_is_the_one_that_leaves_least():
    against = strongest(parse_results(made_up()))
    assert [pair.baseline for pair in against.values()] == ["tfidf_lr", "tfidf_lr", "tfidf_lr", "own_frequency"]


def test_all_losses_are_listed_whatever_the_metric_or_label_count(written):
    given = made_up()
    few = {"task": "who_redeems", "method": "instructue", "baseline": "tfidf_lr", "labels": 20, "metric": "ks"}
    given["paired"].append({**few, "difference": -0.2, "low": -0.3, "high": -0.1})
    results = parse_results(given)
    assert [(p.task, p.labels) for p in losses(results)] == [("who_they_are", "all"), ("who_redeems", 20)]
    page = render("report.html.j2", results)
    section = page[page.index('id="losses"') : page.index('id="protocol"')]
    assert section.count('class="num behind"') == 2 and "−0.300 to −0.100" in section


def test_nulls_are_shown_as_missing_and_claim_nothing():
    given = made_up()
    for row in given["rows"][:2]:
        row |= {"value": None, "low": None, "high": None, "n": None, "positives": None}
    for pair in given["paired"]:
        pair |= {"low": None, "high": None}
    results = parse_results(given)
    assert verdict(results) == [("Nothing is claimed", "No paired comparison with an interval was made.")]
    page = render("report.html.j2", results)
    assert "None" not in re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    assert "None" not in render("report.md.j2", results)


def test_an_empty_evaluation_still_makes_a_page(tmp_path):
    empty = {"dataset": "d", "snapshot": "2017-10-01", "protocol": {}, "rows": [], "paired": []}
    write_reports(empty, tmp_path / "evaluation")
    assert "Nothing is claimed" in (tmp_path / "evaluation.html").read_text()
    assert forest_png(empty, tmp_path / "forest.png").read_bytes().startswith(b"\x89PNG")


def test_best_is_marked_and_averages_come_last():
    table = tables(parse_results(made_up()))[0]
    assert table.methods[:2] == ["instructue", "instructue_general"]
    assert [line.task for line in table.lines] == ["who_they_are", "what_they_buy", "macro"]
    assert [sorted(line.best) for line in table.lines] == [["tfidf_lr"], ["instructue"], ["tfidf_lr"]]
    assert table.lines[0].size == "801 users, 131 positive (16%)"
    assert table.lines[0].about == "is 55 or older"


def test_tiles_compare_averages_only_where_there_are_some():
    prediction, marketing, _ = tiles(parse_results(made_up()))
    assert prediction.ours and prediction.ours.value == 0.815
    assert prediction.rival and prediction.rival.method == "tfidf_lr"
    assert prediction.pair and prediction.pair.outcome == "undecided"
    assert "untrained" in prediction.partial
    assert marketing.ours is None and marketing.rival is None and marketing.partial == []


def test_markdown_table_has_as_many_cells_in_each_line(written):
    page = (written.parent / "evaluation.final.md").read_text()
    assert "**0.860 (0.840 to 0.880)**" in page and "**Where it loses.**" in page
    for block in re.findall(r"(?:^\|.*\n)+", page, flags=re.M):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_summary_rows_are_flat_and_complete():
    rows = summary_rows(parse_results(made_up()))
    assert [row["task"] for row in rows][-2:] == ["who_redeems", "next_items"]
    assert len({tuple(row) for row in rows}) == 1 and rows[0]["InstructUE"] == "0.780 (0.760 to 0.800)"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": float("nan")}, "finite"),
        ({"positives": 0.28}, "positives"),
        ({"family": "x"}, "fam"),
        ({"odd": 1}, "odd"),
    ],
)
def test_results_out_of_form_are_refused_by_name_and_leave_the_old_report(written, tmp_path, change, said):
    for path in written.parent.iterdir():
        shutil.copy(path, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    broken = made_up()
    broken["rows"][1] |= change
    with pytest.raises(DataError, match=rf"rows\.1\..*{said}"):
        write_reports(broken, tmp_path / written.name)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_committed_schema_is_the_models_and_admits_the_json(written):
    import jsonschema

    committed = Path(results_module.__file__).with_name("results.schema.json").read_text()
    assert committed == schema_text(), "write results.schema_text() to results.schema.json"
    validator = jsonschema.Draft202012Validator(json.loads(committed))
    validator.validate(json.loads((written.parent / "evaluation.final.json").read_text()))
    broken = made_up()
    del broken["rows"][0]["n"]
    assert not validator.is_valid(broken)


def test_the_same_results_make_the_same_bytes(written, tmp_path):
    write_reports(made_up(), tmp_path / "evaluation.final")
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (written.parent / path.name).read_bytes()


def test_forest_labels_neither_overlap_nor_leave_the_figure():
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    given = made_up()
    for pair in given["paired"]:  # a name longer than there is room for, on every task
        if pair["baseline"] == "untrained":
            pair["baseline"] = "two_stage_gradient_boosted_trees_with_every_feature"
    lines = forest_lines(parse_results(given), "prediction")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 72, _forest_height(len(lines)) / 72))
        canvas = FigureCanvasAgg(figure)
        _forest(figure, lines, "prediction", column=0, columns=1, rows=len(lines))
        canvas.draw()
        ax = figure.axes[0]
        texts = [t for t in [*ax.texts, *ax.get_xticklabels(), ax.title, ax.xaxis.label] if t.get_text()]
        # Tick labels beyond the axis are made but not drawn.
        left, right = ax.get_xlim()
        drawn = [t for t in texts if t not in ax.get_xticklabels() or left <= t.get_position()[0] <= right]
        boxes = [t.get_window_extent() for t in drawn]
    assert len(boxes) > 12
    for i, box in enumerate(boxes):
        assert box.x0 >= -0.5 and box.x1 <= figure.bbox.width + 0.5, drawn[i].get_text()
        hit = [drawn[j].get_text() for j in range(i) if box.overlaps(boxes[j])]
        assert not hit, (drawn[i].get_text(), hit)
