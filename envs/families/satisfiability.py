"""How many truth assignments satisfy a formula. Levels raise the number of letters and clauses."""

from __future__ import annotations

import random
from itertools import product

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Satisfiability-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw clauses of two or three literals. All assignments are tried."""
    letters = "ABCDEF"[: scaled(level, 2, 6)]
    clauses = []
    for _ in range(scaled(level, 2, 9)):
        chosen = rng.sample(letters, min(len(letters), 2 + (level >= 5)))
        clauses.append([(letter, rng.random() < 0.5) for letter in chosen])
    good = [
        values
        for values in product((True, False), repeat=len(letters))
        if all(
            any(dict(zip(letters, values))[a] == sign for a, sign in clause) for clause in clauses
        )
    ]
    text = " and ".join(
        "(" + " or ".join(a if sign else f"not {a}" for a, sign in clause) + ")"
        for clause in clauses
    )
    question = worded(
        rng,
        "Each of {letters} is true or false. In how many of the {total} cases is this true: {text}?",
        "How many assignments of true and false to {letters} satisfy the formula {text}?",
        letters=", ".join(letters),
        total=2 ** len(letters),
        text=text,
    )
    shown = ["".join("T" if value else "F" for value in values) for values in good]
    steps = [
        f"There are 2^{len(letters)} = {2 ** len(letters)} cases, in the order {letters}.",
        f"Those that satisfy it: {', '.join(shown) or 'none'}.",
    ]
    return draft(question, len(good), steps)


make = text_family(NAME, generate)
