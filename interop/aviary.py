"""aviary (fhaviary 0.37) and ldp, both ways.

    TreeSearchRollout(agent=..., branching_factor=4, env_clone_fn=copy.deepcopy)   # over StepgymAviary(env_id, index)
    load_env("aviary:NAME")                                                        # an aviary environment under our searches

A stepgym environment is an aviary environment with one tool, `take`. In the other direction a step is a tool call as JSON,
`{"name": ..., "arguments": {...}}`, and the outcome is the sum of the rewards.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

from stepgym.interop.peers import need

need("fhaviary")

from aviary.core import (
    Environment,
    Frame,
    Message,
    Tool,
    ToolCall,
    ToolRequestMessage,
    ToolResponseMessage,
)

from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.session import EnvSession
from stepgym.envs.stateful import from_stateful
from stepgym.plugins.errors import UserError


class StepgymAviary(Environment[None]):
    """One episode of problem `index`."""

    def __init__(self, env_id: str, index: int = 0, **options: Any) -> None:
        self._make = lambda: EnvSession(env_id, index, **options)
        self.session = self._make()
        self.tools = [Tool.from_function(self.take)]

    def take(self, text: str) -> str:
        """Take one step of the solution.

        Args:
            text: The step.
        """
        return self.session.say(text).text

    async def reset(self) -> tuple[list[Message], list[Tool]]:
        self.session = self._make()
        return [Message(content=self.session.prompt)], self.tools

    async def step(self, action: ToolRequestMessage) -> tuple[list[Message], float, bool, bool]:
        """Carry out the tool calls in order, until the episode ends."""
        if not getattr(action, "tool_calls", None):
            return [Message(content="Call the tool `take` with your next step.")], 0.0, False, False
        replies: list[Message] = []
        reward = 0.0
        for call in action.tool_calls:
            if self.session.done:
                replies.append(ToolResponseMessage.from_call(call, content="The episode is over."))
                continue
            reply = self.session.say(str(call.function.arguments.get("text", "")))
            reward += reply.reward
            replies.append(ToolResponseMessage.from_call(call, content=reply.text))
        return replies, reward, self.session.done, False

    def export_frame(self) -> Frame:
        return Frame(state={"prompt": self.session.prompt, "info": self.session.info})

    def __deepcopy__(self, memo: dict[int, Any]) -> StepgymAviary:
        other = object.__new__(type(self))
        other._make = self._make
        other.session = self.session.fork()
        other.tools = [Tool.from_function(other.take)]
        return other


class AviaryEpisode:
    """An aviary environment with Gymnasium's `reset` and `step`.

    The seed has no effect, because aviary has none.
    """

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self._env = Environment.from_name(name, **settings)

    def reset(self, *, seed: int) -> tuple[str, dict[str, Any]]:
        messages, tools = asyncio.run(self._env.reset())
        listed = [json.dumps(tool.info.model_dump(exclude_none=True)) for tool in tools]
        return "\n".join([*(str(m.content) for m in messages), "Tools:", *listed]), {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        try:
            call = json.loads(action)
            request = ToolRequestMessage(
                tool_calls=[ToolCall.from_name(call["name"], **call.get("arguments", {}))]
            )
        except (ValueError, KeyError, TypeError) as error:
            words = f'no tool call ({error!r}): {{"name": ..., "arguments": {{...}}}}'
            return words, 0.0, False, False, {}
        try:
            messages, reward, done, truncated = asyncio.run(self._env.step(request))
        except ValueError as error:  # an unknown tool, or wrong arguments
            return str(error), 0.0, False, False, {}
        return "\n".join(str(m.content) for m in messages), reward, done, truncated, {}

    def close(self) -> None:
        """Close the environment."""
        asyncio.run(self._env.close())


def make(name: str, *, settings: dict[str, Any] | None = None, **options: Any) -> ReasoningEnv:
    """Return an environment over an aviary one, by its registered name.

    `settings` go to the aviary environment, `options` to `from_stateful`.
    """
    instructions = 'Each step is one tool call as JSON: {"name": ..., "arguments": {...}}.'
    maker = partial(AviaryEpisode, name, settings or {})
    try:
        maker()
    except (ValueError, TypeError) as error:
        raise UserError(f"aviary:{name}: {error}") from error
    return from_stateful(maker, name=f"aviary/{name}", **{"instructions": instructions, **options})
