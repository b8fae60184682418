"""Reward models behind vLLM's endpoints: `served:http://HOST:8000/classify#MODEL`.

| the URL ends in | request | read from the reply |
|---|---|---|
| `/pooling` | the conversation of `qwen-prm` | for each step the last of its probabilities |
| `/classify` | problem and solution as one text | the probability of the last label; one score |
| `/score` | problem and solution | the score; one score |

A server that is gone stops the run (`RunStopped`). Not covered: counting the tokens that it reads, and their cost.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stepgym.agents.description import without_secrets
from stepgym.agents.policies.chat_policy import parse_endpoint
from stepgym.agents.reward_models.texts import qwen_messages, step_words
from stepgym.agents.types import RunStopped
from stepgym.envs.types import State
from stepgym.plugins.errors import UserError

ENDPOINTS = ("pooling", "classify", "score")
RETRIED = frozenset({408, 429, 500, 502, 503, 504})


class ServedRewardModel:
    """Scores states by a server's reward model, many requests at a time."""

    def __init__(
        self,
        name: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        max_retries: int = 3,
        backoff_s: float = 0.5,
        concurrency: int = 16,
    ) -> None:
        self.url, self.model = parse_endpoint(name)
        self.endpoint = self.url.rstrip("/").rpartition("/")[2]
        if self.endpoint not in ENDPOINTS:
            raise UserError(
                f"{without_secrets(self.url)!r} must end in /{', /'.join(ENDPOINTS)}, which vLLM serves beside /v1"
            )
        self.timeout_s = timeout_s
        self.max_retries, self.backoff_s = max_retries, backoff_s
        self._key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self.concurrency = concurrency
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="stepgym-served")

    def describe(self) -> dict[str, Any]:
        """Return the reward model's settings, as records keep them."""
        where = without_secrets(self.url)
        return {"kind": "served", "url": where, "model": self.model}

    def score(self, states: Sequence[State]) -> list[list[float]]:
        """Return one score per step of each state, or one for the whole of it.

        Raises `RunStopped` if the server is gone, and `ValueError` for a reply of another shape.
        """
        return list(self._pool.map(self._score, states))

    def _score(self, state: State) -> list[float]:
        if not state.steps:
            return []
        solution = "\n\n".join(step_words(step, "") for step in state.steps)
        if self.endpoint == "pooling":
            body: dict[str, Any] = {
                "messages": qwen_messages(state),
                "add_generation_prompt": False,
            }
            return self._step_scores(self._ask(body), len(state.steps))
        if self.endpoint == "classify":
            return [_last(self._ask({"input": f"{state.prompt}\n\n{solution}"}).get("probs"))]
        return [_last(self._ask({"text_1": state.prompt, "text_2": solution}).get("score"))]

    def _step_scores(self, entry: Mapping[str, Any], count: int) -> list[float]:
        rows = entry.get("data")
        if not isinstance(rows, list) or len(rows) != count:
            found = f"{len(rows)} rows" if isinstance(rows, list) else repr(rows)[:80]
            raise ValueError(
                f"/pooling of {self.model!r} gave {found} for {count} steps; is it served with step pooling "
                "(one row at each <extra_0>)?"
            )
        return [_last(row) for row in rows]

    def _ask(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the one entry of the reply's `data`."""
        reply = self._send({"model": self.model, **body})
        data = reply.get("data") if isinstance(reply, dict) else None
        if not isinstance(data, list) or len(data) != 1 or not isinstance(data[0], dict):
            raise ValueError(f"/{self.endpoint} of {self.model!r} gave no data: {reply!r:.200}")
        entry: Mapping[str, Any] = data[0]
        return entry

    def _send(self, body: Mapping[str, Any]) -> Any:
        headers = {"content-type": "application/json", "authorization": f"Bearer {self._key}"}
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        for attempt in range(self.max_retries + 1):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
                    return json.loads(response.read())
            except urllib.error.HTTPError as error:
                problem = f"status {error.code}: {error.read()[:300].decode(errors='replace')}"
                if error.code not in RETRIED:
                    if error.code in (401, 403, 404):
                        raise RunStopped(
                            f"{without_secrets(self.url)} refused: {problem}"
                        ) from error
                    raise ValueError(f"{without_secrets(self.url)} refused: {problem}") from error
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
            if attempt < self.max_retries:
                time.sleep(self.backoff_s * 2**attempt)
        raise RunStopped(
            f"{without_secrets(self.url)} gave nothing in {self.max_retries + 1} tries; the last: {problem}"
        )


def _last(values: Any) -> float:
    """Return a probability given alone or as the last of a list."""
    value = values[-1] if isinstance(values, list) and values else values
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"a score is a number in [0, 1], not {values!r:.80}")
    return float(value)
