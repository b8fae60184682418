"""Linear equations in whole numbers: the smallest positive solution. Levels raise the coefficients."""

from __future__ import annotations

import random
from math import gcd

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Diophantine-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw `a x + b y = c` with coprime coefficients; x is asked for, the smallest that is positive."""
    largest = scaled(level, 9, 400)
    while True:
        a, b = rng.randint(2, largest), rng.randint(3, largest)
        if gcd(a, b) == 1:
            break
    x, y = rng.randint(1, b), rng.randint(-largest, largest)
    c = a * x + b * y
    question = worded(
        rng,
        "Find the smallest positive whole number x for which {a}x + {b}y = {c} has a whole number solution y.",
        "What is the smallest positive whole number x such that {c} - {a}x is divisible by {b}?",
        a=a,
        b=b,
        c=c,
    )
    inverse = pow(a, -1, b)
    steps = [
        f"{a} * {inverse} = {a * inverse // b} * {b} + 1",
        f"{inverse} * ({c}) = {inverse * c}",
        f"{inverse * c} = {(inverse * c - x) // b} * {b} + {x}",
        f"{c} - {a} * {x} = {b} * ({y})",
    ]
    return draft(question, x, steps)


make = text_family(NAME, generate)
