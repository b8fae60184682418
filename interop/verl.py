"""verl: `compute_score` for rows that `stepgym export --format verl` wrote.

    custom_reward_function.path=pkg://stepgym.interop.verl custom_reward_function.name=compute_score

A row names its environment, options and problem, so mathematics, games and code are graded by their own verifiers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.session import shared_env
from stepgym.envs.tokens import final_answer
from stepgym.envs.types import Problem, Step
from stepgym.plugins.errors import UserError


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
) -> float:
    """Return the verdict's score in [0, 1] of a solution; 0 if it is undecided, because verl has no mask here.

    `data_source` is the environment's id. `extra_info` has the problem's `index`, and `level`, `seed` and `env_options` if
    the environment takes them. A solution without an answer tag is played, a step per line. Raises `ValueError` for a row that names no problem.
    """
    info = dict(extra_info or {})
    if "index" not in info:
        raise UserError(
            f"extra_info has no 'index', so the problem is unknown; it has {sorted(info)}"
        )
    options = dict(info.get("env_options") or {})
    for name in ("level", "seed"):
        if info.get(name) is not None:
            options.setdefault(name, info[name])
    env = shared_env(data_source, **options)
    problem = env.problems[int(info["index"])]
    if problem.reference != ground_truth:
        raise UserError(
            f"{problem.id} has the reference {problem.reference!r}, the row has {ground_truth!r}: "
            "another version or other options made it"
        )
    answer = final_answer(solution_str)
    if answer is None:
        answer = _played(env, problem, solution_str)
    [verdict] = env.verifier.verify([problem], [solution_str if answer is None else answer])
    return verdict.score


def _played(env: ReasoningEnv, problem: Problem, solution: str) -> str | None:
    """Return the answer that the environment reaches if each line of the solution is a step."""
    state = env.domain.initial(problem)
    for line in filter(str.strip, solution.splitlines()):
        if state.done:
            break
        [state] = env.domain.advance([state], [Step(line.strip())])
    return state.answer
