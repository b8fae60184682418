"""LocalSandbox: programs in confined processes, without a container engine.

Landlock (files, TCP, signals), seccomp (system calls), rlimits, and namespaces where the kernel allows them. A warning
names what this machine lacks. Not covered: memory of several processes together, faults of the kernel, and the timing
of other programs on the machine. Use Docker for code that you do not trust at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import warnings
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stepgym.sandbox.packages import linked
from stepgym.sandbox.pool import RUNNER_SETTINGS, PooledSandbox
from stepgym.sandbox.process_identity import is_dead, this_process
from stepgym.sandbox.runner import wire
from stepgym.sandbox.runner_client import RunnerClient
from stepgym.sandbox.types import SandboxError

RUNNER = Path(__file__).parent / "runner"
SYSTEM = (
    "/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
    "/dev/random",
)
TOOLS = (
    "/usr/bin",
    "/bin",
    "/usr/lib",
    "/usr/include",
    "/usr/local",
    "/usr/share/nodejs",
    "/etc/alternatives",
    "/etc/ssl",
)
START_S = 20.0
PREFIX = "stepgym-local"
"""A runner's folder is named by this, the words of `this_process` and a random word, joined by `_`."""
FILES = "protection of files (Landlock, Linux 5.13)"


class LocalSandbox(PooledSandbox):
    """Programs in confined processes of this machine.

    `namespaces=False` does without namespaces.

    `packages` names the Python packages that programs can import, numpy by default; see `stepgym.sandbox.packages`.
    At most `max_sessions` sessions have a process at a time.

    Where the kernel cannot protect files (Landlock, Linux 5.13) it warns and continues.
    `demand_file_protection=True`, which `auto` passes, raises `SandboxError` instead.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        max_programs: int = 20_000,
        namespaces: bool = True,
        demand_file_protection: bool = False,
        packages: Sequence[str] | None = None,
        max_sessions: int = 500,
    ) -> None:
        self.namespaces = namespaces
        self.demand_file_protection = demand_file_protection
        self.warned = False
        sweep()
        super().__init__(
            workers=workers,
            max_programs=max_programs,
            packages=packages,
            max_sessions=max_sessions,
            options={"namespaces": namespaces, "demand_file_protection": demand_file_protection},
        )

    def open_runner(self, kind: str, preload: Sequence[str] = ()) -> RunnerClient:
        """See `PooledSandbox.open_runner`."""
        killers: list[int] = []
        with contextlib.ExitStack() as undo:
            try:
                folder = tempfile.mkdtemp(prefix="_".join((PREFIX, *this_process(), "")))
                undo.callback(shutil.rmtree, folder, ignore_errors=True)
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                undo.callback(ours.close)
                with theirs:
                    options = self._runner_options(kind, folder, preload)
                    process = _start(options, folder, theirs.fileno())
                undo.callback(_end, process, killers, folder, os.getpid())
                ours.settimeout(START_S)
                hello = _listen(ours, process, killers)
            except (OSError, SandboxError) as error:
                raise SandboxError(f"the local runner does not start: {error}") from error
            undo.pop_all()
        ours.settimeout(None)
        # Ends the runner when the client is closed or garbage collected, or when this interpreter ends.
        finalizer = weakref.finalize(ours, _end, process, killers, folder, os.getpid())
        gaps = missing(hello)
        if FILES in gaps and self.demand_file_protection:
            finalizer()
            raise SandboxError(
                f"no container engine answers, and this machine lacks {'; '.join(gaps)}: start Docker and use "
                "sandbox 'docker', or say sandbox 'local' to run programs that you trust with your files"
            )
        self._warn(gaps)
        return RunnerClient(ours, finalizer, hello)

    def _runner_options(self, kind: str, folder: str, preload: Sequence[str]) -> dict[str, Any]:
        paths, readable = [], [*stdlib_paths(), *SYSTEM]
        if self.packages and kind != "tools":
            paths.append(str(linked(self.packages)))
            readable += [paths[0], *map(str, self.packages.paths)]
        if kind == "tester":
            paths += _test_packages()
            readable += _test_packages()
        if kind == "tools":
            readable += TOOLS
        return {
            "folder": folder,
            "readable": readable if kind == "session" else ["/"],
            "sessions": kind == "session",
            "outer_readable": readable,
            "namespaces": self.namespaces,
            "packages": paths,
            "preload": list(preload),
            "tester": kind == "tester",
            "run_written": kind == "tools",
            "tmpfs_mib": 512,
        }

    def _warn(self, gaps: list[str]) -> None:
        if gaps and not self.warned:
            self.warned = True
            warnings.warn(
                f"the local sandbox lacks {'; '.join(gaps)}. Use the docker sandbox for code you do not trust.",
                stacklevel=6,
            )


def sweep() -> None:
    """Remove the folders of runners whose process was killed before it could remove them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}_*"):
        if is_dead(folder.name.split("_", 5)[1:5]):
            shutil.rmtree(folder, ignore_errors=True)


