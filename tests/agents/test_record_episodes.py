"""The Gymnasium wrapper that records: episodes of one's own loop, and paths from a restored state."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
from gymnasium.wrappers import OrderEnforcing, TimeLimit

import stepgym
from stepgym.agents.record_episodes import RecordEpisodes
from stepgym.plugins.errors import UserError
from stepgym.records.schema import from_line, to_line

assert stepgym


def play(env: Any, word: str) -> None:
    for letter in word:
        env.step(letter)


def test_every_episode_is_a_record_inside_and_outside_of_other_wrappers() -> None:
    made = gymnasium.make("stepgym/Words-v0", level=3)
    inner = RecordEpisodes(TimeLimit(made, max_episode_steps=50), agent="me")
    env: Any = OrderEnforcing(inner)
    for index in range(3):
        env.reset(options={"index": index})
        word = inner.inner.problem.reference
        play(env, word if index else "aax")
    env.reset(seed=1)
    env.step("a")
    env.close()
    verdicts = [record.verdict for record in inner.records]
    assert verdicts == ["no_answer", "correct", "correct", "no_answer"]
    first, second = inner.records[:2]
    assert [node.text for node in second.nodes[1:]] == list(second.reference)
    assert (first.env_id, first.env_options["level"]) == ("stepgym/Words-v0", 3)
    assert first.agent["agent"] == "me"
    assert all(from_line(to_line(record)) == record for record in inner.records)


def test_a_restored_state_is_another_path_in_the_same_tree() -> None:
    records: list[Any] = []
    env = RecordEpisodes(gymnasium.make("stepgym/Words-v0", level=2), on_record=records.append)
    env.reset(options={"index": 0})
    env.step("a")
    start = env.inner.state
    env.step("a")
    env.inner.state = start
    env.step("b")
    env.close()
    (record,) = records
    assert [(node.parent, node.text) for node in record.nodes] == [
        (-1, ""),
        (0, "a"),
        (1, "a"),
        (1, "b"),
    ]
    assert record.path == (0, 1, 3)


def test_another_environment_is_refused() -> None:
    with pytest.raises(UserError, match="wraps a ReasoningEnv, not CartPoleEnv"):
        RecordEpisodes(gymnasium.make("CartPole-v1"))
