"""The teacher's cache, its resumption, the local model, and which teacher is chosen."""

import pytest

from instructue.errors import ConfigError
from instructue.userqa.local import LocalTeacher
from instructue.userqa.prompts import reword
from instructue.userqa.teacher import CachedTeacher, Decoding
from instructue.userqa.teachers import open_teacher

DECODING = Decoding(max_new_tokens=6, temperature=0.8, seed=7)
PROMPTS = [reword("instruction", f'Will the household buy "{what}" within four weeks?', " In") for what in "abcdefg"]


def test_local_model_samples_the_same_text_for_the_same_batch_and_stops_at_a_line(language):
    teacher = LocalTeacher(language, "cut")
    first = teacher.complete(PROMPTS, DECODING)
    assert first == LocalTeacher(language, "cut").complete(PROMPTS, DECODING)
    assert all("\n" not in text and tokens <= 6 for text, tokens in first)
    assert teacher.complete(PROMPTS, Decoding(6, 0.8, 8)) != first


def test_greedy_decoding_with_a_shared_beginning_equals_transformers(language):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(language)
    model = AutoModelForCausalLM.from_pretrained(language, dtype=torch.float32)
    teacher = LocalTeacher(language, "cut", dtype="float32")
    ours = [text for text, _ in teacher.complete([PROMPTS[0], PROMPTS[1] + " the next"], Decoding(6, 0, 0))]
    for prompt, text in zip([PROMPTS[0], PROMPTS[1] + " the next"], ours, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")
        out = model.generate(**ids, max_new_tokens=6, do_sample=False, pad_token_id=0)
        assert tokenizer.decode(out[0][ids["input_ids"].shape[1] :], skip_special_tokens=True) == text


def test_second_run_makes_no_call_and_never_loads_the_model(language, tmp_path):
    first = CachedTeacher(LocalTeacher(language, "cut"), tmp_path)
    texts = first.complete([*PROMPTS, PROMPTS[0]], DECODING)
    assert (first.calls, first.cache_hits) == (8, 0) and first.generated_tokens > 0
    second = CachedTeacher(LocalTeacher(tmp_path / "nowhere", "cut"), tmp_path)
    assert second.complete([*PROMPTS, PROMPTS[0]], DECODING) == texts
    assert (second.calls, second.cache_hits, second.generated_tokens) == (0, 8, 0)


def test_other_weights_or_settings_are_asked_anew(language, tmp_path):
    CachedTeacher(LocalTeacher(language, "cut"), tmp_path).complete(PROMPTS[:2], DECODING)
    for identity, decoding in (("other", DECODING), ("cut", Decoding(5, 0.8, 7))):
        teacher = CachedTeacher(LocalTeacher(language, identity), tmp_path)
        teacher.complete(PROMPTS[:2], decoding)
        assert teacher.calls == 2


class Killed(Exception):
    pass


class Dying(LocalTeacher):
    """Dies before its third batch."""

    batch = 2
    done = 0

    def complete(self, prompts, decoding):
        if self.done == 2:
            raise Killed
        self.done += 1
        return super().complete(prompts, decoding)


def test_killed_run_resumes_with_what_was_written_and_ends_the_same(language, tmp_path):
    with pytest.raises(Killed):
        CachedTeacher(Dying(language, "cut"), tmp_path / "killed").complete(PROMPTS, DECODING)
    resumed, whole = (CachedTeacher(LocalTeacher(language, "cut"), tmp_path / name) for name in ("killed", "whole"))
    resumed.teacher.batch = whole.teacher.batch = 2
    assert resumed.complete(PROMPTS, DECODING) == whole.complete(PROMPTS, DECODING)
    assert (resumed.calls, resumed.cache_hits) == (3, 4)


def test_teacher_is_chosen_by_config(asked):
    config, paths = asked
    assert open_teacher(config.userqa, paths) is None
    with pytest.raises(ConfigError, match="base_url"):
        open_teacher(config.userqa.model_copy(update={"teacher": "openai"}), paths)
    local = open_teacher(config.userqa.model_copy(update={"teacher": "local"}), paths)
    assert local is not None and isinstance(local.teacher, LocalTeacher)
