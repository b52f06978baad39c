"""A teacher behind a server that speaks OpenAI's chat completions: vLLM, Ollama, llama.cpp, transformers serve, hosted.

Retries, with Retry-After and growing waits, are the openai client's own: 408, 409, 429, 5xx and lost connections.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import Any

from instructue.errors import ConfigError, DataError
from instructue.userqa.teacher import Decoding, Unfinished

KEY = "OPENAI_API_KEY"
# What a server may refuse, and what is sent in its place: the text is cut at its line break here in any case.
INSTEAD = {"seed": None, "stop": None, "max_tokens": "max_completion_tokens"}
MENDS = {
    400: "mend userqa.model, userqa.max_new_tokens or userqa.temperature in params.yaml",
    401: f"set {KEY} to a key of the server that userqa.base_url in params.yaml names",
    404: "mend userqa.base_url (it mostly ends in /v1) or userqa.model in params.yaml",
    429: "lower userqa.requests_per_minute or userqa.concurrency in params.yaml",
    500: "see the server's own log, or lower userqa.concurrency in params.yaml",
}
ALIKE = {403: 401, 405: 404, 408: 500, 409: 500, 422: 400}
QUOTES = {'"': '"', "'": "'", "“": "”"}


class Abandoned(Exception):
    """Another request of the batch has failed: this one is not sent."""


class RateLimit:
    """At most `per_minute` requests in any minute, from whatever threads: evenly spaced. 0: no limit.

    `sleep` waits so many seconds; one that returns True was woken early and ends the wait.
    """

    def __init__(
        self,
        per_minute: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._gap = 60.001 / per_minute if per_minute else 0.0  # rounding must not let one more into a minute
        self._clock, self._sleep = clock, sleep
        self._turn, self._next = Lock(), float("-inf")

    def wait(self) -> None:
        """Return when the next request may be sent."""
        if not self._gap:
            return
        with self._turn:  # slept under the lock: two threads are never let go closer than the gap
            while (left := self._next - self._clock()) > 0:
                if self._sleep(left):
                    return
            self._next = self._clock() + self._gap


class OpenAITeacher:
    """Asks for chat completions, `concurrency` at once. The key, if the server wants one, comes from OPENAI_API_KEY.

    A retry counts as a request for `requests_per_minute` (0: no limit). `timeout`: seconds for one answer.
    Not to be called from several threads at once.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        concurrency: int = 8,
        requests_per_minute: int = 0,
        retries: int = 4,
        timeout: float = 60.0,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ConfigError(f"userqa.base_url in params.yaml is {base_url!r}: it must begin with http:// or https://")
        self.base_url, self.model = base_url.rstrip("/"), model
        self.url = f"{self.base_url}/chat/completions"
        self.identity = f"{self.url} {model}"
        self.concurrency, self.retries, self.timeout = concurrency, retries, timeout
        self.batch = 4 * concurrency  # so that a slow answer seldom leaves the others idle
        self._stop = Event()
        self.limit = RateLimit(requests_per_minute, sleep=self._stop.wait)
        self._spelled: dict[str, str | None] = {}  # what this server has refused, and its spelling

    def complete(self, prompts: list[str], decoding: Decoding) -> list[tuple[str, int]]:
        """(text, tokens generated) for each prompt, in order; a repeated prompt is asked with another seed.

        Raises Unfinished, a DataError, at the first request that fails for good; later ones are then not sent.
        """
        self._stop.clear()
        seen: Counter[str] = Counter()
        futures: list[Future[tuple[str, int]]] = []
        with self._client() as client:
            pool = ThreadPoolExecutor(self.concurrency)
            try:
                for prompt in prompts:
                    futures.append(pool.submit(self._one, client, prompt, decoding, seen[prompt]))
                    seen[prompt] += 1
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:  # failed or interrupted: nothing more is sent, but answers under way are waited for
                self._stop.set()
                pool.shutdown(cancel_futures=True)
        return self._gathered(futures)

    def _client(self) -> Any:
        from openai import DefaultHttpxClient, OpenAI, Timeout

        return OpenAI(
            base_url=self.base_url,
            api_key=os.environ.get(KEY) or "none",
            max_retries=self.retries,
            timeout=Timeout(self.timeout, connect=min(self.timeout, 10)),
            http_client=DefaultHttpxClient(event_hooks={"request": [self._before_request]}),
        )

    def _before_request(self, request: object) -> None:
        """Called by the client before everything it sends, retries included."""
        self.limit.wait()
        if self._stop.is_set():
            raise Abandoned

    def _one(self, client: Any, prompt: str, decoding: Decoding, nth: int) -> tuple[str, int]:
        try:
            return self._ask(client, prompt, decoding, nth)
        except BaseException:
            self._stop.set()  # here, not by who waits: this thread must not take up the next prompt
            raise

    def _ask(self, client: Any, prompt: str, decoding: Decoding, nth: int) -> tuple[str, int]:
        from openai import BadRequestError, UnprocessableEntityError

        wanted = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": decoding.temperature,
            "max_tokens": decoding.max_new_tokens,
            "stop": ["\n"],
            "seed": decoding.seed + nth,
        }
        while True:
            spelled = {self._spelled.get(name, name): value for name, value in wanted.items()}
            body = {name: value for name, value in spelled.items() if name}
            try:
                reply = client.chat.completions.create(**body)
                break
            except (BadRequestError, UnprocessableEntityError) as error:
                told = error.response.text
                refused = [name for name in INSTEAD if name in body and re.search(f"['\"`]{name}['\"`]", told)]
                if not refused:
                    raise
                self._spelled.update({name: INSTEAD[name] for name in refused})
        if not getattr(reply, "choices", None):  # the page of a web server, say
            raise DataError(f"{self.url} answered, but not with a chat completion; {MENDS[404]}")
        tokens = reply.usage.completion_tokens if reply.usage else 0
        return continuation(prompt, reply.choices[0].message.content or ""), int(tokens or 0)

    def _gathered(self, futures: list[Future[tuple[str, int]]]) -> list[tuple[str, int]]:
        """The results, or Unfinished with those there are."""
        from openai import OpenAIError

        ended = [future for future in futures if not future.cancelled()]
        errors = [e for future in ended if (e := future.exception()) and not isinstance(e, Abandoned)]
        if not errors:
            return [future.result() for future in futures]
        if not isinstance(errors[0], (OpenAIError, DataError)):
            raise errors[0]
        made = [None if future.cancelled() or future.exception() else future.result() for future in futures]
        raise Unfinished(self._explained(errors[0]), made) from errors[0]

    def _explained(self, error: BaseException) -> str:
        """One line: the URL, the status or what else went wrong, and what to mend. Never the key."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        if isinstance(error, APIStatusError):
            status = error.status_code
            told = " ".join(error.response.text.split()).replace(os.environ.get(KEY) or "\n", "***")[:200]
            mend = MENDS.get(ALIKE.get(status, status), MENDS[500 if status >= 500 else 400])
            return f"{self.url} answered {status} for model {self.model!r} ({told}); {mend}"
        if isinstance(error, APITimeoutError):
            return f"{self.url} gave no answer within {self.timeout:g} s; {MENDS[500]}"
        if isinstance(error, APIConnectionError):
            cause = error.__cause__ or error
            return f"{self.url} cannot be reached ({cause}); is the server up? Mend userqa.base_url in params.yaml"
        return str(error) if isinstance(error, DataError) else f"{self.url}: {error}; {MENDS[404]}"


def continuation(prompt: str, reply: str) -> str:
    """What the first line of a reply adds to the prompt's last line, with a blank before it.

    A chat model mostly says that line again, its label and forced beginning included, or puts the whole into quotes.
    """
    label, colon, start = prompt.rsplit("\n", 1)[-1].partition(":")
    if not colon:
        label, start = "", label
    text = (reply.strip().splitlines() or [""])[0]
    text, start = unquoted(text.removeprefix(f"{label}:").strip()), start.strip()
    again = text[: len(start)].lower() == start.lower() and not text[len(start) :][:1].isalnum()
    return text[len(start) :] if start and again else f" {text}"


def unquoted(text: str) -> str:
    """Without balanced quotes around the whole. In '"tea" or "milk"' each pair has its own word: it stays as it is."""
    close = QUOTES.get(text[:1])
    inner = text[1:-1]
    if len(text) < 2 or text[-1] != close or (close == '"' and inner.count(close) % 2):
        return text
    # The next quote (an apostrophe is none) opens another pair within, or else closes the first one.
    mark = f"[{text[0]}{close}]"
    quote = re.search(rf"(?<!\w){mark}|{mark}(?!\w)", inner)
    opens = quote is None or quote.start() == 0 or inner[quote.start() - 1].isspace()
    return inner.strip() if opens else text
