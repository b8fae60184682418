"""Powers modulo a number, by repeated squaring. Levels raise the exponent and the modulus."""

from __future__ import annotations

import random

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/ModularPowers-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw base, exponent and modulus."""
    modulus = rng.randint(5, scaled(level, 12, 400))
    base = rng.randint(2, modulus - 1)
    exponent = rng.randint(3, 2 ** scaled(level, 3, 14))
    value, power, rest, steps = 1, base, exponent, []
    while rest:
        if rest % 2:
            steps.append(_reduced(value, power, modulus))
            value = value * power % modulus
        rest //= 2
        if rest:
            steps.append(_reduced(power, power, modulus))
            power = power * power % modulus
    question = worded(
        rng,
        "What is the remainder when {base}^{exponent} is divided by {modulus}?",
        "Compute {base}^{exponent} modulo {modulus}, as a number from 0 to {largest}.",
        base=base,
        exponent=exponent,
        modulus=modulus,
        largest=modulus - 1,
    )
    return draft(question, value, steps)


def _reduced(a: int, b: int, modulus: int) -> str:
    quotient, remainder = divmod(a * b, modulus)
    return f"{a} * {b} = {quotient} * {modulus} + {remainder}"


make = text_family(NAME, generate)
