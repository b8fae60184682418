"""`stepgym doctor` on this machine; the nodes of a cluster are in tests/interop/test_ray.py."""

from __future__ import annotations

import json
import platform

import pytest
from click.testing import CliRunner

from stepgym.cli import main


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/engine.sock")
    found = CliRunner().invoke(main, ["doctor", "--json"])
    [node] = json.loads(found.stdout)["nodes"]
    assert node["python"] == platform.python_version() and node["processors"] >= 1
    assert "engine.sock" in node["engine"] and node["sandbox"] != "docker"
    assert found.exit_code == 0
    text = " ".join(CliRunner().invoke(main, ["doctor"]).output.split())
    assert "software Python 3." in text and "Docker engine does not answer" in text
    assert "1 of 1 nodes fit" in text


def test_settings_of_ray_need_a_cluster() -> None:
    command = ["selfplay", "--env", "Countdown-v0", "--out", "x", "--ray-option"]
    found = CliRunner().invoke(main, [*command, "policy_actors=1"])
    assert found.exit_code == 2 and "--ray-option policy_actors needs --ray" in found.output
    found = CliRunner().invoke(main, [*command, "polcy_actors=1", "--ray", "auto"])
    assert found.exit_code == 2 and "did you mean 'policy_actors'" in found.output
