"""What answers an episode's model calls: a policy in this process, or an OpenAI-compatible server.

A policy sees a conversation as a state: the first user message is the prompt, each assistant message a step, and what
comes between two assistant messages (tool results, further user messages) the reply to the first. A policy that needs
the environment's data (`State.public`) gets that of the episode. A repeated request gets new samples; temperature 0
asks for the likeliest step. All other options but `n` are the policy's own.

A policy that takes tools (`TakesTools`) is shown them, and the tool calls in its text are read. For any other policy a
request with `tools` is an error. `tool_choice` is not enforced; `none` leaves the tools out.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from stepgym.agents import boundary
from stepgym.agents.call_merging import CallMerger
from stepgym.agents.costs import num_parameters
from stepgym.agents.policies.step_text import reasoning_of, reasoning_share
from stepgym.agents.policies.tool_calls import TakesTools, ToolRequest, Turn, read_turn
from stepgym.agents.types import Policy
from stepgym.envs.types import State, Step
from stepgym.plugins.errors import UserError

MERGE_WINDOW_S = 0.001
MAX_CHOICES = 128


class BackendError(Exception):
    """A call that cannot be answered: the HTTP status and a message for the caller."""

    def __init__(self, status: int, message: str, *, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


class ChatBackend(Protocol):
    """What answers chat completions."""

    model: str
    num_parameters: int

    def complete(
        self,
        request: Mapping[str, Any],
        *,
        state: Callable[[], State],
        charge: Callable[[float], None],
    ) -> Mapping[str, Any]:
        """Return the body of a chat completion; `state` returns the episode so far.

        `charge` is called with the US dollars that the call cost, even if it failed. Raises `BackendError`, and
        `RunStopped` if no further call can succeed.
        """
        ...

    def close(self) -> None: ...


@runtime_checkable
class StreamsCompletions(Protocol):
    """A backend that sends a completion in chunks, as it is generated."""

    def stream(
        self, request: Mapping[str, Any], *, charge: Callable[[float], None]
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the chunks of a chat completion. Raises as `ChatBackend.complete`, before the first one."""
        ...


