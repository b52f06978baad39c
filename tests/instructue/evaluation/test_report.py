"""The evaluation report: what it says follows the numbers, and it opens with no network."""

import json
import re
import shutil
from pathlib import Path

import pytest

from instructue.errors import DataError
from instructue.evaluation import results as results_module
from instructue.evaluation.report.curves import curve_methods, rival_on
from instructue.evaluation.report.tables import main_tables, summary_rows, tables, tiles
from instructue.evaluation.report.verdict import headline, judge, losses, many, strongest, verdict, what_it_adds
from instructue.evaluation.report.write import render, write_reports
from instructue.evaluation.results import parse_results, schema_text
from tests.instructue.evaluation.made_up import everything, flipped, jointly, made_up


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


def test_what_ours_adds_is_said_with_its_interval_and_is_no_rival():
    results = parse_results(everything())
    (said,) = what_it_adds(results)
    assert said.startswith("Added to Aggregates + LightGBM it is ahead on 3 of 3 tasks (at best +0.030 AUC on `who_")
    assert "95% interval +0.010 to +0.050" in said
    # It beats ours by 0.1 everywhere, and is neither the strongest baseline nor a loss.
    assert {p.baseline for p in strongest(results).values()} == {"tfidf_lr", "own_frequency"}
    assert "aggregates_with_instructue" not in {p.baseline for p in [*losses(results), *headline(results)]}


def test_many_comparisons_are_counted_before_and_after_the_correction():
    assert many(parse_results(made_up())).startswith("Intervals are not widened")
    said = many(parse_results(jointly(made_up())))
    # Differences of 0.01 to 0.35, +-0.02 alone and +-0.045 jointly.
    assert "With 12 comparisons" in said and "Ours is ahead in 7, behind in 1 and undecided in 4" in said
    assert "6 of the 7 ahead and 1 of the 1 behind stay so" in said
    assert "5 of the 7 ahead and 0 of the 1 behind stay so" in many(parse_results(jointly(made_up(), wider=0.065)))


def test_losses_that_survive_are_marked_in_both_pages():
    for wider, stays in ((0.05, True), (0.07, False)):
        results = parse_results(jointly(made_up(), wider=wider))
        page = render("report.html.j2", results)
        section = page[page.index('id="losses"') : page.index('id="protocol"')]
        assert ("✓</b>" in section) is stays and f"to {'−0.010' if stays else '+0.010'}" in section
        assert f"−0.100 to −0.060 | {'stays' if stays else 'undecided'} |" in render("report.md.j2", results)


def test_a_claim_is_never_made_without_its_interval():
    for given in (made_up(), flipped(made_up()), everything()):
        results = parse_results(given)
        for sentence in [*(sentence for _, sentence in verdict(results)), *what_it_adds(results)]:
            bare = re.sub(r"[+−]\d\.\d+ \S+ on [^;()]*?95% interval [+−0]\S* to [+−0][\d.]*\d", "", sentence)
            assert not re.search(r"\d\.\d", bare), bare


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
    other = "labels.csv: 3 of 9 rows are of users who are not judged; left out"
    said = "churn: 5 positives of 238 rows are too few to judge by; left out"
    ((_, why),) = verdict(results.model_copy(update={"notes": [said, other]}))
    assert said in why and "labels.csv" not in why and "another snapshot" in why
    page = render("report.html.j2", results)
    assert "None" not in re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    assert "None" not in render("report.md.j2", results)


def test_an_empty_evaluation_still_makes_a_page(tmp_path):
    empty = {"dataset": "d", "snapshot": "2017-10-01", "protocol": {}, "rows": [], "paired": []}
    write_reports(empty, tmp_path / "evaluation")
    assert "Nothing is claimed" in (tmp_path / "evaluation.html").read_text()


def test_best_is_marked_and_averages_come_last():
    table = tables(parse_results(made_up()))[0]
    ours = ["InstructUE", "InstructUE, no instruction", "InstructUE, zero-shot"]
    assert [line.title for line in table.lines[:3]] == ours
    assert [column.task for column in table.columns] == ["who_they_are", "what_they_buy", "macro"]
    best = [sorted(table.lines[place].method for place in column.best) for column in table.columns]
    assert best == [["tfidf_lr"], ["instructue", "instructue"], ["tfidf_lr"]]
    assert table.columns[0].size == "801 labels, 131 positive (16%)"
    assert table.columns[0].about == "is 55 or older"


