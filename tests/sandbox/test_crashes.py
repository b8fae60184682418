"""What may die does die here, for real: runners, containers, the way to the engine, the process that asked."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepgym.sandbox import Limits, Pair, Program, Sandbox, SandboxError, open_sandbox
from stepgym.sandbox.pool import PooledSandbox

SLOW = [Program(f"import time; time.sleep(0.3); print({i})") for i in range(4)]
EXPECTED = [f"{i}\n" for i in range(4)]


def containers(owner: int | None = None) -> list[str]:
    """Names of the containers that belong to a process (this one by default)."""
    import docker

    from stepgym.sandbox.docker import OWNER

    client = docker.from_env()
    rows = client.api.containers(all=True, filters={"label": OWNER})
    client.close()
    return [
        row["Id"] for row in rows if row["Labels"][OWNER].split()[2] == str(owner or os.getpid())
    ]


def later(delay_s: float, action: Any, *arguments: Any) -> threading.Timer:
    """Do something while the main thread waits for a batch."""
    timer = threading.Timer(delay_s, action, arguments)
    timer.start()
    return timer


@contextlib.contextmanager
def fresh() -> Iterator[tuple[Any, str]]:
    """A Docker sandbox with one container, and the container's name."""
    before = set(containers())
    with open_sandbox("docker", workers=1) as sandbox:
        sandbox.run([Program("pass")])
        [name] = set(containers()) - before
        yield sandbox, name


@pytest.mark.docker
@pytest.mark.parametrize("way", ["kill", "remove_container"])
def test_a_container_that_dies_is_replaced_and_nothing_is_lost(way: str) -> None:
    with fresh() as (sandbox, name):
        extra = {"force": True} if way == "remove_container" else {}
        later(0.5, lambda: getattr(sandbox.client.api, way)(name, **extra))
        assert [result.stdout for result in sandbox.run(SLOW)] == EXPECTED
        assert sandbox.all_workers[0].num_replaced == 1


@pytest.mark.docker
@pytest.mark.slow
def test_a_container_that_stops_answering_is_replaced() -> None:
    with fresh() as (sandbox, name):
        later(0.5, sandbox.client.api.pause, name)
        assert [result.stdout for result in sandbox.run(SLOW)] == EXPECTED


@pytest.mark.docker
def test_a_pair_survives_the_loss_of_either_container() -> None:
    pair = Pair(
        Program("import time\ndef f(x):\n    time.sleep(0.8)\n    return x + 1"),
        Program("remote.report(remote.get('f')(1))"),
    )
    with open_sandbox("docker", workers=1) as sandbox:
        before = set(containers())
        sandbox.run_pairs([pair])
        for _ in range(2):
            name = sorted(set(containers()) - before)[0]
            later(0.4, sandbox.client.api.kill, name)  # type: ignore[attr-defined]
            assert sandbox.run_pairs([pair])[0].report == "2"


@pytest.mark.parametrize("backend", [pytest.param("docker", marks=pytest.mark.docker), "local"])
def test_a_runner_that_gives_a_wrong_answer_is_replaced(backend: str) -> None:
    with open_sandbox(backend, workers=1) as sandbox:
        assert isinstance(sandbox, PooledSandbox)
        sandbox.run([Program("pass")])
        worker = sandbox.all_workers[0]
        runner = worker.runner("python")
        runner.control.shutdown(socket.SHUT_WR)
        worker.check("python")
        assert worker.runner("python") is not runner
        assert sandbox.run([Program("print(1)")])[0].stdout == "1\n"


@pytest.mark.parametrize("backend", [pytest.param("docker", marks=pytest.mark.docker), "local"])
def test_a_runner_serves_its_number_of_programs_and_is_replaced(backend: str) -> None:
    with open_sandbox(backend, workers=1, max_programs=3) as sandbox:
        assert [
            result.stdout for result in sandbox.run([Program(f"print({i})") for i in range(8)])
        ] == [f"{i}\n" for i in range(8)]
        assert sandbox.all_workers[0].num_replaced == 2  # type: ignore[attr-defined]


