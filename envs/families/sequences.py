"""Terms of sequences: arithmetic, geometric, quadratic, and sums of the two terms before. Levels raise the kind and the index."""

from __future__ import annotations

import random

from stepgym.envs.families.text import draft, nonzero, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Sequences-v0"
KINDS = ("arithmetic", "geometric", "quadratic", "recursive")


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a sequence of a stated kind; its first terms are shown and a later one is asked for."""
    kind = rng.choice(KINDS[: 1 + level // 2] if level < 6 else KINDS)
    index = {
        "arithmetic": rng.randint(8, scaled(level, 15, 300)),
        "geometric": rng.randint(6, scaled(level, 7, 14)),
        "quadratic": rng.randint(6, scaled(level, 8, 40)),
        "recursive": rng.randint(6, scaled(level, 7, 18)),
    }[kind]
    first, step = nonzero(rng, 10), nonzero(rng, scaled(level, 4, 12))
    if kind == "arithmetic":
        terms = [first + step * k for k in range(index)]
        rule = "Each term differs from the one before by the same number."
        steps = [
            f"{terms[1]} - ({terms[0]}) = {step}",
            f"{first} + {index - 1} * ({step}) = {terms[-1]}",
        ]
    elif kind == "geometric":
        ratio = rng.choice((-3, -2, 2, 3))
        terms = [first * ratio**k for k in range(index)]
        rule = "Each term is the one before times the same number."
        steps = [
            f"({terms[1]}) / ({terms[0]}) = {ratio}",
            f"{first} * ({ratio})^{index - 1} = {terms[-1]}",
        ]
    elif kind == "quadratic":
        second = 2 * nonzero(rng, 4)
        terms = [first + step * k + second * k * (k - 1) // 2 for k in range(index)]
        rule = "The differences of neighbouring terms grow by the same number each time."
        n = index - 1
        steps = [
            f"{terms[1]} - ({terms[0]}) = {step}, and {terms[2]} - 2 * ({terms[1]}) + ({terms[0]}) = {second}",
            f"{first} + ({step}) * {n} + ({second}) * {n} * {n - 1} / 2 = {terms[-1]}",
        ]
    else:
        terms = [first, step]
        while len(terms) < index:
            terms.append(terms[-1] + terms[-2])
        rule = "From the third term on, each term is the sum of the two before it."
        steps = [f"{terms[k - 2]} + ({terms[k - 1]}) = {terms[k]}" for k in range(4, index)]
    shown = ", ".join(map(str, terms[:4]))
    question = worded(
        rng,
        "A sequence begins {shown}. {rule} What is term number {index}?",
        "{rule} The first terms are {shown}. Find the term with number {index}, counted from 1.",
        shown=shown,
        rule=rule,
        index=index,
    )
    return draft(question, terms[-1], steps)


make = text_family(NAME, generate)
