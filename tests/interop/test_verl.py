"""verl's reward function over rows of an environment."""

from __future__ import annotations

import random

import pytest

from stepgym.envs.families.countdown import random_solution
from stepgym.envs.registry import load_env
from stepgym.interop.verl import compute_score


def test_maths_answers_are_graded_by_the_environments_verifier() -> None:
    problem = load_env("stepgym/Math-v0", level=2, seed=3).problems[5]
    row = {"index": 5, "level": 2, "seed": 3}
    solution = f"I think <answer>{problem.reference}</answer>"
    assert compute_score("stepgym/Math-v0", solution, problem.reference, row) == 1.0
    assert compute_score("stepgym/Math-v0", "<answer>x</answer>", problem.reference, row) == 0.0


def test_a_solution_in_steps_is_played() -> None:
    problem = load_env("stepgym/Countdown-v0", level=3).problems[4]
    steps = random_solution(*problem.public, random.Random(0))  # type: ignore[misc]
    row = {"index": 4, "level": 3, "seed": 0}
    assert compute_score("stepgym/Countdown-v0", "\n".join(steps), problem.reference, row) == 1.0
    assert compute_score("stepgym/Countdown-v0", steps[0], problem.reference, row) == 0.0


def test_code_is_graded_too() -> None:
    problem = load_env("stepgym/Code-v0", sandbox="local").problems[0]
    row = {"index": 0, "env_options": {"sandbox": "local"}}
    wrong = "```python\ndef f():\n    pass\n```"
    assert compute_score("stepgym/Code-v0", wrong, problem.reference, row) == 0.0


def test_a_row_of_another_problem_is_refused() -> None:
    with pytest.raises(ValueError, match="no 'index'"):
        compute_score("stepgym/Math-v0", "1", "1", {})
    with pytest.raises(ValueError, match="another version"):
        compute_score("stepgym/Math-v0", "1", "no such reference", {"index": 0, "level": 1})
