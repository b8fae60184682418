"""Any OpenAI-compatible chat endpoint as a policy: `chat:http://localhost:8000/v1#MODEL`.

Requests run in parallel threads, at most `concurrency` at once over all calls, so that several searches may share one
policy. What the server does not give in spite of retries is missing from the result, and named in the `PolicyError`
that carries the rest. A server that is gone stops the run (`RunStopped`).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import chain, islice
from typing import Any, Literal, NamedTuple

from stepgym.agents.daemon_pool import DaemonPool
from stepgym.agents.policies import prompts
from stepgym.agents.policies.chat_client import ChatClient, ChatError, Completion
from stepgym.agents.policies.chat_fields import FieldFilter
from stepgym.agents.policies.chat_steps import read_steps, token_shares, was_cut_in_thought
from stepgym.agents.policies.continuation import Continuation, Continuations, PartialStep
from stepgym.agents.policies.upstream import Cause, Upstream, UpstreamError
from stepgym.agents.randomness import derive_seed, proposal_seed
from stepgym.agents.spending import make_spending
from stepgym.agents.types import PolicyError
from stepgym.envs.tokens import ANSWER_END, STEP_END, shown_reply
from stepgym.envs.types import State, Step

NO_PREFILL = (
    "continuation='ask' cannot continue a step whose beginning is given; set continuation='prefill', which vLLM, SGLang "
    "and llama.cpp serve (continue_final_message)"
)
NEXT_STEP = "Go on with the next step only."
MAX_STOPS = 4
"""The number of stop words that every server accepts; the policy itself cuts a text at the others."""


class ChatPolicy:
    """A served model that proposes steps; `endpoint` is `URL#MODEL`.

    `continuation` says how the model continues earlier steps: `"ask"` shows them as its own message and asks for the
    next one, which every server understands; `"prefill"` lets it continue that message (vLLM, SGLang, llama.cpp),
    which budget forcing needs. `return_token_ids` asks the server for token ids (vLLM, SGLang), which records then
    keep. `num_parameters`, the model's size, makes FLOPs known. Sampling is seeded per state if the server honours
    `seed`. `options` override fields of each request; `None` leaves a field out. `price` is what a million input and
    output tokens cost in US dollars; no request is sent that could pass `budget_usd`.

    Fields that the server refuses are left out from then on, with a warning. Children are requested in parallel if it
    gives one choice a request. A text that it did not stop at a delimiter is cut here. A step cut by length is kept as
    it is.
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
        system: str | None = prompts.AUTO,
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
        price: Sequence[float] | None = None,
        budget_usd: float | None = None,
    ) -> None:
        url, model = parse_endpoint(endpoint)
        if concurrency < 1 or max_retries < 0 or timeout_s <= 0:
            raise ValueError(
                f"concurrency {concurrency!r} >= 1, max_retries {max_retries!r} >= 0, timeout_s {timeout_s!r} > 0"
            )
        if continuation not in ("ask", "prefill"):
            raise ValueError(f"unknown continuation {continuation!r}; known: ask, prefill")
        key = api_key or os.environ.get("OPENAI_API_KEY") or "none"  # a local server wants none
        self.spending = make_spending(price, budget_usd)
        self.client = ChatClient(
            Upstream(url, api_key=key, timeout_s=timeout_s),
            model,
            max_retries=max_retries,
            backoff_s=backoff_s,
            spending=self.spending,
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
        self._pool = DaemonPool(concurrency)
        weakref.finalize(self.client, self._pool.close)  # copies of the policy share both
        self.fields = FieldFilter(self.client)
        self._max_choices: int | None = None
        """How many choices the server gives to one request; `None` is as many as are asked for, so far."""
        self._thinks = False
        """The server's stop words have cut a thought."""

    def describe(self) -> dict[str, Any]:
        """Return the policy's settings, as records keep them."""
        return {
            "kind": "chat",
            "url": self.client.where,
            "model": self.client.model,
            "seed": self.seed,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_new_tokens": self.max_new_tokens,
            "continuation": self.continuation,
            "system": self.system,
            "price": None if self.spending is None else list(self.spending.price),
            "tokenizer": {"name": self.client.model, "hash": ""},
        }

    @property
    def model(self) -> str:
        """The served model's name."""
        return self.client.model

    @property
    def served(self) -> tuple[str, ...]:
        """Names that the server gave for its model so far; see `NamesServedModels`."""
        return self.client.upstream.served

    @property
    def num_retries(self) -> int:
        """How many requests were sent again after an error."""
        return self.client.num_retries

    def complete_chat(
        self, request: Mapping[str, Any], *, charge: Callable[[float], None]
    ) -> Mapping[str, Any]:
        """Pass a chat-completion request on to the server, for agents that drive themselves.

        Only the model's name is set, and tokens are asked for if `return_token_ids` is on. It is tried again as the
        requests of searches are, and `charge` is called with the US dollars of each try. Raises `BackendError` if this
        request gets no response, and `RunStopped` if no request does.
        """
        body = self._passed_on(request, stream=False)
        body.pop("stream_options", None)

        def send() -> Mapping[str, Any]:
            with self.client.charged(body, charge) as bill:
                response = self.client.upstream.complete(body)
                if not isinstance(response, Mapping):
                    raise UpstreamError(502, f"no chat completion: {response!r:.200}", Cause.REPLY)
                bill.read_usage(response)
            return response

        return self.client.retried(send)

    def stream_chat(
        self, request: Mapping[str, Any], *, charge: Callable[[float], None]
    ) -> Iterator[Mapping[str, Any]]:
        """Do the same with a stream; yields its chunks, with the usage in the last one.

        A stream is not tried again once it has begun.
        """
        body = self._passed_on(request, stream=True)
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}

        def chunks() -> Iterator[Mapping[str, Any]]:
            with self.client.charged(body, charge) as bill:
                for chunk in self.client.upstream.stream(body):
                    if isinstance(chunk, Mapping):
                        bill.read_usage(chunk)
                        yield chunk

        def begun() -> Iterator[Mapping[str, Any]]:
            stream = chunks()
            first = list(islice(stream, 1))
            return chain(first, stream)

        yield from self.client.retried(begun)

    def _passed_on(self, request: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
        tokens = {"return_token_ids": True, "logprobs": True} if self.return_token_ids else {}
        return {**tokens, **request, "model": self.model, "stream": stream}

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        """Return up to `counts[i]` steps for `states[i]`.

        Raises `PolicyError`, with the steps that arrived, if a request failed, and `RunStopped` if the server is
        gone.
        """
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
        """Continue partial steps; see `StepContinuer`.

        Raises `ValueError` unless `continuation` is `"prefill"`.

        `Stop.END` is given only if the server tells the end of the sequence from a stop word.
        """
        if self.continuation != "prefill" and any(partial.texts for partial in partials):
            raise ValueError(NO_PREFILL)
        asked = [_Asked(partial, is_greedy=self.temperature == 0) for partial in partials]
        while waiting := [
            (one, self._pool.submit(self._ask, one, start, size))
            for one in asked
            for start, size in one.next_requests(self._max_choices)
        ]:
            try:
                for one, future in waiting:
                    one.take(future)
            finally:  # a run that was stopped sends none of the others
                for _, future in waiting:
                    future.cancel()
        failures = {i: one.failure for i, one in enumerate(asked) if one.failure}
        return Continuations([one.written() for one in asked], failures)

    def _ask(self, one: _Asked, start: int, size: int) -> _Reply:
        """Send one request for the children `start` to `start + size`."""
        partial = one.partial
        messages = self._messages(partial.state, partial.texts)
        request = self._request(partial, start, size, is_likeliest=one.is_likeliest)
        lost = None
        has_delimiters = not self._thinks
        if has_delimiters:
            stops = self._stops(partial, self.delimiters)
            completion = self.fields.complete(messages, {**request, "stop": stops})
            if not partial.texts and any(map(was_cut_in_thought, completion.choices)):
                # A thought is not cut at its paragraphs: ask again without delimiters, from now on.
                lost, has_delimiters, self._thinks = completion, False, True
        if not has_delimiters:
            stops = self._stops(partial, ())
            completion = self.fields.complete(messages, {**request, "stop": stops})
        if lost is not None:
            completion = completion.with_costs_of(lost)
        if len(completion.choices) < size:
            self._max_choices = len(completion.choices)
        has_stops = has_delimiters and "stop" not in self.fields.left_out
        written = read_steps(completion, partial, delimiters=self.delimiters, has_stops=has_stops)
        return _Reply(written, size, completion)

    def _request(
        self, partial: PartialStep, start: int, size: int, *, is_likeliest: bool
    ) -> dict[str, Any]:
        """Return the fields of one request, without its stop words."""
        state, texts = partial.state, partial.texts
        seed = proposal_seed(self.seed, state, start)
        request: dict[str, Any] = {
            "temperature": 0.0 if is_likeliest else self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_new_tokens,
            "seed": (derive_seed(seed, *texts) if texts else seed) % 2**31,
            "logprobs": True,
            "n": size if size > 1 else None,
        } | self.options
        if partial.max_new_tokens is not None:
            request["max_tokens"] = partial.max_new_tokens
        if self.return_token_ids:
            request["return_token_ids"] = True
        if self.continuation == "prefill" and (state.steps or texts):
            request |= {"continue_final_message": True, "add_generation_prompt": False}
        return request | (request.pop("extra_body", None) or {})

    def _stops(self, partial: PartialStep, delimiters: Sequence[str]) -> list[str] | None:
        """Return the stop words of a request, unless `options` set them."""
        if "stop" in self.options:
            given: list[str] | None = self.options["stop"]
            return given
        own = (*partial.stops, STEP_END)
        return list((own if partial.stops else (*delimiters, STEP_END, ANSWER_END))[:MAX_STOPS])

    def _messages(self, state: State, texts: Sequence[str]) -> list[dict[str, str]]:
        system = prompts.system_text(self.system, state.system)
        messages = prompts.messages(state.prompt, system=system, examples=self.examples)
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


class _Reply(NamedTuple):
    """What one request brought."""

    written: list[Continuation]
    size: int
    """How many choices were asked for."""
    completion: Completion


class _Asked:
    """One state's children: what has been asked for, and what came."""

    def __init__(self, partial: PartialStep, *, is_greedy: bool) -> None:
        self.partial = partial
        self.is_likeliest = partial.state.draw is None or is_greedy
        self.failure = ""
        self._wanted = min(partial.num_children, 1) if self.is_likeliest else partial.num_children
        self._written: list[Continuation] = []
        self._lost: list[Completion] = []
        """Completions without a usable step."""
        self._num_asked = 0
        self._num_requests = 0
        self._had_before = -1

    def next_requests(self, max_choices: int | None) -> list[tuple[int, int]]:
        """Return the first child and the number of children of each request for the children that are missing.

        The number of a request's first child is part of its seed, so that children are the same however the requests
        are divided.
        """
        missing = self._wanted - len(self._written)
        if missing > 0 and len(self._written) == self._had_before and not self.failure:
            self.failure = f"the server returned {len(self._lost[-1].choices)} empty completions"
        if self.failure or missing <= 0:
            return []
        self._had_before = len(self._written)
        most = min(missing, max_choices or missing)
        starts = range(self._num_asked, self._num_asked + missing, most)
        self._num_asked += missing
        self._num_requests = len(starts)
        return [(start, min(most, starts.stop - start)) for start in starts]

    def take(self, future: Future[_Reply]) -> None:
        """Add what a request brought. Raises `RunStopped`."""
        try:
            reply = future.result()
        except ChatError as error:
            self.failure = self.failure or str(error)
            return
        if (
            self._num_requests == 1
        ):  # the children that one request did not give are asked for by their own numbers
            self._num_asked -= max(0, reply.size - len(reply.completion.choices))
        if not reply.written:
            self._lost.append(reply.completion)
        self._written += reply.written[: self._wanted - len(self._written)]

    def written(self) -> list[Continuation]:
        """Return what was written; the first one is charged for completions without a usable step."""
        if not self._written or not self._lost:
            return self._written
        step = self._written[0].step
        step = replace(
            step,
            num_tokens=step.num_tokens + sum(sum(token_shares(lost)) for lost in self._lost),
            num_prompt_tokens=step.num_prompt_tokens
            + sum(lost.prompt_tokens or 0 for lost in self._lost),
            usd=step.usd + sum(lost.usd for lost in self._lost),
        )
        return [self._written[0]._replace(step=step), *self._written[1:]]


class Endpoint(NamedTuple):
    """The two halves of `URL#MODEL`."""

    url: str
    """Base URL of the server, usually with `/v1` at its end."""
    model: str
    """The model's name, as the server knows it."""


def parse_endpoint(name: str) -> Endpoint:
    """Split `URL#MODEL`; raises `ValueError` if a half is missing or the URL is invalid."""
    url, _, model = name.rpartition("#")
    if not url.startswith(("http://", "https://")) or not model:
        raise ValueError(
            f"{name!r} needs an http(s) URL and a model: chat:http://HOST:PORT/v1#MODEL"
        )
    return Endpoint(url, model)
