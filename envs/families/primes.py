"""Prime factorisations: number and sum of divisors, Euler's totient, largest prime factor. Levels raise the number."""

from __future__ import annotations

import random
from math import prod

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Primes-v0"
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a factorisation, and ask for something that follows from it."""
    bases = sorted(rng.sample(PRIMES[: scaled(level, 4, 20)], scaled(level, 2, 4)))
    powers = [rng.randint(1, max(1, scaled(level, 3, 4) - (base > 10))) for base in bases]
    number = prod(base**power for base, power in zip(bases, powers))
    shown = " * ".join(f"{base}^{power}" for base, power in zip(bases, powers))
    kind = rng.choice(("number", "sum", "totient", "largest"))
    if kind == "number":
        wanted, value = "How many positive divisors does {n} have?", prod(p + 1 for p in powers)
        worked = " * ".join(f"({p} + 1)" for p in powers)
    elif kind == "sum":
        wanted = "What is the sum of all positive divisors of {n}?"
        factors = [(base ** (power + 1) - 1) // (base - 1) for base, power in zip(bases, powers)]
        value, worked = prod(factors), " * ".join(map(str, factors))
    elif kind == "totient":
        wanted = "How many of the numbers from 1 to {n} have no common factor with {n} except 1?"
        factors = [base ** (power - 1) * (base - 1) for base, power in zip(bases, powers)]
        value, worked = prod(factors), " * ".join(map(str, factors))
    else:
        wanted, value, worked = (
            "What is the largest prime factor of {n}?",
            bases[-1],
            str(bases[-1]),
        )
    steps = [f"{number} = {shown}", f"{worked} = {value}"]
    return draft(worded(rng, wanted, n=number), value, steps)


make = text_family(NAME, generate)