@runtime_checkable
class CompletesChats(Protocol):
    """A policy in front of a server: requests are passed on to it as they are."""

    @property
    def model(self) -> str: ...

    def complete_chat(
        self, request: Mapping[str, Any], *, charge: Callable[[float], None]
    ) -> Mapping[str, Any]:
        """Return the server's response to a chat-completion request; see `ChatBackend.complete`."""
        ...

    def stream_chat(
        self, request: Mapping[str, Any], *, charge: Callable[[float], None]
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the chunks of the server's response; see `StreamsCompletions`."""
        ...


class ServerBackend:
    """Passes requests on through a policy that is in front of a server."""

    def __init__(self, policy: CompletesChats) -> None:
        self._policy = policy
        self.model = policy.model
        self.num_parameters = num_parameters(policy)

    def complete(
        self,
        request: Mapping[str, Any],
        *,
        state: Callable[[], State],
        charge: Callable[[float], None],
    ) -> Mapping[str, Any]:
        response = self._policy.complete_chat(request, charge=charge)
        if not isinstance(response, Mapping) or not isinstance(response.get("choices"), list):
            raise BackendError(502, f"no chat completion: {response!r:.200}", kind="upstream_error")
        return response

    def stream(
        self, request: Mapping[str, Any], *, charge: Callable[[float], None]
    ) -> Iterator[Mapping[str, Any]]:
        return self._policy.stream_chat(request, charge=charge)

    def close(self) -> None:
        pass


class PolicyBackend:
    """Asks a policy for one step per choice. Concurrent calls become one batch."""

    model = "policy"

    def __init__(self, policy: Policy) -> None:
        self.num_parameters = num_parameters(policy)
        self._policy = policy
        self._lock = threading.Lock()
        self._queues: list[_Queue] = []

    def _queue(self, policy: Policy) -> _Queue:
        """Return the queue of a policy: this one, or the one that writes turns with tools."""
        with self._lock:
            for queue in self._queues:
                if queue.policy is policy:
                    return queue
            self._queues.append(_Queue(policy))
            return self._queues[-1]

    def complete(
        self,
        request: Mapping[str, Any],
        *,
        state: Callable[[], State],
        charge: Callable[[float], None],
    ) -> Mapping[str, Any]:
        count = request.get("n") or 1
        if not boundary.is_count(count) or not 1 <= count <= MAX_CHOICES:
            raise BackendError(400, f"n={count!r:.80}: a whole number from 1 to {MAX_CHOICES}")
        seen = conversation_state(request.get("messages"), state())
        policy, read = self._policy, None
        if names := _tool_names(request):
            offer = self._offer(request, seen)
            policy, seen = offer.policy, offer.state
            read = partial(read_turn, form=offer.form, names=names)
        steps, fault = self._queue(policy).ask(seen, count)
        charge(sum(step.usd for step in steps))
        if not steps:
            raise BackendError(502, fault or "the policy proposed nothing", kind="upstream_error")
        return completion(self.model, steps, read)

    def _offer(self, request: Mapping[str, Any], seen: State) -> ToolRequest:
        if not isinstance(self._policy, TakesTools):
            message = (
                f"the policy {type(self._policy).__name__} cannot be offered tools; leave `tools` out, or use a language "
                "model whose chat template has tools (hf:NAME), or a server (chat:URL#MODEL)"
            )
            raise BackendError(400, message)
        try:
            return self._policy.tool_request(request["messages"], request["tools"], seen)
        except UserError as error:
            raise BackendError(400, str(error)) from error

    def close(self) -> None:
        with self._lock:
            for queue in self._queues:
                queue.merge.close()


class _Queue:
    """Makes one batch of the calls that wait for a policy."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._lock = threading.Lock()
        self._in_flight = 0
        self.merge = CallMerger(self._propose, lambda: self._in_flight, window_s=MERGE_WINDOW_S)

    def ask(self, state: State, count: int) -> tuple[list[Step], str]:
        """Return the policy's steps, and what went wrong."""
        with self._lock:
            self._in_flight += 1
        try:
            ((steps, fault),) = self.merge([(state, count)])
        finally:
            with self._lock:
                self._in_flight -= 1
        return steps, fault

    def _propose(self, asked: list[Any]) -> list[tuple[list[Step], str]]:
        states, counts = [state for state, _ in asked], [count for _, count in asked]
        steps, faults = boundary.propose(
            self.policy, states, counts, owners=list(range(len(asked)))
        )
        return [(own, faults.get(at, "")) for at, own in enumerate(steps)]


def _tool_names(request: Mapping[str, Any]) -> list[str]:
    """Return the names of the tools that a request offers; none if it forbids their use."""
    tools = request.get("tools")
    if not tools or request.get("tool_choice") == "none":
        return []
    try:
        return [str(tool["function"]["name"]) for tool in tools]
    except (TypeError, KeyError, IndexError) as error:
        form = '[{"type": "function", "function": {"name": ..., "parameters": ...}}, ...]'
        raise BackendError(400, f"tools={tools!r:.200} should look like {form}") from error


def backend_of(policy: Policy) -> ChatBackend:
    """Return what serves a policy to agents."""
    if isinstance(policy, CompletesChats):
        return ServerBackend(policy)
    return PolicyBackend(policy)


def conversation_state(messages: object, state: State) -> State:
    """Return a conversation as a policy sees it. Raises `BackendError` if it is not a conversation."""
    if not isinstance(messages, list) or not messages:
        raise BackendError(400, "messages: a list of messages is needed")
    before: list[str] = []
    steps: list[Step] = []
    replies: list[list[str]] = []
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise BackendError(400, f"a message needs a role and content, not {message!r:.200}")
        text = message_text(message)
        if message["role"] == "assistant":
            steps.append(Step(text))
            replies.append([])
        elif replies:
            replies[-1].append(text)
        else:
            before.append(text)
    shown = [
        Step(step.text, reply="\n".join(reply)) for step, reply in zip(steps, replies, strict=True)
    ]
    return State("\n\n".join(before), tuple(shown), public=state.public, draw=state.draw)


def message_text(message: Mapping[str, Any]) -> str:
    """Return a message's text: its content, or the text parts of it, and its tool calls as JSON."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = [
        part if isinstance(part, str) else str(part.get("text") or "")
        for part in parts
        if isinstance(part, str | Mapping)
    ]
    calls = message.get("tool_calls")
    if isinstance(calls, Sequence) and calls:
        texts.append(json.dumps([call.get("function") for call in calls if call], default=str))
    return "\n".join(text for text in texts if text)


def num_reasoning_tokens(response: Mapping[str, Any]) -> int:
    """Return the reasoning tokens of a completion: the server's count, or a share of its tokens by length.

    Many servers count none, whether the thought is in a field of its own or in the content.
    """
    usage = response.get("usage") or {}
    new = _count(usage.get("completion_tokens"))
    counted = _count((usage.get("completion_tokens_details") or {}).get("reasoning_tokens"))
    if counted:
        return min(new, counted)
    shares = []
    for choice in response.get("choices") or ():
        message = choice.get("message") or {}
        thought, text = reasoning_of(message), message_text(message)
        inside = len(thought) + reasoning_share(text) * len(text)
        shares.append(inside / (len(thought) + len(text) or 1))
    return round(new * sum(shares) / len(shares)) if shares else 0


def _count(number: object) -> int:
    return int(number) if boundary.is_count(number) else 0  # type: ignore[call-overload]


def completion(
    model: str, steps: Sequence[Step], read: Callable[[str], Turn] | None = None
) -> dict[str, Any]:
    """Return the body of a chat completion with one choice per step; `read` finds the tool calls in a step's text."""
    choices = []
    for index, step in enumerate(steps):
        turn = Turn(step.text, []) if read is None else read(step.text)
        message: dict[str, Any] = {"role": "assistant", "content": turn.content}
        if turn.calls:
            message |= {"content": turn.content or None, "tool_calls": turn.calls}
        choice: dict[str, Any] = {
            "index": index,
            "message": message,
            "finish_reason": "tool_calls" if turn.calls else "stop",
        }
        if step.token_ids is not None:
            choice["token_ids"] = list(step.token_ids)
            choice["token_log_probs"] = list(step.token_log_probs or ())
        choices.append(choice)
    prompt, new = sum(s.num_prompt_tokens for s in steps), sum(s.num_tokens for s in steps)
    prompt_ids = steps[0].context_ids
    return {
        **({} if prompt_ids is None else {"prompt_token_ids": list(prompt_ids)}),
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": choices,
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": new,
            "total_tokens": prompt + new,
            "completion_tokens_details": {
                "reasoning_tokens": sum(s.num_reasoning_tokens for s in steps)
            },
        },
    }


