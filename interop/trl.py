"""TRL (1.16): stepgym's problems, verifiers and searches in `GRPOTrainer`.

    GRPOTrainer(model=..., args=..., **spec("stepgym/Countdown-v0", level=3))     # the model calls a tool `step`
    GRPOTrainer(..., reward_funcs=maths_reward())                                 # columns: prompt, answer
    GRPOTrainer(..., reward_funcs=code_reward())                                  # columns: prompt, tests, entry_point

An episode or answer that no verifier decided has the reward `None`, which TRL leaves out of group and loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from stepgym.envs.coding import grade
from stepgym.envs.coding.extraction import extract_code
from stepgym.envs.maths import verify_answers
from stepgym.envs.session import EnvSession, shared_env
from stepgym.envs.types import Status, Verdict
from stepgym.plugins.errors import UserError
from stepgym.sandbox import open_sandbox

if TYPE_CHECKING:
    from datasets import Dataset

Completion = str | list[dict[str, Any]]
"""A completion as TRL passes it: text, or messages of which the last one is the model's answer."""
RewardFunction = Callable[..., list[float | None]]
MAX_PROBLEMS = 1_000
"""Rows of the data set of an endless problem set, unless `num_problems` says otherwise."""


def spec(env_id: str, *, num_problems: int | None = None, **options: Any) -> dict[str, Any]:
    """Return `train_dataset` and `environment_factory` for `GRPOTrainer`, which plays an environment through a tool.

    The data set has a row per problem, so that all members of a group play the same one. `options` go to the environment.
    The reward is the environment's own; no reward function is needed.
    """
    size = len(shared_env(env_id, **options).problems)
    count = min(size, MAX_PROBLEMS) if num_problems is None else num_problems
    if count > size:
        raise UserError(f"num_problems={num_problems}, but {env_id} has {size} problems")
    return {"train_dataset": _rows(count), "environment_factory": lambda: StepTool(env_id, options)}


def _rows(count: int) -> Dataset:
    from datasets import Dataset

    prompt = [{"role": "user", "content": ""}]  # TRL appends what `reset` returns
    return Dataset.from_list([{"prompt": prompt, "index": index} for index in range(count)])


class StepTool:
    """What TRL's `environment_factory` returns: one pooled episode, reset for each rollout."""

    def __init__(self, env_id: str, options: dict[str, Any]) -> None:
        self._env_id = env_id
        self._options = options
        self._session: EnvSession | None = None

    def reset(self, index: int = 0, **row: Any) -> str:
        """Begin problem `index` and return its prompt."""
        self._session = EnvSession(self._env_id, index, **self._options)
        return self._session.prompt

    def step(self, text: str) -> str:
        """Take one step of the solution.

        Args:
            text: The step.

        Returns:
            What the environment answers.
        """
        assert self._session is not None
        return self._session.say(text).text

    def get_reward(self) -> float | None:
        """Return the sum of the episode's rewards; `None` if its answer could not be decided."""
        if self._session is None or self._session.undecided:
            return None
        return self._session.reward


def maths_reward(*, reference_column: str = "answer") -> RewardFunction:
    """Return a reward function: 1 if the completion's answer equals the reference, 0 if not, `None` if undecided."""

    def maths(completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        references = _column(columns, reference_column)
        return _rewards(verify_answers(_texts(completions), references=references))

    return maths


def code_reward(*, sandbox: str = "auto") -> RewardFunction:
    """Return a reward function over hidden tests: the share that passes; `None` if undecided.

    The data set's columns are `tests` and `entry_point`. The sandbox opens at the first call and stays open until the
    process ends.
    """
    opened: list[Any] = []

    def code(completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        import atexit

        if not opened:
            opened.append(open_sandbox(sandbox))
            atexit.register(opened[0].close)
        texts = _texts(completions)
        entry_points = columns.get("entry_point") or [None] * len(texts)
        verdicts = grade(
            [extract_code(text, name) for text, name in zip(texts, entry_points)],
            tests=_column(columns, "tests"),
            entry_points=entry_points,
            sandbox=opened[0],
        )
        return _rewards(verdicts)

    return code


def _texts(completions: Sequence[Completion]) -> list[str]:
    return [c if isinstance(c, str) else str(c[-1].get("content") or "") for c in completions]


def _rewards(verdicts: Sequence[Verdict]) -> list[float | None]:
    return [None if verdict.status is Status.UNDECIDED else verdict.score for verdict in verdicts]


def _column(columns: dict[str, Any], name: str) -> Any:
    if name not in columns:
        known = ", ".join(sorted(columns))
        raise UserError(f"the data set has no column {name!r}; it has: {known}")
    return columns[name]
