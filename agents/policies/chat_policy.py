"""Any OpenAI-compatible chat endpoint as a policy: `chat:http://localhost:8000/v1#MODEL`.

Requests run side by side in threads, at most `concurrency` at once. What the server does not give in spite of
retries is missing from the result, and said in the `PolicyError` that carries the rest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from stepgym.agents.policies import prompts
from stepgym.agents.policies.chat_client import ChatClient, ChatError, Choice, Completion
from stepgym.agents.randomness import proposal_seed
from stepgym.agents.record import without_secrets
from stepgym.agents.types import PolicyError
from stepgym.envs.tokens import ANSWER, ANSWER_END, STEP_END, THINK, THINK_END, shown_reply
from stepgym.envs.types import State, Step

NEXT_STEP = "Go on with the next step only."
OPTIONAL = (frozenset[str](), frozenset({"logprobs"}), frozenset({"n"}), frozenset({"logprobs", "n"}))
"""What is left out of a request, one after the other, while a server refuses it."""
BYTES_PER_TOKEN = 4
"""The guess where a server counts nothing."""


class ChatPolicy:
    """A served model that proposes steps; `endpoint` is `URL#MODEL`.

    `continuation` says how a model goes on from earlier steps: `"ask"` shows them as its own message and asks for
    the next one, which every server understands; `"prefill"` lets it write on in that message (vLLM, SGLang).
    `num_parameters` makes FLOPs known where the model's size is. Sampling is seeded per state as far as the server
    honours `seed`. `options` are laid over each request; `None` leaves a field out. A step that the server cut by
    length is kept as it is.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        seed: int = 0,
        temperature: float = 0.7,
        top_p: float = 0.95,
        max_new_tokens: int = 512,
        delimiters: Sequence[str] = ("\n\n",),
        system: str | None = prompts.SYSTEM,
        examples: Sequence[tuple[str, str]] = (),
        continuation: Literal["ask", "prefill"] = "ask",
        concurrency: int = 16,
        timeout_s: float = 120.0,
        max_retries: int = 4,
        backoff_s: float = 0.5,
        api_key: str | None = None,
        num_parameters: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        import openai

        url, model = parse_endpoint(endpoint)
        if concurrency < 1 or max_retries < 0 or timeout_s <= 0:
            raise ValueError(f"concurrency {concurrency!r} >= 1, max_retries {max_retries!r} >= 0, timeout_s {timeout_s!r} > 0")
        if continuation not in ("ask", "prefill"):
            raise ValueError(f"unknown continuation {continuation!r}; known: ask, prefill")
        # A local server wants no key, but the client insists on one.
        key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        client = openai.OpenAI(base_url=url, api_key=key, timeout=timeout_s, max_retries=0)
        self._client = ChatClient(client=client, model=model, max_retries=max_retries, backoff_s=backoff_s)
        self.seed, self.temperature, self.top_p = seed, temperature, top_p
        self.max_new_tokens, self.delimiters, self.system = max_new_tokens, tuple(delimiters), system
        self.continuation, self.concurrency, self.num_parameters = continuation, concurrency, num_parameters
        self.examples = tuple(examples)
        self.options = dict(options or {})
        self._refused: frozenset[str] = frozenset()

    def describe(self) -> dict[str, Any]:
        """Return what a record says of this policy."""
        return {
            "kind": "chat",
            "url": without_secrets(str(self._client.client.base_url)),
            "model": self._client.model,
            "seed": self.seed,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_new_tokens": self.max_new_tokens,
            "continuation": self.continuation,
            "system": self.system,
        }

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        """Return up to `counts[i]` steps for `states[i]`; raises `PolicyError` with the rest where a request failed."""
        jobs = list(zip(states, counts, strict=True))
        with ThreadPoolExecutor(max_workers=min(self.concurrency, max(1, len(jobs)))) as pool:
            results = list(pool.map(lambda job: self._serve(*job), jobs))
        failures = {i: result.failure for i, result in enumerate(results) if result.failure}
        steps = [result.steps for result in results]
        if failures:
            first = next(iter(failures.values()))
            raise PolicyError(f"{len(failures)} of {len(jobs)} states failed, the first: {first}", steps=steps, failures=failures)
        return steps

    def _serve(self, state: State, count: int) -> _Served:
        """Ask until `count` steps are there, or the server gives no more."""
        served = _Served()
        likeliest = state.draw is None or self.temperature == 0
        wanted = min(count, 1) if likeliest else count
        while len(served.steps) < wanted and not served.failure:
            missing = wanted - len(served.steps)
            size = 1 if "n" in self._refused else missing
            try:
                completion = self._ask(state, size, served.asked, likeliest=likeliest)
            except ChatError as error:
                served.failure = str(error)
                break
            served.asked += size
            steps = self._steps(completion)
            served.steps += steps[:missing]
            if not steps:
                served.failure = f"{self._client.where} returned {len(completion.choices)} empty completions"
        return served

    def _ask(self, state: State, size: int, asked: int, *, likeliest: bool) -> Completion:
        """Send one request; where the server refuses it, again without what not every server knows."""
        request: dict[str, Any] = {
            "temperature": 0.0 if likeliest else self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_new_tokens,
            "stop": [*self.delimiters, STEP_END, ANSWER_END][:4],
            "seed": proposal_seed(self.seed, state, asked) % 2**31,
            "logprobs": True,
            "n": size,
        } | self.options
        if self.continuation == "prefill" and state.steps:
            request["extra_body"] = {"continue_final_message": True, "add_generation_prompt": False}
        refusal: ChatError | None = None
        for left_out in OPTIONAL:
            if left_out >= self._refused and (size > 1 or "n" not in left_out - self._refused):
                sent = {name: value for name, value in request.items() if name not in left_out and value is not None}
                try:
                    completion = self._client.complete(self._messages(state), **sent)
                except ChatError as error:
                    if error.status not in (400, 422):
                        raise
                    refusal = refusal or error
                else:
                    # Learned only from what then worked: a prompt that is too long is refused with or without.
                    self._refused = left_out
                    return completion
        assert refusal is not None
        raise refusal

    def _messages(self, state: State) -> list[dict[str, str]]:
        messages = prompts.messages(state.prompt, system=self.system, examples=self.examples)
        if not state.steps:
            return messages
        pieces = []
        for step in state.steps:
            pieces.append(step.text)
            if step.reply:
                pieces.append(shown_reply(step.reply))
        before = "".join(piece + self.delimiters[0] for piece in pieces)
        messages.append({"role": "assistant", "content": before if self.continuation == "prefill" else before.rstrip()})
        if self.continuation == "ask":
            messages.append({"role": "user", "content": NEXT_STEP})
        return messages

    def _steps(self, completion: Completion) -> list[Step]:
        """Turn choices into steps; empty ones are left out, and their tokens charged to the first that is not."""
        texts = [_whole_text(choice) for choice in completion.choices]
        tokens = _shares(completion, texts)
        reasoning = _split(completion.reasoning_tokens, len(texts))
        kept = [i for i, text in enumerate(texts) if text.strip()]
        steps = []
        for i in kept:
            mine = [i] if i != kept[0] else [i, *(j for j in range(len(texts)) if j not in kept)]
            num_tokens = sum(tokens[j] for j in mine)
            steps.append(
                Step(
                    texts[i],
                    log_prob=completion.choices[i].log_prob,
                    num_tokens=num_tokens,
                    num_reasoning_tokens=min(num_tokens, sum(reasoning[j] for j in mine)),
                    num_prompt_tokens=(completion.prompt_tokens or 0) if i == kept[0] else 0,
                )
            )
        return steps


