"""The supervisor: process 1 of a container (or of a namespace here). It runs one program at a time, each in a fresh child.

It never reads what a program is or says. It measures the wall time, enforces what rlimits cannot, and afterwards
kills everything that the program started and empties the working folder. It trusts nothing inside and believes only
the host's messages. When the host hangs up it ends, and everything inside ends with it.
"""

from __future__ import annotations

import _socket
import contextlib
import gc
import json
import os
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from stepgym.sandbox.runner import child, confine, namespaces, resident_tester, wire
from stepgym.sandbox.runner.execution import Execution, OutOfMemoryCounter, Surroundings
from stepgym.sandbox.runner.prefork import Confinement, ForkServer, WaitingChild
from stepgym.sandbox.runner.work_folder import Disk, empty

MAX_STILLBORN = 8
SHARED_MEMORY = "/dev/shm"
PRELOADED = [
    "abc",
    "bisect",
    "collections",
    "collections.abc",
    "contextlib",
    "copy",
    "enum",
    "functools",
    "heapq",
    "io",
    "itertools",
    "json",
    "math",
    "operator",
    "random",
    "re",
    "string",
    "struct",
    "time",
    "typing",
]
"""What programs import most. Each module loaded here makes every fork slower, so rarer ones are left out."""


class Options:
    """What the host decides about a runner: where it works, what may be read there, how it is confined."""

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
        self.writable = [options.folder, *([SHARED_MEMORY] if options.shared_memory else [])]
        ruleset = confine.landlock_ruleset(
            options.readable, [*self.writable, "/dev/null"], exec_writable=options.run_written
        )
        scoped = confine.landlock_abi() >= confine.SCOPE_SIGNALS_ABI
        confinement = Confinement(
            alone=self.alone,
            ruleset=ruleset,
            enter_landlock=confine.landlock_entry(ruleset),
            enter_seccomp=confine.seccomp_entry(
                keep_modes=keep_modes, only_own=not (scoped or self.alone)
            ),
        )
        self.fork_server = ForkServer(
            confinement, self._child_main, able=scoped and confinement.enter_landlock is not None
        )
        self.surroundings = Surroundings(
            control=control,
            is_tester=options.tester,
            disk=Disk(options.folder),
            out_of_memory=OutOfMemoryCounter(),
            kill_all=self.kill_all,
        )
        self.waiting: WaitingChild | None = None
        """The child that waits for the next program; a tester also waits between two of its programs."""

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

    def _child_main(self, line: _socket.socket) -> NoReturn:
        """What a confined child does: wait on `line` for its program and run it."""
        if self.options.tester:
            resident_tester.serve(line)
        header, descriptors = wire.take_over(line)
        if header is not None:
            child.run(header, descriptors, line)
        os._exit(0)

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
            for folder in self.writable:
                empty(folder)
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


def _warm(folder: str) -> None:
    """Do once here what every child will do, so that the interpreter has filled its caches before it is copied."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for _ in range(20):
        wire.send(
            ours,
            {"op": "run", "names": ["payload"], "limits": {"wall_s": 1.0, "max_processes": None}},
            [0, 1],
        )
        wire.close_all(wire.receive(theirs)[1])
        wire.pass_on(ours, ("candidate", ["payload"], {"wall_s": 1.0}, True), [0, 1])
        wire.close_all(wire.take_over(theirs)[1])
        child.rehearse()
        empty(folder)
    ours.close()
    theirs.close()


def main(descriptor: int, text: str) -> None:
    """Connect to the host (through `descriptor`, or a socket the options name), confine this process, warm it, serve."""
    options = Options(text)
    control = socket.socket(
        socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=None if options.socket else descriptor
    )
    if options.socket:
        control.connect(options.socket)
    gained: list[str] = []
    if options.namespaces:
        gained = namespaces.enter(options.folder, options.tmpfs_mib, options.run_written, control)
        options.shared_memory = "shared memory" in gained
    confine.prctl(confine.PR_SET_NO_NEW_PRIVS, 1)
    confine.prctl(confine.PR_SET_CHILD_SUBREAPER, 1)
    sys.path.extend(options.packages)
    for name in PRELOADED:
        __import__(name)
    for name in options.preload:
        with contextlib.suppress(ImportError):  # the program that imports it will say so
            __import__(name)
    import builtins
    from _sitebuiltins import Quitter

    builtins.exit = Quitter("exit", "Ctrl-D")
    builtins.quit = Quitter("quit", "Ctrl-D")
    sys.set_int_max_str_digits(0)
    os.chdir(options.folder)
    descendants = Descendants()
    if options.outer_readable is not None:
        # A /proc of the runner's own shows only what is inside.
        own = ["/proc"] if "proc" in gained else []
        outer = confine.landlock_ruleset(
            [*options.outer_readable, *own],
            [options.folder, "/dev/null", *([SHARED_MEMORY] if options.shared_memory else [])],
            exec_writable=options.run_written,
        )
        if enter := confine.landlock_entry(outer):
            enter()
        if outer is not None:
            os.close(outer)
    confine.drop_capabilities()
    confine.prctl(confine.PR_SET_DUMPABLE, 0)
    # Landlock does not protect modes and owners of files; unless the mounts are read-only, no program may change any.
    keep_modes = options.outer_readable is not None and "read-only" not in gained
    supervisor = Supervisor(options, control, descendants, keep_modes=keep_modes)
    child.lower_fixed_limits()
    _warm(options.folder)
    gc.collect()
    gc.freeze()
    if hasattr(confine.LIBC, "malloc_trim"):
        confine.LIBC.malloc_trim(0)  # a child gets fresh pages faster than copies of free ones
    seccomp = confine.enter_common_filter()
    wire.send(
        control,
        {"op": "hello", "landlock": confine.landlock_abi(), "seccomp": seccomp, "gained": gained},
    )
    supervisor.serve()
