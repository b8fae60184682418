"""Determinants. Levels raise the size from 2 to 5 and the entries."""

from __future__ import annotations

import random
from collections.abc import Sequence

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Determinants-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a matrix of whole numbers."""
    size, largest = scaled(level, 2, 5), scaled(level, 5, 9)
    matrix = [[rng.randint(-largest, largest) for _ in range(size)] for _ in range(size)]
    rows = "; ".join(", ".join(map(str, row)) for row in matrix)
    question = worded(
        rng,
        "What is the determinant of the matrix with the rows {rows}?",
        "Compute the determinant of the {size} by {size} matrix whose rows are {rows}.",
        rows=rows,
        size=size,
    )
    value = determinant(matrix)
    cofactors = [
        (-1) ** k * entry * determinant(minor(matrix, k)) for k, entry in enumerate(matrix[0])
    ]
    return draft(question, value, [f"{' + '.join(f'({c})' for c in cofactors)} = {value}"])


def determinant(matrix: Sequence[Sequence[int]]) -> int:
    """Return the determinant, by expansion along the first row."""
    if not matrix:
        return 1
    return sum(
        (-1) ** k * entry * determinant(minor(matrix, k))
        for k, entry in enumerate(matrix[0])
        if entry
    )


def minor(matrix: Sequence[Sequence[int]], column: int) -> list[list[int]]:
    """Return the matrix without its first row and one column."""
    return [[*row[:column], *row[column + 1 :]] for row in matrix[1:]]


make = text_family(NAME, generate)
