"""Write a function from a description. Levels go from short list pipelines over strings and graphs to dynamic programming."""

from __future__ import annotations

import random

from stepgym.envs.families.code_family import code_family, example, function_draft, signature
from stepgym.envs.families.code_tasks import drawn_task
from stepgym.envs.families.text import worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/WriteFunction-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a task; two examples are shown up to level 7, one above it."""
    drawn = drawn_task(rng, level)
    shown = rng.sample(range(len(drawn.inputs)), 2 if level < 8 else 1)
    examples = "; ".join(example(drawn, i) for i in shown)
    question = worded(
        rng,
        "Write the function {signature}. {statement} For example, {examples}.",
        "{statement} Write this as a Python function {signature}. Examples: {examples}.",
        "Implement {signature} in Python. {statement} ({examples}.)",
        signature=signature(drawn.task),
        statement=drawn.task.statement,
        examples=examples,
    )
    return function_draft(rng, drawn, question, [f"Required: {drawn.task.statement}"])


make = code_family(NAME, generate)
