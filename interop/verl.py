"""verl: `compute_score` for rows that `stepgym export --format verl` wrote.

    reward.custom_reward_function.path=pkg://stepgym.interop.verl reward.custom_reward_function.name=compute_score

A row names its environment, options and problem, so mathematics, games and code are graded by their own verifiers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.session import shared_env
from stepgym.envs.tokens import TOOL_CALL, final_answer
from stepgym.envs.types import Problem, Step
from stepgym.plugins.errors import UserError


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
) -> float:
    """Return the verdict's score of a solution, in [0, 1].

    An undecided solution has the score 0, because verl has no mask here.

    `data_source` is the environment's id. `extra_info` has the problem's `index` and `env_options` (a mapping or JSON); without
    these, `level` and `seed`. A solution without a final answer is played, first as one step, then a step per line. Raises
    `UserError` for a row that names no problem.
    """
    info = dict(extra_info or {})
    if "index" not in info:
        raise UserError(
            f"extra_info has no 'index', so the problem is unknown; it has {sorted(info)}"
        )
    given = info.get("env_options")
    options = dict(json.loads(given) if isinstance(given, str) else given or {})
    if given is None:
        options = {name: info[name] for name in ("level", "seed") if info.get(name) is not None}
    env = shared_env(data_source, **options)
    problem = env.problems[int(info["index"])]
    if problem.reference != ground_truth:
        raise UserError(
            f"{problem.id} has the reference {problem.reference!r}, the row has {ground_truth!r}: "
            "another version or other options made it"
        )
    answer = answer_in(env, problem, solution_str)
    [verdict] = env.verifier.verify([problem], [solution_str if answer is None else answer])
    return verdict.score


def answer_in(env: ReasoningEnv, problem: Problem, solution: str) -> str | None:
    """Return the answer that a whole solution gives; `None` if the environment finds none.

    The environment reads the solution as one step (a program, an answer in a sentence); then a tagged answer counts; then
    each line is a step (games). Tool calls are not run again.
    """
    if TOOL_CALL in solution:
        return final_answer(solution)
    found = _played(env, problem, [solution])
    if found is None:
        found = final_answer(solution)
    return found if found is not None else _played(env, problem, solution.splitlines())


def _played(env: ReasoningEnv, problem: Problem, steps: Sequence[str]) -> str | None:
    """Return the answer that the environment reaches by these steps."""
    state = env.domain.initial(problem)
    for text in filter(str.strip, steps):
        if state.done:
            break
        [state] = env.domain.advance([state], [Step(text.strip())])
    return state.answer
