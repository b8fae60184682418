"""The one call, end to end, on the smallest game."""

from __future__ import annotations

import pytest

from stepgym.agents import solve
from stepgym.agents.policies.scripted import RandomLegalPolicy
from stepgym.agents.words import SPELLER, WordEnv, WordSet, word_critic


@pytest.mark.parametrize("continuous", [False, True])
def test_one_record_a_problem(continuous: bool) -> None:
    problems = WordSet(count=70)
    records = solve(
        [problems[i] for i in range(70)], env=WordEnv(), agent="best_of_n", policy=RandomLegalPolicy(),
        agent_settings={"n": 200}, continuous=continuous,
    )  # fmt: skip
    assert [record.problem_id for record in records] == [problems[i].id for i in range(70)]
    assert sum(record.verdict == "correct" for record in records) > 50
    assert {record.verdict for record in records} <= {"correct", "incorrect"}


def test_greedy_takes_the_likeliest_letters() -> None:
    records = solve(WordEnv(), agent="greedy", policy=SPELLER)
    assert [(record.answer, record.verdict) for record in records] == [("aaa", "incorrect")] * 3


def test_the_reward_model_picks_among_samples() -> None:
    everything = {"n": 4, "aggregation": "mean"}
    (record,) = solve(
        WordEnv(), agent="best_of_n", policy=SPELLER, reward_model=word_critic("cab"), episodes=1,
        agent_settings=everything, see_verdicts=False,
    )  # fmt: skip
    assert record.answer == "caa"


def test_a_wrong_setting_shows_those_there_are() -> None:
    with pytest.raises(ValueError, match="no setting 'width'; it has: n, pick"):
        solve(WordEnv(), agent="best_of_n", policy=SPELLER, agent_settings={"width": 3})
