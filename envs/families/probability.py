"""Probabilities as exact fractions: draws from an urn, and sums of dice. Levels raise the numbers."""

from __future__ import annotations

import random
from fractions import Fraction
from math import comb

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Probability-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw an urn or dice problem."""
    return _urn(rng, level) if rng.random() < 0.6 else _dice(rng, level)


def _urn(rng: random.Random, level: int) -> Draft:
    red, blue = rng.randint(2, scaled(level, 5, 15)), rng.randint(2, scaled(level, 5, 15))
    drawn = rng.randint(2, min(scaled(level, 2, 6), red, blue))
    wanted = rng.randint(0, drawn)
    ways, every = comb(red, wanted) * comb(blue, drawn - wanted), comb(red + blue, drawn)
    value = Fraction(ways, every)
    question = worded(
        rng,
        "An urn holds {red} red and {blue} blue balls. {drawn} are drawn at random without putting any back. "
        "What is the probability that exactly {wanted} of them are red?",
        "{drawn} balls are taken at once from a bag of {red} red and {blue} blue balls. How likely are exactly {wanted} "
        "red ones? Give a fraction.",
        red=red,
        blue=blue,
        drawn=drawn,
        wanted=wanted,
    )
    steps = [
        f"{comb(red, wanted)} * {comb(blue, drawn - wanted)} = {ways}",
        f"{ways} / {every} = {value}",
    ]
    return draft(question, value, steps)


def _dice(rng: random.Random, level: int) -> Draft:
    count, sides = scaled(level, 2, 4), rng.choice((4, 6, 8) if level >= 4 else (6,))
    ways = {0: 1}
    for _ in range(count):
        after: dict[int, int] = {}
        for total, number in ways.items():
            for side in range(1, sides + 1):
                after[total + side] = after.get(total + side, 0) + number
        ways = after
    target = rng.choice(sorted(ways))
    least = level >= 6
    good = sum(
        number for total, number in ways.items() if total == target or (least and total > target)
    )
    value = Fraction(good, sides**count)
    question = worded(
        rng,
        "{count} dice with the numbers 1 to {sides} are rolled. What is the probability that their sum is {target}{more}?",
        "What is the probability of a sum of {target}{more} with {count} fair dice of {sides} sides, numbered from 1?",
        count=count,
        sides=sides,
        target=target,
        more=" or more" if least else "",
    )
    return draft(
        question, value, [f"{sides}^{count} = {sides**count}", f"{good} / {sides**count} = {value}"]
    )


make = text_family(NAME, generate)
