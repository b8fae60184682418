"""What a small Python program prints. Levels add loops, branches and lists. Programs are interpreted as they are drawn."""

from __future__ import annotations

import random

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/PredictOutput-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a program that updates two variables in a loop; its values are computed along with its text."""
    a, b, rounds = rng.randint(1, 9), rng.randint(1, 9), scaled(level, 1, 8)
    modulus = rng.randint(7, scaled(level, 20, 97))
    lines, steps = [f"a = {a}", f"b = {b}", f"for k in range({rounds}):"], []
    p, q, r = rng.randint(2, 5), rng.randint(1, 9), rng.randint(1, 9)
    branch = level >= 4
    divisor = rng.randint(2, 4)
    lines.append(f"    a = ({p} * a + b + {q}) % {modulus}")
    if branch:
        lines += [
            f"    if a % {divisor} == 0:",
            f"        b = b + a - {r}",
            "    else:",
            "        b = b + k",
        ]
    else:
        lines.append(f"    b = b + {r}")
    for k in range(rounds):
        a = (p * a + b + q) % modulus
        if not branch:
            b += r
        elif a % divisor == 0:
            b += a - r
        else:
            b += k
        steps.append(f"After round {k}, a is {a} and b is {b}.")
    if level >= 7:
        s, t = rng.randint(2, 5), rng.randint(1, 9)
        lines += [f"c = [a * i + b for i in range({s})]", f"print(sum(c) - {t})"]
        value = sum(a * i + b for i in range(s)) - t
    else:
        lines.append("print(a + b)")
        value = a + b
    program = "\n".join(lines)
    question = worded(
        rng,
        "What does this Python program print?\n\n```\n{program}\n```",
        "Give the output of this program:\n\n```\n{program}\n```",
        program=program,
    )
    return draft(question, value, steps)


make = text_family(NAME, generate)
