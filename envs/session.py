"""An episode as a conversation: say a step, get the environment's reply and the reward.

This is what other libraries' environment classes need. Sessions of one environment share its problems, its verifier and
its sandbox; each has its own state, which is immutable data, so that a fork costs nothing.
"""

from __future__ import annotations

import atexit
import copy
import json
import threading
from typing import Any, NamedTuple, Self

from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import load_env
from stepgym.envs.types import Problem, State, Status
from stepgym.plugins.errors import UserError

GO_ON = "Go on."
OVER = "The episode is over."


class EpisodeOverError(UserError):
    """A step was said after the end of the episode."""


class Reply(NamedTuple):
    """The environment's response to one step."""

    text: str
    """The environment's reply; `Go on.` if it said nothing."""
    reward: float
    """The reward of this step."""
    done: bool
    """Whether the episode is over, ended or cut off."""


class EnvSession:
    """One episode of one problem."""

    def __init__(self, env: str | ReasoningEnv, index: int = 0, **options: Any) -> None:
        """Begin problem `index` of an environment, given as an object or by its id with `options`.

        Sessions that name the same id and options share one environment. Raises `ValueError` for an unknown id or option,
        `IndexError` for an index that the problem set does not have.
        """
        shared = env if isinstance(env, ReasoningEnv) else shared_env(env, **options)
        self._env = copy.copy(shared)
        self._env.reset(options={"index": index})
        self.reward = 0.0
        """Sum of the rewards so far."""

    @property
    def prompt(self) -> str:
        """The problem as the agent sees it."""
        return self._env.problem.prompt

    @property
    def problem(self) -> Problem:
        """The problem, with its reference; not for the agent."""
        return self._env.problem

    @property
    def state(self) -> State:
        """The prompt and the steps so far."""
        return self._env.state

    @property
    def done(self) -> bool:
        """Whether the episode is over."""
        return self._env.state.done

    @property
    def info(self) -> dict[str, Any]:
        """The episode's `info`, as `ReasoningEnv.step` returns it."""
        return self._env.info

    @property
    def undecided(self) -> bool:
        """Whether the episode ended without a decision of the verifier.

        Its reward must then not be learned from.
        """
        return self._env.verdict is not None and self._env.verdict.status is Status.UNDECIDED

    def say(self, text: str) -> Reply:
        """Take one step. Raises `EpisodeOverError` after the end."""
        if self.done:
            raise EpisodeOverError(f"the episode is over ({self.state.end}); begin another one")
        _, reward, terminated, truncated, info = self._env.step(text)
        self.reward += reward
        done = terminated or truncated
        return Reply(info["reply"] or (OVER if done else GO_ON), reward, done)

    def fork(self) -> Self:
        """Return a second session in the same state; the two then continue separately."""
        return copy.copy(self)

    def close(self) -> None:
        """End the session. The shared environment stays open for others until the process ends."""

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        other._env = copy.copy(self._env)
        other.reward = self.reward
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copy.copy(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_shared: dict[str, ReasoningEnv] = {}
_lock = threading.Lock()


def shared_env(env_id: str, **options: Any) -> ReasoningEnv:
    """Return this process's one environment with these options.

    It is closed when the process ends.
    """
    key = json.dumps([env_id, options], sort_keys=True, default=repr)
    with _lock:
        if key not in _shared:
            env = load_env(env_id, **options)
            atexit.register(env.close)
            _shared[key] = env
        return _shared[key]