@dataclass(slots=True)
class _Served:
    """What one state got."""

    steps: list[Step] = field(default_factory=list)
    asked: int = 0
    failure: str = ""


class Endpoint(NamedTuple):
    """The two halves of `URL#MODEL`."""

    url: str
    model: str


def parse_endpoint(name: str) -> Endpoint:
    """Split `URL#MODEL`; raises `ValueError` where one is missing or the URL is none."""
    url, _, model = name.rpartition("#")
    if not url.startswith(("http://", "https://")) or not model:
        raise ValueError(f"chat policy {name!r} needs an http(s) URL and a model: chat:http://HOST:PORT/v1#MODEL")
    return Endpoint(url, model)


def _whole_text(choice: Choice) -> str:
    """Return a choice as one text: reasoning told apart by its tags, an answer closed that the stop word opened."""
    text = choice.text
    if choice.finish_reason == "stop" and text.count(ANSWER) > text.count(ANSWER_END):
        text += ANSWER_END
    return f"{THINK}{choice.reasoning}{THINK_END}{text}" if choice.reasoning else text


def _shares(completion: Completion, texts: list[str]) -> list[int]:
    """Return the new tokens of each choice: the server's own count of each, or of all, or a guess by length."""
    counted = [choice.num_tokens for choice in completion.choices]
    if completion.completion_tokens is not None:
        if len(texts) == 1:
            return [completion.completion_tokens]
        known = [count for count in counted if count is not None]
        # Log-probabilities leave internal reasoning out, so that they are believed only where they add up.
        if len(known) == len(texts) and sum(known) == completion.completion_tokens:
            return known
        return _split(completion.completion_tokens, len(texts))
    return [count or -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN) for count, text in zip(counted, texts)]


def _split(total: int, parts: int) -> list[int]:
    return [total // parts + (i < total % parts) for i in range(parts)]
