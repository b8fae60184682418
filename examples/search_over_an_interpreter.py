"""MCTS over the cells of an interpreter: each step runs Python, each branch has its own variables and files.

The task: write a function that turns one list into another. A step applies an operation to `xs` in the interpreter and
sees the result. The interpreter of a state is forked from that of the state before it, so the slow first cell runs once.
With `max_sessions=1` nothing can be forked, and each branch runs all its cells again.
"""

import ast
import time
from collections.abc import Sequence

from stepgym.agents import solve
from stepgym.agents.types import Budget
from stepgym.envs.coding.verifier import CodingVerifier
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.text_domain import TextDomain
from stepgym.envs.types import Problem, State, Step
from stepgym.sandbox import open_sandbox

START, GOAL = [3, 1, 4, 1, 5, 9, 2, 6], [5, 5, 6, 14, 11, 8]
OPERATIONS = [
    "[x * x for x in xs]",
    "[x for x in xs if x > 4]",
    "[a + b for a, b in zip(xs, xs[1:])]",
    "sorted(xs)",
]
FIRST_CELL = f"table = sorted(range(200_000), key=lambda x: x % 1009)\nxs = {START}; xs"
TESTS = f"def check(candidate):\n    assert candidate({START}) == {GOAL}\n"


def shown(state: State) -> list[int]:
    """Return the list that the last cell showed."""
    return ast.literal_eval(
        state.steps[-1].reply.removeprefix("<tool_result>").removesuffix("</tool_result>")
    )


class TriesOperations:
    """A policy that tries every operation in the interpreter and answers once the goal is there."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        return [self.steps(state)[:count] for state, count in zip(states, counts)]

    def steps(self, state: State) -> list[Step]:
        if not state.steps:
            return [Step(f"<tool_call>{FIRST_CELL}</tool_call>", log_prob=0.0)]
        if shown(state) == GOAL:
            cells = [step.text[len("<tool_call>") :].split(";")[0] for step in state.steps[1:]]
            body = "\n".join(f"    {cell}" for cell in cells)
            return [Step(f"```python\ndef f(xs):\n{body}\n    return xs\n```", log_prob=0.0)]
        return [
            Step(f"<tool_call>xs = {text}; xs</tool_call>", log_prob=-1.6) for text in OPERATIONS
        ]


class Closeness:
    """Scores a state by how much of the goal its list already has."""

    def score(self, states: Sequence[State]) -> list[list[float]]:
        return [[self.value(state)] for state in states]

    def value(self, state: State) -> float:
        if state.done:
            return 1.0
        xs = shown(state)
        common = len(set(xs) & set(GOAL)) / len(set(xs) | set(GOAL) | {0})
        return 0.5 * common + 0.4 * (len(xs) == len(GOAL))


class ListTask:
    """A problem set with one problem."""

    name = "list_task"

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Problem:
        return Problem(
            id=f"list_task/{index}",
            prompt=f"Write f(xs) so that f({START}) == {GOAL}.",
            reference="",
            index=index,
            task={"tests": TESTS, "entry_point": "f"},
        )


seconds = {}
for way, max_sessions in (("forked", 500), ("run again", 1)):
    with open_sandbox("local", workers=1, max_sessions=max_sessions) as sandbox:
        domain = TextDomain(sandbox=sandbox, whole_answer=True)
        env = ReasoningEnv(ListTask(), domain=domain, verifier=CodingVerifier(sandbox))
        begin = time.perf_counter()
        [record] = solve(
            env,
            agent="mcts",
            policy=TriesOperations(),
            reward_model=Closeness(),
            episodes=1,
            budget=Budget(model_calls=16),
        )
        seconds[way] = time.perf_counter() - begin
        domain.close()
    print(f"{way}: {record.verdict}, {seconds[way]:.1f} s")
print(f"forking is {seconds['run again'] / seconds['forked']:.0f} times as fast")
