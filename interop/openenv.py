"""OpenEnv (0.10), both ways.

    stepgym serve openenv stepgym/Countdown-v0 --env-option level=3 --port 8000    # a server for OpenEnv's clients
    load_env("openenv:http://127.0.0.1:8000")                                      # any OpenEnv server under our searches

On our server `reset(seed=i)` begins problem `i`, and an action is `{"text": step}`. On any server a step is the `field` of an
action, or a whole action as JSON; the outcome is the sum of the rewards, and episodes are forked by replay.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from stepgym.interop.peers import need

need("openenv")

from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State
from openenv.core.generic_client import GenericEnvClient

from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.session import EnvSession, shared_env
from stepgym.envs.stateful import from_stateful


class StepAction(Action):
    """One step."""

    text: str
    """The step's text."""


class StepObservation(Observation):
    """What the environment says; `metadata` is the episode's `info`."""

    text: str
    """The problem's prompt after `reset`, the environment's reply after a step."""


def app(env_id: str, *, max_sessions: int = 64, **options: Any) -> Any:
    """Return the FastAPI application that serves an environment to OpenEnv's clients.

    `options` go to the environment; `max_sessions` episodes may be open at once. Raises `ValueError` for an unknown
    id or option.
    """
    shared_env(env_id, **options)

    class StepgymEnvironment(Environment):
        """One client's episode."""

        SUPPORTS_CONCURRENT_SESSIONS = True

        def __init__(self) -> None:
            super().__init__()
            self._session = EnvSession(env_id, 0, **options)
            self._episode: str | None = None

        def reset(
            self, seed: int | None = None, episode_id: str | None = None, **_: Any
        ) -> StepObservation:
            self._session = EnvSession(env_id, seed or 0, **options)
            self._episode = episode_id
            return StepObservation(text=self._session.prompt, metadata=self._session.info)

        def step(
            self, action: StepAction, timeout_s: float | None = None, **_: Any
        ) -> StepObservation:
            reply = self._session.say(action.text)
            return StepObservation(
                text=reply.text, reward=reply.reward, done=reply.done, metadata=self._session.info
            )

        @property
        def state(self) -> State:
            return State(episode_id=self._episode, step_count=len(self._session.state.steps))

    return create_app(
        StepgymEnvironment,
        StepAction,
        StepObservation,
        env_name="stepgym",
        max_concurrent_envs=max_sessions,
    )


class ServedEpisode:
    """One episode on an OpenEnv server, with Gymnasium's `reset` and `step`."""

    def __init__(self, url: str, field: str) -> None:
        self._client = GenericEnvClient(base_url=url).sync()
        self._client.__enter__()
        self._field = field

    def reset(self, *, seed: int) -> tuple[str, dict[str, Any]]:
        return self._words(self._client.reset(seed=seed).observation), {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        try:
            given = json.loads(action)
        except ValueError:
            given = None
        result = self._client.step(given if isinstance(given, dict) else {self._field: action})
        words = self._words(result.observation)
        return words, float(result.reward or 0.0), bool(result.done), False, {}

    def close(self) -> None:
        """End the connection."""
        self._client.__exit__(None, None, None)

    def _words(self, observation: dict[str, Any]) -> str:
        """Return an observation's one text, or all of it as JSON."""
        shown = {k: v for k, v in observation.items() if k not in ("metadata", "reward", "done")}
        texts = list(shown.values())
        return texts[0] if len(texts) == 1 and isinstance(texts[0], str) else json.dumps(shown)


def make(url: str, *, field: str = "text", **options: Any) -> ReasoningEnv:
    """Return an environment over an OpenEnv server; `options` are those of `from_stateful`."""
    settings = {"forks": "replay", "max_kept": 32, "num_threads": 8, **options}
    return from_stateful(partial(ServedEpisode, url, field), name=f"openenv/{url}", **settings)
