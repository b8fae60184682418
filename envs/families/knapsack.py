"""The largest value that fits into a knapsack. Levels raise the number of things and their weights."""

from __future__ import annotations

import random
from collections.abc import Sequence

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Knapsack-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw weights and values; about half of the things fit."""
    count, largest = scaled(level, 3, 12), scaled(level, 6, 40)
    things = [(rng.randint(1, largest), rng.randint(1, largest)) for _ in range(count)]
    limit = max(max(w for w, _ in things), sum(w for w, _ in things) * rng.randint(35, 65) // 100)
    chosen = best(things, limit)
    value = sum(v for _, v in chosen)
    question = worded(
        rng,
        "A knapsack carries at most {limit} kilograms. There is one of each of these things (weight in kilograms, value): "
        "{things}. What is the largest total value that it can carry?",
        "Choose from these things, each at most once, given as (weight, value): {things}. Their weights may sum to "
        "{limit} at most. What is the largest possible sum of values?",
        limit=limit,
        things=", ".join(map(str, things)),
    )
    weights = " + ".join(str(w) for w, _ in chosen)
    values = " + ".join(str(v) for _, v in chosen)
    steps = [
        f"Take {', '.join(map(str, chosen))}: weight {weights} = {sum(w for w, _ in chosen)}.",
        f"{values} = {value}",
    ]
    return draft(question, value, steps)


def best(things: Sequence[tuple[int, int]], limit: int) -> list[tuple[int, int]]:
    """Return a most valuable choice, by dynamic programming over the weight."""
    table: list[tuple[int, tuple[int, ...]]] = [(0, ())] * (limit + 1)
    for index, (weight, value) in enumerate(things):
        for room in range(limit, weight - 1, -1):
            before, taken = table[room - weight]
            if before + value > table[room][0]:
                table[room] = before + value, (*taken, index)
    return [things[index] for index in table[limit][1]]


make = text_family(NAME, generate)
