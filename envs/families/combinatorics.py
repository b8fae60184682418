"""Counting: committees, arrangements of letters, lattice paths, distributions. Levels raise the numbers and the conditions."""

from __future__ import annotations

import random
from math import comb, factorial, prod

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Combinatorics-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw one kind of counting problem."""
    kind = rng.choice((_committee, _letters, _paths, _sweets))
    return kind(rng, level)


def _committee(rng: random.Random, level: int) -> Draft:
    women, men = rng.randint(3, scaled(level, 5, 14)), rng.randint(3, scaled(level, 5, 14))
    size = rng.randint(2, min(scaled(level, 3, 7), women, men))
    least = rng.randint(0, size) if level >= 3 else 0
    question = worded(
        rng,
        "A club has {women} women and {men} men. How many committees of {size} people have at least {least} women?",
        "From {women} women and {men} men, a committee of {size} is chosen with {least} or more women. In how many ways?",
        women=women,
        men=men,
        size=size,
        least=least,
    )
    counts = [comb(women, k) * comb(men, size - k) for k in range(least, size + 1)]
    steps = [
        f"{k} women: {comb(women, k)} * {comb(men, size - k)} = {count}"
        for k, count in zip(range(least, size + 1), counts)
    ]
    return draft(question, sum(counts), [*steps, f"{' + '.join(map(str, counts))} = {sum(counts)}"])


def _letters(rng: random.Random, level: int) -> Draft:
    letters = rng.sample("ABCDEFGHKLMN", scaled(level, 3, 6))
    counts = [rng.randint(1, 1 + (level >= 3) + (level >= 7)) for _ in letters]
    word = [letter for letter, count in zip(letters, counts) for _ in range(count)]
    rng.shuffle(word)
    value = factorial(len(word)) // prod(map(factorial, counts))
    question = worded(
        rng,
        "In how many different orders can the letters of {word} be written?",
        "How many different strings use exactly the letters of {word}?",
        word="".join(word),
    )
    divisor = " * ".join(str(factorial(count)) for count in counts)
    return draft(question, value, [f"{factorial(len(word))} / ({divisor}) = {value}"])


def _paths(rng: random.Random, level: int) -> Draft:
    right, up = rng.randint(2, scaled(level, 4, 10)), rng.randint(2, scaled(level, 4, 10))
    blocked = level >= 5
    x, y = rng.randint(1, right - 1), rng.randint(1, up - 1)
    total, through = comb(right + up, up), comb(x + y, y) * comb(right + up - x - y, up - y)
    rule = f" that do not pass through the point ({x}, {y})" if blocked else ""
    question = worded(
        rng,
        "How many paths from (0, 0) to ({right}, {up}) go one unit right or one unit up at each step{rule}?"
        if not blocked
        else "Paths from (0, 0) to ({right}, {up}) go one unit right or one unit up at each step. How many are there{rule}?",
        right=right,
        up=up,
        rule=rule,
    )
    steps = [
        f"All paths: {factorial(right + up)} / ({factorial(up)} * {factorial(right)}) = {total}"
    ]
    if not blocked:
        return draft(question, total, steps)
    steps += [
        f"Through the point: {comb(x + y, y)} * {comb(right + up - x - y, up - y)} = {through}",
        f"{total} - {through} = {total - through}",
    ]
    return draft(question, total - through, steps)


def _sweets(rng: random.Random, level: int) -> Draft:
    children, least = rng.randint(2, scaled(level, 3, 6)), rng.randint(0, 1 + (level >= 5))
    sweets = children * least + rng.randint(3, scaled(level, 6, 15))
    free = sweets - children * least
    value = comb(free + children - 1, children - 1)
    question = worded(
        rng,
        "In how many ways can {sweets} equal sweets be given to {children} children, so that each gets at least {least}?",
        "{children} children share {sweets} equal sweets, and each child gets at least {least}. How many ways are there?",
        sweets=sweets,
        children=children,
        least=least,
    )
    n, k = free + children - 1, children - 1
    steps = [
        f"{sweets} - {children} * {least} = {free}",
        f"{factorial(n)} / ({factorial(k)} * {factorial(n - k)}) = {value}",
    ]
    return draft(question, value, steps)


make = text_family(NAME, generate)
