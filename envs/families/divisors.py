"""Greatest common divisors and least common multiples. Levels raise the numbers and how many there are."""

from __future__ import annotations

import random
from math import gcd

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Divisors-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw numbers with a common factor; the least common multiple is asked for small ones only."""
    count = 2 if level < 4 else 3 if level < 8 else 4
    shared, largest = rng.randint(2, scaled(level, 9, 60)), scaled(level, 9, 99)
    numbers = [shared * rng.randint(2, largest) for _ in range(count)]
    multiple = level < 8 and rng.random() < 0.5
    value, steps = numbers[0], []
    for number in numbers[1:]:
        common, worked = _euclid(value, number)
        steps += worked
        if multiple:
            before, value = value, value // common * number
            steps.append(f"{before} * {number} / {common} = {value}")
        else:
            value = common
    question = worded(
        rng,
        "What is the {wanted} of {numbers}?",
        "Find the {wanted} of the numbers {numbers}.",
        wanted="least common multiple" if multiple else "greatest common divisor",
        numbers=", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}",
    )
    return draft(question, value, steps)


def _euclid(a: int, b: int) -> tuple[int, list[str]]:
    steps, (large, small) = [], (max(a, b), min(a, b))
    while small:
        steps.append(f"{large} = {large // small} * {small} + {large % small}")
        large, small = small, large % small
    assert large == gcd(a, b)
    return large, steps


make = text_family(NAME, generate)
