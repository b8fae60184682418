"""NeMo Gym: a resources server over any environment, for its `gymnasium_agent`.

    python -m stepgym.interop.nemo_gym

A row's metadata: `env_id`, `index`, `env_options`. NeMo Gym needs Python 3.12 or newer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from resources_servers.gymnasium import GymnasiumServer, extract_text

from stepgym.envs.session import EnvSession


class StepgymServer(GymnasiumServer):
    """One `EnvSession` per NeMo session."""

    async def reset(
        self, metadata: Mapping[str, Any], session_id: str | None = None
    ) -> tuple[None, dict[str, Any]]:
        """Begin the row's problem; its prompt is in the row already."""
        session = EnvSession(
            metadata["env_id"], metadata.get("index", 0), **(metadata.get("env_options") or {})
        )
        self.session_state[session_id] = session
        return None, session.info

    async def step(
        self, action: Any, metadata: Mapping[str, Any], session_id: str | None = None
    ) -> tuple[str, float, bool, bool, dict[str, Any]]:
        session = self.session_state[session_id]
        reply = await asyncio.to_thread(session.say, extract_text(action))
        info = session.info
        truncated = info.get("end") == "step_limit"
        return reply.text, reply.reward, reply.done and not truncated, truncated, info

    async def close_session(self, session_id: str) -> None:
        self.session_state.pop(session_id).close()


if __name__ == "__main__":
    StepgymServer.run_webserver()
