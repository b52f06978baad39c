"""The teacher behind a server: small ones that misbehave, on loopback. test_server_real.py has a real one."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from instructue.errors import ConfigError, DataError
from instructue.userqa.prompts import reword
from instructue.userqa.server import OpenAITeacher, RateLimit, Unfinished, continuation
from instructue.userqa.teacher import Decoding

GREEDY = Decoding(max_new_tokens=6, temperature=0, seed=7)
PROMPTS = [reword("instruction", f'Will the reader borrow "{what}"?', " In") for what in "abcd"]


Reply = tuple[int, dict[str, str], object]  # status, headers, body


def said(text: str, tokens: int = 9) -> Reply:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return 200, {}, {"object": "chat.completion", "choices": [choice], "usage": {"completion_tokens": tokens}}


@contextmanager
def server(answer: Callable[[int, dict], Reply | None]) -> Iterator[tuple[str, list[dict]]]:
    """Answers with answer(place of the request, its body), or hangs up at None; keeps bodies and keys received."""
    seen: list[dict] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                place = len(seen)
                seen.append(body | {"key": self.headers["Authorization"]})
            if (reply := answer(place, body)) is None:
                return
            status, headers, content = reply
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            kind = "text/html" if isinstance(content, str) else "application/json"
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1", seen
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


@pytest.fixture
def slept(monkeypatch) -> list[float]:
    """The client's waits before it tries again, in seconds; none is really waited for."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def test_busy_server_is_asked_again_when_it_says_so(slept, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    replies = [(429, {"Retry-After": "7"}, {}), (503, {}, {}), None, (409, {}, {}), said("In four weeks.\nMore.")]
    with server(lambda place, _: replies[place]) as (url, seen):
        answer = OpenAITeacher(url, "some-model").complete(PROMPTS[:1], GREEDY)
    assert answer == [(" four weeks.", 9)]
    assert slept[0] == 7 and len(slept) == 4 and slept[1] < slept[3]
    asked = {
        "model": "some-model",
        "max_tokens": 6,
        "stop": ["\n"],
        "seed": 7,
        "temperature": 0,
        "key": "Bearer s3cret",
    }
    assert seen == [{**asked, "messages": [{"role": "user", "content": PROMPTS[0]}]}] * 5


def test_server_that_stays_busy_is_named_after_the_last_retry(slept):
    with (
        server(lambda *_: (503, {}, {"error": "no slot"})) as (url, seen),
        pytest.raises(DataError, match=rf"{url}/chat/completions answered 503 .*no slot.*lower userqa.concurrency"),
    ):
        OpenAITeacher(url, "m", retries=2).complete(PROMPTS[:1], GREEDY)
    assert len(seen) == 3


