"""What a user sees holds no reasoning, no tool traffic, and the same answers."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.records.schema import from_line, to_line
from stepgym.records.types import View
from stepgym.records.views import view_of

from .trees import AGENT, TREE

SECRET = "secret"
TEXTS = st.lists(
    st.sampled_from(
        [
            "seen",
            f"<think>{SECRET}</think>",
            f"<think>{SECRET}",
            f"{SECRET}</think>",
            f"<tool_call>{SECRET}</tool_call>",
            "<answer>9</answer>",
        ]
    ),
    max_size=3,
).map("".join)
REPLIES = st.sampled_from(["", "noted", f"<tool_result>{SECRET}</tool_result>"])


@st.composite
def records(draw: st.DrawFn) -> EpisodeRecord:
    nodes = [NodeRecord(parent=-1)]
    for _ in range(draw(st.integers(0, 6))):
        parent = draw(st.integers(0, len(nodes) - 1))
        nodes.append(
            NodeRecord(parent=parent, text=draw(TEXTS), reply=draw(REPLIES), token_ids=(1,))
        )
    end = len(nodes) - 1
    path = [end]
    while nodes[path[-1]].parent >= 0:
        path.append(nodes[path[-1]].parent)
    nodes[end] = replace(nodes[end], answer="9", verdict="correct")
    return replace(TREE, nodes=tuple(nodes), path=tuple(path[::-1]))


@given(records())
def test_a_user_sees_no_secret_and_the_same_end(record: EpisodeRecord) -> None:
    seen = view_of(record, View.USER)
    assert SECRET not in to_line(seen)
    assert from_line(to_line(seen)) == seen, "it is a record: parents precede children"
    assert seen.nodes[seen.path[-1]].answer == record.nodes[record.path[-1]].answer
    assert all(seen.nodes[b].parent == a for a, b in zip(seen.path, seen.path[1:]))
    assert view_of(seen, View.USER) == seen
    assert sum("seen" in node.text for node in seen.nodes) <= len(record.nodes)
    assert view_of(record, View.OPERATOR) is record


def test_steps_of_which_nothing_is_left_are_taken_out() -> None:
    calls = replace(
        TREE.nodes[1], text="<tool_call>x</tool_call>", reply="<tool_result>y</tool_result>"
    )
    record = replace(TREE, nodes=(TREE.nodes[0], calls, *TREE.nodes[2:]))
    seen = view_of(record, View.USER)
    assert [node.parent for node in seen.nodes] == [-1, 0, 0, 0, 3, 3]
    assert seen.path == (0, 1) and seen.nodes[1].text == "6 + 4"
    assert [node.text for node in view_of(TREE, View.USER).nodes][:2] == ["", "2 * 3"]
    assert view_of(TREE, View.USER).nodes[1].reply == "left: 4 6", (
        "a game's reply is no tool result"
    )
    assert view_of(AGENT, View.USER).calls == ()
