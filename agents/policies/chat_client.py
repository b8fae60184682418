"""Chat completions from an OpenAI-compatible server, tried again while that makes sense.

Tried again: 408, 409, 429, 5xx, timeouts, dropped connections, and replies that are no completion (broken JSON
included). Given up at once: what would fail the same way again. If the server then does not answer the smallest request
either, or refuses its key or model, the run stops (`RunStopped`). The timeout is for silence: a server that keeps sending bytes is
waited for.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar

from stepgym.agents.policies.step_text import reasoning_of
from stepgym.agents.policies.upstream import Cause, Upstream, UpstreamError
from stepgym.agents.spending import Spending
from stepgym.agents.types import RunStopped

RETRIED_STATUS = frozenset({408, 409, 429})
HOPELESS_STATUS = {
    401: "set OPENAI_API_KEY or api_key",
    402: "the account has no money left",
    403: "the key may not use this model",
    404: "check the URL and the model's name",
}
"""Statuses that every further request would get too, and what to do."""
MAX_BACKOFF_S = 30.0
MAX_RETRY_AFTER_S = 300.0
"""The longest wait that a server may ask for."""
END_REASONS = frozenset({"eos", "eos_token", "end_turn"})
"""Values of `finish_reason` that mean the end of the sequence and nothing else."""
BYTES_PER_TOKEN = 4
"""The guess if a server counts nothing."""
UNLIMITED_TOKENS = 16_384
"""What a request without a limit may write, for its highest cost."""
TEMPLATE_TOKENS = 16
"""At most so many tokens of a chat template around each message."""
USAGE = ("prompt_tokens", "completion_tokens")
T = TypeVar("T")
PING = [{"role": "user", "content": "1"}]
"""The request that finds out whether a server answers at all."""


class ChatError(RuntimeError):
    """One request got no completion, although the server answers others; `status` is its last HTTP status, if any."""

    def __init__(self, message: str, *, status: int | None = None, field: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.field = field
        """The field of the request that the server says is at fault."""


class Choice(NamedTuple):
    """One completion."""

    text: str
    reasoning: str
    finish_reason: str
    token_texts: tuple[str, ...] | None = None
    """From the server's log-probabilities; a stop word or an end-of-sequence token is among them, but not in `text`."""
    log_probs: tuple[float, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    """The sampled tokens, from servers that know `return_token_ids`."""
    ended: bool = False
    """The server says that the model wrote its end-of-sequence token; many servers do not say."""

    @property
    def log_prob(self) -> float | None:
        """The sum over the tokens; `None` if the server gave none."""
        return float(sum(self.log_probs)) if self.log_probs else None

    @property
    def token_log_probs(self) -> tuple[float, ...] | None:
        """One per token id, if the server gave as many."""
        same = self.log_probs and self.token_ids and len(self.log_probs) == len(self.token_ids)
        return self.log_probs if same else None

    @property
    def num_tokens(self) -> int:
        """The number of tokens: by the log-probabilities, else guessed by the length."""
        text = self.reasoning + self.text
        guess = -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)
        return len(self.token_texts) if self.token_texts else guess


class Completion(NamedTuple):
    """The result of one request. Token counts are the server's; `None` if it gave none."""

    choices: list[Choice]
    prompt_tokens: int | None
    """Without those the server had cached."""
    completion_tokens: int | None
    reasoning_tokens: int
    prompt_ids: tuple[int, ...] | None = None
    """The tokens of the prompt, from servers that know `return_token_ids`."""
    cached_tokens: int = 0
    """Tokens of the prompt that the server had cached."""
    usd: float = 0.0

    def with_costs_of(self, lost: Completion) -> Completion:
        """Return this completion, charged for one that was thrown away too."""
        return self._replace(
            prompt_tokens=_sum(self.prompt_tokens, lost.prompt_tokens),
            completion_tokens=_sum(self.completion_tokens, lost.completion_tokens),
            reasoning_tokens=self.reasoning_tokens + lost.reasoning_tokens,
            usd=self.usd + lost.usd,
        )


