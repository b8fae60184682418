"""aviary (fhaviary 0.37) and ldp: an environment with one tool, `take`; it forks, so ldp's `TreeSearchRollout` works.

TreeSearchRollout(agent=..., branching_factor=4, env_clone_fn=copy.deepcopy)
"""

from __future__ import annotations

from typing import Any

from aviary.core import Environment, Frame, Message, Tool, ToolRequestMessage, ToolResponseMessage

from stepgym.envs.session import EnvSession


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
