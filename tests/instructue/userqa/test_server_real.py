"""The teacher behind a real server: `transformers serve` on loopback, with a cut of the real language model."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from instructue.errors import DataError
from instructue.userqa.prompts import reword
from instructue.userqa.server import OpenAITeacher, continuation
from instructue.userqa.teacher import CachedTeacher, Decoding

GREEDY = Decoding(max_new_tokens=6, temperature=0, seed=7)
PROMPTS = [reword("instruction", f'Will the reader borrow "{what}"?', " In") for what in "abcd"]
START_SECONDS = 150  # a patient limit, for a busy machine: it takes about 6


@pytest.fixture(scope="module")
def served(language, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The base URL of `transformers serve` with that model, and the model's folder, which is its name there."""
    folder, log = language, tmp_path_factory.mktemp("serve") / "output.txt"
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0", "--device", "cpu"],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )
    try:
        yield wait_until_healthy(process, log) + "/v1", folder
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_healthy(process: subprocess.Popen, log: Path) -> str:
    """The server's address. It picks a free port itself (0) and says which: nobody can take it in between."""
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text()):
            with urllib.request.urlopen(found[1] + "/health", timeout=30) as answer:
                assert json.load(answer) == {"status": "ok"}
            return found[1]
        time.sleep(0.1)
    pytest.fail(f"transformers serve did not start (exit status {process.poll()}); it wrote:\n{log.read_text()}")


def test_server_answers_each_prompt_with_what_the_model_says_to_it(served):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    url, folder = served
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    prompts = [*PROMPTS[:2], "Name a colour.", "Answer: The reader", "Count to ten, please.", PROMPTS[0]]
    texts = []
    for prompt in prompts:
        chat = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        out = model.generate(**ids, max_new_tokens=6, do_sample=False, pad_token_id=0)[0, ids["input_ids"].shape[1] :]
        texts.append(continuation(prompt, tokenizer.decode(out, skip_special_tokens=True)))
    assert len(set(texts)) > 1
    answers = OpenAITeacher(url, str(folder), concurrency=3).complete(prompts, GREEDY)
    assert [text for text, _ in answers] == texts
    assert all(0 < tokens <= 6 for _, tokens in answers)


def test_server_is_not_asked_what_is_kept(served, tmp_path):
    url, folder = served
    first = CachedTeacher(OpenAITeacher(url, str(folder)), tmp_path)
    texts = first.complete(PROMPTS, GREEDY)
    assert first.calls == 4 and first.generated_tokens > 0
    second = CachedTeacher(OpenAITeacher(url, str(folder), retries=0), tmp_path)
    assert second.complete(PROMPTS, GREEDY) == texts
    assert (second.calls, second.cache_hits) == (0, 4)


def test_server_that_knows_no_such_model_or_path_says_which_field_to_mend(served):
    url, folder = served
    with pytest.raises(DataError, match=rf"{url}/chat/completions answered 400 for model 'other'.*mend userqa\.model"):
        OpenAITeacher(url, "other").complete(PROMPTS[:1], GREEDY)
    with pytest.raises(DataError, match=r"answered 404 .*mend userqa\.base_url \(it mostly ends in /v1\)"):
        OpenAITeacher(url.removesuffix("/v1"), str(folder)).complete(PROMPTS[:1], GREEDY)
