"""LocalSandbox: the same runner without a container engine, confined by what an ordinary user can give up.

Landlock (files, TCP, signals), seccomp (system calls), rlimits, and namespaces where they may be made. What this
machine lacks is named in a warning. Not covered: memory of several processes together, faults of the kernel, and the
timing of other programs on the machine. For code you do not trust at all prefer Docker.
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
from pathlib import Path
from typing import Any

from stepgym.sandbox.owner import is_dead, this_process
from stepgym.sandbox.place import Place
from stepgym.sandbox.pool import PooledSandbox
from stepgym.sandbox.runner import wire
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
"""A runner's folder is called by this, its owner's words and a word of chance, with `_` between them."""
FILES = "protection of files (Landlock, Linux 5.13)"


class LocalSandbox(PooledSandbox):
    """Programs in confined processes of this machine. `namespaces=False` does without them.

    Where the kernel cannot protect files (Landlock, Linux 5.13) it warns and goes on, since it was asked for by
    name; `demand_file_protection=True`, which is what `auto` asks for, raises `SandboxError` instead.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        max_programs: int = 20_000,
        namespaces: bool = True,
        demand_file_protection: bool = False,
    ) -> None:
        self.namespaces = namespaces
        self.demand_file_protection = demand_file_protection
        self.warned = False
        sweep()
        super().__init__(
            workers=workers,
            max_programs=max_programs,
            options={"namespaces": namespaces, "demand_file_protection": demand_file_protection},
        )

    def open_place(self, kind: str) -> Place:
        """See `PooledSandbox.open_place`."""
        folder = tempfile.mkdtemp(prefix="_".join((PREFIX, *this_process(), "")))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = _start(kind, folder, theirs.fileno(), namespaces=self.namespaces)
        ours.settimeout(START_S)
        try:
            hello, killers = _listen(ours, process)
        except (OSError, SandboxError) as error:
            ours.close()
            process.kill()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)
            raise SandboxError(f"the local runner does not start: {error}") from error
        ours.settimeout(None)
        # Ends the runner when the place is dropped, forgotten, or this interpreter ends.
        finalizer = weakref.finalize(ours, _end, process, killers, folder, os.getpid())
        gaps = missing(hello)
        if FILES in gaps and self.demand_file_protection:
            finalizer()
            raise SandboxError(
                f"no container engine answers, and this machine lacks {'; '.join(gaps)}: start Docker and use "
                "sandbox 'docker', or say sandbox 'local' to run programs that you trust with your files"
            )
        self._warn(gaps)
        return Place(ours, finalizer, hello)

    def _warn(self, gaps: list[str]) -> None:
        if gaps and not self.warned:
            self.warned = True
            warnings.warn(
                f"the local sandbox does without {'; '.join(gaps)}. Use the docker sandbox for code you do not trust.",
                stacklevel=6,
            )


def sweep() -> None:
    """Remove the folders of runners whose owner was killed before it could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}_*"):
        if is_dead(folder.name.split("_", 5)[1:5]):
            shutil.rmtree(folder, ignore_errors=True)


def missing(hello: dict[str, Any]) -> list[str]:
    """Name what the kernel did not grant."""
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


def _start(kind: str, folder: str, control: int, *, namespaces: bool) -> subprocess.Popen[bytes]:
    packages = _test_packages() if kind == "tester" else []
    options = {
        "folder": folder,
        "readable": ["/"],
        "outer_readable": [
            *stdlib_paths(),
            *SYSTEM,
            *packages,
            *(TOOLS if kind == "tools" else ()),
        ],
        "namespaces": namespaces,
        "packages": packages,
        "tester": kind == "tester",
        "run_written": kind == "tools",
        "tmpfs_mib": 512,
    }
    environment = {
        "PYTHONHASHSEED": "0",
        "LANG": "C.UTF-8",
        "HOME": folder,
        "TMPDIR": folder,
        "PATH": "/usr/bin:/bin",
    }
    return subprocess.Popen(
        [
            sys.executable,
            "-S",
            "-s",
            "-B",
            "-P",
            "-X",
            "utf8",
            RUNNER / "launch.py",
            str(control),
            json.dumps(options),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None if os.environ.get("STEPGYM_SANDBOX_DEBUG") else subprocess.DEVNULL,
        env=environment,
        cwd="/",
        pass_fds=[control],
        start_new_session=True,
    )


def stdlib_paths() -> list[str]:
    """List the standard library entry by entry, so that `site-packages` beside it stays out of reach."""
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
    control: socket.socket, process: subprocess.Popen[bytes]
) -> tuple[dict[str, Any], list[int]]:
    """Wait for the runner's first words; returns them and a pidfd when it moved to another process."""
    killers: list[int] = []
    while True:
        message, _ = wire.receive(control)
        if message is None:
            raise SandboxError(f"it ended at once with status {process.wait()}")
        if message["op"] == "pid":
            killers.append(os.pidfd_open(message["pid"]))
            process.wait()
        elif message["op"] == "hello":
            return message, killers


def _end(process: subprocess.Popen[bytes], killers: list[int], folder: str, owner: int) -> None:
    """Kill the runner and remove its folder; in a fork of the owner do nothing."""
    if os.getpid() != owner:
        return
    for descriptor in killers:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)
    if not killers:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
