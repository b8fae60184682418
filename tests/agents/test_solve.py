"""The one call, end to end, on the smallest game."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from stepgym.agents import Budget, iter_solve, solve
from stepgym.agents.policies.scripted import RandomLegalPolicy
from stepgym.agents.words import SPELLER, WordEnv, WordSet, WordVerifier, word_critic
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.types import Problem, State, Step, Verdict


@pytest.mark.parametrize("continuous", [False, True])
def test_one_record_a_problem(continuous: bool) -> None:
    problems = WordSet(count=70)
    records = solve(
        [problems[i] for i in range(70)],
        env=WordEnv(),
        agent="best_of_n",
        policy=RandomLegalPolicy(),
        agent_settings={"n": 200},
        continuous=continuous,
    )
    assert [record.problem_id for record in records] == [problems[i].id for i in range(70)]
    assert sum(record.verdict == "correct" for record in records) > 50
    assert {record.verdict for record in records} <= {"correct", "incorrect"}


def test_greedy_takes_the_likeliest_letters() -> None:
    records = solve(WordEnv(), agent="greedy", policy=SPELLER)
    assert [(record.answer, record.verdict) for record in records] == [("aaa", "incorrect")] * 3


def test_the_reward_model_picks_among_samples() -> None:
    everything = {"n": 4, "aggregation": "mean"}
    (record,) = solve(
        WordEnv(),
        agent="best_of_n",
        policy=SPELLER,
        reward_model=word_critic("cab"),
        episodes=1,
        agent_settings=everything,
        see_verdicts=False,
    )
    assert record.answer == "caa"


def test_a_wrong_setting_shows_those_there_are() -> None:
    with pytest.raises(ValueError, match="no setting 'width'; known: aggregation, n, pick"):
        solve(WordEnv(), agent="best_of_n", policy=SPELLER, agent_settings={"width": 3})


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("num_parallel", [1, 2, 64])
def test_a_run_budget_is_for_the_run_however_it_is_cut_into_groups(
    num_parallel: int, continuous: bool
) -> None:
    records = solve(
        WordEnv(problems=WordSet(count=12)),
        agent="greedy",
        policy=SPELLER,
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
            self.inner = WordEnv().domain

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
        WordEnv(domain=domain, problems=WordSet(count=8)),
        agent="greedy",
        policy=SPELLER,
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
            yield WordSet(count=1000)[index]

    records = iter_solve(
        problems(),
        env=WordEnv(),
        agent="greedy",
        policy=SPELLER,
        num_parallel=3,
        continuous=continuous,
    )
    next(records)
    assert len(begun) <= 30
    records.close()  # type: ignore[attr-defined]


def test_grading_is_charged_to_the_sandbox() -> None:
    class Verifier(WordVerifier):
        sandbox = "somewhere"

        def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
            time.sleep(0.05)
            return super().verify(problems, answers)

    def charged(**settings: Any) -> list[float]:
        env = WordEnv(verifier=Verifier())
        records = solve(env, agent="greedy", policy=SPELLER, **settings)
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
