"""OpenEnv with the real package: its generic client plays episodes on a real server."""

from __future__ import annotations

import concurrent.futures
import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("openenv", reason="run by `make test-interop`")

import uvicorn
from openenv.core.generic_client import GenericEnvClient

from stepgym.agents import solve
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.envs.families.countdown import random_solution
from stepgym.envs.registry import load_env
from stepgym.envs.types import State
from stepgym.interop.openenv import app


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = uvicorn.Config(
        app("stepgym/Countdown-v0", level=3), host="127.0.0.1", port=port, log_level="warning"
    )
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True


def play(url: str, index: int) -> tuple[bool, float]:
    problem = load_env("stepgym/Countdown-v0", level=3).problems[index]
    with GenericEnvClient(base_url=url).sync() as env:
        result = env.reset(seed=index)
        assert result.observation["text"] == problem.prompt
        for step in random_solution(*problem.public, random.Random(0)):  # type: ignore[misc]
            result = env.step({"text": step})
    return result.done, result.reward


def test_clients_play_side_by_side(url: str) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda index: play(url, index), range(16)))
    assert outcomes == [(True, 1.0)] * 16


def test_bad_actions_are_errors_and_the_server_stays_up(url: str) -> None:
    with GenericEnvClient(base_url=url).sync() as env:
        env.reset(seed=0)
        with pytest.raises(Exception, match="VALIDATION_ERROR"):
            env.step({"wrong": "1 + 1"})
    assert play(url, 1) == (True, 1.0)


def test_an_unknown_option_is_refused_before_the_server_starts() -> None:
    with pytest.raises(ValueError, match="levle"):
        app("stepgym/Countdown-v0", levle=3)


def test_a_server_is_an_environment_under_search(url: str) -> None:
    env = load_env(f"openenv:{url}")

    def script(state: State) -> list[str]:
        numbers, target = env_of_server.problems[seed_of(state)].public  # type: ignore[misc]
        steps = random_solution(numbers, target, random.Random(0))
        return ["1 + 1000", steps[len(state.steps)]]

    env_of_server = load_env("stepgym/Countdown-v0", level=3)
    [record] = solve(env, agent="beam", policy=ScriptedPolicy(script), episodes=1)
    assert record.verdict == "correct" and record.outcome == 1.0
    env.close()


def seed_of(state: State) -> int:
    """The seed with which the server's episode began."""
    assert isinstance(state.public, tuple)
    return int(state.public[1])
