"""Sums of powers and roots. Levels raise the bases, the exponents and the number of terms."""

from __future__ import annotations

import random

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Powers-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw terms such as `3^4`, `sqrt(144)` and `7 * 2^5`, and add or subtract them."""
    total, text, steps, values = 0, "", [], []
    for position in range(scaled(level, 2, 6)):
        term, value, worked = _term(rng, level)
        sign = rng.choice("+-") if position else "+"
        steps.append(worked)
        values.append(f"{sign} {value}")
        total += value if sign == "+" else -value
        text += f" {sign} {term}" if position else term
    steps.append(f"{' '.join(values).removeprefix('+ ')} = {total}")
    question = worded(rng, "What is {text}?", "Evaluate {text}.", "Compute {text}.", text=text)
    return draft(question, total, steps)


def _term(rng: random.Random, level: int) -> tuple[str, int, str]:
    base = rng.randint(2, scaled(level, 5, 12))
    if rng.random() < 0.3:
        return f"sqrt({base**2})", base, f"{base}^2 = {base**2}"
    exponent = rng.randint(2, scaled(level, 2, 5))
    value = base**exponent
    worked = f"{base}^{exponent} = {value}"
    if level >= 5 and rng.random() < 0.5:
        factor = rng.randint(2, 9)
        return (
            f"{factor} * {base}^{exponent}",
            factor * value,
            f"{worked} and {factor} * {value} = {factor * value}",
        )
    return f"{base}^{exponent}", value, worked


make = text_family(NAME, generate)
