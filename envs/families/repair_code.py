"""Repair a function into which a mutation was put. Levels raise the length of the function and leave out the failing call.

A mutant that agrees with the original on all inputs tried is taken for equivalent and is not used.
"""

from __future__ import annotations

import random

from stepgym.envs.families.code_family import code_family, function_draft
from stepgym.envs.families.code_tasks import call, drawn_task
from stepgym.envs.families.mutation import differing, mutants, outcomes
from stepgym.envs.families.text import worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/RepairCode-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a task and one of its mutants; from level 8 on, a second mutation is put in."""
    while True:
        drawn = drawn_task(rng, level)
        task = drawn.task
        broken, failing = task.source, None
        for _ in range(1 + (level >= 8)):
            found = mutants(broken)
            broken = rng.choice(found) if found else broken
        failing = differing(broken, task.entry_point, drawn.inputs, drawn.expected)
        if failing is not None:
            break
    args = drawn.inputs[failing]
    [got] = outcomes(broken, task.entry_point, [args])
    evidence = f"{call(task, args)} gives {got}, but should be {drawn.expected[failing]}"
    shown = f" For example, {evidence}." if level < 6 else ""
    question = worded(
        rng,
        "This function has a bug. {statement}{shown}\n\n```\n{broken}\n```\n\nGive the corrected function.",
        "What the function below should do: {statement} It does not.{shown} Repair it.\n\n```\n{broken}\n```",
        "Find and fix the mistake.{shown} The specification: {statement}\n\n```\n{broken}\n```",
        statement=task.statement,
        shown=shown,
        broken=broken.rstrip(),
    )
    return function_draft(rng, drawn, question, [f"{evidence}."], first=[failing])


make = code_family(NAME, generate)
