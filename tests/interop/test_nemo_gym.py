"""The NeMo Gym server over HTTP, called as `gymnasium_agent` calls it. Its base class is a stand-in with the same contract."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from stepgym.envs.families.countdown import random_solution
from stepgym.envs.registry import load_env

from .conftest import free_port, served

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")


@pytest.fixture
def url(install: Callable[..., Path]) -> Iterator[str]:
    install("nemo-gym", "0.5.1", module="resources_servers")
    port = free_port()
    command = (sys.executable, "-m", "stepgym.interop.nemo_gym")
    with served(*command, port=port, STAND_IN_PORT=str(port)):
        yield f"http://127.0.0.1:{port}"


def row(**fields: Any) -> dict[str, Any]:
    """Return a row of the data set; fields beside `responses_create_params` reach the server as metadata."""
    return {
        "responses_create_params": {"input": [{"role": "user", "content": "the prompt"}]},
        "agent_ref": {"type": "responses_api_agents", "name": "stepgym"},
        **fields,
    }


def response(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"id": "m", "type": "message", "role": "assistant", "content": content}
    thought = {"id": "t", "type": "reasoning", "summary": []}
    return {"id": "r", "object": "response", "model": "m", "output": [thought, message]}


def test_the_agents_calls_play_episodes_side_by_side_and_bad_ones_are_named(url: str) -> None:
    problems = load_env("stepgym/Countdown-v0", level=3).problems
    agents = [requests.Session() for _ in range(3)]
    rows = [
        row(env_id="stepgym/Countdown-v0", index=index, env_options={"level": 3})
        for index in range(3)
    ]
    for agent, own in zip(agents, rows):
        begun = agent.post(f"{url}/reset", json=own, timeout=30).json()
        assert begun["observation"] is None and isinstance(begun["info"], dict)
    for agent, own, index in zip(agents, rows, range(3)):
        steps = random_solution(*problems[index].public, random.Random(0))  # type: ignore[misc]
        for number, step in enumerate(steps, start=1):
            reply = agent.post(f"{url}/step", json={**own, "response": response(step)}, timeout=30)
            found = reply.json()
            assert set(found) == {"observation", "reward", "terminated", "truncated", "info"}
            assert found["terminated"] is (number == len(steps)) and not found["truncated"]
        assert found["reward"] == 1.0
    over = agents[0].post(f"{url}/step", json={**rows[0], "response": response("1")}, timeout=30)
    assert over.status_code == 409 and "/reset" in over.json()["detail"]
    for fields, word in (
        ({}, "env_id"),
        ({"env_id": "stepgym/Coundown-v0"}, "Countdown"),
        ({"env_id": "stepgym/Countdown-v0", "env_options": {"levle": 1}}, "levle"),
        ({"env_id": "stepgym/HumanEval-v0", "index": 164}, "164"),
    ):
        refused = requests.post(f"{url}/reset", json=row(**fields), timeout=30)
        assert refused.status_code == 422 and word in refused.json()["detail"], refused.text
