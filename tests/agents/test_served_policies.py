"""Searches over a policy in front of a server: each waits for its own requests alone, and a lost server stops the run."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents import iter_solve, solve
from stepgym.agents.policies.scripted import RandomLegalPolicy, RandomRewardModel, spelling_policy
from stepgym.agents.registry import SEARCHES, load_search
from stepgym.agents.searching import bind_domain, run_search
from stepgym.agents.spending import Price, Spending
from stepgym.agents.types import Policy, RunStopped, Usage
from stepgym.envs.families.words import SameWord, WordsVerifier, same_word_env
from stepgym.envs.types import Problem, State, Step, Verdict
from stepgym.records.run_folder import read_episodes
from stepgym.selfplay import selfplay

ENV = same_word_env()


class Served:
    """A policy as if it were in front of a server; counts its calls."""

    concurrency = 8

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.calls: list[int] = []
        self.spending: Spending | None = None

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        self.calls.append(len(states))
        return self.policy.propose(states, counts)


@pytest.mark.parametrize("name", SEARCHES)
def test_trees_are_those_of_lock_step(name: str) -> None:
    problems = SameWord(count=5)

    def grow(policy: Any) -> Any:
        return run_search(
            [problems[i] for i in range(5)],
            domain=ENV.domain,
            policy=policy,
            reward_model=RandomRewardModel(3),
            search=load_search(name, seed=3),
            verifier=ENV.verifier,
        )

    legal = bind_domain(RandomLegalPolicy(3), ENV.domain)
    served = Served(legal)
    assert grow(served) == grow(legal)
    assert len(served.calls) > 5, "each search made calls of its own"


def test_what_a_reward_model_writes_is_charged_by_both_drivers() -> None:
    class Judge(RandomRewardModel):
        def take_usage(self, states: Sequence[State]) -> list[Usage]:
            return [Usage(reasoning_tokens=3, usd=0.5) for _ in states]

    def charged(continuous: bool) -> list[Any]:
        records = solve(
            same_word_env(count=3),
            agent="beam",
            policy=spelling_policy(),
            reward_model=Judge(),
            continuous=continuous,
        )
        return [(r.usage["reasoning_tokens"], r.usage["usd"]) for r in records]

    assert charged(True) == charged(False)
    assert all(tokens > 0 and usd == tokens / 6 for tokens, usd in charged(True))


def test_no_search_waits_for_the_requests_of_another() -> None:
    """The first problem's request is answered only when all the others have ended."""
    others_done = threading.Semaphore(0)

    class Slow(Served):
        def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
            if states[0].prompt == "word 0":
                for _ in range(7 if not states[0].steps else 0):
                    assert others_done.acquire(timeout=20)
            elif len(states[0].steps) == 2:
                others_done.release()
            return super().propose(states, counts)

    records = solve(
        same_word_env(count=8), agent="greedy", policy=Slow(spelling_policy()), num_parallel=2
    )
    assert [record.verdict for record in records] == ["incorrect"] * 8


def test_verification_does_not_stop_the_requests_of_others() -> None:
    """The first problem's answer is verified for as long as the others need for all their requests."""
    others = threading.Event()

    class Counting(Served):
        def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
            if states[0].prompt == "word 1" and len(states[0].steps) == 2:
                others.set()
            elif states[0].prompt == "word 1":
                time.sleep(0.05)
            return super().propose(states, counts)

    class Slow(WordsVerifier):
        def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
            assert problems[0].prompt != "word 0" or others.wait(20)
            return super().verify(problems, answers)

    records = solve(
        same_word_env(count=2, verifier=Slow()),
        agent="greedy",
        policy=Counting(spelling_policy()),
        see_verdicts=True,
    )
    assert [record.verdict for record in records] == ["incorrect"] * 2


class Mortal(Served):
    """Answers everything until a problem comes up, and nothing after that."""

    def __init__(self, last: str) -> None:
        super().__init__(spelling_policy())
        self.last, self.is_gone = last, False

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        if self.is_gone or any(state.prompt == self.last for state in states):
            self.is_gone = True
            raise RunStopped("http://host gave nothing")
        return super().propose(states, counts)


@pytest.mark.parametrize("continuous", [False, True])
def test_a_lost_server_fails_no_episode(continuous: bool) -> None:
    stream = iter_solve(
        [SameWord(count=8)[i] for i in range(8)],
        env=same_word_env(count=8),
        agent="best_of_n",
        policy=Mortal("word 4"),
        num_parallel=2,
        continuous=continuous,
    )
    records = []
    with pytest.raises(RunStopped, match="gave nothing"):
        for record in stream:
            records.append(record)
    assert {record.verdict for record in records} <= {"correct", "incorrect"}
    assert len({0, 1, 2, 3} & {record.index for record in records}) >= 3  # one may be in flight


def test_the_same_call_continues_after_a_lost_server(tmp_path: Path) -> None:
    def play(policy: Policy) -> None:
        selfplay(same_word_env(count=8), out=tmp_path, policy=policy, episodes=8, num_parallel=2)

    policy = Mortal("word 4")
    with pytest.raises(RunStopped):
        play(policy)
    kept = {record.problem_id for record in read_episodes(tmp_path)}
    assert kept and "words/4" not in kept
    policy.is_gone, policy.last = False, ""
    play(policy)
    assert {record.problem_id for record in read_episodes(tmp_path)} == {
        f"words/{i}" for i in range(8)
    }


def test_the_parts_of_a_run_share_its_money(tmp_path: Path) -> None:
    class Paid(Served):
        """A dollar a request."""

        def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
            assert self.spending is not None
            for _ in states:
                self.spending.reserve(1.0)
                self.spending.settle(1.0, 1.0)
            return [
                [Step(step.text, usd=1.0 / len(steps)) for step in steps]
                for steps in super().propose(states, counts)
            ]

    def play(limit: float) -> Spending:
        policy = Paid(spelling_policy())
        policy.spending = Spending(Price(0.0, 0.0), limit_usd=limit)
        selfplay(same_word_env(count=4), out=tmp_path, policy=policy, episodes=4, num_parallel=1)
        return policy.spending

    with pytest.raises(RunStopped, match=r"budget of \$7 is used up"):
        play(7.0)
    spent = json.loads((tmp_path / "spent.json").read_text())["usd"]
    assert spent == 7.0
    recorded = [record.usage["usd"] for record in read_episodes(tmp_path)]
    assert recorded and sum(recorded) <= 7.0
    with pytest.raises(RunStopped):
        play(7.5)
    again = play(40.0)
    assert 7.0 < again.spent_usd <= 40.0
    assert len(list(read_episodes(tmp_path))) == 4


def test_a_run_that_is_stopped_does_not_wait_for_replies() -> None:
    release = threading.Event()

    class Hanging(Served):
        def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
            if states[0].prompt == "word 0":
                time.sleep(0.2)
                raise KeyboardInterrupt
            release.wait(120)
            return super().propose(states, counts)

    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            solve(same_word_env(count=4), agent="greedy", policy=Hanging(spelling_policy()))
        assert time.monotonic() - started < 60
    finally:
        release.set()
