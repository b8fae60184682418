"""What goes wrong in this process, not in a program: too few descriptors, processes or threads, and forks."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stepgym.sandbox import ExecutionResult, Pair, Program, Sandbox, SandboxError, open_sandbox

PAIR = Pair(Program("def f(): return 1"), Program("remote.report(remote.get('f')())"))


def in_a_fork(check: Callable[[], bool]) -> bool:
    """Run a check in a forked process and return what it says."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def test_an_unknown_language_is_a_sandbox_error_and_nothing_runs(local_sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match=r"unknown language 'jave'.*known: .*python"):
        local_sandbox.run([Program("print(1)"), Program("x", language="jave")])


NO_PROCESSES = """
import resource
from stepgym.sandbox import SandboxError, open_sandbox, Program
with open_sandbox("local", workers=1) as sandbox:
    {starve}
    try:
        sandbox.run([Program("pass")])
    except SandboxError as error:
        print("SandboxError")
"""


@pytest.mark.parametrize(
    "starve",
    [
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
        "import subprocess; subprocess.Popen = lambda *a, **k: open('/nowhere')",
        "import subprocess\n    def refuse(*a, **k): raise BlockingIOError(11, 'try again')\n    subprocess.Popen = refuse",
    ],
)
def test_a_runner_that_cannot_start_is_a_sandbox_error_and_leaves_no_folder(
    starve: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_PROCESSES.format(starve=starve)],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "SandboxError\n", done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("room", range(12))
def test_few_descriptors_give_results_or_a_sandbox_error(room: int) -> None:
    with open_sandbox("local", workers=1) as sandbox:
        sandbox.run_pairs([PAIR])

        def check() -> bool:
            sandbox.run_pairs([PAIR])
            used = max(map(int, os.listdir("/proc/self/fd")))
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + room, used + room))
            try:
                return sandbox.run_pairs([PAIR])[0].report == "1"
            except SandboxError:
                return True

        assert in_a_fork(check)


def test_a_batch_runs_with_fewer_threads_where_no_more_may_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with open_sandbox("local", workers=2) as sandbox:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        found: list[ExecutionResult] = sandbox.run([Program(f"print({i})") for i in range(4)])
    assert [result.stdout for result in found] == [f"{i}\n" for i in range(4)]


def test_a_sandbox_closed_before_a_fork_stays_closed_in_the_child() -> None:
    sandbox = open_sandbox("local", workers=1)
    sandbox.close()

    def check() -> bool:
        try:
            sandbox.run([Program("pass")])
        except SandboxError:
            return True
        return False

    assert in_a_fork(check)


def test_a_child_closes_its_own_runners_and_not_its_parents() -> None:
    with open_sandbox("local", workers=1) as sandbox:
        sandbox.run([Program("pass")])

        def check() -> bool:
            sandbox.close()
            try:
                sandbox.run([Program("pass")])
            except SandboxError:
                return True
            return False

        assert in_a_fork(check)
        assert sandbox.run([Program("print(1)")])[0].stdout == "1\n"
        assert sandbox.all_workers[0].num_replaced == 0  # type: ignore[attr-defined]


def test_a_fork_while_every_worker_is_busy_has_workers_of_its_own() -> None:
    with open_sandbox("local", workers=1) as sandbox:
        sandbox.run([Program("pass")])
        busy = threading.Thread(
            target=sandbox.run, args=([Program("import time; time.sleep(2)")],), daemon=True
        )
        busy.start()
        assert in_a_fork(lambda: sandbox.run([Program("print(2)")])[0].stdout == "2\n")
        busy.join()


@pytest.mark.docker
def test_a_docker_sandbox_works_in_a_fork() -> None:
    with open_sandbox("docker", workers=1) as sandbox:
        sandbox.run([Program("pass")])
        assert in_a_fork(lambda: sandbox.run([Program("print(2)")])[0].stdout == "2\n")
        assert sandbox.run([Program("print(3)")])[0].stdout == "3\n"


def test_auto_says_when_it_takes_the_local_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.warns(
        UserWarning, match=r"using the local sandbox: the Docker engine at .*nowhere"
    ):
        open_sandbox("auto", workers=1).close()