@pytest.mark.parametrize(
    "reply, named",
    [
        (
            (401, {}, {"error": {"message": "no such key: s3cret"}}),
            "answered 401 .*set OPENAI_API_KEY.*userqa.base_url",
        ),
        ((404, {}, {"error": {"message": "no such model"}}), "answered 404 .*userqa.base_url .*userqa.model"),
        ((400, {}, {"error": {"message": "too hot"}}), "answered 400 .*too hot.*userqa.temperature"),
        ((200, {}, "<html>Welcome</html>"), "not with a chat completion; mend userqa.base_url"),
    ],
)
def test_refusal_is_one_line_with_url_status_and_mend_and_without_the_key(reply, named, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    with server(lambda *_: reply) as (url, seen):
        teacher = OpenAITeacher(url, "some-model")
        with pytest.raises(DataError, match=named) as raised:
            teacher.complete(PROMPTS[:1], GREEDY)
    told = str(raised.value)
    assert told.startswith(f"{url}/chat/completions ") and "\n" not in told and len(seen) == 1
    assert "s3cret" not in told + teacher.identity


def test_server_that_is_not_there_is_named(slept):
    with server(lambda *_: None) as (url, _):
        pass
    with pytest.raises(DataError, match=rf"{url}.* cannot be reached .*userqa.base_url"):
        OpenAITeacher(url, "m", retries=1).complete(PROMPTS[:1], GREEDY)
    assert len(slept) == 1
    with pytest.raises(ConfigError, match=r"userqa.base_url.*localhost:8000/v1.*http://"):
        OpenAITeacher("localhost:8000/v1", "m")


def test_concurrency_requests_are_under_way_at_once_and_not_one_more():
    lock, under_way, most = threading.Lock(), 0, 0
    together = threading.Barrier(3)  # no answer before three are under way

    def answer(place: int, body: dict) -> Reply:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        try:
            together.wait(patience)
        except threading.BrokenBarrierError:
            return 400, {}, {"error": "alone"}
        finally:
            with lock:
                under_way -= 1
        return said(body["messages"][0]["content"])

    patience, prompts = 60, [f"say {i}" for i in range(9)]
    with server(answer) as (url, _):
        answers = OpenAITeacher(url, "m", concurrency=3).complete(prompts, GREEDY)
        assert [text.strip() for text, _ in answers] == [""] * 9  # what the prompt says already is taken off
        assert most == 3
        patience = 0.2
        with pytest.raises(DataError, match="alone"):
            OpenAITeacher(url, "m", concurrency=2).complete(prompts, GREEDY)


def test_what_was_returned_before_a_failure_is_not_lost_and_nothing_is_sent_after_it():
    replies = [said("one"), (400, {}, {}), said("three")]
    with server(lambda place, _: replies[place]) as (url, seen), pytest.raises(Unfinished) as raised:
        OpenAITeacher(url, "m", concurrency=1).complete(PROMPTS, GREEDY)
    assert raised.value.made == [(" one", 9), None, None, None] and len(seen) == 2


def test_repeated_prompt_is_asked_with_another_seed():
    with server(lambda *_: said("one")) as (url, seen):
        OpenAITeacher(url, "m").complete([PROMPTS[0], PROMPTS[1], PROMPTS[0]], GREEDY)
    assert sorted(body["seed"] for body in seen) == [7, 7, 8]


def test_server_that_refuses_a_field_is_asked_without_it():
    def answer(place: int, body: dict) -> Reply:
        if refused := [name for name in ("max_tokens", "seed") if name in body]:
            return 400, {}, {"error": {"message": f"unsupported: '{refused[0]}'"}}
        return said("one\ntwo")

    with server(answer) as (url, seen):
        assert OpenAITeacher(url, "m", concurrency=1).complete(PROMPTS[:2], GREEDY) == [(" one", 9)] * 2
    assert len(seen) == 4 and seen[-1]["max_completion_tokens"] == 6 and "seed" not in seen[-1]


# The rate


class Clock:
    """Time that passes by sleeping alone; each thread may ask when it was last told the time."""

    def __init__(self) -> None:
        self.now, self.told = 0.0, threading.local()

    def __call__(self) -> float:
        self.told.now = self.now
        os.sched_yield()  # another thread's turn, as late as it can hurt
        return self.told.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def most_in_a_minute(times: list[float]) -> int:
    return max(sum(start <= t < start + 60 for t in times) for start in times)


@pytest.mark.parametrize("per_minute, most", [(7, 7), (90, 90), (0, 200)])
def test_requests_of_all_threads_stay_below_the_rate(per_minute, most):
    clock, times = Clock(), []
    limit = RateLimit(per_minute, clock, clock.sleep)

    def work() -> None:
        for _ in range(50):
            limit.wait()
            times.append(getattr(clock.told, "now", 0.0))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Without a limit all 200 fall into one minute: the count would show a breach.
    assert len(times) == 200 and most_in_a_minute(times) == most


def test_retries_count_as_requests(slept):
    clock = Clock()
    with server(lambda place, _: (503, {}, {}) if place < 3 else said("one")) as (url, seen):
        teacher = OpenAITeacher(url, "m", requests_per_minute=6)
        teacher.limit = RateLimit(6, clock, clock.sleep)
        teacher.complete(PROMPTS[:2], GREEDY)
    assert len(seen) == 5 and clock() == pytest.approx(40, rel=0.01)  # 4 gaps of 10 s


# The reply


@pytest.mark.parametrize(
    "line, reply, text",
    [
        ("In other words: In the", "next week, will it?", " next week, will it?"),
        ("In other words: In the", "In the next week, will it?", " next week, will it?"),
        ("In other words: In the", "In other words: In the next week, will it?", " next week, will it?"),
        ("In other words: In the", '"in the next "tea" week, will it?"\nIndeed.', ' next "tea" week, will it?'),
        ("In other words: In", "Indeed, will it?", " Indeed, will it?"),
        ("In other words:", "\n\n“Will it?”", " Will it?"),
        ("In other words:", "'It's the reader's tea.'", " It's the reader's tea."),
        ("In other words:", '"tea" or "milk"', ' "tea" or "milk"'),
        ("In other words:", '"tea', ' "tea'),
        ("In other words:", '"Only "tea"', ' "Only "tea"'),
        ("In other words:", "", " "),
    ],
)
def test_what_the_prompt_says_already_and_quotes_around_a_reply_are_taken_off(line, reply, text):
    assert continuation(f"Sentence: something.\n{line}", reply) == text
