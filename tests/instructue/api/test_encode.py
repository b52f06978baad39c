"""Encoding: the pipeline's numbers, whatever form histories come in, and one clear error for what is wrong."""

import subprocess
import sys
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from instructue.embedding.embed import GENERAL, OURS
from instructue.errors import ConfigError, DataError, LeakageError
from instructue.sources.tables import load_tables
from instructue.sources.values import shown

COFFEE, AGE = "Will this household buy coffee soon?", "How old are the adults of this household, would you say?"
ANSWERS = ["Yes, it will buy coffee.", "No, it will not."]
AT = "2017-10-01"


def vectors_of(table, method, task, users):
    part = table.filter((pl.col("method") == method) & (pl.col("task") == task))
    return np.stack([part.filter(pl.col("user") == user)["vector"][0].to_numpy() for user in users])


def test_the_embeddings_stage_gives_the_same_vectors(model, users, stored, general):
    table, said = stored
    np.testing.assert_allclose(general, vectors_of(table, GENERAL, "", users), atol=1e-5)
    several = model.encode(users, [[COFFEE, AGE]], batch_size=4)
    assert several.shape == (len(users), 2, model.dim)
    coffee = vectors_of(table, OURS, "coffee", users)
    np.testing.assert_allclose(several[:, 0], coffee, atol=2e-5)
    np.testing.assert_allclose(model.encode(users, COFFEE), coffee, atol=2e-5)
    hidden = model.encode(users, [AGE] * len(users), hide=["profile"])
    np.testing.assert_allclose(hidden, vectors_of(table, OURS, "age", users), atol=2e-5)
    # Attributes enter what the language model says alone, so it is told by that part, at unit length.
    network = model.network.parts.model
    told = [(v @ network.turn_EE.numpy().T)[:, : network.shape.told_width] for v in (hidden, several[:, 1])]
    without, with_profile = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in told)
    assert np.abs(with_profile - without).max() > 1e-3, "what is hidden makes a difference"
    answers = model.encode_answers(ANSWERS)
    np.testing.assert_allclose(answers, said["vector"].to_numpy(), atol=1e-6)
    np.testing.assert_allclose(model.similarity(several, answers)[:, 0], coffee @ answers.T, atol=1e-4)


def test_a_history_is_computed_once_and_keeps_the_order_of_its_instructions(model, users):
    seen = []
    hook = model.network.parts.model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0].prefix_BP)))
    try:
        three = model.encode(users[:4], [[AGE, COFFEE, "coffee?"], [COFFEE, "coffee?", AGE]] * 2, batch_size=2)
    finally:
        hook.remove()
    assert seen == [2, 2]
    swapped = model.encode(users[:4], [[COFFEE, "coffee?", AGE], [AGE, COFFEE, "coffee?"]] * 2)
    np.testing.assert_allclose(three[0], swapped[0][[2, 0, 1]], atol=2e-5)
    np.testing.assert_allclose(three[1], swapped[1][[1, 2, 0]], atol=2e-5)


def in_words(trained, events):
    """The published rows as their owner would have them: attributes in place of text_id, one row per user's table."""
    tables = load_tables(*trained)
    found = {}
    for source in tables.dataset.sources:
        columns = ["value"] if source.kind == "attributes" else source.attributes
        frame = events[source.name].join(tables.texts.select("text_id", *columns), on="text_id").drop("text_id")
        long = source.kind == "attributes"
        found[source.name] = frame.pivot("attribute", index="user", values="value") if long else frame
    return found


def test_events_of_unknown_users_give_what_published_ids_give(model, trained, users, events, general):
    np.testing.assert_allclose(model.encode(events, at=AT), general, atol=1e-6)
    words = in_words(trained, events)
    named = {n: f.with_columns(pl.format("new-{}", pl.col("user")).alias("user")) for n, f in words.items()}
    order = [f"new-{user}" for user in reversed(users)]
    np.testing.assert_allclose(model.encode(named, at=AT, users=order)[::-1], general, atol=1e-6)
    pandas = [{n: f.filter(pl.col("user") == u).to_pandas() for n, f in words.items()} for u in users]
    np.testing.assert_allclose(model.encode(pandas, at=[AT] * len(users)), general, atol=1e-6)


