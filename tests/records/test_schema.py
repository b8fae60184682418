"""Laws of records on disk: what was written comes back, and what cannot be read says where and why."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.records.schema import from_line, to_line
from stepgym.records.types import RecordError

TEXT = st.text(
    st.characters(exclude_categories=()), max_size=20
)  # lone surrogates and U+2028 included
REAL = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | REAL | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)

TOKENS = st.lists(st.integers(0, 2**17), max_size=4).map(tuple)


@st.composite
def node_records(draw: st.DrawFn, parent: int) -> NodeRecord:
    token_ids = draw(st.none() | TOKENS)
    return NodeRecord(
        parent=parent,
        text=draw(TEXT),
        reply=draw(TEXT),
        log_prob=draw(st.none() | REAL),
        num_reasoning_tokens=draw(st.integers(0, 10)),
        num_reply_tokens=draw(st.integers(0, 10)),
        final=draw(st.booleans()),
        token_ids=token_ids,
        token_log_probs=None
        if token_ids is None
        else draw(st.none() | st.tuples(*[st.none() | REAL] * len(token_ids))),
        context_ids=draw(st.none() | TOKENS),
        context_restarts=draw(st.booleans()),
        own_context_ids=draw(st.none() | TOKENS),
        public=draw(JSON),
        num_tokens=draw(st.integers(0, 10**6)),
        prior=draw(REAL),
        score=draw(st.none() | REAL),
        visits=draw(st.integers(0, 10**6)),
        value=draw(REAL),
        status=draw(st.sampled_from(["open", "ended", "failed"])),
        answer=draw(st.none() | TEXT),
        verdict=draw(st.none() | st.sampled_from(["correct", "incorrect"])),
        end=draw(st.none() | st.sampled_from(["answered", "stuck"])),
        fault=draw(st.none() | st.sampled_from(["answer", "ours"])),
        step_verdict=draw(st.none() | st.sampled_from(["correct", "incorrect", "undecided"])),
        note=draw(TEXT),
    )


@st.composite
def episode_records(draw: st.DrawFn) -> EpisodeRecord:
    size = draw(st.integers(1, 6))
    nodes = tuple(
        draw(node_records(-1 if i == 0 else draw(st.integers(0, i - 1)))) for i in range(size)
    )
    path = [draw(st.integers(0, size - 1))]
    while nodes[path[0]].parent >= 0:
        path.insert(0, nodes[path[0]].parent)
    return EpisodeRecord(
        env_id=draw(TEXT),
        env_options=draw(st.dictionaries(TEXT, JSON, max_size=3)),
        attempt=draw(st.integers(0, 9)),
        problem_id=draw(TEXT),
        level=draw(st.none() | st.integers()),
        seed=draw(st.none() | st.integers()),
        index=draw(st.integers()),
        prompt=draw(TEXT),
        reference=draw(TEXT),
        nodes=nodes,
        path=tuple(path),
        answer=draw(st.none() | TEXT),
        verdict=draw(st.sampled_from(["correct", "incorrect", "undecided", "no_answer", "failed"])),
        score=draw(REAL),
        fault=draw(st.none() | st.sampled_from(["answer", "ours"])),
        reason=draw(TEXT),
        decided_by=draw(TEXT),
        details=draw(st.dictionaries(TEXT, JSON, max_size=3)),
        note=draw(TEXT),
        usage=draw(st.dictionaries(TEXT, REAL | st.integers(), max_size=3)),
        agent=draw(st.dictionaries(TEXT, JSON, max_size=3)),
        versions=draw(st.dictionaries(TEXT, TEXT, max_size=3)),
        created=draw(TEXT),
    )


def record(**changes: object) -> EpisodeRecord:
    """A small record: the root, a step, and a second step below it that gave the answer."""
    base = EpisodeRecord(
        env_id="stepgym/Countdown-v0",
        problem_id="stepgym/Countdown-v0/level-1/seed-0/0",
        level=1,
        seed=0,
        index=0,
        prompt="Make 10 from 2 3 4.",
        reference="10",
        nodes=(
            NodeRecord(parent=-1, visits=2),
            NodeRecord(parent=0, text="2 * 3", log_prob=-0.5, visits=2),
            NodeRecord(
                parent=1, text="6 + 4", log_prob=-0.25, visits=1, status="ended", answer="2 * 3 + 4"
            ),
        ),
        path=(0, 1, 2),
        answer="2 * 3 + 4",
        verdict="correct",
        score=1.0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@given(episode_records())
def test_a_record_comes_back_equal(original: EpisodeRecord) -> None:
    line = to_line(original)
    assert from_line(line) == original
    assert line.isascii() and "\n" not in line


@given(episode_records(), st.data())
def test_a_torn_line_is_never_taken_for_a_record(
    original: EpisodeRecord, data: st.DataObject
) -> None:
    line = to_line(original)
    cut = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(RecordError):
        from_line(line[:cut])


@given(st.text())
def test_any_other_text_is_a_record_error(text: str) -> None:
    with pytest.raises(RecordError):
        from_line(text)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"schema": 99},
            "schema 99, but this stepgym reads schema 2",
        ),  # written by a newer stepgym
        ({"verdict": 3}, "field 'verdict' should be .*str.*, is 3"),
        ({"level": True}, "field 'level'"),  # JSON's true is no number, though Python's is
        ({"colour": "red"}, "unknown field 'colour'; known: agent"),
        ({"path": [0, 9]}, "path names node 9 of 3"),
        ({"nodes": "none"}, "field 'nodes' should be a list, is str"),
        ({"nodes": [{"parent": -1}, {"parent": 1}]}, "node 1 has parent 1"),
        ({"nodes": [{"text": "no parent"}]}, "node 0: field 'parent' is missing"),
        ({"nodes": [{"parent": -1, "token_ids": [1.5]}]}, "node 0: field 'token_ids'"),
        ({"nodes": [{"parent": -1, "token_ids": [1, "2"]}]}, "node 0: field 'token_ids'"),
        ({"nodes": [{"parent": -1, "token_ids": [1, True]}]}, "node 0: field 'token_ids'"),
        (
            {"nodes": [{"parent": -1, "token_ids": [1] * 3, "token_log_probs": [-0.5, None, "x"]}]},
            "node 0: field 'token_log_probs'",
        ),
        ({"path": [0, "1"]}, "field 'path'"),
        (
            {"nodes": [{"parent": -1, "token_ids": [1], "token_log_probs": []}], "path": [0]},
            "0 token_log",
        ),
    ],
)
def test_a_wrong_record_says_what_is_wrong(change: dict[str, object], says: str) -> None:
    line = json.dumps({**json.loads(to_line(record())), **change})
    with pytest.raises(RecordError, match=says) as error:
        from_line(line, where="episodes.jsonl:17")
    assert str(error.value).startswith("episodes.jsonl:17")


def test_a_missing_field_is_named() -> None:
    data = json.loads(to_line(record()))
    del data["prompt"]
    with pytest.raises(RecordError, match="field 'prompt' is missing"):
        from_line(json.dumps(data))


def test_what_strict_json_lacks_becomes_null_or_zero() -> None:
    odd = record(
        nodes=(NodeRecord(parent=-1, log_prob=-inf, value=nan),), path=(0,), usage={"flops": inf}
    )
    back = from_line(to_line(odd))
    assert (
        back.nodes[0].log_prob is None
        and back.nodes[0].value == 0.0
        and back.usage == {"flops": None}
    )
