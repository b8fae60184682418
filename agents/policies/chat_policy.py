"""Any OpenAI-compatible chat endpoint as a policy: `chat:http://localhost:8000/v1#MODEL`.

Requests run side by side in threads, at most `concurrency` at once. What the server does not give in spite of
retries is missing from the result, and said in the `PolicyError` that carries the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from stepgym.agents.chat_backends import BackendError
from stepgym.agents.description import without_secrets
from stepgym.agents.policies import prompts
from stepgym.agents.policies.chat_client import ChatClient, ChatError, Choice, Completion
from stepgym.agents.policies.continuation import Continuation, Continuations, PartialStep, Stop
from stepgym.agents.policies.step_text import is_thinking
from stepgym.agents.policies.upstream import Upstream
from stepgym.agents.randomness import derive_seed, proposal_seed
from stepgym.agents.types import PolicyError
from stepgym.envs.tokens import ANSWER, ANSWER_END, STEP_END, THINK, THINK_END, shown_reply
from stepgym.envs.types import State, Step

NO_PREFILL = (
    "continuation='ask' cannot continue a step whose beginning is given; set continuation='prefill', which vLLM, SGLang "
    "and llama.cpp serve (continue_final_message)"
)
NEXT_STEP = "Go on with the next step only."
OPTIONAL = (
    frozenset[str](),
    frozenset({"logprobs"}),
    frozenset({"n"}),
    frozenset({"logprobs", "n"}),
)
"""What is left out of a request, one after the other, while a server refuses it."""
BYTES_PER_TOKEN = 4
"""The guess where a server counts nothing."""


class ChatPolicy:
    """A served model that proposes steps; `endpoint` is `URL#MODEL`.

    `continuation` says how the model continues earlier steps: `"ask"` shows them as its own message and asks for the
    next one, which every server understands; `"prefill"` lets it continue that message (vLLM, SGLang, llama.cpp),
    which budget forcing needs. `return_token_ids` asks the server for token ids (vLLM, SGLang), which records then
    keep. `num_parameters`, the model's size, makes FLOPs known. Sampling is seeded per state if the server honours
    `seed`. `options` override fields of each request; `None` leaves a field out. A step that the server cut by length
    is kept as it is.
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
        return_token_ids: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        import openai

        url, model = parse_endpoint(endpoint)
        if concurrency < 1 or max_retries < 0 or timeout_s <= 0:
            raise ValueError(
                f"concurrency {concurrency!r} >= 1, max_retries {max_retries!r} >= 0, timeout_s {timeout_s!r} > 0"
            )
        if continuation not in ("ask", "prefill"):
            raise ValueError(f"unknown continuation {continuation!r}; known: ask, prefill")
        # A local server wants no key, but the client insists on one.
        key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        client = openai.OpenAI(base_url=url, api_key=key, timeout=timeout_s, max_retries=0)
        self._upstream = Upstream(url, api_key=key, timeout_s=timeout_s)
        self._client = ChatClient(
            client=client, model=model, max_retries=max_retries, backoff_s=backoff_s
        )
        self.seed, self.temperature, self.top_p = seed, temperature, top_p
        self.max_new_tokens, self.delimiters, self.system = (
            max_new_tokens,
            tuple(delimiters),
            system,
        )
        self.continuation, self.concurrency, self.num_parameters = (
            continuation,
            concurrency,
            num_parameters,
        )
        self.examples = tuple(examples)
        self.return_token_ids = return_token_ids
        self.options = dict(options or {})
        self._refused: frozenset[str] = frozenset()

    def describe(self) -> dict[str, Any]:
        """Return the policy's settings, as records keep them."""
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
            "tokenizer": {"name": self._client.model, "hash": ""},
        }

    @property
    def model(self) -> str:
        """The served model's name."""
        return self._client.model

    def complete_chat(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Pass a chat-completion request on to the server, for agents that drive themselves.

        Only the model's name is set, and tokens are asked for if `return_token_ids` is on. Raises `BackendError`.
        """
        body = self._passed_on(request, stream=False)
        body.pop("stream_options", None)
        response = self._upstream.complete(body)
        if not isinstance(response, Mapping):
            raise BackendError(502, f"no chat completion: {response!r:.200}", kind="upstream_error")
        return response

    def stream_chat(self, request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Do the same with a stream; yields its chunks, with the usage in the last one."""
        body = self._passed_on(request, stream=True)
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return (chunk for chunk in self._upstream.stream(body) if isinstance(chunk, Mapping))

    def _passed_on(self, request: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
        tokens = {"return_token_ids": True, "logprobs": True} if self.return_token_ids else {}
        return {**tokens, **request, "model": self.model, "stream": stream}

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        """Return up to `counts[i]` steps for `states[i]`; raises `PolicyError` with the rest where a request failed."""
        partials = [
            PartialStep(state, num_children=count)
            for state, count in zip(states, counts, strict=True)
        ]
        written, failures = self.continue_steps(partials)
        steps = [[one.step for one in each] for each in written]
        if failures:
            first = next(iter(failures.values()))
            raise PolicyError(
                f"{len(failures)} of {len(steps)} states failed, the first: {first}",
                steps=steps,
                failures=failures,
            )
        return steps

    def continue_steps(self, partials: Sequence[PartialStep]) -> Continuations:
        """Continue partial steps, see `StepContinuer`; raises `ValueError` unless `continuation` is `"prefill"`.

        Servers do not say whether a stop word or the end of the sequence ended a text: `Stop.END` is never given.
        """
        if self.continuation != "prefill" and any(partial.texts for partial in partials):
            raise ValueError(NO_PREFILL)
        with ThreadPoolExecutor(max_workers=min(self.concurrency, max(1, len(partials)))) as pool:
            results = list(pool.map(self._serve, partials))
        failures = {i: result.failure for i, result in enumerate(results) if result.failure}
        return Continuations([result.written for result in results], failures)

    def _serve(self, partial: PartialStep) -> _Served:
        """Ask until all children are there, or the server gives no more."""
        served = _Served()
        likeliest = partial.state.draw is None or self.temperature == 0
        wanted = min(partial.num_children, 1) if likeliest else partial.num_children
        while len(served.written) < wanted and not served.failure:
            missing = wanted - len(served.written)
            size = 1 if "n" in self._refused else missing
            try:
                completion = self._ask(partial, size, served.asked, likeliest=likeliest)
            except ChatError as error:
                served.failure = str(error)
                break
            served.asked += size
            written = self._written(completion, partial)
            served.written += written[:missing]
            if not written:
                served.failure = (
                    f"{self._client.where} returned {len(completion.choices)} empty completions"
                )
        return served

    def _ask(self, partial: PartialStep, size: int, asked: int, *, likeliest: bool) -> Completion:
        """Send one request; if the server refuses it, send it again without the optional fields."""
        state, texts = partial.state, partial.texts
        seed = proposal_seed(self.seed, state, asked)
        request: dict[str, Any] = {
            "temperature": 0.0 if likeliest else self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_new_tokens,
            "stop": [*self.delimiters, STEP_END, ANSWER_END][:4],
            "seed": (derive_seed(seed, *texts) if texts else seed) % 2**31,
            "logprobs": True,
            "n": size,
        } | self.options
        if partial.max_new_tokens is not None:
            request["max_tokens"] = partial.max_new_tokens
        if partial.stops:
            request["stop"] = [*partial.stops, STEP_END][:4]
        extra: dict[str, Any] = {"return_token_ids": True} if self.return_token_ids else {}
        if self.continuation == "prefill" and (state.steps or texts):
            extra |= {"continue_final_message": True, "add_generation_prompt": False}
        if extra:
            request["extra_body"] = extra | request.get("extra_body", {})
        refusal: ChatError | None = None
        for left_out in OPTIONAL:
            if left_out >= self._refused and (size > 1 or "n" not in left_out - self._refused):
                sent = {
                    name: value
                    for name, value in request.items()
                    if name not in left_out and value is not None
                }
                try:
                    completion = self._client.complete(self._messages(state, texts), **sent)
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

    def _messages(self, state: State, texts: Sequence[str]) -> list[dict[str, str]]:
        messages = prompts.messages(state.prompt, system=self.system, examples=self.examples)
        pieces = []
        for step in state.steps:
            pieces.append(step.text)
            if step.reply:
                pieces.append(shown_reply(step.reply))
        before = "".join(piece + self.delimiters[0] for piece in pieces)
        if self.continuation == "prefill":
            content = before + "".join(texts)
            return [*messages, {"role": "assistant", "content": content}] if content else messages
        if before:
            messages.append({"role": "assistant", "content": before.rstrip()})
            messages.append({"role": "user", "content": NEXT_STEP})
        return messages

    def _written(self, completion: Completion, partial: PartialStep) -> list[Continuation]:
        """Turn choices into what was written. Empty steps are left out, and their tokens charged to the first that is
        not; where a step was begun for the model, it may have nothing to add."""
        thinking = is_thinking("".join(partial.texts))
        texts = [
            _whole_text(choice, partial.stops, thinking=thinking) for choice in completion.choices
        ]
        tokens = _shares(completion, texts)
        reasoning = tokens if thinking else _split(completion.reasoning_tokens, len(texts))
        kept = [i for i, text in enumerate(texts) if partial.texts or text.strip()]
        written = []
        for i in kept:
            choice = completion.choices[i]
            mine = [i] if i != kept[0] else [i, *(j for j in range(len(texts)) if j not in kept)]
            num_tokens = sum(tokens[j] for j in mine)
            step = Step(
                texts[i],
                log_prob=choice.log_prob,
                num_tokens=num_tokens,
                num_reasoning_tokens=min(num_tokens, sum(reasoning[j] for j in mine)),
                num_prompt_tokens=(completion.prompt_tokens or 0) if i == kept[0] else 0,
                token_ids=choice.token_ids if completion.prompt_ids else None,
                token_log_probs=choice.token_log_probs if completion.prompt_ids else None,
                context_ids=completion.prompt_ids if choice.token_ids else None,
            )
            stop = Stop.STOPPED if partial.stops else Stop.DELIMITER
            written.append(
                Continuation(step, Stop.LENGTH if choice.finish_reason == "length" else stop)
            )
        return written


@dataclass(slots=True)
class _Served:
    """What one state got."""

    written: list[Continuation] = field(default_factory=list)
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
        raise ValueError(
            f"chat policy {name!r} needs an http(s) URL and a model: chat:http://HOST:PORT/v1#MODEL"
        )
    return Endpoint(url, model)


def _whole_text(choice: Choice, stops: Sequence[str] = (), *, thinking: bool = False) -> str:
    """Return a choice as one text: reasoning told apart by its tags, an answer closed that the stop word opened.

    A thought that goes on may come back as either, has no tags, and ends at a stop, also where a server forgets it.
    """
    text = choice.text
    if thinking:
        text = choice.reasoning + text
        for stop in stops:
            text = text.partition(stop)[0]
        return text
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
        # Some servers omit internal reasoning from the log-probabilities: use them only if the texts add up.
        if len(known) == len(texts) and sum(known) == completion.completion_tokens:
            return known
        return _split(completion.completion_tokens, len(texts))
    return [
        count or -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)
        for count, text in zip(counted, texts)
    ]


def _split(total: int, parts: int) -> list[int]:
    return [total // parts + (i < total % parts) for i in range(parts)]
