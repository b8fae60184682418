"""Products and powers of complex numbers with whole parts. Levels raise the parts and the number of factors."""

from __future__ import annotations

import random

from stepgym.envs.families.text import draft, nonzero, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/ComplexNumbers-v0"
Gaussian = tuple[int, int]


def generate(rng: random.Random, level: int) -> Draft:
    """Draw factors, one of them perhaps a power, and multiply; a last term is added."""
    size = scaled(level, 4, 9)
    factors = [(nonzero(rng, size), nonzero(rng, size)) for _ in range(scaled(level, 2, 4))]
    text = "".join(f"({shown(factor)})" for factor in factors)
    if level >= 5:
        base, power = (nonzero(rng, 3), nonzero(rng, 3)), rng.randint(2, scaled(level, 2, 4))
        text += f"({shown(base)})^{power}"
        factors += [base] * power
    product, steps = factors[0], []
    for factor in factors[1:]:
        before, product = product, times(product, factor)
        steps.append(f"({shown(before)})({shown(factor)}) = {shown(product)}")
    added = (nonzero(rng, size), nonzero(rng, size))
    value = (product[0] + added[0], product[1] + added[1])
    steps.append(f"({shown(product)}) + ({shown(added)}) = {shown(value)}")
    question = worded(
        rng,
        "Write {text} + ({added}) in the form a + bi.",
        "What is {text} + ({added})? Give the answer as a + bi.",
        text=text,
        added=shown(added),
    )
    return draft(question, shown(value), steps)


def times(left: Gaussian, right: Gaussian) -> Gaussian:
    """Return the product of two complex numbers, given as real and imaginary part."""
    (a, b), (c, d) = left, right
    return a * c - b * d, a * d + b * c


def shown(number: Gaussian) -> str:
    """Return a complex number as `3 - 2i`."""
    real, imaginary = number
    if not imaginary:
        return str(real)
    letter = f"{'' if abs(imaginary) == 1 else abs(imaginary)}i"
    if not real:
        return f"-{letter}" if imaginary < 0 else letter
    return f"{real} {'-' if imaginary < 0 else '+'} {letter}"


make = text_family(NAME, generate)
