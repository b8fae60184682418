"""Exact values of sine, cosine and tangent at special angles. Levels raise the terms and the angles."""

from __future__ import annotations

import random

from stepgym.envs.families.text import draft, nonzero, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Trigonometry-v0"
SINES = {0: (0, 1), 30: (1, 1), 45: (1, 2), 60: (1, 3), 90: (2, 1)}
"""Degrees -> (c, n): the sine is c * sqrt(n) / 2."""


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a sum of multiples of sines and cosines; its exact value has the roots of 2 and 3."""
    halves = {1: 0, 2: 0, 3: 0}
    text, steps = "", []
    for position in range(scaled(level, 1, 5)):
        name = rng.choice(("sin", "cos"))
        choices = (0, 30, 60, 90) if level <= 2 else (0, 30, 45, 60, 90)
        angle = rng.choice(choices)
        if level >= 5:
            angle = rng.choice((angle, 180 - angle, 180 + angle, 360 - angle))
        if level >= 8:
            angle += 360 * rng.randint(-2, 2)
        times = 2 * nonzero(rng, scaled(level, 2, 6))
        c, n = value_of(name, angle)
        halves[n] += times * c
        sign = "" if not position and times > 0 else "- " if times < 0 else "+ "
        text += (
            f" {sign}{abs(times)} {name}({angle}°)"
            if position
            else f"{sign}{abs(times)} {name}({angle}°)"
        )
        steps.append(f"{name}({angle}°) is {c} * sqrt({n}) / 2.")
    value = " + ".join(
        f"{count // 2}" if n == 1 else f"{count // 2} * sqrt({n})"
        for n, count in halves.items()
        if count
    ).replace("+ -", "- ")
    question = worded(
        rng, "What is {text}? Give an exact value.", "Find the exact value of {text}.", text=text
    )
    return draft(question, value or "0", steps)


def value_of(name: str, angle: int) -> tuple[int, int]:
    """Return (c, n): the sine or cosine of so many degrees is c * sqrt(n) / 2."""
    angle = (angle + 90 * (name == "cos")) % 360
    sign = -1 if angle > 180 else 1
    angle %= 180
    c, n = SINES[min(angle, 180 - angle)]
    return sign * c, n


make = text_family(NAME, generate)
