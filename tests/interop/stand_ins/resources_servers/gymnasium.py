"""The part of NeMo Gym 0.5 that the adapter uses: `GymnasiumServer` with the HTTP contract of `gymnasium_agent`.

`POST /reset` and `POST /step` take a row of the data set, the second one with the model's `response`. A cookie names the
session. NeMo Gym's own configuration, metrics and middleware are left out.
"""

import json
import os
import uuid
from types import SimpleNamespace
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

COOKIE = "session_id"


class ResetRequest(BaseModel):
    model_config = ConfigDict(extra="allow")
    responses_create_params: dict[str, Any]


class StepRequest(ResetRequest):
    response: dict[str, Any]


class ResetResponse(BaseModel):
    observation: str | None
    info: dict[str, Any]


class StepResponse(ResetResponse):
    reward: float
    terminated: bool
    truncated: bool


def extract_text(response: Any) -> str:
    messages = [item for item in response.output if item.type == "message"]
    return "".join(part.text for message in messages for part in message.content)


class GymnasiumServer(BaseModel):
    session_state: dict[str, Any] = Field(default_factory=dict)

    def setup_webserver(self) -> FastAPI:
        app = FastAPI()

        @app.post("/reset")
        async def reset(body: ResetRequest, request: Request, response: Response) -> ResetResponse:
            session = request.cookies.get(COOKIE, uuid.uuid4().hex)
            response.set_cookie(COOKIE, session)
            observation, info = await self.reset(body.model_extra or {}, session)
            return ResetResponse(observation=observation, info=info)

        @app.post("/step")
        async def step(body: StepRequest, request: Request) -> StepResponse:
            session = request.cookies.get(COOKIE, uuid.uuid4().hex)
            action = json.loads(
                json.dumps(body.response), object_hook=lambda fields: SimpleNamespace(**fields)
            )
            found = await self.step(action, body.model_extra or {}, session)
            observation, reward, terminated, truncated, info = found
            if terminated or truncated:
                await self.close_session(session)
            return StepResponse(
                observation=observation,
                reward=reward,
                terminated=terminated,
                truncated=truncated,
                info=info,
            )

        return app

    @classmethod
    def run_webserver(cls) -> None:
        port = int(os.environ["STAND_IN_PORT"])
        uvicorn.run(cls().setup_webserver(), host="127.0.0.1", port=port, log_level="warning")
