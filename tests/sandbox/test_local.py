"""The local sandbox on machines that grant less."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from stepgym.plugins.contract import Clause
from stepgym.sandbox import Program, SandboxError, open_sandbox
from stepgym.sandbox.conformance import CLAUSES
from stepgym.sandbox.guarantees import probe
from stepgym.sandbox.local import FILES, LocalSandbox, missing

HELLO = {"landlock": 7, "seccomp": True, "gained": ["processes", "network", "ipc"]}


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.sentence)
def test_the_contract_holds_without_namespaces(clause: Clause) -> None:
    clause.check(lambda: open_sandbox("local", workers=1, namespaces=False))


def test_the_guarantees_hold_without_namespaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPGYM_PROBE", "1")
    (tmp_path / "secret").write_text("x")
    with open_sandbox("local", workers=1, namespaces=False) as sandbox:
        rows = probe(sandbox, secret=str(tmp_path / "secret"), pid=os.getpid())
    assert [row for row in rows if not row.held] == []


@pytest.mark.parametrize(
    ("hello", "named"),
    [
        ({}, []),
        ({"landlock": 0}, ["protection of files (Landlock, Linux 5.13)"]),
        ({"landlock": 3, "gained": []}, ["signals"]),
        ({"landlock": 3}, []),  # a PID namespace does the same
        ({"seccomp": False}, ["system call filter"]),
        ({"landlock": 0, "seccomp": False, "gained": []}, ["Landlock", "seccomp", "network"]),
    ],
)
def test_what_is_missing_is_named(hello: dict[str, object], named: list[str]) -> None:
    gaps = missing(HELLO | hello)
    assert len(gaps) == len(named)
    assert all(word in gap for word, gap in zip(named, gaps, strict=True))


def test_a_kernel_that_cannot_protect_files_is_refused_unless_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No kernel without Landlock is at hand, so the list of what is missing is replaced."""
    monkeypatch.setattr("stepgym.sandbox.local.missing", lambda hello: [FILES])
    with (
        LocalSandbox(workers=1, demand_file_protection=True) as refusing,
        pytest.raises(SandboxError, match=r"Landlock.*start Docker.*'local'"),
    ):
        refusing.run([Program("print(1)")])
    with open_sandbox("local", workers=1) as asked_for, pytest.warns(UserWarning, match="Landlock"):
        assert asked_for.run([Program("print(1)")])[0].stdout == "1\n"


def test_a_full_kernel_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_sandbox("local", workers=1) as sandbox:
            sandbox.run([])
            assert sandbox.run([Program("print(1)")])[0].stdout == "1\n"


SCRIPT = """
import os, sys
os.setgid(65534); os.setuid(65534)
from stepgym.sandbox import Program, open_sandbox
with open_sandbox("local", workers=1) as sandbox:
    print([result.stdout for result in sandbox.run([Program("import os; print(os.getuid())")])])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_needs_no_privilege() -> None:
    reachable = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys; os.setuid(65534); os.execv(sys.executable, [sys.executable, '-c', ''])",
        ],
        capture_output=True,
        check=False,
    )
    if reachable.returncode:
        pytest.skip("this interpreter lies in a folder that only its owner may enter")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.stdout == "['65534\\n']\n", done.stderr


def test_a_host_that_ignores_its_children_changes_nothing() -> None:
    code = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from stepgym.sandbox import Pair, Program, open_sandbox
with open_sandbox("local", workers=1) as sandbox:
    print(sandbox.run([Program("print(1)")])[0].outcome.value)
    for _ in range(3):
        pair = Pair(Program("def f(): return 1"), Program("remote.report(remote.get('f')())"))
        print(sandbox.run_pairs([pair])[0].report, sandbox.all_workers[0].num_replaced)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["ok", "1", "0", "1", "0", "1", "0"], done.stdout + done.stderr
