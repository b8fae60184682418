"""One chat completion from an OpenAI-compatible server, tried again while that makes sense.

Tried again: 408, 409, 429, 5xx, time-outs, dropped connections, replies that are no completion (broken JSON
included). Given up at once: what would fail the same way again (400, 401, 403, 404). A server that does not know
`logprobs` or `n` says 400; the caller then asks without. The time-out is for silence: a server that keeps sending
bytes is waited for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stepgym.agents.description import without_secrets

RETRIED_STATUS = frozenset({408, 409, 429})


class ChatError(RuntimeError):
    """The server gave no completion; `status` is its last HTTP status, if any."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Choice(NamedTuple):
    """One completion."""

    text: str
    reasoning: str
    log_prob: float | None
    """Sum over the tokens; `None` if the server gave none."""
    num_tokens: int | None
    """Counted by the log-probabilities, `None` without them."""
    finish_reason: str
    token_ids: tuple[int, ...] | None = None
    """The sampled tokens, from servers that know `return_token_ids`."""
    token_log_probs: tuple[float, ...] | None = None


class Completion(NamedTuple):
    """The result of one request. Token counts are the server's; `None` if it gave none."""

    choices: list[Choice]
    prompt_tokens: int | None
    """Without those the server had cached."""
    completion_tokens: int | None
    reasoning_tokens: int
    prompt_ids: tuple[int, ...] | None = None
    """The tokens of the prompt, from servers that know `return_token_ids`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatClient:
    """How to reach a server, and how patiently."""

    client: Any
    model: str
    max_retries: int
    backoff_s: float
    """Wait before the first retry; doubled each time up to `MAX_BACKOFF_S`, unless the server names a time."""

    @property
    def where(self) -> str:
        """The server's address as messages show it."""
        return without_secrets(str(self.client.base_url))

    def complete(self, messages: Sequence[Mapping[str, str]], **request: Any) -> Completion:
        """Return a completion; raises `ChatError` when the retries are used up or of no use."""
        import openai

        problem = ""
        status: int | None = None
        for attempt in range(self.max_retries + 1):
            wait_s: float | None = None
            try:
                return read_completion(
                    self.client.chat.completions.create(
                        model=self.model, messages=list(messages), **request
                    )
                )
            except openai.APIStatusError as error:
                status, problem = error.status_code, f"status {error.status_code}: {error.message}"
                if not (status in RETRIED_STATUS or status >= 500):
                    raise ChatError(
                        f"{self.where} refused: {problem}"[:1000], status=status
                    ) from error
                wait_s = _retry_after(error.response.headers)
            except openai.APITimeoutError:
                status, problem = None, f"no reply within {self.client.timeout} s"
            except openai.APIConnectionError as error:
                status, problem = None, f"connection failed: {error.__cause__ or error}"
            # The client lets broken JSON through as the decoder's ValueError.
            except (openai.APIResponseValidationError, ValueError) as error:
                status, problem = None, f"reply is no chat completion: {error}"
            if attempt < self.max_retries:
                time.sleep(self._wait(attempt) if wait_s is None else wait_s)
        tries = f"{self.max_retries + 1} tries" if self.max_retries else "one try"
        raise ChatError(
            f"{self.where} gave nothing in {tries}; the last: {problem}"[:1000], status=status
        )

    def _wait(self, attempt: int) -> float:
        # Jitter keeps many waiting requests from coming back all at once; no result depends on it.
        return min(MAX_BACKOFF_S, self.backoff_s * 2.0**attempt) * random.uniform(0.5, 1.0)


MAX_BACKOFF_S = 30.0


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return min(MAX_BACKOFF_S, max(0.0, float(headers.get("retry-after", ""))))
    except ValueError:
        return None


def read_completion(reply: Any) -> Completion:
    """Read a server's reply, which may be anything; raises `ValueError` if it has no choices."""
    choices = getattr(reply, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"no choices in {str(reply)[:200]!r}")
    usage = getattr(reply, "usage", None)
    details = getattr(usage, "completion_tokens_details", None)
    cached = (
        _count(getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None)) or 0
    )
    prompt = _count(getattr(usage, "prompt_tokens", None))
    return Completion(
        [_read_choice(choice) for choice in choices],
        None if prompt is None else max(0, prompt - cached),
        _count(getattr(usage, "completion_tokens", None)),
        _count(getattr(details, "reasoning_tokens", None)) or 0,
        _ids(getattr(reply, "prompt_token_ids", None)),
    )


def _read_choice(choice: Any) -> Choice:
    message = getattr(choice, "message", None)
    if message is None:
        raise ValueError(f"a choice without a message: {str(choice)[:200]!r}")
    content = getattr(message, "content", None)
    reasoning = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    tokens = getattr(getattr(choice, "logprobs", None), "content", None)
    known = [token.logprob for token in tokens] if isinstance(tokens, list) and tokens else None
    if known is not None and not all(isinstance(value, int | float) for value in known):
        known = None
    ids = _ids(getattr(choice, "token_ids", None))
    return Choice(
        content if isinstance(content, str) else "",
        reasoning if isinstance(reasoning, str) else "",
        float(sum(known)) if known else None,
        len(tokens) if isinstance(tokens, list) and tokens else None,
        str(getattr(choice, "finish_reason", "")),
        ids,
        tuple(map(float, known)) if known and ids and len(known) == len(ids) else None,
    )


def _ids(value: object) -> tuple[int, ...] | None:
    """Return a server's list of token ids; `None` for anything else."""
    if not isinstance(value, list) or not value or not all(type(each) is int for each in value):
        return None
    return tuple(value)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
