"""inspect_ai (0.3): a problem set as a task, with the environment's verifier as the scorer.

inspect eval stepgym/interop/inspect_ai.py -T env_id=stepgym/Math-v0 -T level=2
eval(stepgym_task("stepgym/Math-v0", level=2), model=...)
"""

from __future__ import annotations

from typing import Any

from stepgym.interop.peers import need

need("inspect_ai")

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import CORRECT, INCORRECT, NOANSWER, Score, Scorer, accuracy, scorer, stderr
from inspect_ai.solver import generate

from stepgym.envs.session import shared_env
from stepgym.envs.tokens import final_answer
from stepgym.envs.types import Status

_GRADES = {Status.CORRECT: CORRECT, Status.INCORRECT: INCORRECT, Status.UNDECIDED: NOANSWER}


@task
def stepgym_task(env_id: str, num_problems: int = 100, **options: Any) -> Task:
    """Return a task over an environment's first problems; the model answers in one message."""
    problems = shared_env(env_id, **options).problems
    samples = [
        Sample(
            input=problems[index].prompt,
            target=problems[index].reference,
            id=problems[index].id,
            metadata={"index": index},
        )
        for index in range(min(num_problems, len(problems)))
    ]
    return Task(dataset=samples, solver=generate(), scorer=verdict(env_id, **options))


@scorer(metrics=[accuracy(), stderr()])
def verdict(env_id: str, **options: Any) -> Scorer:
    """Return a scorer that asks the environment's verifier.

    Undecided answers are graded as no answer. `options` go to the environment.
    """
    env = shared_env(env_id, **options)

    async def score(state: Any, target: Any) -> Score:
        completion = state.output.completion
        answer = final_answer(completion) or completion
        [found] = env.verifier.verify([env.problems[state.metadata["index"]]], [answer])
        return Score(value=_GRADES[found.status], answer=answer, explanation=found.reason)

    return score
