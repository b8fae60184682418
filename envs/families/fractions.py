"""Sums, differences, products and quotients of fractions. Levels raise the number of terms and the denominators."""

from __future__ import annotations

import random
from fractions import Fraction

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Fractions-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a chain of fractions; products are in brackets, so that the chain is worked from left to right."""
    num_terms, largest = scaled(level, 2, 6), scaled(level, 6, 30)
    operators = "+-" if level < 4 else "+-*/"
    value = _fraction(rng, largest)
    text, steps = str(value), []
    for _ in range(num_terms - 1):
        operator, other = rng.choice(operators), _fraction(rng, largest)
        before, value = value, _apply(value, operator, other)
        steps.append(f"({before}) {operator} ({other}) = {value}")
        text = (
            f"({text}) {operator} {_shown(other)}"
            if operator in "*/"
            else f"{text} {operator} {_shown(other)}"
        )
    question = worded(
        rng,
        "What is {text}?",
        "Calculate {text}. Give an exact fraction.",
        "Find the exact value of {text}.",
        text=text,
    )
    return draft(question, value, steps)


def _fraction(rng: random.Random, largest: int) -> Fraction:
    return Fraction(rng.randint(1, largest), rng.randint(2, largest))


def _shown(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"({value})"


def _apply(left: Fraction, operator: str, right: Fraction) -> Fraction:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    return left * right if operator == "*" else left / right


make = text_family(NAME, generate)
