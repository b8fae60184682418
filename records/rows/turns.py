"""The policy's turns on a path, each with what it read before: the rows of text that trainers take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from stepgym.agents.types import EpisodeRecord
from stepgym.records.rows.conversations import Message, conversations
from stepgym.records.rows.options import RowOptions
from stepgym.records.rows.stretches import own_words, plain_before, stretches
from stepgym.records.tree import path_to
from stepgym.records.types import TextLayout


class Turn(NamedTuple):
    """One turn of the policy, in the text layout asked for."""

    prompt: list[Message] | str
    completion: list[Message] | str
    node: int
    """The node at which the turn ended."""
    stretch: list[int]
    """The nodes of its steps; empty in layout chat."""
    tools: str
    """The tools that the model was offered, as JSON; empty if there were none."""


def turns(record: EpisodeRecord, end: int, options: RowOptions) -> Iterator[Turn]:
    """Yield the turns on the path to `end`, first to last.

    An agent's recorded calls have no layout plain: their text before the answer is the server's.
    """
    if options.layout is TextLayout.CHAT:
        for conversation in conversations(record, end, options):
            messages, tools = conversation.messages, conversation.tools
            for at, node in zip(conversation.own, conversation.nodes):
                shown = json.dumps(tools) if tools else ""
                if not (messages[at]["content"] or messages[at].get("tool_calls")):
                    continue
                yield Turn(messages[:at], [messages[at]], node, [], shown)
    elif not record.calls:
        parts = stretches(record, path_to(record, end))
        for number, part in enumerate(parts):
            earlier = [node for stretch in parts[:number] for node in stretch]
            words = own_words(record, part, options)
            if words:
                before = plain_before(record, earlier, options)
                yield Turn(before, words, part[-1], part, "")


def with_tools(row: dict[str, Any], turn: Turn) -> dict[str, Any]:
    """Return the row, with the column `tools` if there were any."""
    return {**row, "tools": turn.tools} if turn.tools else row