def test_nothing_at_or_after_the_moment_enters(model, trained, events, general):
    config, _ = trained
    first = load_tables(*trained).dataset.event_sources[0].name
    moment = load_tables(*trained).histories.filter(pl.col("split") == "evaluation")["snapshot"][0]
    late = events[first].with_columns(pl.lit(moment).cast(events[first].schema["time"]).alias("time"))
    planted = events | {first: pl.concat([events[first], late])}
    with pytest.raises(LeakageError, match=f"'{first}', row {events[first].height}: user .* at or after"):
        model.encode(planted, at=AT)
    np.testing.assert_allclose(model.encode(planted, at=AT, late="cut"), general, atol=1e-6)
    just = planted | {first: planted[first].with_columns(pl.col("time") - timedelta(microseconds=1))}
    assert np.abs(model.encode(just, at=AT) - general).max() > 1e-3
    earlier = model.encode(sorted(set(events[first]["user"])), at="2017-08-01")
    np.testing.assert_allclose(earlier, model.encode(events, at="2017-08-01", late="cut"), atol=1e-6)


def test_a_text_that_nobody_had_before_is_read_and_moves_nobody_else(model, trained, events, users, general):
    source = model.origin.dataset.event_sources[0]
    mine = {name: frame.filter(pl.col("user") == users[0]) for name, frame in in_words(trained, events).items()}
    strange = [pl.lit(f"astronaut {name}").alias(name) for name in source.attributes]
    new = pl.concat([mine[source.name], mine[source.name].tail(1).with_columns(strange)])
    both = model.encode([mine | {source.name: new}, mine], at=AT)
    np.testing.assert_allclose(both[1], general[0], atol=1e-6)
    assert np.abs(both[0] - both[1]).max() > 1e-4 and np.isfinite(both).all()


def test_new_texts_bring_their_values_and_known_ones_keep_their_numbers(model, trained, events, users):
    """By columns, a new kind of coffee counts as coffee; what its values are called is looked up where they are."""
    source = model.origin.dataset.event_sources[0]
    mine = {name: frame.filter(pl.col("user") == users[0]) for name, frame in in_words(trained, events).items()}
    strange = {name: f"astronaut {name}" for name in source.attributes} | {"category": "coffee"}
    new = mine[source.name].tail(1).with_columns(pl.lit(value).alias(name) for name, value in strange.items())
    tables = model._tables([mine | {source.name: pl.concat([mine[source.name], new])}], None, AT, "refuse")
    values, held = tables.values.said, tables.values.held_TA
    before = model.network.base.values.said
    assert values[: len(before)] == before and len(values) > len(before) and len(tables.texts) == len(held)
    np.testing.assert_allclose(tables.value_vectors, model.network.encoder.encode(values), atol=1e-5)
    assert {values[number] for number in held[-1] if number >= 0} == {strange[name] for name in shown(source)}


def test_an_answer_is_what_the_trained_loss_finds_likeliest(model, users):
    import copy

    from instructue.batching.packs import Ask

    network = model.network
    tables = model._tables([users[0]], None, None, "refuse")
    tokens = network.write(tables, COFFEE, (), 6)
    assert model.answer(users[0], COFFEE, max_new_tokens=6) == network.decode(tokens) and 0 < len(tokens) <= 6
    packer = copy.copy(network._packer(tables))
    ordinary = packer.tokens_of
    packer.tokens_of = lambda text: tokens if text == "said" else ordinary(text)
    pack = packer.pack(np.arange(1), [Ask([[COFFEE]], network.text_vectors([COFFEE])[None], [["said"]], 24, 6)])
    import torch

    with torch.inference_mode():
        states_TD = network.parts.model(pack, with_answers=True).answer_states_TD
        likeliest = network.parts.model.backbone.logits(states_TD).argmax(-1).tolist()
    assert likeliest[: len(tokens)] == tokens