SCRIPT = """
import os, sys, time
from stepgym.sandbox import Program, open_sandbox
sandbox = open_sandbox({backend!r}, workers=1)
sandbox.run([Program("pass")])
print("ready", flush=True)
if sys.argv[1] == "wait":
    sandbox.run([Program("import time; time.sleep(60)")])
"""


@pytest.mark.docker
@pytest.mark.parametrize("ending", ["exit", "wait"])
def test_no_container_outlives_its_process(ending: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(backend="docker"), ending],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    if ending == "wait":
        assert containers(process.pid)
        process.send_signal(signal.SIGKILL)
    process.wait(30)
    _eventually(lambda: not containers(process.pid))


@pytest.mark.parametrize("ending", ["exit", "wait"])
def test_no_local_runner_outlives_its_process(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    script = SCRIPT.format(backend="local")
    process = subprocess.Popen(
        [sys.executable, "-c", script, ending], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    if ending == "wait":
        process.send_signal(signal.SIGKILL)
    process.wait(30)
    _eventually(lambda: not _mentioning(str(tmp_path)))
    if ending == "wait":
        [left] = os.listdir(tmp_path)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with open_sandbox("local", workers=1):
            assert not (tmp_path / left).exists()
    assert os.listdir(tmp_path) == []


def test_words_that_name_no_process_are_left_alone() -> None:
    from stepgym.sandbox.process_identity import is_dead, this_process

    me = this_process()
    assert is_dead([*me[:2], "999999999", "1"])
    for words in (
        [],
        ["x"],
        [*me[:2], "many", "1"],
        [*me, "more"],
        me,
        [me[0], "0", "999999999", "1"],
    ):
        assert not is_dead(words)


def test_closing_ends_what_other_threads_run() -> None:
    faults: list[BaseException] = []

    def run() -> None:
        try:
            sandbox.run([Program("import time; time.sleep(600)", limits=Limits(wall_s=None))] * 3)
        except SandboxError as error:
            faults.append(error)

    sandbox = open_sandbox("local", workers=2)
    callers = [threading.Thread(target=run, daemon=True) for _ in range(2)]
    for caller in callers:
        caller.start()
    time.sleep(1.5)
    sandbox.close()
    for caller in callers:
        caller.join(10)
    assert [str(fault) for fault in faults] == ["this sandbox is closed; open another"] * 2
    assert not any(worker.runners for worker in sandbox.all_workers)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("local", {"worker": 1}, "sandbox 'local' has no setting 'worker'; did you mean 'workers'"),
        (
            "auto",
            {"runtme": "runsc"},
            "sandbox 'docker' has no setting 'runtme'; did you mean 'runtime'",
        ),
        (
            "auto",
            {"runtime": "runsc"},
            "the Docker engine at .* failed.*local sandbox has no option runtime",
        ),
    ],
)
def test_a_wrong_option_says_so(
    name: str,
    options: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody")
    with pytest.raises((ValueError, SandboxError), match=message):
        open_sandbox(name, **options)


def _mentioning(text: str) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_text()
            if text in line and "launch.py" in line:
                found.append(pid)
    return found


def _eventually(condition: Any, within_s: float = 20.0) -> None:
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up, "it does not come true"
        time.sleep(0.1)


@pytest.mark.docker
def test_leftovers_of_dead_processes_are_removed() -> None:
    from stepgym.sandbox.docker import NOBODY, OWNER, remove_leftovers
    from stepgym.sandbox.docker_image import ensure
    from stepgym.sandbox.process_identity import this_process

    dead = " ".join([*this_process()[:2], "999999999", "1"])
    with fresh() as (sandbox, _):
        api, image = sandbox.client.api, ensure(sandbox.client, "python")
        argv = ["python3", "-c", "import time; time.sleep(600)"]
        left = api.create_container(image, command=argv, user=NOBODY, labels={OWNER: dead})
        remove_leftovers(sandbox.client)
        assert left["Id"] not in containers(999999999)
        assert sandbox.run([Program("print(1)")])[0].stdout == "1\n"


class Relay:
    """A way to the engine that can be cut: a Unix socket whose connections go on to the real one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        self.path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def cut(self) -> None:
        self.path.unlink()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                ours, _ = listener.accept()
            except OSError:
                return
            theirs = socket.socket(socket.AF_UNIX)
            theirs.connect("/var/run/docker.sock")
            self.connections += [ours, theirs]
            for source, sink in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.mark.docker
@pytest.mark.skipif(not os.path.exists("/var/run/docker.sock"), reason="the engine is elsewhere")
def test_an_engine_that_goes_away_in_a_batch_is_named_and_the_next_batch_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Relay(tmp_path / "engine.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{relay.path}")
    with open_sandbox("docker", workers=1) as sandbox:
        sandbox.run([Program("pass")])
        relay.cut()
        assert [result.stdout for result in sandbox.run(SLOW)] == EXPECTED, (
            "warm containers need no engine"
        )
        sandbox.all_workers[0].runners["python"].control.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        with pytest.raises(
            SandboxError, match=r"the Docker engine at unix://.*engine\.sock failed"
        ):
            sandbox.run(SLOW)
        relay.open()
        assert [result.stdout for result in sandbox.run(SLOW)] == EXPECTED


@pytest.mark.docker
def test_a_container_that_is_killed_while_it_starts_is_replaced_and_no_result_is_lost() -> None:
    import docker
    from docker.errors import APIError

    from stepgym.sandbox.docker import OWNER

    client, before, killed = docker.from_env(), set(containers()), set[str]()
    stopped = threading.Event()

    def kill_the_first_five() -> None:
        while len(killed) < 5 and not stopped.is_set():
            for row in client.api.containers(all=True, filters={"label": OWNER}):
                ours = row["Labels"][OWNER].split()[2] == str(os.getpid())
                if ours and row["Id"] not in before | killed and len(killed) < 5:
                    with contextlib.suppress(APIError):
                        client.api.remove_container(row["Id"], force=True)
                        killed.add(row["Id"])

    killer = threading.Thread(target=kill_the_first_five, daemon=True)
    killer.start()
    with open_sandbox("docker", workers=1) as sandbox:
        results = sandbox.run([Program(f"print({i})") for i in range(40)])
    stopped.set()
    killer.join()
    client.close()
    assert len(killed) == 5
    assert [result.stdout for result in results] == [f"{i}\n" for i in range(40)]


@pytest.mark.docker
@pytest.mark.skipif(not os.path.exists("/var/run/docker.sock"), reason="the engine is elsewhere")
def test_an_engine_that_comes_back_within_a_batch_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Relay(tmp_path / "engine.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{relay.path}")
    with open_sandbox("docker", workers=1) as sandbox:
        sandbox.run([Program("pass")])
        relay.cut()
        sandbox.all_workers[0].runners["python"].control.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        later(2.0, relay.open)
        assert [result.stdout for result in sandbox.run(SLOW)] == EXPECTED


def test_a_batch_that_fails_keeps_what_it_had_finished() -> None:
    with open_sandbox("local", workers=1) as sandbox:
        programs = [Program("print(1)"), Program("import time; time.sleep(60)")]
        later(1.5, sandbox.close)
        with pytest.raises(SandboxError) as caught:
            sandbox.run(programs)
    assert [result and result.stdout for result in caught.value.finished] == ["1\n", None]


def test_a_fork_and_a_pickle_get_runners_of_their_own(local_sandbox: Sandbox) -> None:
    copy = pickle.loads(pickle.dumps(local_sandbox))
    with copy:
        assert copy.run([Program("print(1)")])[0].stdout == "1\n"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if local_sandbox.run([Program("print(2)")])[0].stdout == "2\n" else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert local_sandbox.run([Program("print(3)")])[0].stdout == "3\n"


def test_many_threads_share_one_sandbox() -> None:
    found: list[list[str]] = []

    def work() -> None:
        found.append(
            [result.stdout for result in sandbox.run([Program(f"print({i})") for i in range(10)])]
        )

    with open_sandbox("local", workers=2) as sandbox:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [[f"{i}\n" for i in range(10)]] * 4
