"""Definite integrals of polynomials. Levels raise the degree and the bounds."""

from __future__ import annotations

import random
from fractions import Fraction

from stepgym.envs.families.text import draft, nonzero, polynomial, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Integrals-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a polynomial and two bounds; the antiderivative is evaluated at both."""
    f = [nonzero(rng, scaled(level, 5, 12)) for _ in range(scaled(level, 2, 5))]
    low = rng.randint(-scaled(level, 1, 4), 1)
    high = low + rng.randint(1, scaled(level, 3, 6))
    degree = len(f) - 1
    terms = [(Fraction(c, degree - k + 1), degree - k + 1) for k, c in enumerate(f)]
    upper, lower = (sum((c * Fraction(x) ** p for c, p in terms), Fraction(0)) for x in (high, low))
    value = upper - lower
    question = worded(
        rng,
        "What is the integral of {f} from x = {low} to x = {high}?",
        "Compute the definite integral of {f} with respect to x between {low} and {high}. Give an exact value.",
        f=polynomial(f),
        low=low,
        high=high,
    )
    return draft(question, value, [f"{upper} - ({lower}) = {value}"])


make = text_family(NAME, generate)
