"""Sums of logarithms with rational values. Levels raise the number of terms and bring roots and powers in."""

from __future__ import annotations

import random
from fractions import Fraction

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Logarithms-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw terms `log_b(a)` where base and argument are powers of one number."""
    total, text, steps, values = Fraction(0), "", [], []
    for position in range(scaled(level, 1, 5)):
        root = rng.choice((2, 3, 5, 7) if level >= 4 else (2, 3))
        below = rng.randint(1, 1 + (level >= 5) + (level >= 8))
        above = rng.randint(1, scaled(level, 4, 6)) * (
            -1 if level >= 6 and rng.random() < 0.4 else 1
        )
        value = Fraction(above, below)
        shown = str(Fraction(root) ** above)
        sign = rng.choice("+-") if position else "+"
        term = f"log_{root**below}({shown})"
        text += f" {sign} {term}" if position else term
        steps.append(f"{root}^({above}) = {shown}, and {root}^{below} = {root**below}.")
        values.append(f"{sign} ({value})")
        total += value if sign == "+" else -value
    steps.append(f"{' '.join(values).removeprefix('+ ')} = {total}")
    question = worded(
        rng, "What is {text}?", "Evaluate {text}; log_b is the logarithm to base b.", text=text
    )
    return draft(question, total, steps)


make = text_family(NAME, generate)
