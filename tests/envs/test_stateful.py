"""Stateful environments under tree search: the law of forks, outcomes, and environments that cannot be forked."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents import solve
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.envs.conformance import check_environment
from stepgym.envs.registry import load_env
from stepgym.envs.stateful import Forks, OutcomeScale, ReplayError, from_stateful
from stepgym.envs.types import End, State, Status, Step
from stepgym.plugins.errors import UserError
from stepgym.records.loader import states_of
from stepgym.records.reverify import reverify
from stepgym.records.rollouts import rollouts_of
from stepgym.records.run_folder import RunFolder, read_episodes
from stepgym.records.schema import from_line, to_line
from stepgym.records.types import RunConfig


class Vault(gymnasium.Env[str, str]):
    """Opens after three right digits, which the seed decides; a wrong digit costs a tenth."""

    action_space = gymnasium.spaces.Text(1)
    observation_space = gymnasium.spaces.Text(80)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.code = [str(digit) for digit in self.np_random.integers(3, size=3)]
        self.opened = self.taken = 0
        return "A vault with three digits.", {"admissible_commands": ["0", "1", "2"]}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.taken += 1
        right = action == self.code[self.opened]
        self.opened += right
        done = self.opened == len(self.code)
        words = f"{'click' if right else 'nothing'} {self.taken} {self.np_random.integers(100)}"
        legal = {"admissible_commands": ["0", "1", "2"]}
        return words, 1.0 * done if right else -0.1, done, self.taken == 8, legal


class Locked(Vault):
    """Cannot be copied."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Shared(Vault):
    """Its copies share the state of the original."""

    def __deepcopy__(self, memo: object) -> Shared:
        return self


class Moody(Vault):
    """Draws on randomness of its own."""

    stream = random.Random(0)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        words, *rest = super().step(action)
        return (f"{words} {self.stream.random()}", *rest)  # type: ignore[return-value]


def linear(make: Callable[[], Vault], seed: int, texts: list[str]) -> list[str]:
    env = make()
    env.reset(seed=seed)
    return [env.step(text)[0] for text in texts]


@pytest.mark.parametrize("make", [Vault, Locked, Shared])
@pytest.mark.parametrize("forks", ["auto", "replay"])
@given(order=st.lists(st.tuples(st.integers(0, 30), st.sampled_from("012")), max_size=25))
def test_every_state_of_a_tree_is_that_of_linear_play(
    make: Callable[[], Vault], forks: Forks, order: list[tuple[int, str]]
) -> None:
    env = from_stateful(make, forks=forks, max_kept=5)
    problem = env.problems[0]
    states: list[State] = [env.domain.initial(problem)]
    for parent, text in order:
        states += env.domain.advance([states[parent % len(states)]], [Step(text)])
    assert isinstance(problem.public, tuple)
    for state in states:
        texts = [step.text for step in state.steps]
        assert [step.reply for step in state.steps] == linear(make, problem.public[1], texts)
    env.close()


def test_copies_that_share_their_state_are_found_out() -> None:
    env = from_stateful(Shared)
    start = env.domain.initial(env.problems[0])
    for _ in itertools.repeat(None, 3):
        env.domain.advance([start] * 3, [Step("0"), Step("1"), Step("2")])
        env.domain.episodes._step_s = 1.0  # type: ignore[attr-defined]  # copies seem fast
        [start] = env.domain.advance([start], [Step("0")])
    assert not env.domain.episodes.copies  # type: ignore[attr-defined]


def test_an_environment_without_a_fixed_future_fails_its_episode() -> None:
    env = from_stateful(Moody, forks="replay")
    start = env.domain.initial(env.problems[0])
    [after] = env.domain.advance([start], [Step("0")])
    env.close()
    with pytest.raises(ReplayError, match=r"'0' gives 'nothing|'0' gives 'click"):
        env.domain.advance([after], [Step("0")])
    [record] = solve(env, agent="beam", policy="random", episodes=1)
    assert record.verdict == "failed" and "seed and the steps alone" in record.note


