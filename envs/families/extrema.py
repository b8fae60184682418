"""Largest and smallest values of quadratics and cubics on an interval. Levels raise the degree and the interval."""

from __future__ import annotations

import random

from stepgym.envs.families.derivatives import at
from stepgym.envs.families.text import draft, nonzero, polynomial, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Extrema-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a polynomial whose critical points are whole numbers, and an interval."""
    size = scaled(level, 3, 7)
    constant = rng.randint(-20, 20)
    if level <= 4:
        factor, top = nonzero(rng, scaled(level, 1, 4)), rng.randint(-size, size)
        f, critical = [factor, -2 * factor * top, constant], [top]
    else:
        # The derivative is 6 * factor * (x - p)(x - q).
        factor, p, q = nonzero(rng, 2), rng.randint(-size, size), rng.randint(-size, size)
        f, critical = (
            [2 * factor, -3 * factor * (p + q), 6 * factor * p * q, constant],
            sorted({p, q}),
        )
    low = rng.randint(-size - 2, size)
    high = low + rng.randint(2, scaled(level, 5, 12))
    points = sorted({low, high, *(x for x in critical if low < x < high)})
    largest = rng.random() < 0.5
    values = [at(f, x) for x in points]
    value = max(values) if largest else min(values)
    question = worded(
        rng,
        "What is the {wanted} value of {f} for x from {low} to {high}, ends included?",
        "Find the {wanted} value that {f} takes on the interval [{low}, {high}].",
        wanted="largest" if largest else "smallest",
        f=polynomial(f),
        low=low,
        high=high,
    )
    steps = [f"The derivative is zero at x in {critical}; compare the points {points}."]
    steps += [
        f"At {x} the value is {' + '.join(f'({c}) * ({x})^{len(f) - 1 - k}' for k, c in enumerate(f))} = {y}."
        for x, y in zip(points, values)
    ]
    return draft(question, value, steps)


make = text_family(NAME, generate)
