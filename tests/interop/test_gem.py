"""GEM with the real package."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("gem", reason="run by `make test-interop`")

from stepgym.envs.families.countdown import random_solution
from stepgym.interop.gem import StepgymGem


def test_an_episode_spawned_in_the_same_state_goes_on_apart() -> None:
    env = StepgymGem("stepgym/Countdown-v0", level=3)
    env.reset(seed=4)
    first, *rest = random_solution(*env.session.problem.public, random.Random(0))  # type: ignore[misc]
    env.step(first)
    other = env.spawn(same_state=True)
    for step in rest:
        _, reward, terminated, _, _ = other.step(step)
    assert terminated and reward == 1.0
    assert len(env.session.state.steps) == 1
