"""The one call, end to end, on the smallest game."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from stepgym.agents import Budget, iter_solve, solve
from stepgym.agents.policies.scripted import RandomLegalPolicy, spelling_policy, spelling_reward
from stepgym.envs.families.words import SameWord, WordsVerifier, same_word_env
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.types import Problem, State, Step, Verdict

SPELLING = spelling_policy()


@pytest.mark.parametrize("continuous", [False, True])
def test_one_record_a_problem(continuous: bool) -> None:
    problems = SameWord(count=70)
    records = solve(
        [problems[i] for i in range(70)],
        env=same_word_env(),
        agent="best_of_n",
        policy=RandomLegalPolicy(),
        agent_settings={"n": 200},
        continuous=continuous,
    )
    assert [record.problem_id for record in records] == [problems[i].id for i in range(70)]
    assert sum(record.verdict == "correct" for record in records) > 50
    assert {record.verdict for record in records} <= {"correct", "incorrect"}


def test_greedy_takes_the_likeliest_letters() -> None:
    records = solve(same_word_env(), agent="greedy", policy=SPELLING)
    assert [(record.answer, record.verdict) for record in records] == [("aaa", "incorrect")] * 3


def test_the_reward_model_picks_among_samples() -> None:
    everything = {"n": 4, "aggregation": "mean"}
    (record,) = solve(
        same_word_env(),
        agent="best_of_n",
        policy=SPELLING,
        reward_model=spelling_reward("cab"),
        episodes=1,
        agent_settings=everything,
        see_verdicts=False,
    )
    assert record.answer == "caa"


def test_a_wrong_setting_shows_those_there_are() -> None:
    with pytest.raises(ValueError, match="no setting 'width'; known: aggregation, n, pick"):
        solve(same_word_env(), agent="best_of_n", policy=SPELLING, agent_settings={"width": 3})


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("num_parallel", [1, 2, 64])
def test_a_run_budget_is_for_the_run_however_it_is_cut_into_groups(
    num_parallel: int, continuous: bool
) -> None:
    records = solve(
        same_word_env(count=12),
        agent="greedy",
        policy=SPELLING,
        run_budget=Budget(new_tokens=20),
        num_parallel=num_parallel,
        continuous=continuous,
    )
    spent = sum(record.usage["visible_tokens"] for record in records)
    assert len(records) == 12
    assert 20 <= spent <= 20 + 2 * min(num_parallel, 12), "no more than a round over"


def test_a_slow_problem_holds_up_no_other_when_continuous() -> None:
    """The first problem is served only when all others, eight times as many as run side by side, have been."""
    others_done = threading.Event()
    seen: set[str] = set()

    class Domain:
        def __init__(self) -> None:
            self.inner = same_word_env().domain

        def initial(self, problem: Problem) -> State:
            return self.inner.initial(problem)

        def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
            seen.update(state.prompt for state in states)
            if len(seen) == 8:
                others_done.set()
            if states[0].prompt == "word 0":
                assert others_done.wait(20), f"only {sorted(seen)} were started"
            return self.inner.advance(states, steps)

    domain: Any = Domain()
    records = solve(
        same_word_env(domain=domain, count=8),
        agent="greedy",
        policy=SPELLING,
        continuous=True,
        num_parallel=2,
    )
    assert [record.verdict for record in records] == ["incorrect"] * 8
    assert [record.problem_id for record in records] == [f"words/{i}" for i in range(8)]


@pytest.mark.parametrize("continuous", [False, True])
def test_no_more_problems_are_begun_than_fit(continuous: bool) -> None:
    begun = []

    def problems() -> Any:
        for index in range(1000):
            begun.append(index)
            yield SameWord(count=1000)[index]

    records = iter_solve(
        problems(),
        env=same_word_env(),
        agent="greedy",
        policy=SPELLING,
        num_parallel=3,
        continuous=continuous,
    )
    next(records)
    assert len(begun) <= 30
    records.close()  # type: ignore[attr-defined]


def test_grading_is_charged_to_the_sandbox() -> None:
    class Verifier(WordsVerifier):
        sandbox = "somewhere"

        def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
            time.sleep(0.05)
            return super().verify(problems, answers)

    def charged(**settings: Any) -> list[float]:
        env = same_word_env(verifier=Verifier())
        records = solve(env, agent="greedy", policy=SPELLING, **settings)
        return [record.usage["sandbox_s"] for record in records]

    for sees in (False, True):
        seconds = charged(see_verdicts=sees)
        assert 0.05 <= sum(seconds) < 1 and len(set(seconds)) == 1
    # One problem's grading spends the run's second: the others do not start.
    assert charged(see_verdicts=False, run_budget=Budget(sandbox_s=0.04), num_parallel=1)[1:] == [
        0.0,
        0.0,
    ]


def test_an_environment_made_by_its_id_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(ReasoningEnv, "close", lambda env: closed.append(env.env_id))
    solve("stepgym/Countdown-v0", policy="random")
    assert closed == ["stepgym/Countdown-v0"]
    with pytest.raises(ValueError, match="unknown policy"):
        solve("stepgym/Countdown-v0", policy="nobody")
    assert len(closed) == 2
