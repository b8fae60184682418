"""aviary and ldp with the real packages: `TreeSearchRollout` branches over an environment."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from typing import Any

import pytest

pytest.importorskip("aviary", reason="run by `make test-interop`")
pytest.importorskip("ldp", reason="run by `make test-interop`")

from aviary.core import ToolCall, ToolRequestMessage
from ldp.agent import Agent
from ldp.alg import TreeSearchRollout
from ldp.graph import FxnOp, compute_graph

from stepgym.agents import solve
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.envs.registry import load_env
from stepgym.interop.aviary import StepgymAviary

STEPS = ["4 - 3", "3 + 1", "3 * 3", "4 + 3", "3 - 3", "3 / 3"]


class RandomAgent(Agent):  # type: ignore[misc]
    """Calls `take` with a random step."""

    def __init__(self) -> None:
        call = lambda: ToolCall.from_name("take", text=random.choice(STEPS))  # noqa: E731
        self._op = FxnOp(lambda: ToolRequestMessage(tool_calls=[call()]))

    async def init_state(self, tools: Any) -> list[int]:
        return [0]

    @compute_graph()  # type: ignore[untyped-decorator]
    async def get_asv(self, state: Any, obs: Any) -> Any:
        return await self._op(), state, 0.0


def test_tree_search_rollout_branches() -> None:
    random.seed(0)
    rollout = TreeSearchRollout(
        agent=RandomAgent(),
        branching_factor=4,
        env_clone_fn=copy.deepcopy,
        catch_env_failures=False,
        catch_agent_failures=False,
    )
    env = StepgymAviary("stepgym/Countdown-v0", 0, level=1)
    [tree] = asyncio.run(rollout.sample_trees([env], max_depth=3))
    assert len(tree.get_trajectories()) > 4


def test_calls_after_the_end_are_answered() -> None:
    env = StepgymAviary("stepgym/Countdown-v0", 0, level=1)
    asyncio.run(env.reset())
    call = ToolCall.from_name("take", text="nonsense")
    messages, _, done, _ = asyncio.run(env.step(ToolRequestMessage(tool_calls=[call, call])))
    assert done and "over" in str(messages[1].content)


def test_an_aviary_environment_comes_under_search() -> None:
    env = load_env("aviary:dummy", settings={"task": "spring"})
    story = json.dumps({"name": "print_story", "arguments": {"story": "Once upon a warm time"}})
    offered = ["a story", json.dumps({"name": "no_such_tool"}), story]
    policy = ScriptedPolicy(lambda state: offered)
    [record] = solve(env, agent="mcts", agent_settings={"width": 3}, policy=policy, episodes=1)
    assert record.verdict == "correct" and record.outcome == 1.0
    assert "no tool call" in record.nodes[1].reply and "no_such_tool" in record.nodes[2].reply
    with pytest.raises(ValueError, match="no_such_env"):
        load_env("aviary:no_such_env")