def test_outcomes_are_searched_recorded_and_verified_again(tmp_path: Path) -> None:
    env = load_env(
        "gym:FrozenLake-v1",
        settings={"is_slippery": False},
        actions=["left", "down", "right", "up"],
    )
    [record] = solve(env, agent="mcts", policy="random", episodes=1)
    assert record.verdict == "correct" and record.outcome == 1.0 and record.answer is None
    assert record.nodes[record.path[-1]].end == End.OUTCOME.value
    assert from_line(to_line(record)) == record
    assert states_of(record)[record.path[-1]].outcome == 1.0
    assert {r.verdict for r in rollouts_of(record)} <= {"correct", "incorrect"}
    config = RunConfig(
        env_id=env.env_id, env_options=record.env_options, agent="mcts", policy="random"
    )
    with RunFolder(tmp_path / "run", config) as folder:
        folder.append(record)
    found = reverify(tmp_path / "run")
    assert found.answers > 0 and found.changes == ()
    other = {"correct": "incorrect", "incorrect": "correct", None: None}
    nodes = tuple(replace(node, verdict=other[node.verdict]) for node in record.nodes)
    with RunFolder(tmp_path / "turned", config) as folder:
        folder.append(replace(record, nodes=nodes, verdict="incorrect"))
    assert len(reverify(folder.path).changes) == found.answers
    [again] = read_episodes(folder.path)
    assert again.nodes == record.nodes and again.verdict == "correct"


@pytest.mark.parametrize(
    "agent", ["greedy", "best_of_n", "beam", "dvts", "mcts", "ab_mcts", "revise"]
)
def test_every_search_chooses_the_best_outcome_that_it_may_see(agent: str) -> None:
    env = from_stateful(Vault, success=1.0, failure=-1.0)
    [record] = solve(env, agent=agent, policy="random", episodes=1)
    ends = [node.outcome for node in record.nodes if node.outcome is not None]
    assert record.outcome in ends and (record.verdict == "correct") == (record.outcome >= 1.0)
    scores = [env.verifier.verify_outcomes([], [end])[0].score for end in ends]  # type: ignore[attr-defined]
    if agent in ("best_of_n", "beam", "mcts"):
        assert record.score == max(scores)


def test_the_environment_keeps_the_contract_and_is_a_gymnasium_environment() -> None:
    env = load_env("gym:FrozenLake-v1", settings={"is_slippery": False}, max_steps=None)
    assert [f for f in check_environment(env) if f.fault is not None] == []
    env.reset(seed=0)
    for action in "112122":
        _, reward, terminated, _, info = env.step(action)
    assert (reward, terminated, info["outcome"], info["verdict"]) == (1.0, True, 1.0, "correct")


def test_a_text_that_is_no_action_leaves_the_environment_as_it_is() -> None:
    env = load_env("gym:FrozenLake-v1", settings={"is_slippery": False})
    env.reset(seed=0)
    _, _, done, _, info = env.step("north")
    assert not done and info["reply"] == "'north' is no action; actions: 0, 1, 2, 3"
    [verdict] = OutcomeScale().verify_outcomes([], [float("nan")])
    assert verdict.status is Status.UNDECIDED


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="FrozenLake-v9"):
        load_env("gym:FrozenLake-v9")
    with pytest.raises(UserError, match="2 names, the environment 4 actions"):
        load_env("gym:FrozenLake-v1", actions=["a", "b"])
    with pytest.raises(UserError, match="failure=2"):
        load_env("gym:FrozenLake-v1", failure=2)


def test_the_policy_reads_the_observations() -> None:
    seen: list[str] = []

    def script(state: State) -> list[str]:
        seen.append(state.steps[-1].reply if state.steps else state.prompt)
        return ["0", "1", "2"]

    solve(from_stateful(Vault), agent="greedy", policy=ScriptedPolicy(script), episodes=1)
    assert "three digits" in seen[0] and seen[1].split()[1] == "1"
