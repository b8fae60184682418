"""NeMo Gym: a resources server over any environment, for its `gymnasium_agent`.

    python -m stepgym.interop.nemo_gym

A row's metadata: `env_id`, `index`, `env_options`. A row that names no problem gets status 422, a step without an episode 409.
NeMo Gym 0.5 needs Python 3.13.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from stepgym.interop.peers import need

need("nemo-gym")

from fastapi import HTTPException
from resources_servers.gymnasium import GymnasiumServer, extract_text

from stepgym.envs.session import EnvSession
from stepgym.plugins.errors import UserError


class StepgymServer(GymnasiumServer):
    """One `EnvSession` per NeMo session."""

    async def reset(
        self, metadata: Mapping[str, Any], session_id: str | None = None
    ) -> tuple[None, dict[str, Any]]:
        """Begin the row's problem; its prompt is in the row already."""
        if "env_id" not in metadata:
            raise HTTPException(422, f"the row has no env_id; it has {sorted(metadata)}")
        options = metadata.get("env_options") or {}
        try:
            session = await asyncio.to_thread(
                EnvSession, metadata["env_id"], metadata.get("index", 0), **options
            )
        except (UserError, IndexError) as error:
            raise HTTPException(422, str(error)) from error
        self.session_state[session_id] = session
        return None, session.info

    async def step(
        self, action: Any, metadata: Mapping[str, Any], session_id: str | None = None
    ) -> tuple[str, float, bool, bool, dict[str, Any]]:
        session = self.session_state.get(session_id)
        if session is None:
            raise HTTPException(409, "no episode: it is over, or /reset was not called")
        reply = await asyncio.to_thread(session.say, extract_text(action))
        info = session.info
        truncated = info.get("end") == "step_limit"
        return reply.text, reply.reward, reply.done and not truncated, truncated, info

    async def close_session(self, session_id: str) -> None:
        if session := self.session_state.pop(session_id, None):
            session.close()


if __name__ == "__main__":
    StepgymServer.run_webserver()
