"""Graph colouring. A step is `A = red`. Levels raise the number of points and edges."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Unpack

from stepgym.envs.families.assignment import (
    AssignmentPuzzle,
    AssignmentStepVerifier,
    AssignmentVerifier,
    Cells,
    linked,
)
from stepgym.envs.families.text import scaled
from stepgym.envs.problem_sets import Draft, ProceduralSet
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv

NAME = "stepgym/GraphColouring-v0"
COLOURS = ("red", "green", "blue")


class Colouring(AssignmentPuzzle):
    """The rules of graph colouring."""

    step_form = "the colour of one point, such as `A = red`,"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a colouring first, and edges only between points of different colours."""
    names = tuple("ABCDEFGHJKLMNPQR"[: scaled(level, 4, 14)])
    colours = [rng.randrange(len(COLOURS)) for _ in names]
    allowed = [(a, b) for a, b in combinations(range(len(names)), 2) if colours[a] != colours[b]]
    rng.shuffle(allowed)
    edges = sorted(allowed[: max(2, len(names) * scaled(level, 10, 22) // 10)])
    shown = ", ".join(f"{names[a]}-{names[b]}" for a, b in edges)
    prompt = (
        f"Colour the points {', '.join(names)} with {', '.join(COLOURS)}, so that no edge joins two points of one colour. "
        f"Edges: {shown}. Each step colours one point, such as `A = red`."
    )
    cells = Cells(names, COLOURS, linked(edges, len(names)), (-1,) * len(names))
    solution = tuple(f"{name} = {COLOURS[colour]}" for name, colour in zip(names, colours))
    return Draft(prompt, ", ".join(solution), cells, solution=solution)


def make(*, level: int = 1, seed: int = 0, **common: Unpack[CommonOptions]) -> ReasoningEnv:
    """Make `stepgym/GraphColouring-v0`; levels run from 1 to 10."""
    return ReasoningEnv(
        ProceduralSet(NAME, generate, level, seed),
        domain=Colouring(),
        verifier=AssignmentVerifier(),
        step_verifier=AssignmentStepVerifier(),
        **common,
    )