def test_wrong_tables_are_named(model, events):
    source = model.origin.dataset.event_sources[0]
    name, good = source.name, events[source.name].drop("row")
    number = source.columns[0]
    nan, no_text = with_value(good, number, 3, float("nan")), with_value(good, "text_id", 0, 2**32 - 1)
    wrong = {
        "unknown source": {"nonsense": good},
        f"'{name}' has no column 'time'": {name: good.drop("time")},
        f"'{name}' has no column 'user'": {name: good.drop("user")},
        f"'{name}', row 1: user None is empty": {name: good.with_columns(user=with_value(good, "user", 1, None))},
        f"'{name}', row 2: time 'soon' is no moment": {name: good.with_columns(time=with_time(good, 2))},
        f"'{name}' has no column '{number}'": {name: good.drop(number)},
        f"'{name}', row 3: {number} nan is no number": {name: good.with_columns(nan)},
        f"'{name}', row 0: text_id 4294967295 is none": {name: good.with_columns(no_text)},
        f"'{name}' has neither a column 'text'": {name: good.drop("text_id")},
        "histories are empty": {name: good.with_columns(time=pl.lit("2018-03-01T00:00"))},
    }
    for match, tables in wrong.items():
        with pytest.raises(DataError, match=match):
            model.encode(tables, at=AT, late="cut")
    profile = model.origin.dataset.attribute_sources[0].name
    twice = {profile: pl.concat([events[profile], events[profile]])}
    with pytest.raises(DataError, match=f"'{profile}', row .* is given twice"):
        model.encode(events | twice, at=AT)


def with_value(frame, column, row, value):
    values = frame[column].to_list()
    values[row] = value
    return pl.Series(column, values, dtype=frame.schema[column])


def with_time(frame, row):
    values = frame["time"].dt.to_string("iso:strict").to_list()
    values[row] = "soon"
    return pl.Series("time", values)


def test_wrong_calls_are_named(model, users, events):
    for match, call in {
        "2 instructions for 9 histories": lambda: model.encode(users, ["a", "b"]),
        "same number of instructions": lambda: model.encode(users[:2], [["a"], ["a", "b"]]),
        "instructions=None": lambda: model.encode(users, " "),
        "need at=MOMENT": lambda: model.encode(events),
        "at='soon' is no moment": lambda: model.encode(users, at="soon"),
        "names 2 moments for 9": lambda: model.encode(users, at=[AT, AT]),
        "hide= names": lambda: model.encode(users, hide=["nonsense"]),
        "ids and events mixed": lambda: model.encode([users[0], events], at=AT),
        "list of user ids": lambda: model.encode(events[next(iter(events))]),
        "similarity of shapes": lambda: model.similarity(np.ones((2, 3)), np.ones((2, 4))),
    }.items():
        with pytest.raises(ConfigError, match=match):
            call()
    for match, call in {
        "1 users are not in the published data": lambda: model.encode([users[0], 10**9]),
        "no id of the published data": lambda: model.encode(["one"]),
        "no histories": lambda: model.encode([]),
        "histories are empty": lambda: model.encode(users[:1], at="2016-01-01"),
    }.items():
        with pytest.raises(DataError, match=match):
            call()


def test_a_long_instruction_is_cut_with_a_warning(model, users, caplog):
    model.encode(users[:1], COFFEE)
    assert not caplog.records
    model.encode(users[:1], "coffee " * 40)
    assert "only the first 24 tokens" in caplog.text


def test_importing_is_light():
    code = "import sys, instructue; print(*sys.modules); from instructue import InstructUE; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    bare, named = (set(line.split()) for line in done.stdout.splitlines())
    assert not bare & {"polars", "numpy", "pydantic", "yaml"}
    assert not named & {"torch", "transformers", "sentence_transformers", "mlflow", "sklearn", "peft"}
    with pytest.raises(AttributeError, match="nonsense"):
        import instructue

        _ = instructue.nonsense


def test_a_first_embedding_waits_for_no_library_but_torch(trained, users):
    """transformers, peft and sentence-transformers take longer to import than the model takes to load and embed."""
    code = (
        "import sys; from instructue import InstructUE; model = InstructUE.from_pretrained(sys.argv[1]); "
        "print(model.encode([int(sys.argv[2])], sys.argv[3]).shape, *sys.modules)"
    )
    call = [sys.executable, "-c", code, str(trained[1].root), str(users[0]), COFFEE]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"torch", "instructue.models.bert"} <= loaded
    slow = {"transformers", "peft", "sentence_transformers", "sklearn", "pandas", "mlflow", "torch._dynamo"}
    assert not loaded & slow
