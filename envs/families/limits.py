"""Limits of rational functions at a common root of numerator and denominator. Levels raise the degrees."""

from __future__ import annotations

import random
from fractions import Fraction

from stepgym.envs.families.derivatives import at
from stepgym.envs.families.polynomials import multiply
from stepgym.envs.families.text import draft, nonzero, polynomial, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Limits-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw numerator and denominator with the factor `x - a`; from level 7 on it is squared in both."""
    point, size = nonzero(rng, scaled(level, 3, 6)), scaled(level, 4, 9)
    while True:
        above = [nonzero(rng, size) for _ in range(scaled(level, 1, 3))]
        below = [nonzero(rng, size) for _ in range(scaled(level, 1, 3))]
        if len(above) + len(below) == 2:
            above.append(nonzero(rng, size))
        if at(below, point):
            break
    factor = [1, -point]
    numerator, denominator = multiply(above, factor), multiply(below, factor)
    if level >= 7:
        numerator, denominator = multiply(numerator, factor), multiply(denominator, factor)
    value = Fraction(at(above, point), at(below, point))
    question = worded(
        rng,
        "What is the limit of ({numerator}) / ({denominator}) as x approaches {point}?",
        "Find the limit of ({numerator}) / ({denominator}) for x to {point}. Give an exact value.",
        numerator=polynomial(numerator),
        denominator=polynomial(denominator),
        point=point,
    )
    steps = [
        f"Without the common factor the quotient is ({polynomial(above)}) / ({polynomial(below)}).",
        f"({at(above, point)}) / ({at(below, point)}) = {value}",
    ]
    return draft(question, value, steps)


make = text_family(NAME, generate)
