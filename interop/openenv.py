"""OpenEnv (0.10): a server over any environment.

    stepgym serve openenv stepgym/Countdown-v0 --env-option level=3 --port 8000

OpenEnv's own clients speak to it. `reset(seed=i)` begins problem `i`; an action is `{"text": step}`.
"""

from __future__ import annotations

from typing import Any

from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State

from stepgym.envs.session import EnvSession, shared_env


class StepAction(Action):
    """One step."""

    text: str


class StepObservation(Observation):
    """The environment's words; `metadata` is the episode's `info`."""

    text: str


def app(env_id: str, *, max_sessions: int = 64, **options: Any) -> Any:
    """Return the FastAPI application. Raises `ValueError` for an unknown id or option."""
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
