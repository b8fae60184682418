"""Numbers in bases 2 to 9: conversion, and sums and products. Levels raise the numbers and the operation."""

from __future__ import annotations

import random

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/NumberBases-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a conversion (to level 4), a sum (to level 7) or a product of numbers in a base."""
    base, largest = rng.choice((2, 3, 4, 5, 6, 7, 8, 9)), 10 ** (1 + scaled(level, 1, 4))
    a, b = rng.randint(5, largest), rng.randint(5, largest)
    if level <= 4:
        target = rng.choice([other for other in (2, 3, 4, 5, 6, 7, 8, 9, 10) if other != base])
        value = a
        question = worded(
            rng,
            "Write the number {a}, given in base {base}, in base {target}.",
            "{a} is a number in base {base}. What are its digits in base {target}?",
            a=digits(a, base),
            base=base,
            target=target,
        )
        steps = [f"{_expanded(a, base)} = {a}"]
    else:
        target, value = base, a + b if level <= 7 else a * b
        question = worded(
            rng,
            "All numbers are written in base {base}. What is {a} {operator} {b}, in base {base}?",
            "Calculate {a} {operator} {b}, where both numbers are in base {base}. Answer in base {base}.",
            a=digits(a, base),
            b=digits(b, base),
            base=base,
            operator="+" if level <= 7 else "*",
        )
        operator = "+" if level <= 7 else "*"
        steps = [
            f"{_expanded(a, base)} = {a}",
            f"{_expanded(b, base)} = {b}",
            f"{a} {operator} {b} = {value}",
        ]
    steps.append(f"{_expanded(value, target)} = {value}")
    return draft(question, digits(value, target), steps)


def digits(number: int, base: int) -> str:
    """Return the digits of a number of 0 or more in a base of at most 10."""
    text = ""
    while number or not text:
        number, digit = divmod(number, base)
        text = f"{digit}{text}"
    return text


def _expanded(number: int, base: int) -> str:
    text = digits(number, base)
    return " + ".join(f"{digit} * {base}^{len(text) - k - 1}" for k, digit in enumerate(text))


make = text_family(NAME, generate)