def missing(hello: dict[str, Any]) -> list[str]:
    """Return what the kernel did not grant, as a list of phrases."""
    gaps = []
    if not hello["landlock"]:
        gaps.append(FILES)
    elif hello["landlock"] < 6 and "processes" not in hello["gained"]:
        gaps.append(
            "protection of other processes from signals by descendants (Landlock 6, Linux 6.12)"
        )
    if not hello["seccomp"]:
        gaps.append("system call filter (seccomp on x86-64 or aarch64)")
    if not hello["landlock"] and "network" not in hello["gained"] and not hello["seccomp"]:
        gaps.append("separation from the network")
    return gaps


def _start(options: dict[str, Any], folder: str, control: int) -> subprocess.Popen[bytes]:
    environment = {
        "PYTHONHASHSEED": "0",
        "LANG": "C.UTF-8",
        "HOME": folder,
        "TMPDIR": folder,
        "PATH": "/usr/bin:/bin",
        **RUNNER_SETTINGS,
    }
    with _pipe() as (reading, writing):
        return subprocess.Popen(
            [
                *(sys.executable, "-S", "-s", "-B", "-P", "-X", "utf8"),
                RUNNER / "launch.py",
                str(control),
                json.dumps(options),
            ],
            stdin=reading,
            stdout=writing,
            stderr=None if os.environ.get("STEPGYM_SANDBOX_DEBUG") else writing,
            env=environment,
            cwd="/",
            pass_fds=[control],
            start_new_session=True,
        )


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """A pipe for the standard streams: the runner's stream objects must be made for pipes, as in a container."""
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def stdlib_paths() -> list[str]:
    """Return the paths of the standard library, entry by entry.

    A program thus does not see `site-packages` beside it.
    """
    paths = [sys.executable, os.path.realpath(sys.executable)]
    for name in ("stdlib", "platstdlib"):
        folder = sysconfig.get_path(
            name, vars={"base": sys.base_prefix, "platbase": sys.base_prefix}
        )
        with os.scandir(folder) as entries:
            paths += [
                entry.path
                for entry in entries
                if entry.name not in ("site-packages", "dist-packages")
            ]
    libraries = Path(sys.base_prefix, "lib")
    return sorted({*paths, *(str(path) for path in libraries.glob("libpython*"))})


def _test_packages() -> list[str]:
    """Folders from which property tests import Hypothesis."""
    import importlib.util

    spec = importlib.util.find_spec("hypothesis")
    return [str(Path(spec.origin).parent.parent)] if spec and spec.origin else []


def _listen(
    control: socket.socket, process: subprocess.Popen[bytes], killers: list[int]
) -> dict[str, Any]:
    """Wait for the runner's hello and return it. If the runner moves to another process, add its pidfd to `killers`."""
    while True:
        message, _ = wire.receive(control)
        if message is None:
            raise SandboxError(f"it ended at once with status {process.wait()}")
        if message["op"] == "pid":
            killers.append(os.pidfd_open(message["pid"]))
            process.wait()
        elif message["op"] == "hello":
            return message


def _end(process: subprocess.Popen[bytes], killers: list[int], folder: str, starter: int) -> None:
    """Kill the runner and remove its folder; in a fork of the process that started it do nothing."""
    if os.getpid() != starter:
        return
    for descriptor in killers:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)
    if not killers:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
