"""Derivatives of products and powers of polynomials at a point. Levels raise the degrees and nest the functions."""

from __future__ import annotations

import random
from collections.abc import Sequence

from stepgym.envs.families.text import draft, nonzero, polynomial, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Derivatives-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a polynomial (to level 3), a product (to level 6) or a power of a polynomial, and a point."""
    point, size = nonzero(rng, scaled(level, 2, 4)), scaled(level, 4, 9)
    if level <= 3:
        f = [nonzero(rng, size) for _ in range(2 + level)]
        text, value = polynomial(f), at(derivative(f), point)
        steps = [f"The derivative is {polynomial(derivative(f))}."]
    elif level <= 6:
        f, g = ([nonzero(rng, size) for _ in range(scaled(level, 2, 4))] for _ in range(2))
        text = f"({polynomial(f)})({polynomial(g)})"
        df, dg = at(derivative(f), point), at(derivative(g), point)
        value = df * at(g, point) + at(f, point) * dg
        steps = [f"({df}) * ({at(g, point)}) + ({at(f, point)}) * ({dg}) = {value}"]
    else:
        f, power = (
            [nonzero(rng, size) for _ in range(scaled(level, 2, 4))],
            rng.randint(2, level - 4),
        )
        text = f"({polynomial(f)})^{power}"
        inner, slope = at(f, point), at(derivative(f), point)
        value = power * inner ** (power - 1) * slope
        steps = [f"{power} * ({inner})^{power - 1} * ({slope}) = {value}"]
    question = worded(
        rng,
        "Let f(x) = {text}. What is f'({point})?",
        "Find the slope of the curve y = {text} at x = {point}.",
        "What is the derivative of {text} with respect to x at x = {point}?",
        text=text,
        point=point,
    )
    return draft(question, value, steps)


def derivative(coefficients: Sequence[int]) -> list[int]:
    """Return the derivative; coefficients are ordered from the highest power down."""
    degree = len(coefficients) - 1
    return [c * (degree - k) for k, c in enumerate(coefficients[:-1])]


def at(coefficients: Sequence[int], point: int) -> int:
    """Return a polynomial's value, by Horner's rule."""
    value = 0
    for coefficient in coefficients:
        value = value * point + coefficient
    return value


make = text_family(NAME, generate)
