"""The supervisor: process 1 of a container (or of a namespace here). It runs one program at a time, each in a fresh child.

It never reads what a program is or says. It measures the wall time, enforces what rlimits cannot, and afterwards
kills everything that the program started and empties the working folder. It trusts nothing inside and believes only
the host's messages. When the host hangs up it ends, and everything inside ends with it.
"""

from __future__ import annotations

import _socket
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, NoReturn

from stepgym.sandbox.runner import child, confine, wire
from stepgym.sandbox.runner.execution import Execution, OutOfMemoryCounter, Surroundings
from stepgym.sandbox.runner.prefork import Confinement, ForkServer, WaitingChild
from stepgym.sandbox.runner.work_folder import Disk

MAX_STILLBORN = 8
SHARED_MEMORY = "/dev/shm"


class Options:
    """The host's settings of a runner: its work folder, its readable paths, its confinement."""

    def __init__(self, text: str) -> None:
        given = json.loads(text)
        self.socket: str | None = given.get("socket")
        """Path of the host's listening socket; `None` when descriptor 0 is the connection itself."""
        self.folder: str = given["folder"]
        self.readable: list[str] = given["readable"]
        self.outer_readable: list[str] | None = given.get("outer_readable")
        self.namespaces: bool = given.get("namespaces", False)
        self.packages: list[str] = given.get("packages", [])
        """Folders with packages that programs can import."""
        self.preload: list[str] = given.get("preload", [])
        """Modules of these packages to load before any program comes."""
        self.tester: bool = given.get("tester", False)
        self.sessions: bool = given.get("sessions", False)
        """Whether this runner keeps sessions instead of running programs."""
        self.run_written: bool = given.get("run_written", False)
        """Whether programs may run files they wrote (compiled languages)."""
        self.tmpfs_mib: int | None = given.get("tmpfs_mib")
        self.shared_memory: bool = given.get("shared_memory", False)
        """Whether /dev/shm is the runner's own, which semaphores of `multiprocessing` need."""


class Supervisor:
    """The supervisor's state between programs."""

    def __init__(
        self,
        options: Options,
        control: socket.socket,
        descendants: Descendants,
        *,
        keep_modes: bool,
    ) -> None:
        self.options = options
        self.control = control
        self.descendants = descendants
        self.alone = os.getpid() == 1
        """Process 1 of a PID namespace: `kill(-1)` then means everything inside, and nothing outside."""
        self.exact = self.alone and _sees_itself()
        """Whether /proc shows what is inside, and nothing else, so that processes can be counted."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would hide how a child ended
        self.writable = self.writable_folders()
        ruleset = confine.landlock_ruleset(
            self.readable_folders(),
            [*self.writable, "/dev/null"],
            exec_writable=options.run_written,
        )
        scoped = confine.landlock_abi() >= confine.SCOPE_SIGNALS_ABI
        confinement = Confinement(
            alone=self.alone,
            ruleset=ruleset,
            enter_landlock=confine.landlock_entry(ruleset),
            enter_seccomp=confine.seccomp_entry(
                keep_modes=keep_modes,
                only_own=not (scoped or self.alone),
                ask_about_signals=self.asks_about_signals,
            ),
        )
        self.fork_server = ForkServer(
            confinement, self.child_main, able=scoped and confinement.enter_landlock is not None
        )
        self.disks = [Disk(folder) for folder in self.writable]
        self.surroundings = Surroundings(
            control=control,
            is_tester=options.tester,
            disk=Disk(options.folder),
            out_of_memory=OutOfMemoryCounter(),
            kill_all=self.kill_all,
        )
        self.waiting: WaitingChild | None = None
        """The child that waits for the next program; a tester also waits between two of its programs."""

    asks_about_signals = False
    """Whether the kernel asks about each signal that a program sends."""

    def readable_folders(self) -> list[str]:
        """List the folders that programs may read."""
        return self.options.readable

    def writable_folders(self) -> list[str]:
        """List the folders that programs may write, which are emptied after each program."""
        return [self.options.folder, *([SHARED_MEMORY] if self.options.shared_memory else [])]

    def serve(self) -> None:
        """Run programs until the host hangs up."""
        while True:
            if self.waiting is None:
                self.waiting = self._fork_ahead()
            message, descriptors = wire.receive(self.control)
            if message is None:
                return
            if message["op"] == "run":
                self._run(message, descriptors)
            elif message["op"] == "ping":
                wire.send(self.control, {"op": "pong"})
            wire.close_all(descriptors)

    @property
    def child_main(self) -> Callable[[_socket.socket], NoReturn]:
        """What a confined child does: wait for its program on a line, and run it."""
        if self.options.tester:
            # Here, because each module that is loaded makes every fork slower, and other runners need it not.
            from stepgym.sandbox.runner import resident_tester

            return resident_tester.serve
        return child.run_next

    def _fork_ahead(self) -> WaitingChild:
        return WaitingChild(self.fork_server, others=self._others if self.exact else None)

    def _run(self, message: dict[str, Any], descriptors: list[int]) -> None:
        begin = time.monotonic()
        process = self._hand_over(message, descriptors)
        wire.close_all(descriptors)
        execution = Execution(self.surroundings, process, message, begin)
        reply = execution.run()
        if execution.done is not None:
            wire.send(self.control, reply)  # before the clearing, for which nobody need wait
        if execution.done is not None and not execution.done["last"]:
            self.waiting = process
        else:
            self._clear(process, ended=execution.status is not None)
        if not message.get("more"):
            for disk in self.disks:
                disk.empty()
        if execution.done is None:
            wire.send(self.control, reply)

    def _hand_over(self, message: dict[str, Any], descriptors: list[int]) -> WaitingChild:
        """Give the program to the waiting child, or to a fresh one if that child died, which is no program's fault."""
        for _ in range(MAX_STILLBORN):
            process, self.waiting = self.waiting or self._fork_ahead(), None
            if process.take(message, descriptors):
                return process
            process.close()
            self.kill_all()
        raise OSError(f"{MAX_STILLBORN} processes in a row died before their program came")

    def _clear(self, process: WaitingChild, *, ended: bool) -> None:
        """End the process and all that it started."""
        if not process.childless:
            self.kill_all()
        elif not ended:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(process.pid, signal.SIGKILL)
                os.waitpid(process.pid, 0)
        process.close()

    def _others(self) -> set[str]:
        """Return the numbers of the processes in here that belong to no program."""
        return {"1", str(self.fork_server.pid)}

    def kill_all(self) -> None:
        """Kill and reap everything in here but this process, the fork server included."""
        self.fork_server.stop()
        while True:
            if self.alone:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
            else:
                for process in self.descendants.list():
                    os.kill(process, signal.SIGKILL)
            try:
                if os.waitpid(-1, 0 if self.alone else os.WNOHANG)[0] == 0:
                    time.sleep(0.001)
            except ChildProcessError:
                return


def _sees_itself() -> bool:
    try:
        return os.readlink("/proc/self") == "1" and bool(os.listdir("/proc/1/task"))
    except OSError:
        return False


class Descendants:
    """The children of this process, adopted ones included, through a file opened before /proc is out of reach."""

    def __init__(self) -> None:
        pid = os.getpid()
        try:
            self.descriptor: int | None = os.open(
                f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC
            )
        except OSError:  # a kernel built without CONFIG_PROC_CHILDREN
            self.descriptor = None

    def list(self) -> list[int]:
        """List their numbers, the dead and unreaped included."""
        if self.descriptor is None:
            return []
        return [int(word) for word in os.pread(self.descriptor, 1 << 16, 0).split()]
