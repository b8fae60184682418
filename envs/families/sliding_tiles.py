"""Sliding tiles. A step is the number of the tile that slides into the gap. Levels raise the board and the scramble."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Unpack

from stepgym.envs.families.path_puzzle import PathPuzzle, PathStepVerifier, PathVerifier, Position
from stepgym.envs.families.text import scaled
from stepgym.envs.problem_sets import Draft, ProceduralSet
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv

NAME = "stepgym/SlidingTiles-v0"


class Board(NamedTuple):
    """Tiles row by row, 0 for the gap."""

    tiles: tuple[int, ...]
    width: int


@dataclass(frozen=True)
class SlidingTiles(PathPuzzle):
    """A tile beside the gap slides into it."""

    step_form = "the number of one tile, such as `7`,"

    def neighbours(self, arrangement: Board) -> Mapping[str, Board]:
        tiles, width = arrangement
        gap = tiles.index(0)
        row, column = divmod(gap, width)
        found = {}
        for i, j in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= i < len(tiles) // width and 0 <= j < width:
                moved = list(tiles)
                moved[gap], moved[i * width + j] = tiles[i * width + j], 0
                found[str(tiles[i * width + j])] = Board(tuple(moved), width)
        return found


def generate(rng: random.Random, level: int) -> Draft:
    """Scramble the goal by legal moves that never undo the one before."""
    height, width = ((2, 2), (2, 3), (3, 3))[(level >= 3) + (level >= 6)]
    puzzle = SlidingTiles()
    goal = Board((*range(1, height * width), 0), width)
    board, last = goal, ""
    for _ in range(scaled(level, 3, 12)):
        moves = {move: after for move, after in puzzle.neighbours(board).items() if move != last}
        last = rng.choice(sorted(moves))
        board = moves[last]
    solution = puzzle.path(board, goal, 12)
    assert solution is not None, "the scramble can be undone"
    allowed = len(solution) + scaled(level, 4, 0)
    prompt = (
        f"Sliding tiles, rows from top to bottom, _ for the gap: {_shown(board)}. Goal: {_shown(goal)}. A tile beside the "
        f"gap slides into it. Each step is the number of the tile that moves. Reach the goal in at most {allowed} moves."
    )
    position = Position(board, goal, allowed)
    return Draft(prompt, ", ".join(solution), position, solution=tuple(solution))


def make(*, level: int = 1, seed: int = 0, **common: Unpack[CommonOptions]) -> ReasoningEnv:
    """Make `stepgym/SlidingTiles-v0`; levels run from 1 to 10."""
    puzzle = SlidingTiles()
    return ReasoningEnv(
        ProceduralSet(NAME, generate, level, seed),
        domain=puzzle,
        verifier=PathVerifier(puzzle),
        step_verifier=PathStepVerifier(puzzle),
        **common,
    )


def _shown(board: Board) -> str:
    rows = [board.tiles[k : k + board.width] for k in range(0, len(board.tiles), board.width)]
    return " / ".join(" ".join(str(tile or "_") for tile in row) for row in rows)
