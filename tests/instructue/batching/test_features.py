"""Soft-token features against plain loops over a history's events."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from instructue.batching.features import BASE_FEATURES, RECENT_DAYS, HistoryFeatures
from instructue.errors import DataError
from instructue.paths import Paths
from instructue.sources.tables import VECTORS, load_tables, write_vectors
from instructue.sources.values import MISSING, dictionary_digest, shown


@pytest.fixture(scope="module")
def scene(asked):
    config, paths = asked
    tables = load_tables(config, paths)
    return tables, HistoryFeatures(tables, config.model.network.windows_days, 8)


def _events(tables, row, name):
    history = tables.histories.row(int(row), named=True)
    frame = tables.events[name].filter((pl.col("user") == history["user"]) & (pl.col("time") < history["snapshot"]))
    age = (pl.lit(history["snapshot"]) - pl.col("time")).dt.total_microseconds() / 86_400e6
    return frame.with_columns(age=age)


def test_pooled_tokens_equal_a_plain_computation(scene):
    """Those of each window and of a whole source, before and after rarity and map are fitted; and with one window,
    which holds the same events as the whole."""
    tables, plain = scene
    training = np.flatnonzero((tables.histories["split"] == "train").to_numpy())
    fitted, single = (HistoryFeatures(tables, days, 8) for days in (plain.windows.astype(int).tolist(), [366]))
    for features in (fitted, single):
        features.fit(training)
    examples = np.array([0, 7, tables.histories.height - 1])
    for features in (plain, fitted, single):
        tokens, window_BSW, whole_BS = features.pooled(examples)
        numbered = np.concatenate([slots[slots >= 0] for slots in (window_BSW, whole_BS)])
        assert sorted(numbered) == list(range(len(tokens.source_N)))
        edges = [0.0, *features.windows[:-1], np.inf]
        for b, row in enumerate(examples):
            for s, source in enumerate(features.events):
                events = _events(tables, row, source.name)
                _same(features, s, tokens, whole_BS[b, s], events, features.roles.whole)
                for w, slot in enumerate(window_BSW[b, s]):
                    inside = events.filter((pl.col("age") > edges[w]) & (pl.col("age") <= edges[w + 1]))
                    _same(features, s, tokens, slot, inside, w)


def _same(features, s, tokens, slot, inside, role):
    assert (slot >= 0) == (inside.height > 0)
    if slot < 0:
        return
    assert (tokens.source_N[slot], tokens.role_N[slot]) == (s, role)
    figures = tokens.figures_NF[slot]
    assert figures[0] == pytest.approx(np.log1p(inside.height), rel=1e-5)
    assert figures[1] == pytest.approx(np.log1p(inside.filter(pl.col("age") <= RECENT_DAYS).height), rel=1e-5)
    assert figures[2] == pytest.approx(np.log1p(inside["age"].min()), rel=1e-4)
    assert figures[3] == pytest.approx(np.log1p(inside["age"].max()), rel=1e-4)
    for place, column in enumerate(features.events[s].columns):
        assert figures[BASE_FEATURES + place] == pytest.approx(inside[column].log1p().mean(), rel=1e-4, abs=1e-5)
    ids = inside["text_id"].to_numpy()
    weight = features.idf[ids] + 1e-3
    vectors = np.concatenate([features.vectors, features.fitted.scaled_map], axis=1)[ids]
    expected = (vectors * weight[:, None]).sum(0) / weight.sum()
    np.testing.assert_allclose(tokens.vectors_NV[slot], expected, rtol=1e-4, atol=1e-5)


def test_distinct_texts_and_their_counts(scene):
    tables, features = scene
    examples = np.array([3, 11])
    distinct = features.distinct(examples)
    for b, row in enumerate(examples):
        span = slice(distinct.bounds[b], distinct.bounds[b + 1])
        counted = (
            pl.concat([_events(tables, row, s.name).select("text_id") for s in features.events])
            .group_by("text_id")
            .len()
        )
        expected = dict(counted.iter_rows())
        got = dict(
            zip(
                distinct.text[span].tolist(),
                np.expm1(distinct.figures[span, 0]).round().astype(int).tolist(),
                strict=True,
            )
        )
        assert got == expected


def test_a_batch_s_texts_hold_the_values_that_their_template_shows(scene):
    tables, features = scene
    distinct = features.distinct(np.array([3, 11]))
    text_TV, value_GV, value_TA, *_ = features.seen(distinct)
    named = {source.name: shown(source) for source in tables.dataset.event_sources}
    for row, text in enumerate(np.unique(distinct.text)):
        said = [tables.texts[name][int(text)] for name in named[tables.texts["source"][int(text)]]]
        expected = tables.value_vectors[[tables.values.said.index(value) for value in said if value != MISSING]]
        held = value_TA[row][value_TA[row] >= 0]
        np.testing.assert_array_equal(text_TV[row], tables.vectors[text])
        np.testing.assert_array_equal(value_GV[held], expected)


def test_the_map_has_a_view_for_who_and_one_for_what_is_bought_again(scene):
    """Against an exact decomposition of the two, in the directions that the randomised one has well."""
    tables, _ = scene
    features = HistoryFeatures(tables, [7, 366], 4)
    training = np.flatnonzero((tables.histories["split"] == "train").to_numpy())
    features.fit(training)
    distinct = features.distinct(training)
    views = np.zeros((len(training), 2 * len(tables.vectors)))
    for b in range(len(training)):
        span = slice(distinct.bounds[b], distinct.bounds[b + 1])
        text, count = distinct.text[span], np.expm1(distinct.figures[span, 0])
        for half, weight in enumerate((np.log1p(count) * features.idf[text], np.sqrt(count))):
            views[b, text + half * len(tables.vectors)] = weight / np.linalg.norm(weight)
    u, size, _ = np.linalg.svd(views, full_matrices=False)
    found = features.coordinates(distinct)
    for direction in range(2):
        exact = u[:, direction] * size[direction]
        assert abs(np.corrcoef(found[:, direction], exact)[0, 1]) > 0.99


def test_what_only_later_histories_hold_is_nearest_to_nothing(scene):
    """The measure that evidence counts from: neither a text nor a value that training histories lack may move it."""
    tables, _ = scene
    features = HistoryFeatures(tables, [7, 366], 0)
    features.fit(np.flatnonzero((tables.histories["split"] == "train").to_numpy()))
    known = features.fitted.known > 0
    held = np.unique(tables.values.held_TA[known])
    later = np.setdiff1d(np.unique(tables.values.held_TA[~known]), held)
    assert len(later) and not known.all(), "the slice should hold texts and values that no training history knows"
    query = np.stack([tables.vectors[~known][0], tables.value_vectors[later[-1]], tables.value_vectors[held[-1]]])
    found = features.best(query)
    assert (found[:2] < 0.999).all() and found[2] == pytest.approx(1, abs=1e-3)
    features.fitted.known[:] = 1  # the leak planted: all that is in the dictionary counts as known
    assert (features.best(query) > 0.999).all()


def test_a_hidden_source_leaves_no_token(scene):
    tables, features = scene
    examples = np.arange(6)
    hidden = np.zeros((6, len(features.names)), bool)
    hidden[:, [1, len(features.events)]] = True
    tokens, window_BSW, whole_BS = features.pooled(examples, hidden)
    assert (window_BSW[:, 1] == -1).all() and (whole_BS[:, 1] == -1).all() and (tokens.source_N != 1).all()
    assert (features.distinct(examples, hidden).source != 1).all()
    attributes, slots = features.attribute_tokens(examples, hidden)
    assert (slots == -1).all() and len(attributes.source_N) == 0


def test_idf_is_fitted_on_the_given_histories_only(scene):
    tables, _ = scene
    features = HistoryFeatures(tables, [7, 366], 0)
    training = np.flatnonzero((tables.histories["split"] == "train").to_numpy())
    features.fit(training)
    seen = set(features.distinct(training).text.tolist())
    unseen = [t for t in range(len(tables.vectors)) if t not in seen]
    assert unseen, "the slice should hold texts that no training history knows"
    np.testing.assert_allclose(features.idf[unseen], np.log(1 + len(training)), rtol=1e-5)


def test_a_batch_without_any_text_has_no_values(scene):
    tables, features = scene
    hidden = np.ones((3, len(features.names)), bool)
    text_TV, value_GV, value_TA, seen_BM, _, amounts = features.seen(features.distinct(np.arange(3), hidden))
    assert len(text_TV) == len(value_GV) == len(value_TA) == 0
    assert seen_BM.shape == (3, 0) and amounts.shape[:2] == (3, 0)


def test_vectors_of_another_dictionary_name_the_stage_to_run(asked, scene, tmp_path):
    """Of an older version, which named no dictionary; of one as large, with the same values in another order."""
    config, made = asked
    tables, _ = scene
    old = Paths(tmp_path)
    old.histories.mkdir(parents=True)
    old.sources.symlink_to(made.sources)
    (old.histories / "histories.parquet").symlink_to(made.histories / "histories.parquet")
    both = {"vectors": tables.vectors, "values": tables.value_vectors}
    save_file(both, str(old.histories / VECTORS))
    with pytest.raises(DataError, match="other event texts, or is of an older version; run: python -m instructue hist"):
        load_tables(config, old)
    turned = dictionary_digest(tables.texts, replace(tables.values, said=tables.values.said[::-1]))
    write_vectors(old.histories / VECTORS, turned, *both.values())
    with pytest.raises(DataError, match="other event texts, or is of an older version; run: python -m instructue hist"):
        load_tables(config, old)
    write_vectors(old.histories / VECTORS, dictionary_digest(tables.texts, tables.values), *both.values())
    np.testing.assert_array_equal(load_tables(config, old).value_vectors, tables.value_vectors)
