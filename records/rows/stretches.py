"""The policy's own words on a path, in the text layouts: stretches of steps between replies of the environment.

A stretch is what a trainer of text may learn as a whole; the replies are part of the prompts of the later stretches.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from stepgym.agents.policies import prompts
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.tokens import parse, shown_reply
from stepgym.envs.types import SegmentKind
from stepgym.records.rows.options import RowOptions, first_messages
from stepgym.records.types import Span

Message = dict[str, str]


def stretches(record: EpisodeRecord, path: Sequence[int]) -> list[list[int]]:
    """Split a path's nodes (without the root) after each step that has a reply."""
    found: list[list[int]] = [[]]
    for node in path[1:]:
        found[-1].append(node)
        if record.nodes[node].reply:
            found.append([])
    return [stretch for stretch in found if stretch]


def own_words(record: EpisodeRecord, stretch: Sequence[int], options: RowOptions) -> str:
    """Return the text of a stretch."""
    return options.delimiter.join(record.nodes[node].text for node in stretch)


def chat_before(
    record: EpisodeRecord, earlier: Sequence[Sequence[int]], options: RowOptions
) -> list[Message]:
    """Return the conversation up to a stretch: the prompt, and the earlier stretches with their replies."""
    found = first_messages(record, options)
    for stretch in earlier:
        found.append(assistant(own_words(record, stretch, options)))
        reply = record.nodes[stretch[-1]].reply
        if reply:
            found.append({"role": "user", "content": shown_reply(reply)})
    return found


def assistant(words: str) -> Message:
    """Return a turn of the assistant."""
    return {"role": "assistant", "content": words}


def plain_before(record: EpisodeRecord, nodes: Sequence[int], options: RowOptions) -> str:
    """Return the text up to and including these steps, as a policy without a chat template reads it."""
    text = prompts.PLAIN.replace("{prompt}", record.prompt)
    for node in nodes:
        text += record.nodes[node].text + options.delimiter
        if reply := record.nodes[node].reply:
            text += shown_reply(reply) + options.delimiter
    return text


def spans(record: EpisodeRecord, stretch: Sequence[int], options: RowOptions) -> tuple[Span, ...]:
    """Return spans that cover a stretch's text without gap; internal reasoning may be masked."""
    found: list[Span] = []

    def add(length: int, kind: str, *, learn: bool = True) -> None:
        start = found[-1].end if found else 0
        found.append(Span(start, start + length, kind, learn))

    for number, node in enumerate(stretch):
        if number:
            add(len(options.delimiter), "delimiter")
        for segment in parse(record.nodes[node].text):
            reasoning = segment.kind is SegmentKind.REASONING
            learn = options.learn_reasoning or not reasoning
            add(segment.end - segment.start, segment.kind.value, learn=learn)
    assert all(before.end == after.start for before, after in pairwise(found))
    return tuple(found)
