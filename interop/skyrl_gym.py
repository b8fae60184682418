"""skyrl-gym (0.4): an environment whose turns are steps.

    register(id="stepgym", entry_point="stepgym.interop.skyrl_gym:StepgymSky")

`extras` of a row: `env_id`, `index`, `env_options` (a mapping), `max_turns`.
"""

from __future__ import annotations

from typing import Any

from stepgym.interop.peers import need

need("skyrl-gym")

from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput

from stepgym.envs.session import EnvSession


class StepgymSky(BaseTextEnv):
    """One episode of a stepgym environment for skyrl-gym."""

    def __init__(self, env_config: Any = None, extras: dict[str, Any] | None = None) -> None:
        super().__init__()
        row = dict(extras or {})
        self.session = EnvSession(
            row["env_id"], row.get("index", 0), **(row.get("env_options") or {})
        )
        self.max_turns = row.get("max_turns", 32)

    def step(self, action: str) -> BaseTextEnvStepOutput:
        self.turns += 1
        reply = self.session.say(action)
        done = reply.done or self.turns >= self.max_turns
        return BaseTextEnvStepOutput(
            observations=[] if done else [{"role": "user", "content": reply.text}],
            reward=reply.reward,
            done=done,
            metadata=self.session.info,
            postprocessed_action=None,
        )

    def close(self) -> None:
        self.session.close()
