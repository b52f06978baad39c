"""A teacher behind a server."""

import json
import os
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from instructue.errors import DataError
from instructue.userqa.teacher import Decoding


class OpenAITeacher:
    """Any server that speaks OpenAI's chat completions. The key, if it wants one, comes from OPENAI_API_KEY."""

    batch = 32

    def __init__(self, base_url: str, model: str, *, retries: int = 4, timeout: float = 60, wait: float = 0.5) -> None:
        self.url, self.model = base_url.rstrip("/") + "/chat/completions", model
        self.retries, self.timeout, self.wait = retries, timeout, wait
        self.identity = f"{self.url} {model}"

    def complete(self, prompts: list[str], decoding: Decoding) -> list[tuple[str, int]]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda item: self._one(item[1], decoding, item[0]), enumerate(prompts)))

    def _one(self, prompt: str, decoding: Decoding, place: int) -> tuple[str, int]:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "stop": ["\n"],
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "seed": decoding.seed + place,
        }
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', 'none')}",
        }
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        for attempt in range(self.retries + 1):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    reply = json.load(response)
                break
            except urllib.error.HTTPError as error:
                if error.code not in {408, 429} and error.code < 500 or attempt == self.retries:
                    raise DataError(
                        f"{self.url} answered {error.code}: {error.read()[:200]!r}; mend userqa in params.yaml"
                    ) from error
            except OSError as error:
                if attempt == self.retries:
                    raise DataError(
                        f"{self.url} cannot be reached ({error}); is the server up? See userqa.base_url"
                    ) from error
            time.sleep(min(self.wait * 2**attempt, 20))
        text = reply["choices"][0]["message"]["content"] or ""
        # A chat model says the whole sentence, its forced beginning included.
        start = prompt.rsplit("\n", 1)[-1].split(":", 1)[-1].strip()
        text = text.strip().splitlines()[0] if text.strip() else ""
        text = text[len(start) :] if start and text.startswith(start) else " " + text
        return text, int(reply.get("usage", {}).get("completion_tokens", 0))
