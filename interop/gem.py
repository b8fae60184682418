"""GEM (gem-llm 0.1): a stepgym environment as a `gem.Env` that can be spawned in its state.

env = StepgymGem("stepgym/Countdown-v0", level=3)
"""

from __future__ import annotations

from typing import Any

from stepgym.interop.peers import need

need("gem-llm")

import gem

from stepgym.envs.session import EnvSession


class StepgymGem(gem.Env):
    """One stepgym environment for GEM; `reset(seed=i)` begins problem `i`."""

    def __init__(self, env_id: str, **options: Any) -> None:
        self._env_id, self._options = env_id, options
        self.session = EnvSession(env_id, 0, **options)

    def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed)
        self.session = EnvSession(self._env_id, seed or 0, **self._options)
        return self.session.prompt, self.session.info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        reply = self.session.say(action)
        info = self.session.info
        truncated = info.get("end") == "step_limit"
        return reply.text, reply.reward, reply.done and not truncated, truncated, info

    def spawn(self, same_state: bool = False, **options: Any) -> StepgymGem:
        """Return another environment; with `same_state` it continues from this state."""
        other = StepgymGem(self._env_id, **{**self._options, **options})
        if same_state:
            other.session = self.session.fork()
        return other
