"""Records for the tests of exports: a small search tree, and an agent that calls a tool."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stepgym.agents.types import EpisodeRecord, NodeRecord

#              0 root
#        1 "2 * 3"          4 "2 + 3"
#     2 ok      3 wrong        5 wrong        6 undecided (below 4)
TREE = EpisodeRecord(
    env_id="stepgym/Countdown-v0",
    problem_id="p0",
    level=1,
    seed=0,
    index=0,
    prompt="Make 10.",
    reference="10",
    nodes=(
        NodeRecord(parent=-1),
        NodeRecord(parent=0, text="<think>try 6</think>2 * 3", reply="left: 4 6", value=0.5),
        NodeRecord(
            parent=1, text="6 + 4", status="ended", answer="10", verdict="correct", value=1.0
        ),
        NodeRecord(parent=1, text="6 * 4", status="ended", answer="24", verdict="incorrect"),
        NodeRecord(parent=0, text="2 + 3", value=0.2, step_verdict="incorrect"),
        NodeRecord(parent=4, text="5 + 4", status="ended", answer="9", verdict="incorrect"),
        NodeRecord(parent=4, text="5 ? 4", status="ended", answer="?", verdict="undecided"),
    ),
    path=(0, 1, 2),
    answer="10",
    verdict="correct",
    score=1.0,
)
TREE = replace(
    TREE, nodes=tuple(replace(node, end="answered") if node.answer else node for node in TREE.nodes)
)

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
ASKED: list[dict[str, Any]] = [
    {"role": "system", "content": "You add."},
    {"role": "user", "content": "Make 3."},
    {"role": "assistant", "content": "EXAMPLE of another author"},
    {"role": "user", "content": [{"type": "text", "text": "Make 10."}]},
]
CALLED: dict[str, Any] = {
    "role": "assistant",
    "content": None,
    "reasoning_content": "six and four",
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 6}'}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "FOREIGN 10"}
SAID = {"role": "assistant", "content": "It is 10."}


def call(messages: list[dict[str, Any]], answer: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Return a model call as records keep it."""
    response = {"choices": [{"index": 0, "message": answer}]}
    request = {"messages": messages, "tools": [TOOL]}
    return {"node": 0, "request": request, "response": response, "status": 200, **changed}


AGENT = replace(
    TREE,
    problem_id="a0",
    nodes=(
        TREE.nodes[0],
        NodeRecord(
            parent=0,
            text="<answer>10</answer>",
            status="ended",
            answer="10",
            end="answered",
            verdict="correct",
        ),
    ),
    path=(0, 1),
    calls=(
        call(ASKED, CALLED),
        call(ASKED, {"role": "assistant", "content": "lost"}, status=503),
        call([*ASKED, CALLED, RESULT], SAID),
    ),
)
"""An agent whose first call asked for a tool, whose second one failed, and whose third one answered."""
