"""A stepgym plug-in: one thing of every kind, each with the methods of its protocol and no base class.

pip install ./examples/plugin
stepgym check counter --env squares
stepgym solve --env squares --agent first_of --policy counter --reward-model brevity
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepgym.agents.episode import Episode
from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree
from stepgym.envs.maths.verify import MathVerifier
from stepgym.envs.problem_sets import Draft, ProceduralSet
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.text_domain import TextDomain
from stepgym.envs.types import Problem, State, Step
from stepgym.sandbox import open_sandbox
from stepgym.sandbox.types import Sandbox


def _double(stream: random.Random, level: int) -> Draft:
    number = stream.randrange(10**level)
    return Draft(f"What is twice {number}?", str(2 * number))


def doubling(*, level: int = 1, seed: int = 0, **common: Any) -> ReasoningEnv:
    """An environment: problems, dynamics, and a verifier."""
    problems = ProceduralSet("doubling", _double, level=level, seed=seed)
    return ReasoningEnv(
        problems, domain=TextDomain(sandbox=None), verifier=MathVerifier(), **common
    )


@dataclass(frozen=True)
class Squares:
    """A problem set: item `i` is a function of `i`. stepgym plays it as free text and verifies answers as mathematics."""

    size: int = 100
    name: str = "squares"

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < self.size:
            raise IndexError(index)
        return Problem(f"squares/{index}", f"What is {index} squared?", str(index**2), index=index)


@dataclass(frozen=True)
class Counter:
    """A policy: it answers 0, 1, 2 and so on."""

    num_parameters: int = 0

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        return [self._steps(state.draw or 0, count) for state, count in zip(states, counts)]

    def _steps(self, first: int, count: int) -> list[Step]:
        return [Step(f"<answer>{first + k}</answer>", num_tokens=3) for k in range(count)]


@dataclass(frozen=True)
class Brevity:
    """A reward model: short steps are good steps."""

    num_parameters: int = 0

    def score(self, states: Sequence[State]) -> list[list[float]]:
        return [[1 / (1 + len(step.text)) for step in state.steps] for state in states]


@dataclass(frozen=True)
class FirstOf:
    """A search: one round of `n` samples of which the best scored is chosen."""

    n: int = 4

    def select(self, tree: SearchTree) -> list[Request]:
        open_now = tree.status[ROOT] is NodeStatus.OPEN and not tree.asked[ROOT]
        return [Request(ROOT, self.n)] if open_now else []

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        for children in grown.values():
            for child in children:
                tree.visits[child] += 1

    def best(self, tree: SearchTree) -> int:
        answered = [n for n in range(len(tree)) if tree.states[n].answer is not None]
        return max(answered, key=lambda node: tree.score[node] or 0.0, default=ROOT)


def guesser(episode: Episode) -> str:
    """An agent that drives itself: it gives its last answer."""
    return "1"


def quiet_local(*, workers: int = 1) -> Sandbox:
    """A sandbox: here the local one with another default."""
    return open_sandbox("local", workers=workers)
