"""`EpisodeEnv`: an episode with Gymnasium's interface, for agents that loop `env.step` themselves."""

from __future__ import annotations

from typing import Any

import gymnasium

from stepgym.agents.episode import Episode
from stepgym.envs.spaces import AnyText
from stepgym.envs.tokens import STEP_END, render
from stepgym.envs.types import End


class EpisodeEnv(gymnasium.Env[str, str]):
    """One episode as a Gymnasium environment: every step is recorded.

    `reset` starts another path at the same problem; what was played before stays in the record's tree. The
    observation is the transcript, as in `ReasoningEnv`.
    """

    def __init__(self, episode: Episode) -> None:
        self.observation_space = AnyText()
        self.action_space = AnyText()
        self._start = episode.fork()
        self.episode = episode
        """The path that is being played."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode.restart(self._start)
        return render(self.episode.state), {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        result = self.episode.step(str(action).removesuffix(STEP_END))
        state = self.episode.state
        truncated = state.end is End.STEP_LIMIT
        info = {"reply": result.text}
        return render(state), result.reward, result.done and not truncated, truncated, info
