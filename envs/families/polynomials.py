"""Products of polynomials, to be expanded. Levels raise the degrees, the coefficients and the number of factors."""

from __future__ import annotations

import random
from collections.abc import Sequence

from stepgym.envs.families.text import draft, nonzero, polynomial, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Polynomials-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw two or three factors and multiply them."""
    size = scaled(level, 4, 12)
    degrees = [1 + (level >= 3), 1 + (level >= 6), *([1] if level >= 8 else [])]
    factors = [[nonzero(rng, size) for _ in range(degree + 1)] for degree in degrees]
    product, steps = factors[0], []
    for factor in factors[1:]:
        before, product = product, multiply(product, factor)
        steps.append(f"({polynomial(before)})({polynomial(factor)}) = {polynomial(product)}")
    text = "".join(f"({polynomial(factor)})" for factor in factors)
    question = worded(
        rng,
        "Expand {text} and collect like terms.",
        "Write {text} as a polynomial in x without brackets.",
        text=text,
    )
    return draft(question, polynomial(product), steps)


def multiply(left: Sequence[int], right: Sequence[int]) -> list[int]:
    """Return the product; coefficients are ordered from the highest power down."""
    product = [0] * (len(left) + len(right) - 1)
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            product[i + j] += a * b
    return product


make = text_family(NAME, generate)
