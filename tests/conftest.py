"""Shared fixtures: how tests reach a real Docker engine, and what happens where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

from stepgym.sandbox import open_sandbox
from stepgym.sandbox.types import Sandbox

# A deadline for one example measures how busy the machine is, not the code.
# In CI the examples are the same each time, so that a change is judged by itself; elsewhere they are new ones.
hypothesis.settings.register_profile("house", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("house")


def _engine_fault() -> str | None:
    """Say why no engine answers, or `None` when one does."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=10)
        try:
            client.ping()
        finally:
            client.close()
    except DockerException as error:
        return str(error)
    return None


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """Require a Docker engine: fail under `STEPGYM_REQUIRE_DOCKER=1`, skip otherwise."""
    fault = _engine_fault()
    if fault is None:
        return
    message = f"no Docker engine answers ({fault}); start one, for example: dockerd --iptables=false --bridge=none"
    if os.environ.get("STEPGYM_REQUIRE_DOCKER") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(autouse=True)
def _docker_marker(request: pytest.FixtureRequest) -> None:
    """Give every test marked `docker` the rule of `docker_engine`."""
    if request.node.get_closest_marker("docker"):
        request.getfixturevalue("docker_engine")


@pytest.fixture(scope="session")
def local_sandbox() -> Iterator[Sandbox]:
    """One local sandbox for the whole run."""
    with open_sandbox("local", workers=1) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def docker_sandbox(docker_engine: None) -> Iterator[Sandbox]:
    """One Docker sandbox for the whole run; its containers are warm after the first test."""
    with open_sandbox("docker", workers=1) as sandbox:
        yield sandbox
