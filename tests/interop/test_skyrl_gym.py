"""skyrl-gym with the real package."""

from __future__ import annotations

import random

import pytest

skyrl_gym = pytest.importorskip("skyrl_gym", reason="run by `make test-interop`")

from skyrl_gym.envs.registration import register

from stepgym.envs.families.countdown import random_solution
from stepgym.envs.registry import load_env


def test_an_environment_made_by_name_plays() -> None:
    register(id="stepgym", entry_point="stepgym.interop.skyrl_gym:StepgymSky")
    row = {"env_id": "stepgym/Countdown-v0", "index": 4, "env_options": {"level": 3}}
    env = skyrl_gym.make("stepgym", env_config={}, extras=row)
    problem = load_env("stepgym/Countdown-v0", level=3).problems[4]
    env.init([{"role": "user", "content": problem.prompt}])
    for step in random_solution(*problem.public, random.Random(0)):  # type: ignore[misc]
        out = env.step(step)
    assert out["done"] and out["reward"] == 1.0
    env.close()