class ChatClient:
    """Sends requests to one model of one server. Any number of threads may use it.

    `backoff_s` is the wait before the first retry; it is doubled each time up to `MAX_BACKOFF_S`, unless the server
    names a time. `spending` is the meter of what requests cost.
    """

    def __init__(
        self,
        upstream: Upstream,
        model: str,
        *,
        max_retries: int,
        backoff_s: float,
        spending: Spending | None = None,
    ) -> None:
        self.upstream, self.model = upstream, model
        self.max_retries, self.backoff_s, self.spending = max_retries, backoff_s, spending
        self.num_retries = 0
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The server's address as messages show it."""
        return self.upstream.where

    def complete(self, messages: Sequence[Mapping[str, str]], **request: Any) -> Completion:
        """Return a completion.

        Raises `ChatError` if this request gets none, and `RunStopped` if no request does.
        """
        try:
            return self.retried(lambda: self._send({"messages": list(messages), **request}))
        except UpstreamError as error:
            status = error.status if error.cause is Cause.STATUS else None
            raise ChatError(self._message(error), status=status, field=error.field) from error

    def retried(self, call: Callable[[], T]) -> T:
        """Return `call()`, tried again while that makes sense.

        Raises the last `UpstreamError` if the server answers other requests, and `RunStopped` if it answers none.
        """
        last: UpstreamError | None = None
        for attempt in range(self.max_retries + 1):
            if last is not None:
                with self._lock:
                    self.num_retries += 1
                wait_s = _retry_after(last.retry_after)
                time.sleep(self._wait(attempt - 1) if wait_s is None else wait_s)
            try:
                return call()
            except UpstreamError as error:
                last = error
                if _is_final(error):
                    break
        assert last is not None
        if (not _is_final(last) or last.status in HOPELESS_STATUS) and not self._answers():
            advice = HOPELESS_STATUS.get(
                last.status, "it answers no other request either: start it again, or wait for it"
            )
            raise RunStopped(f"{self._message(last)} ({advice})") from last
        raise last

    def _send(self, request: Mapping[str, Any]) -> Completion:
        """Send a request once, and count what it costs. Raises `UpstreamError` and `RunStopped`."""
        body = {"model": self.model, **request}
        with self.charged(body) as bill:
            reply = self.upstream.complete(body)
            try:
                return bill.read(reply)
            except ValueError as error:
                raise UpstreamError(502, str(error), Cause.REPLY) from error

    def _message(self, error: UpstreamError) -> str:
        """Say what a request that failed brought, and how often it was tried."""
        text = {
            Cause.STATUS: f"status {error.status}: {error}",
            Cause.TIMEOUT: f"no reply within {self.upstream.timeout_s} s",
            Cause.CONNECTION: f"connection failed: {error.__cause__ or error}",
            Cause.REPLY: f"reply is no chat completion: {error}",
        }[error.cause]
        if _is_final(error):
            return f"{self.where} refused: {text}"[:1000]
        tries = f"{self.max_retries + 1} tries" if self.max_retries else "one try"
        return f"{self.where} gave nothing in {tries}; the last: {text}"[:1000]

    @contextmanager
    def charged(
        self, body: Mapping[str, Any], charge: Callable[[float], None] | None = None
    ) -> Iterator[Bill]:
        """Charge a request: set aside its highest cost while it runs, then count what its reply says.

        `charge` is called with its US dollars at the end. A request that was refused costs nothing; one without a readable reply costs what was set aside. Raises
        `RunStopped` if it does not fit into the budget.
        """
        if self.spending is None:
            yield Bill(None, 0.0)
            return
        bill = Bill(self.spending, self.spending.price.cost(*_most_tokens(body)))
        self.spending.reserve(bill.most_usd)
        try:
            yield bill
        except UpstreamError as error:
            refused = isinstance(error.__cause__, ConnectionRefusedError)
            if error.cause is Cause.STATUS or refused:
                bill.usd = 0.0
            raise
        finally:
            self.spending.settle(bill.most_usd, bill.usd)
            if charge is not None:
                charge(bill.usd)

    def _answers(self) -> bool:
        """Return whether the server answers anything, now: ask it for one token."""
        try:
            self._send({"messages": PING, "max_tokens": 1})
        except UpstreamError as error:
            return _is_final(error) and error.status not in HOPELESS_STATUS
        return True

    def _wait(self, attempt: int) -> float:
        # Jitter keeps many waiting requests from coming back all at once; no result depends on it.
        return min(MAX_BACKOFF_S, self.backoff_s * 2.0**attempt) * random.uniform(0.5, 1.0)


