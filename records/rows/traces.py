"""Episodes as verifiers' traces (`traces.jsonl`, schema 1): a trace per finished path, its messages as a graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepgym.agents.types import EpisodeRecord
from stepgym.records.rollouts import STEP_REWARDS, ended_rollouts, reward_of
from stepgym.records.rows.conversations import Conversation, Message, conversations
from stepgym.records.rows.options import Row, RowOptions
from stepgym.records.tree import ends, path_to

VERSION = 1


def rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield one episode with a trace per decided path; messages of the policy are marked as sampled."""
    found = [
        (end, conversation)
        for verdict in STEP_REWARDS
        for end in ends(record, verdict)
        for conversation in conversations(record, end, options)
    ]
    if not found:
        return
    task = {
        "type": "StepgymTask",
        "key": record.problem_id,
        "data": {
            "id": record.problem_id,
            "prompt": record.prompt,
            "env_id": record.env_id,
            "env_options": dict(record.env_options),
            "index": record.index,
            "answer": record.reference,
        },
    }
    yield {
        "id": f"{record.problem_id}#{record.attempt}",
        "env": {"id": record.env_id},
        "task": task,
        "ok": True,
        "traces": [
            _trace(record, end, conversation, task, number)
            for number, (end, conversation) in enumerate(found)
        ],
    }


def _trace(
    record: EpisodeRecord, end: int, conversation: Conversation, task: dict[str, Any], number: int
) -> dict[str, Any]:
    tokens = _tokens(record, end, conversation)
    return {
        "version": VERSION,
        "id": f"{record.problem_id}#{record.attempt}/{number}",
        "verifiers": {"version": "0.4.0"},
        "task": task,
        "agent": {"config": {}, "name": "player"},
        "tools": [_tool(tool) for tool in conversation.tools],
        "nodes": [
            {
                "parent": at - 1 if at else None,
                "message": _message(message),
                "sampled": at in conversation.own,
                "timestamp": 0.0,
                **tokens.get(at, {}),
            }
            for at, message in enumerate(conversation.messages)
        ],
        "rewards": {"verdict": {"score": reward_of(record, end)}},
        "is_completed": True,
        "ok": True,
        "stop_condition": record.nodes[end].end,
        "timing": {"start": 0.0},
    }


def _tokens(
    record: EpisodeRecord, end: int, conversation: Conversation
) -> dict[int, dict[str, Any]]:
    """Return by message the recorded tokens that it adds to the sequence; none if they are not one sequence.

    The prompt's tokens are at the message before the policy's first, a reply's at the policy's next message.
    """
    rollouts = [] if record.calls else ended_rollouts(record, ends=[end])
    if len(rollouts) != 1 or rollouts[0][1].nodes != tuple(path_to(record, end)[1:]):
        return {}
    [(_, rollout)] = rollouts
    prompt = list(rollout.prompt_ids)
    found = {conversation.own[0] - 1: {"token_ids": prompt, "mask": [False] * len(prompt)}}
    begin = 0
    for at, node in zip(conversation.own, conversation.nodes):
        stop = rollout.step_ends[rollout.nodes.index(node)]
        mask = list(rollout.is_own[begin:stop])
        known = [x for x, own in zip(rollout.log_probs[begin:stop], mask) if own]
        found[at] = {
            "token_ids": list(rollout.ids[begin:stop]),
            "mask": mask,
            "logprobs": [] if None in known else known,
        }
        begin = stop
    return found


def _message(message: Message) -> dict[str, Any]:
    role, content = message["role"], message["content"]
    if role == "assistant":
        calls = [
            {"id": call.get("id") or "", **_function(call)}
            for call in message.get("tool_calls", ())
        ]
        return {"role": role, "content": content, **({"tool_calls": calls} if calls else {})}
    if role == "tool":
        called = message.get("tool_call_id") or ""
        return {"role": role, "tool_call_id": called, "content": content or ""}
    return {"role": "user" if role == "user" else "system", "content": content or ""}


def _function(call: dict[str, Any]) -> dict[str, str]:
    function = call.get("function") or {}
    return {"name": str(function.get("name")), "arguments": str(function.get("arguments") or "")}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function") or {}
    return {
        "name": str(function.get("name")),
        "description": str(function.get("description") or ""),
        "parameters": function.get("parameters") or {},
    }
