"""Paths as conversations: who said what, and which messages the policy wrote.

A search's path is one conversation: the prompt, stretches of steps, the environment's replies between them. For an agent
that drives itself the recorded model calls are the conversations, because they hold what the model read and wrote; the
texts of its steps may be its program's. What is not the policy's own (prompts, replies, tool results, examples that the
agent's prompt quotes) is never learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from stepgym.agents.types import EpisodeRecord
from stepgym.envs.tokens import THINK, THINK_END, shown_reply
from stepgym.records.rows.options import RowOptions, first_messages
from stepgym.records.rows.stretches import assistant, own_words, stretches
from stepgym.records.tree import path_to

Message = dict[str, Any]
_KEPT = ("tool_calls", "tool_call_id", "name")
_REASONING = ("reasoning_content", "reasoning")
"""Where servers put internal reasoning apart from the content."""


class Conversation(NamedTuple):
    """A conversation that ends with a message of the policy."""

    messages: list[Message]
    own: tuple[int, ...]
    """The indices of the policy's messages, to be learned."""
    nodes: tuple[int, ...]
    """For each of them the node of the tree at which it ended."""
    tools: list[Any]
    """The tools that the model was offered, in OpenAI's form."""


def conversations(record: EpisodeRecord, end: int, options: RowOptions) -> Iterator[Conversation]:
    """Yield the conversations on the path to `end`; one, unless an agent held several."""
    path = path_to(record, end)
    if record.calls:
        yield from _recorded(record, path)
        return
    messages: list[Message] = [*first_messages(record, options)]
    own: list[int] = []
    parts = stretches(record, path)
    for number, part in enumerate(parts, start=1):
        own.append(len(messages))
        messages.append(assistant(own_words(record, part, options)))
        if number < len(parts):
            messages.append({"role": "user", "content": shown_reply(record.nodes[part[-1]].reply)})
    if own:
        yield Conversation(messages, tuple(own), tuple(part[-1] for part in parts), [])


def _recorded(record: EpisodeRecord, path: Sequence[int]) -> Iterator[Conversation]:
    """Yield the conversations of an agent's calls, each up to its last call.

    A call counts if all answers below the node where it was made have the verdict of this path's end: forks share
    their calls, and a call that led to an incorrect answer too proves nothing.
    """
    usable = {node for node in path if is_unanimous(record, node, path[-1])}
    calls = [
        found for call in record.calls if call.get("node") in usable if (found := _whole(call))
    ]
    for number, (messages, tools) in enumerate(calls):
        size = len(messages)
        if any(later[:size] == messages for later, _ in calls[number + 1 :]):
            continue  # the conversation went on
        own = sorted({len(each) - 1 for each, _ in calls if each == messages[: len(each)]})
        yield Conversation(messages, tuple(own), (path[-1],) * len(own), tools)


def is_unanimous(record: EpisodeRecord, node: int, end: int) -> bool:
    """Return whether all answers and outcomes below a node have the verdict of the node `end`."""
    wanted = record.nodes[end].verdict
    return all(
        other.verdict == wanted
        for number, other in enumerate(record.nodes)
        if (other.answer is not None or other.outcome is not None)
        and node in path_to(record, number)
    )


def _whole(call: Mapping[str, Any]) -> tuple[list[Message], list[Any]] | None:
    """Return a call's messages with the answer, and its tools; `None` if it failed or has several answers."""
    choices = call.get("response", {}).get("choices") or []
    asked = call.get("request", {}).get("messages")
    if call.get("status") != 200 or len(choices) != 1 or not isinstance(asked, list):
        return None
    found = [_plain(message) for message in (*asked, choices[0].get("message"))]
    if None in found:
        return None
    return [m for m in found if m is not None], list(call["request"].get("tools") or [])


def _plain(message: Any) -> Message | None:
    """Return a message with the fields that trainers read; internal reasoning is in its content."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        return None
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(
            str(part.get("text") or "") for part in content if isinstance(part, Mapping)
        )
    for name in _REASONING:
        if hidden := message.get(name):
            content = f"{THINK}{hidden}{THINK_END}{content or ''}"
            break
    kept = {name: message[name] for name in _KEPT if message.get(name)}
    return {"role": message["role"], "content": content, **kept}
