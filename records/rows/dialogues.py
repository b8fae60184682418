"""Verified paths as whole dialogues: OpenAI's fine-tuning files and ShareGPT."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from stepgym.agents.types import EpisodeRecord
from stepgym.records.rows import preference
from stepgym.records.rows.conversations import Conversation, Message, conversations
from stepgym.records.rows.options import MESSAGES, Columns, Row, RowOptions
from stepgym.records.rows.sft import verified_ends

OPENAI_COLUMNS: Columns = {"messages": MESSAGES}
OPENAI_IDENTITY = ("messages",)
OPENAI_PREFERENCE_COLUMNS: Columns = {
    "input": {"messages": MESSAGES},
    "preferred_output": MESSAGES,
    "non_preferred_output": MESSAGES,
}
OPENAI_PREFERENCE_IDENTITY = ("input", "preferred_output", "non_preferred_output")
SHAREGPT_COLUMNS: Columns = {"conversations": [{"from": "text", "value": "text"}], "tools": "text"}
SHAREGPT_IDENTITY = ("conversations",)
_SPEAKERS = {"system": "system", "developer": "system", "user": "human", "tool": "observation"}


def openai_rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield one dialogue per verified path; a message of the assistant that is not the policy's has weight 0."""
    for end in verified_ends(record):
        for conversation in conversations(record, end, options):
            row: Row = {
                "messages": [
                    message | {"weight": 0}
                    if message["role"] == "assistant" and at not in conversation.own
                    else message
                    for at, message in enumerate(conversation.messages)
                ]
            }
            if conversation.tools:
                row["tools"] = conversation.tools
            yield row


def openai_preference_rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield the preferences in the form of OpenAI's preference fine-tuning."""
    for row in preference.rows(record, options):
        yield {
            "input": {"messages": row["prompt"]},
            "preferred_output": row["chosen"],
            "non_preferred_output": row["rejected"],
        }


def sharegpt_rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield one dialogue per verified path, in which human and model alternate.

    Its readers learn every turn of the model. Dialogues with a turn that is not the policy's are left out, and those
    with text or reasoning beside a tool call, for which the form has no place.
    """
    for end in verified_ends(record):
        for conversation in conversations(record, end, options):
            said = _alternating(conversation)
            if said is not None:
                tools = json.dumps(conversation.tools) if conversation.tools else ""
                yield {"conversations": said, "tools": tools}


def _alternating(conversation: Conversation) -> list[dict[str, str]] | None:
    roles = [message["role"] for message in conversation.messages]
    if [at for at, role in enumerate(roles) if role == "assistant"] != list(conversation.own):
        return None
    said: list[dict[str, str]] = []
    for is_own, group in groupby(
        conversation.messages, key=lambda each: each["role"] == "assistant"
    ):
        messages = list(group)
        if is_own:
            written = _written(messages[0]) if len(messages) == 1 else None
            if written is None:
                return None
            said.append(written)
            continue
        for role, part in groupby(messages, key=lambda each: _SPEAKERS.get(each["role"], "human")):
            texts = [str(message["content"] or "") for message in part]
            if role == "system" and said:
                return None
            said.append({"from": role, "value": "\n".join(texts)})
    turns = [each["from"] in ("gpt", "function_call") for each in said if each["from"] != "system"]
    return said if turns == [False, True] * (len(turns) // 2) else None


def _written(message: Message) -> dict[str, str] | None:
    calls: list[dict[str, Any]] = message.get("tool_calls") or []
    text = message["content"] or ""
    if not calls:
        return {"from": "gpt", "value": text}
    if text:
        return (
            None  # whether a message may have both text and a call depends on the reader's template
        )
    named = [each.get("function") or {} for each in calls]
    try:
        plain = [
            {"name": each["name"], "arguments": json.loads(each.get("arguments") or "{}")}
            for each in named
        ]
    except (KeyError, ValueError):
        return None  # the model wrote a broken call
    return {"from": "function_call", "value": json.dumps(plain)}
