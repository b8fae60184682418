"""What an end user sees of an episode, as a record: everything that reads records can show it."""

from __future__ import annotations

from dataclasses import replace

from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.envs.tokens import THINK_END, TOOL_RESULT, parse, visible_text
from stepgym.envs.types import SegmentKind
from stepgym.records.types import View


def view_of(record: EpisodeRecord, view: View) -> EpisodeRecord:
    """Return the record as `view` shows it.

    To a user: the texts without internal reasoning, tool calls and tool results; no tokens, model calls, notes,
    reasons and verdict details, which may hold the same. Steps of which nothing is left are taken out, and their children follow their parent; an end
    is kept, because it has the answer.
    """
    if view is View.OPERATOR:
        return record
    shown = [_shown(node) for node in record.nodes]
    is_parent = {node.parent for node in record.nodes}
    place: dict[int, int] = {-1: -1}
    kept: list[NodeRecord] = []
    for number, node in enumerate(shown):
        parent = place[node.parent]
        is_hidden = not node.text and not node.reply and number in is_parent and node.parent >= 0
        if is_hidden:
            place[number] = parent
        else:
            place[number] = len(kept)
            kept.append(replace(node, parent=parent))
    path = tuple(dict.fromkeys(place[number] for number in record.path))
    return replace(record, nodes=tuple(kept), path=path, calls=(), note="", reason="", details={})


def _shown(node: NodeRecord) -> NodeRecord:
    # Some chat templates open the reasoning in the prompt, so that the text has its closing token alone.
    text = visible_text(node.text).rpartition(THINK_END)[2].strip()
    has_call = any(part.kind is SegmentKind.TOOL_CALL for part in parse(node.text))
    return replace(
        node,
        text=text,
        reply="" if has_call or node.reply.startswith(TOOL_RESULT) else node.reply,
        token_ids=None,
        token_log_probs=None,
        context_ids=None,
        context_restarts=False,
        own_context_ids=None,
        note="",
    )
