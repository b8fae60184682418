"""Find an input for which a function returns a given value. Any such input is right; levels go as in WriteFunction.

An answer is read as literals and never run; the function runs in the sandbox.
"""

from __future__ import annotations

import random
from collections import Counter

from stepgym.envs.benchmarks.cruxeval import INPUT_TESTS
from stepgym.envs.coding.verifier import CodingVerifier
from stepgym.envs.families.code_family import code_family
from stepgym.envs.families.code_tasks import drawn_task
from stepgym.envs.families.text import draft, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/PredictInput-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a function and a value that few of its inputs give."""
    drawn = drawn_task(rng, level)
    counts = Counter(drawn.expected)
    chosen = min(range(len(drawn.inputs)), key=lambda i: (counts[drawn.expected[i]], i))
    source = drawn.task.source.replace(f"def {drawn.task.entry_point}(", "def f(")
    output = drawn.expected[chosen]
    args = ", ".join(map(repr, drawn.inputs[chosen]))
    question = worded(
        rng,
        "{source}\n\nFind an argument for which f(...) returns {output}. Answer with the argument alone, as a Python literal.",
        "{source}\n\nFor which argument does f return {output}? Any one will do. Answer with a Python literal.",
        "Name a value x, as a Python literal, such that f(x) == {output}.\n\n{source}",
        source=f"```\n{source.rstrip()}\n```",
        output=output,
    )
    made = draft(question, args, [f"Try f({args}): it returns {output}."])
    tests = {
        "style": "asserts",
        "source": INPUT_TESTS.replace("{output}", output),
        "names": ["ANSWER", "f"],
    }
    return made._replace(task={"tests": tests, "form": "literal input", "preamble": source})


make = code_family(NAME, generate, CodingVerifier, whole_answer=False)