class Bill:
    """What one request costs; its highest cost until a reply says less."""

    def __init__(self, spending: Spending | None, most_usd: float) -> None:
        self._spending = spending
        self.most_usd = self.usd = most_usd

    def read(self, reply: Any) -> Completion:
        """Read a reply and its cost. Raises `ValueError` as `read_completion` does."""
        completion = read_completion(reply)
        if self._spending is not None:
            prompt = _count(_get(reply, "usage", "prompt_tokens")) or 0
            new = completion.completion_tokens
            if new is None:
                new = sum(choice.num_tokens for choice in completion.choices)
            self.usd = self._spending.price.cost(prompt, new)
        return completion._replace(usd=self.usd)

    def read_usage(self, chunk: Mapping[str, Any]) -> None:
        """Read the cost from the chunk of a stream that has it."""
        if self._spending is not None and _get(chunk, "usage", "completion_tokens") is not None:
            counts = (_count(_get(chunk, "usage", name)) or 0 for name in USAGE)
            self.usd = self._spending.price.cost(*counts)


def _is_final(error: UpstreamError) -> bool:
    """Return whether the same request would fail the same way again."""
    is_status = error.cause is Cause.STATUS
    return is_status and not (error.status in RETRIED_STATUS or error.status >= 500)


def _retry_after(given: str) -> float | None:
    """Return the seconds that a server asks to wait, given as seconds or as a date."""
    try:
        seconds = float(given)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(MAX_RETRY_AFTER_S, max(0.0, seconds)) if seconds == seconds else None


def _most_tokens(body: Mapping[str, Any]) -> tuple[int, int]:
    """Return the most prompt tokens and new tokens that a request can cost: no token is shorter than a byte."""
    given = {name: body[name] for name in ("messages", "tools") if body.get(name)}
    prompt = len(json.dumps(given, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    new = body.get("max_completion_tokens") or body.get("max_tokens") or UNLIMITED_TOKENS
    return prompt + TEMPLATE_TOKENS * len(body["messages"]), int(new) * int(body.get("n") or 1)


def read_completion(reply: Any) -> Completion:
    """Read a server's reply, which may be anything; raises `ValueError` if it has no choices."""
    choices = _get(reply, "choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"no choices in {str(reply)[:200]!r}")
    cached = _count(_get(reply, "usage", "prompt_tokens_details", "cached_tokens")) or 0
    prompt = _count(_get(reply, "usage", "prompt_tokens"))
    return Completion(
        [_read_choice(choice) for choice in choices],
        None if prompt is None else max(0, prompt - cached),
        _count(_get(reply, "usage", "completion_tokens")),
        _count(_get(reply, "usage", "completion_tokens_details", "reasoning_tokens")) or 0,
        _ids(_get(reply, "prompt_token_ids")),
        cached,
    )


def _read_choice(choice: Any) -> Choice:
    message = _get(choice, "message")
    if not isinstance(message, Mapping):
        raise ValueError(f"a choice without a message: {str(choice)[:200]!r}")
    content = message.get("content")
    tokens = _get(choice, "logprobs", "content")
    texts = known = None
    if isinstance(tokens, list) and tokens:
        texts = tuple(str(_get(token, "token")) for token in tokens)
        values = [_get(token, "logprob") for token in tokens]
        if all(isinstance(value, int | float) for value in values):
            known = tuple(map(float, values))
    return Choice(
        content if isinstance(content, str) else "",
        reasoning_of(message),
        str(_get(choice, "finish_reason")),
        texts,
        known,
        _ids(_get(choice, "token_ids")),
        _has_ended(choice),
    )


def _has_ended(choice: Any) -> bool:
    """Return whether a server says that the end-of-sequence token, not a stop word, ended a text.

    vLLM gives the stop word as `stop_reason`, and null at the end; SGLang gives `matched_stop`, a token's number at the end.
    """
    reason = _get(choice, "finish_reason")
    if reason in END_REASONS:
        return True
    if reason != "stop" or not isinstance(choice, Mapping):
        return False
    if "stop_reason" in choice:
        return choice["stop_reason"] is None
    return type(choice.get("matched_stop")) is int


def _get(value: Any, *names: str) -> Any:
    """Return the value under these names in nested JSON objects; `None` if a level is missing."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _ids(value: object) -> tuple[int, ...] | None:
    """Return a server's list of token ids; `None` for anything else."""
    if not isinstance(value, list) or not value or not all(type(each) is int for each in value):
        return None
    return tuple(value)


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