def chunks_of(response: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a finished chat completion as the chunks of a stream, usage last."""
    head = {name: response.get(name) for name in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk"
    for choice in response.get("choices") or ():
        message = dict(choice.get("message") or {})
        if calls := message.get("tool_calls"):
            message["tool_calls"] = [{"index": at, **call} for at, call in enumerate(calls)]
        index = choice.get("index", 0)
        yield {**head, "choices": [{"index": index, "delta": message, "finish_reason": None}]}
        end = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason", "stop")}
        yield {**head, "choices": [end]}
    yield {**head, "choices": [], "usage": response.get("usage")}


def join_chunks(chunks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the chat completion that a stream's chunks make; without its usage, one token per chunk of text."""
    choices: dict[int, dict[str, Any]] = {}
    usage: Any = None
    num_texts = 0
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for part in chunk.get("choices") or ():
            index = part.get("index", 0)
            message: dict[str, Any] = {"role": "assistant", "content": None}
            choice = choices.setdefault(
                index, {"index": index, "message": message, "finish_reason": None}
            )
            delta = part.get("delta") or {}
            num_texts += bool(delta.get("content") or delta.get("tool_calls"))
            _join_delta(choice["message"], delta)
            if part.get("finish_reason"):
                choice["finish_reason"] = part["finish_reason"]
            if part.get("token_ids"):
                choice["token_ids"] = choice.get("token_ids", []) + list(part["token_ids"])
            if content := (part.get("logprobs") or {}).get("content"):
                before = choice.setdefault("logprobs", {"content": []})
                before["content"] = before["content"] + list(content)
    first: Mapping[str, Any] = chunks[0] if chunks else {}
    head = {name: first.get(name) for name in ("id", "created", "model")}
    for chunk in chunks:
        if chunk.get("prompt_token_ids"):
            head["prompt_token_ids"] = chunk["prompt_token_ids"]
    counted = {"prompt_tokens": 0, "completion_tokens": num_texts, "total_tokens": num_texts}
    return {
        **head,
        "object": "chat.completion",
        "choices": [choices[index] for index in sorted(choices)],
        "usage": usage or counted,
    }


def _join_delta(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Add a chunk's part of a message to what came before."""
    for name, value in delta.items():
        if name == "tool_calls":
            calls = message.setdefault("tool_calls", [])
            for part in value or ():
                at = part.get("index", len(calls))
                while len(calls) <= at:
                    calls.append({"id": None, "type": "function", "function": {}})
                call, function = calls[at], part.get("function") or {}
                call["id"] = part.get("id") or call["id"]
                for key in function:
                    call["function"][key] = call["function"].get(key, "") + (function[key] or "")
        elif isinstance(value, str) and name != "role":
            message[name] = (message.get(name) or "") + value
