"""Every backend that ships is held to the contract and to its guarantees."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stepgym.plugins.contract import Clause
from stepgym.sandbox import ExecutionResult, Outcome, Program, Sandbox, SandboxError, open_sandbox
from stepgym.sandbox.conformance import ANSWERING, CLAUSES
from stepgym.sandbox.guarantees import GUARANTEES, Guarantee, _try
from stepgym.sandbox.scripted import ScriptedSandbox

REAL = [pytest.param("docker", marks=pytest.mark.docker), "local"]


def opener(name: str, shared: Sandbox) -> Callable[[], Sandbox]:
    """Open the shared sandbox again and again without paying for a new container each time."""
    return lambda: _Kept(shared)


class _Kept:
    """A sandbox whose closing only ends its use."""

    def __init__(self, inner: Sandbox) -> None:
        self.run, self.run_pairs = inner.run, inner.run_pairs
        self.open_session = inner.open_session

    def close(self) -> None:
        """Leave the shared sandbox open."""

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.mark.parametrize("backend", REAL)
@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.sentence)
def test_the_contract_holds(backend: str, clause: Clause, request: pytest.FixtureRequest) -> None:
    if clause is CLAUSES[-1]:
        clause.check(lambda: open_sandbox(backend, workers=1))
    else:
        clause.check(opener(backend, request.getfixturevalue(f"{backend}_sandbox")))


@pytest.mark.parametrize("clause", ANSWERING, ids=lambda clause: clause.sentence)
def test_the_scripted_sandbox_keeps_what_it_can(clause: Clause) -> None:
    clause.check(ScriptedSandbox)


@pytest.mark.parametrize("backend", REAL)
@pytest.mark.parametrize("guarantee", GUARANTEES, ids=lambda guarantee: guarantee.sentence)
def test_every_guarantee_holds(
    backend: str,
    guarantee: Guarantee,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STEPGYM_PROBE", "1")
    with tempfile.NamedTemporaryFile(dir=Path.cwd()) as secret:
        probe = _try(
            request.getfixturevalue(f"{backend}_sandbox"), guarantee, secret.name, os.getpid()
        )
    assert probe.held, probe.detail


def test_the_scripted_sandbox_answers_from_its_script() -> None:
    told = ExecutionResult(Outcome.WALL_TIME)
    sandbox = ScriptedSandbox({"slow": told})
    assert sandbox.run([Program("slow"), Program("other")]) == [
        told,
        ExecutionResult(Outcome.OK, 0),
    ]
    assert [program.source for program in sandbox.programs] == ["slow", "other"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("dokcer", "did you mean 'docker'?"),  # a slip of the fingers
        ("podman", "known: auto, docker, local, scripted"),  # nothing near: the list
        ("no.such.module:Thing", "no.such.module"),  # a plug-in that is not installed
    ],
)
def test_unknown_names_show_the_way_out(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r"unknown sandbox|cannot import") as caught:
        open_sandbox(name)
    assert hint in str(caught.value)


def test_a_dotted_path_is_a_name() -> None:
    with open_sandbox("stepgym.sandbox.scripted:ScriptedSandbox") as sandbox:
        assert isinstance(sandbox, ScriptedSandbox)


def test_no_engine_names_the_engine_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(SandboxError, match=r"unix:///nowhere/docker\.sock .* start it"):
        open_sandbox("docker")
    with open_sandbox("auto", workers=1) as sandbox:
        assert sandbox.run([Program("print(1)")])[0].stdout == "1\n"
