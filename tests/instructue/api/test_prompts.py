"""Prompts learnt for one task, and the first numbers of a vector alone."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score

from instructue.api import prompts
from instructue.errors import ConfigError, DataError
from instructue.network.checkpoint import trainable_state
from instructue.sources.tables import load_tables
from instructue.tuning import learn
from instructue.tuning.prompt import About, Prompt, save_prompt

COFFEE, PIZZA = "Will this household buy coffee soon?", "Will it eat frozen pizza?"
YES, NO = "Yes, it will buy coffee.", "No, it will not."


@pytest.fixture(scope="module")
def many(trained):
    tables = load_tables(*trained)
    return tables.histories.filter(pl.col("split") == "evaluation")["user"].head(48).to_list()


@pytest.fixture(scope="module")
def labels(model, many):
    """What these words say in part and others in full, so that there is a prompt to be found: who stands in the upper
    half under another instruction."""
    yes, no = model.encode_answers([YES, NO])
    gap = model.encode(many, PIZZA) @ (yes - no)
    return gap > np.median(gap)


@pytest.fixture(scope="module")
def few(many, labels):
    """(users, labels): the first eight of either answer."""
    rows = np.sort(np.concatenate([np.flatnonzero(labels)[:8], np.flatnonzero(~labels)[:8]]))
    return [many[row] for row in rows], labels[rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("prompts")


@pytest.fixture(scope="module")
def learnt(model, many, labels, folder):
    """(what is said of it, its file, state and asked gradients of the model before)."""
    network = model.network.parts.model
    before = trainable_state(network), [p.requires_grad for p in network.parameters()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn, "STEPS", 12)
        patch.setattr(learn, "RATE", 0.1)  # a dozen steps have to do
        patch.setattr(learn, "QUERY_RATE", 0.03)
        about = model.learn_prompt("coffee", COFFEE, YES, NO, many, labels, folder=folder)
    return about, folder / "coffee.safetensors", *before


def unmoved(model) -> Prompt:
    pack = model.network.pack(model._tables([1], None, "2017-10-01", "refuse"), np.arange(1), COFFEE, ())
    about = About("still", COFFEE, YES, NO, prompts.digest(model.origin), 9, 4, [], 0, 1.0, 1.0, 14.0, 0.0)
    return Prompt(about, model.network.parts.model.backbone.embed(pack.ids_I).detach().float(), pack.query_UV[0])


def test_a_prompt_that_has_not_moved_is_its_instruction_and_one_that_has_is_not(model, many, folder):
    still = unmoved(model)
    save_prompt(still, folder / "still.safetensors")
    words = model.encode(many, COFFEE)
    np.testing.assert_array_equal(model.encode(many, prompt=folder / "still.safetensors"), words)
    for name, other in {
        "said": replace(still, said_ID=still.said_ID.flip(0)),
        "query": replace(still, query_V=-still.query_V),
    }.items():
        save_prompt(other, folder / f"{name}.safetensors")
        assert np.abs(model.encode(many, prompt=folder / f"{name}.safetensors") - words).max() > 1e-4


def test_learning_helps_on_rows_held_out_and_leaves_the_model_as_it_was(model, many, labels, learnt):
    about, file, state, asked = learnt
    assert (about.labels, about.positives) == (len(many), labels.sum())
    assert about.steps > 0 and about.loss_after < about.loss_before - 0.02
    yes, no = model.encode_answers([YES, NO])
    gap, words = model.encode(many, prompt=file) @ (yes - no), model.encode(many, COFFEE) @ (yes - no)
    wrong = [1 - roc_auc_score(labels, scores) for scores in (gap, words)]
    assert wrong[0] < 0.5 * wrong[1] and wrong[1] > 0.1, "of the pairs that the words rank wrongly, more than half mend"
    expected = 1 / (1 + np.exp(-(gap * about.scale + about.bias)))
    np.testing.assert_allclose(model.probability(many, file), expected, atol=1e-6)
    network = model.network.parts.model
    assert [p.requires_grad for p in network.parameters()] == asked
    assert all(p.grad is None for p in network.parameters())
    after = trainable_state(network)
    assert all(torch.equal(after[name], state[name]) for name in state)
    assert file.stat().st_size < 60_000
    with safe_open(str(file), "pt") as opened:
        assert json.loads(opened.metadata()["instructue_prompt"])["instruction"] == COFFEE


def test_what_a_prompt_learns_in_one_pass_is_what_encode_gives(model, many, labels, folder, monkeypatch):
    """The histories are computed once, from then on only segments; and the shortcut changes no number."""
    monkeypatch.setattr(learn, "STEPS", 3)
    network, passes, gaps = model.network.parts.model, [], []
    forward, losses = network.backbone.forward, learn.Labelled.losses
    monkeypatch.setattr(
        network.backbone, "forward", lambda x, layout, m=None: passes.append(layout.remembered) or forward(x, layout, m)
    )
    monkeypatch.setattr(
        learn.Labelled,
        "losses",
        lambda self, odds, rows: gaps.append((odds.detach(), rows)) or losses(self, odds, rows),
    )
    monkeypatch.setattr(learn, "_calibrated", lambda gap, rows, t: (torch.full((5,), 10.0), torch.zeros(5)))
    first = model.learn_prompt("short", COFFEE, YES, NO, many, labels, folder=folder)
    batches = -(-len(many) // learn.BATCH)
    rounds = -(-3 // batches)
    assert passes == [False] * batches + [True] * (batches * rounds)
    yes, no = model.encode_answers([YES, NO])
    odds, rows = gaps[1]
    assert first.scale > 0 and odds.shape == (len(rows), learn.FOLDS + 1)
    expected = 10 * model.encode([many[row] for row in rows], COFFEE) @ (yes - no)
    np.testing.assert_allclose(odds[:, 0], expected, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_seed_gives_the_same_prompt(model, few, folder, monkeypatch, dtype):
    monkeypatch.setattr(learn, "STEPS", 3)
    monkeypatch.setattr(model.network.parts, "dtype", dtype)
    made = []
    for _ in range(2):
        about = model.learn_prompt("again", COFFEE, YES, NO, *few, folder=folder)
        made.append((about, load_file(folder / "again.safetensors")))
    assert made[0][0] == made[1][0]
    assert all(torch.equal(made[0][1][name], made[1][1][name]) for name in ("said", "query"))


def test_from_the_command_line(model, few, monkeypatch, tmp_path, capsys):
    from instructue import InstructUE
    from instructue.__main__ import main

    monkeypatch.setattr(learn, "STEPS", 1)
    monkeypatch.setattr(prompts, "folder_of", lambda origin: tmp_path)
    monkeypatch.setattr(InstructUE, "from_pretrained", lambda where: model)
    pl.DataFrame({"user": few[0], "label": few[1]}).write_csv(tmp_path / "known.csv")
    asked = ["prompt", "coffee", "--instruction", COFFEE, "--yes", YES, "--no", NO, "--labels"]
    assert main([*asked, str(tmp_path / "known.csv")]) == 0
    assert "coffee: 16 labels" in capsys.readouterr().out and (tmp_path / "coffee.safetensors").is_file()
    (tmp_path / "odd.csv").write_text("user,label\n1,perhaps\n")
    assert main([*asked, str(tmp_path / "odd.csv")]) == 1
    assert "row 1: label is 'perhaps'" in capsys.readouterr().err


def test_folds_keep_a_users_rows_together_and_spread_both_answers():
    rng = np.random.default_rng(0)
    users, yes = np.repeat(np.arange(40), 2), np.repeat(np.arange(40) % 4 == 0, 2)
    folds = learn.folds_of(users, yes, rng)
    assert all(len(set(folds[users == user])) == 1 for user in range(40))
    assert sorted(int(yes[folds == fold].sum()) for fold in range(learn.FOLDS)) == [4, 4, 6, 6]
    batches = learn.batches_of(yes, rng)
    assert sorted(np.concatenate(batches)) == list(range(80)) and max(map(len, batches)) <= learn.BATCH
    assert all(5 <= yes[rows].sum() <= 8 for rows in batches)


def test_prompts_of_another_model_and_what_is_none_are_refused(model, users, folder, learnt, tmp_path):
    tensors = load_file(learnt[1])
    foreign = replace(learnt[0], model="0" * 64)
    save_prompt(Prompt(foreign, tensors["said"], tensors["query"]), tmp_path / "foreign.safetensors")
    save_file(tensors, str(tmp_path / "bare.safetensors"))
    (tmp_path / "torn.safetensors").write_bytes(learnt[1].read_bytes()[:500])
    for name, error, match in (
        ("foreign", ConfigError, "learnt on another model"),
        ("bare", DataError, "is no prompt, or damaged"),
        ("torn", DataError, "is no prompt, or damaged"),
        ("absent", DataError, r"there are \['bare', 'foreign', 'torn'\]"),
    ):
        with pytest.raises(error, match=match):
            model.encode(users, prompt=tmp_path / f"{name}.safetensors")
    for match, call in {
        "give instructions or prompt=": lambda: model.encode(users, COFFEE, prompt=learnt[1]),
        "a name has letters": lambda: model.encode(users, prompt="../coffee"),
        r"dim=64: this model was trained for \[128\]": lambda: model.encode(users, dim=64),
        "probability takes no dim": lambda: model.probability(users, learnt[1], dim=128),
    }.items():
        with pytest.raises(ConfigError, match=match):
            call()


def test_labels_that_teach_nothing_are_refused(model):
    for match, labels in {
        "shape": [[0, 1]] * 8,
        "true or false": [0, 1, 2, 0, 1, 0, 1, 0],
        "nothing else": ["yes"] * 8,
        "2 of 9 labels are yes": [1, 1, 0, 0, 0, 0, 0, 0, 0],
        "7 labels": [1, 1, 1, 1, 0, 0, 0],
    }.items():
        with pytest.raises(DataError, match=match):
            prompts.checked(labels, len(labels))


def test_labels_of_fewer_users_than_folds_are_refused(model, many):
    with pytest.raises(DataError, match="the labels are of 3 users; give those of 4 or more"):
        model.learn_prompt("few", COFFEE, YES, NO, many[:3] * 3, [1, 0, 1, 0, 1, 0, 1, 0, 1])


def test_a_bundle_takes_its_prompts_along_and_uses_them_by_name(model, many, learnt, tmp_path, monkeypatch):
    from instructue import InstructUE

    beside = tmp_path / "beside"
    beside.mkdir()
    monkeypatch.setattr(prompts, "folder_of", lambda origin: origin.bundle / "prompts" if origin.exported else beside)
    (beside / "coffee.safetensors").write_bytes(learnt[1].read_bytes())
    tensors = load_file(learnt[1])
    save_prompt(Prompt(replace(learnt[0], model="0" * 64), **{"said_ID": tensors["said"], "query_V": tensors["query"]}),
                beside / "stale.safetensors")  # fmt: skip
    saved = model.save_pretrained(tmp_path / "bundle", base_models=False)
    assert [path.name for path in (saved / "prompts").iterdir()] == ["coffee.safetensors"]
    again = InstructUE.from_pretrained(saved, project=model.origin.project.root, base_models=model.origin.base_models)
    np.testing.assert_array_equal(again.encode(many[:4], prompt="coffee"), model.encode(many[:4], prompt=learnt[1]))


def test_the_first_numbers_of_a_vector_where_they_were_trained(model, users, monkeypatch):
    network = model.network.parts.model
    plain = model.encode(users, COFFEE)
    monkeypatch.setattr(network, "shape", replace(network.shape, matryoshka=(32, 64)))
    assert model.widths == [32, 64, 128]
    whole, half = model.encode(users, COFFEE), model.encode(users, COFFEE, dim=64)
    np.testing.assert_array_equal(whole, plain)
    np.testing.assert_allclose(half, whole[:, :64] / np.linalg.norm(whole[:, :64], axis=1, keepdims=True), atol=1e-6)
    assert model.encode_answers([YES, NO], dim=32).shape == (2, 32)
    with pytest.raises(ConfigError, match=r"dim=48: this model was trained for \[32, 64, 128\]"):
        model.encode(users, dim=48)
