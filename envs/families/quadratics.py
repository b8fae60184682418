"""Quadratic equations with two different rational solutions. Levels raise the roots and the leading coefficient."""

from __future__ import annotations

import random
from fractions import Fraction

from stepgym.envs.families.text import draft, nonzero, polynomial, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Quadratics-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw `(px - q)(rx - s) = 0` and expand it; from level 6 on a part of it is on the right side."""
    size, largest = scaled(level, 4, 20), scaled(level, 1, 6)
    while True:
        p, r = rng.randint(1, largest), rng.randint(1, largest)
        q, s = nonzero(rng, size), nonzero(rng, size)
        first, second = sorted((Fraction(q, p), Fraction(s, r)))
        if first != second:
            break
    a, b, c = p * r, -(p * s + q * r), q * s
    right = [0, 0, 0] if level < 6 else [0, nonzero(rng, 9), nonzero(rng, 9)]
    left = [a, b + right[1], c + right[2]]
    question = worded(
        rng,
        "Solve {left} = {right}. Give both solutions, separated by a comma.",
        "Find both values of x for which {left} = {right}. Separate them by a comma.",
        left=polynomial(left),
        right=polynomial(right),
    )
    root = abs(p * s - q * r)
    steps = [
        f"Everything on one side: {polynomial([a, b, c])} = 0.",
        f"The discriminant is ({b})^2 - 4 * ({a}) * ({c}) = {root**2}, and {root}^2 = {root**2}.",
        f"({-b} - {root}) / (2 * {a}) = {first}",
        f"({-b} + {root}) / (2 * {a}) = {second}",
    ]
    return draft(question, f"{first}, {second}", steps)


make = text_family(NAME, generate)
