"""A user's module. Type checkers must find the types of stepgym in it, not `Any`: see scripts/test-packaging."""

from typing import assert_type

from stepgym.agents import solve
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.maths.verify import verify_answer
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import load_env

assert_type(verify_answer("1", reference="1.0").correct, bool)
assert_type(
    solve("stepgym/Countdown-v0", agent="mcts", policy="random", episodes=1), list[EpisodeRecord]
)
assert_type(load_env("stepgym/Math-v0"), ReasoningEnv)
