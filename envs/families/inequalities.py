"""How many whole numbers satisfy inequalities. Levels raise the bounds, bring quadratics in and ask for two at once."""

from __future__ import annotations

import random

from stepgym.envs.families.text import draft, polynomial, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Inequalities-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw an interval of whole numbers, and the linear or quadratic inequalities that describe it."""
    size = scaled(level, 6, 60)
    low = rng.randint(-size, size)
    high = low + rng.randint(1, size)
    strict = rng.random() < 0.5
    if level <= 4:
        a, b = rng.randint(2, scaled(level, 3, 9)), rng.randint(-size, size)
        below, above = a * low + b - rng.randint(0, a - 1), a * high + b + rng.randint(0, a - 1)
        if strict:
            below, above = below - 1, above + 1
            if below < a * (low - 1) + b:
                below += 1
            if above > a * (high + 1) + b:
                above -= 1
        sign = "<" if strict else "<="
        conditions = f"{below} {sign} {polynomial([a, b])} {sign} {above}"
        steps = [
            f"x = {low} gives {a} * ({low}) + ({b}) = {a * low + b}.",
            f"x = {high} gives {a} * ({high}) + ({b}) = {a * high + b}.",
        ]
        first, last = low, high
    else:
        b, c = -(low + high), low * high
        first, last = (low + 1, high - 1) if strict else (low, high)
        conditions = f"{polynomial([1, b, c])} {'<' if strict else '<='} 0"
        steps = [
            f"({low}) + ({high}) = {low + high}, and ({low}) * ({high}) = {c}.",
            f"So {low} and {high} are the roots, and the quadratic is negative between them.",
            f"That leaves the whole numbers from {first} to {last}.",
        ]
        if level >= 8:
            cut = rng.randint(low, high)
            conditions += f" and {polynomial([-2, 1])} < {1 - 2 * cut}"
            steps.append(f"The second inequality says x > {cut}.")
            first = max(first, cut + 1)
    count = max(0, last - first + 1)
    if count:
        steps.append(f"{last} - ({first}) + 1 = {count}")
    question = worded(
        rng,
        "How many whole numbers x satisfy {conditions}?",
        "Count the integers x for which {conditions}.",
        conditions=conditions,
    )
    return draft(question, count, steps)


make = text_family(NAME, generate)
