"""Tower of Hanoi between any two arrangements. A step is `a -> c`. Levels raise the disks and take spare moves away."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Unpack

from stepgym.envs.families.path_puzzle import PathPuzzle, PathStepVerifier, PathVerifier, Position
from stepgym.envs.families.text import scaled
from stepgym.envs.problem_sets import Draft, ProceduralSet
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv

NAME = "stepgym/Hanoi-v0"
PEGS = "abc"
Pegs = tuple[int, ...]
"""The peg of each disk, smallest disk first."""


@dataclass(frozen=True)
class Hanoi(PathPuzzle):
    """One disk moves at a time, never onto a smaller one."""

    step_form = "one move, such as `a -> c`,"

    def neighbours(self, arrangement: Pegs) -> Mapping[str, Pegs]:
        return _neighbours(arrangement)


@lru_cache(maxsize=4096)
def _neighbours(arrangement: Pegs) -> Mapping[str, Pegs]:
    tops = {peg: disk for disk, peg in reversed(list(enumerate(arrangement)))}
    found = {}
    for start, disk in tops.items():
        for end in range(len(PEGS)):
            if end != start and tops.get(end, len(arrangement)) > disk:
                after = (*arrangement[:disk], end, *arrangement[disk + 1 :])
                found[f"{PEGS[start]} -> {PEGS[end]}"] = after
    return MappingProxyType(dict(sorted(found.items())))


def generate(rng: random.Random, level: int) -> Draft:
    """Draw two different arrangements; the moves allowed are those of a shortest path and some to spare."""
    disks = scaled(level, 2, 6)
    while True:
        start, goal = (tuple(rng.randrange(3) for _ in range(disks)) for _ in range(2))
        if start[-1] != goal[-1]:
            break
    solution = Hanoi().path(start, goal, 3**disks)
    assert solution is not None, "every arrangement can be reached"
    allowed = len(solution) + scaled(level, 4, 0)
    prompt = (
        f"Tower of Hanoi with {disks} disks, 1 the smallest, on the pegs a, b and c. Start: {_shown(start)}. "
        f"Goal: {_shown(goal)}. Only the top disk of a peg moves, and never onto a smaller disk. Each step is one move, "
        f"such as `a -> c`. Reach the goal in at most {allowed} moves."
    )
    position = Position(start, goal, allowed)
    return Draft(prompt, ", ".join(solution), position, solution=tuple(solution))


def make(*, level: int = 1, seed: int = 0, **common: Unpack[CommonOptions]) -> ReasoningEnv:
    """Make `stepgym/Hanoi-v0`; levels run from 1 to 10."""
    puzzle = Hanoi()
    return ReasoningEnv(
        ProceduralSet(NAME, generate, level, seed),
        domain=puzzle,
        verifier=PathVerifier(puzzle),
        step_verifier=PathStepVerifier(puzzle),
        **common,
    )


def _shown(arrangement: Pegs) -> str:
    parts = []
    for peg, name in enumerate(PEGS):
        disks = [str(disk + 1) for disk, at in enumerate(arrangement) if at == peg]
        parts.append(f"{name} has {', '.join(reversed(disks)) or 'none'}")
    return "; ".join(parts) + " (bottom to top)"
