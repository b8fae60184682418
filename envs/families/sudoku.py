"""Sudoku of 4 by 4, 6 by 6 and 9 by 9 cells. A step is `r1c2 = 3`. Levels raise the size and the number of empty cells."""

from __future__ import annotations

import random
from functools import cache
from itertools import combinations
from typing import Unpack

from stepgym.envs.families.assignment import (
    AssignmentPuzzle,
    AssignmentStepVerifier,
    AssignmentVerifier,
    Cells,
    Links,
    linked,
)
from stepgym.envs.families.text import scaled
from stepgym.envs.problem_sets import Draft, ProceduralSet
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv

NAME = "stepgym/Sudoku-v0"


class SudokuPuzzle(AssignmentPuzzle):
    """The rules of sudoku."""

    step_form = "the value of one cell, such as `r1c2 = 3`,"


def generate(rng: random.Random, level: int) -> Draft:
    """Shuffle a full grid by moves that keep it valid, then empty cells. Any valid completion is accepted."""
    height, width = ((2, 2), (2, 3), (3, 3))[(level >= 4) + (level >= 7)]
    size = height * width
    grid = _full_grid(rng, height, width)
    num_empty = size * size * scaled(level, 35, 60) // 100
    empty = set(rng.sample(range(size * size), num_empty))
    names = tuple(f"r{row + 1}c{column + 1}" for row in range(size) for column in range(size))
    values = tuple(str(value + 1) for value in range(size))
    assigned = tuple(-1 if cell in empty else value for cell, value in enumerate(grid))
    rows = [assigned[k : k + size] for k in range(0, size * size, size)]
    shown = " / ".join(
        "".join("_" if value < 0 else values[value] for value in row) for row in rows
    )
    prompt = (
        f"Sudoku with the values 1 to {size}: no value occurs twice in a row, a column or a box of {height} rows and "
        f"{width} columns. Rows from top to bottom, _ for empty: {shown}. Each step fills one cell, such as `r1c2 = 3` "
        "for row 1, column 2."
    )
    solution = tuple(f"{names[cell]} = {values[grid[cell]]}" for cell in sorted(empty))
    cells = Cells(names, values, links(height, width), assigned)
    return Draft(prompt, ", ".join(solution), cells, solution=solution)


@cache
def links(height: int, width: int) -> Links:
    """Return for each cell the cells in its row, its column and its box."""
    size = height * width
    places = [(row, column) for row in range(size) for column in range(size)]
    pairs = [
        (a, b)
        for a, b in combinations(range(size * size), 2)
        if places[a][0] == places[b][0]
        or places[a][1] == places[b][1]
        or (places[a][0] // height, places[a][1] // width)
        == (places[b][0] // height, places[b][1] // width)
    ]
    return linked(pairs, size * size)


def _full_grid(rng: random.Random, height: int, width: int) -> list[int]:
    size = height * width

    def shuffled(bands: int, lines: int) -> list[int]:
        order = [
            band * lines + line
            for band in rng.sample(range(bands), bands)
            for line in rng.sample(range(lines), lines)
        ]
        return order

    rows, columns = shuffled(width, height), shuffled(height, width)
    values = rng.sample(range(size), size)
    return [
        values[(width * (row % height) + row // height + column) % size]
        for row in rows
        for column in columns
    ]


def make(*, level: int = 1, seed: int = 0, **common: Unpack[CommonOptions]) -> ReasoningEnv:
    """Make `stepgym/Sudoku-v0`; levels run from 1 to 10."""
    return ReasoningEnv(
        ProceduralSet(NAME, generate, level, seed),
        domain=SudokuPuzzle(),
        verifier=AssignmentVerifier(),
        step_verifier=AssignmentStepVerifier(),
        **common,
    )