def test_methods_stand_in_groups_with_how_ours_stands_against_each():
    table = tables(parse_results(everything()))[0]
    groups = {name: [line.method for line in lines] for name, lines in table.groups}
    assert groups["ours"] == ["instructue", "instructue_general"]
    assert groups["uses"] == ["instructue", "aggregates_with_instructue"]
    assert groups["others"][0] == "tfidf_lr" and "a_teams_own" in groups["others"] and len(groups["others"]) == 12
    outcomes = {line.method: line.outcomes[:2] for line in table.lines}
    assert outcomes["tfidf_lr"] == ["behind", "ahead"] and outcomes["aggregates_with_instructue"] == [None, None]


def test_recommendation_shows_its_metrics_side_by_side():
    table = main_tables(parse_results(everything()))[-1]
    assert [(c.task, c.metric) for c in table.columns] == [("next_items", "ndcg@10"), ("next_items", "hr@10")]
    assert [line.title for line in table.lines[:3]] == ["InstructUE", "InstructUE, similarity", "Own frequency"]
    assert table.lines[0].cells[1] is not None and table.lines[2].cells[1] is None


def test_few_series_are_drawn_of_many():
    results = parse_results(everything())
    assert curve_methods(results) == ["instructue", "instructue_general", "tfidf_lr", "untrained"]
    assert rival_on(results, "who_redeems", ["untrained", "instructue", "tfidf_lr"]) == "tfidf_lr"
    assert rival_on(results, "who_redeems", ["instructue", "untrained"]) == "untrained"
    assert rival_on(results, "who_redeems", ["instructue"]) is None


def test_tiles_compare_averages_or_the_only_task():
    prediction, marketing, _ = tiles(parse_results(made_up()))
    assert prediction.ours and prediction.ours.value == 0.815
    assert prediction.rival and prediction.rival.method == "tfidf_lr"
    assert prediction.pair and prediction.pair.outcome == "undecided"
    assert "untrained" in prediction.partial
    assert prediction.task is None and marketing.task == "who_redeems"
    assert marketing.ours and marketing.rival and marketing.ours.task == marketing.rival.task == "who_redeems"
    assert marketing.pair is None or marketing.pair.task == "who_redeems"


@pytest.mark.parametrize("given", [made_up, everything])
def test_markdown_table_has_as_many_cells_in_each_line(given):
    page = render("report.md.j2", parse_results(given()))
    assert "**0.850 (0.830 to 0.870)**" in page or "**0.900 (0.880 to 0.920)**" in page
    assert "**Where it loses.**" in page
    blocks = re.findall(r"(?:^\|.*\n)+", page, flags=re.M)
    assert len(blocks) >= 4
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_markdown_says_what_the_page_says():
    page = render("report.md.j2", parse_results(everything()))
    assert "By +0.040 AUC (95% interval +0.020 to +0.060)." in page and "Added to Aggregates + LightGBM" in page
    assert "| best attainable | 0.912 |" in page and "the intervals are widened until all" in page
    plain = render("report.md.j2", parse_results(made_up()))
    assert "Experiments" not in plain and "add to what you have" not in plain and "attainable" not in plain


def test_summary_rows_are_flat_and_complete():
    rows = summary_rows(parse_results(made_up()), "prediction")
    assert len({tuple(row) for row in rows}) == 1
    assert rows[0] == {
        "method": "InstructUE",
        "who_they_are": "0.780 (0.760 to 0.800)",
        "what_they_buy": "0.850 (0.830 to 0.870)",
        "average": "0.815 (0.800 to 0.840)",
    }


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
    validator.validate(everything())
    broken = made_up()
    del broken["rows"][0]["n"]
    assert not validator.is_valid(broken)


def test_the_same_results_make_the_same_bytes(written, tmp_path):
    write_reports(made_up(), tmp_path / "evaluation.final")
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (written.parent / path.name).read_bytes()
