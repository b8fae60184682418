"""The supervisor of sessions: many interpreters in one runner, of which one runs at a time and all others are stopped.

A session's working folder lies at the same path whenever it runs and out of everybody's reach otherwise, so a fork sees
the paths it knows and cannot touch its parent's files. A fork counts only after a look at what the new process holds:
an open file, a pipe, shared memory or a second thread would tie it to its parent, and then it is refused. The host
rebuilds a refused fork by running the cells again. Not covered: processes started by a cell (they end with the cell).
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import shutil
import signal
import socket
import stat
import time
from collections.abc import Callable
from typing import Any, NoReturn

from stepgym.sandbox.runner import child, confine, session_child, wire
from stepgym.sandbox.runner.execution import Execution, Surroundings
from stepgym.sandbox.runner.prefork import ChildProcess, WaitingChild
from stepgym.sandbox.runner.supervisor import MAX_STILLBORN, Supervisor
from stepgym.sandbox.runner.work_folder import Disk, empty

FORK_S = 5.0
"""A session that does not fork within this time is refused."""
INTERRUPT_S = 0.5
"""How long a cell may go on after an interrupt before it gets another."""
MAX_INTERRUPTS = 3
MAX_ENTRIES = 4096
"""A working folder with more entries is not copied for a fork."""
HARMLESS = frozenset({"/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"})


class SessionProcess(ChildProcess):
    """One live session: its process and where its working folder lies while it does not run."""

    def __init__(self, line: socket.socket, folder: str, limits: dict[str, Any]) -> None:
        super().__init__(line, others=None)
        self.folder = folder
        self.limits = limits

    @property
    def dead(self) -> bool:
        """Whether the process has ended."""
        if self.ending is None:
            return True
        poller = select.poll()
        poller.register(self.ending, select.POLLIN)
        return bool(poller.poll(0))

    def stop(self) -> None:
        """Stop the process and wait until it has stopped."""
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def proceed(self) -> None:
        """Let the process run again."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)


class Refused(Exception):
    """A session cannot do what is asked; the reason is for the host."""


class SessionSupervisor(Supervisor):
    """Keeps sessions and does what the host asks of them: open, run a cell, fork, drop."""

    asks_about_signals = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.sessions: dict[int, SessionProcess] = {}
        self.running: SessionProcess | None = None
        self.store = os.path.join(self.options.folder, "store")
        self.live = self.writable[0]
        self.work = os.path.join(self.live, "work")
        os.mkdir(self.store, 0o700)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def readable_folders(self) -> list[str]:
        """See `Supervisor.readable_folders`; never /proc, nor other sessions' folders."""
        return [path for path in self.options.readable if path not in ("/", "/proc")]

    def writable_folders(self) -> list[str]:
        """See `Supervisor.writable_folders`: the folder that holds the running session's own."""
        live = os.path.join(self.options.folder, "live")
        os.makedirs(live, exist_ok=True)
        return [live]

    @property
    def child_main(self) -> Callable[[Any], NoReturn]:
        """See `Supervisor.child_main`."""
        return self._serve_session

    def _serve_session(self, line: Any) -> NoReturn:
        header, descriptors = wire.take_over(line)
        wire.close_all(descriptors)
        if header is not None:
            session_child.serve(line, header[2], self.work)
        os._exit(0)

    def _fork_ahead(self) -> WaitingChild:
        process = WaitingChild(self.fork_server, others=None, signal_calls=confine.signal_calls())
        if self.waiting is None:
            self.waiting = process
        return process

    def _others(self) -> set[str]:
        pids = {"1", str(self.fork_server.pid)}
        pids |= {str(one.pid) for one in self.sessions.values() if one is not self.running}
        if self.waiting is not None:
            pids.add(str(self.waiting.pid))
        return pids

    def _run(self, message: dict[str, Any], descriptors: list[int]) -> None:
        begin = time.monotonic()
        reply: dict[str, Any] = {
            "op": "result",
            "id": message["id"],
            "overrun": None,
            "status": 0,
            "hint": None,
            "refused_processes": 0,
            "disk_full": False,
            "cpu_s": 0.0,
            "peak": 0,
        }
        try:
            match message["kind"]:
                case "open":
                    self._open(message, descriptors)
                case "cell":
                    reply.update(self._run_cell(message, descriptors, begin))
                case "fork":
                    self._fork(message)
                case "drop":
                    self._drop(message["session"])
        except Refused as refusal:
            reply["refused"] = str(refusal)
        except OSError as error:
            reply["refused"] = f"{type(error).__name__}: {error}"
        reply.setdefault("wall_s", time.monotonic() - begin)
        wire.close_all(descriptors)
        wire.send(self.control, reply)

    # What the host asks.

    def _open(self, message: dict[str, Any], descriptors: list[int]) -> None:
        names = dict(zip(message["names"], descriptors))
        files = child.read_payload(names["payload"])["files"]
        number, limits = message["session"], message["limits"]
        process = self._met()
        session = SessionProcess(process.line, self._new_folder(number), limits)
        session.limit = process.limit
        session.others = self._others
        assert session.limit is not None
        session.limit.others = self._others
        session.pid, session.ending = process.pid, process.ending
        self.sessions[number] = session
        _write_files(session.folder, files)
        wire.pass_on(session.line, ("session", [], limits, True), [descriptors[0]])
        self.waiting = None
        self._met()

    def _run_cell(
        self, message: dict[str, Any], descriptors: list[int], begin: float
    ) -> dict[str, Any]:
        session = self._session(message["session"])
        assert session.limit is not None
        session.limit.begin(message["limits"].get("max_processes"))
        session.limit.ever_granted = False
        os.rename(session.folder, self.work)
        inode = os.lstat(self.work).st_ino
        self.running = session
        try:
            session.proceed()
            try:
                wire.pass_on(session.line, ("cell", message["names"], {}, True), descriptors)
            except OSError as error:
                raise Refused("its process has ended") from error
            wire.close_all(descriptors)
            surroundings = self.surroundings._replace(disk=Disk(self.work, own=False))
            execution = CellExecution(surroundings, session, message, begin)
            reply = execution.run()
            if execution.status is None:
                session.stop()
            self._end_processes(session)
            if execution.status is not None:
                reply["ended"] = True
                self._forget(message["session"])
        finally:
            self.running = None
            self._put_away(session, inode)
        if message["session"] not in self.sessions:
            reply["ended"] = True
            self._remove_folder(session)
        return reply

    def _put_away(self, session: SessionProcess, inode: int) -> None:
        """Take the working folder out of reach; end a session that moved it away or put another thing in its place."""
        try:
            found = os.lstat(self.work)
            if not stat.S_ISDIR(found.st_mode) or found.st_ino != inode:
                raise FileNotFoundError(self.work)
            os.rename(self.work, session.folder)
        except FileNotFoundError:
            for number in [n for n, one in self.sessions.items() if one is session]:
                self._drop(number)
        empty(self.live)

    def _fork(self, message: dict[str, Any]) -> None:
        session, number = self._session(message["session"]), message["child"]
        if len(os.listdir(f"/proc/{session.pid}/task")) > 1:
            raise Refused("it has more than one thread")
        folder = self._new_folder(number)
        line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fresh = SessionProcess(line, folder, session.limits)
        try:
            with theirs:
                _copy_folder(session.folder, folder, session.limits.get("disk_mib"))
                self._fork_process(session, fresh, theirs)
        except BaseException:
            if fresh.pid:
                _kill(fresh.pid)
            fresh.limit = None  # its parent's
            fresh.close()
            self._remove_folder(fresh)
            raise
        self.sessions[number] = fresh

    def _drop(self, number: int) -> None:
        session = self.sessions.get(number)
        if session is not None:
            _kill(session.pid)
            self._forget(number)
            self._remove_folder(session)

    # How it is done.

    def _session(self, number: int) -> SessionProcess:
        session = self.sessions.get(number)
        if session is None:
            raise Refused("it is not here")
        if session.dead:
            self._drop(number)
            raise Refused("its process has ended")
        return session

    def _met(self) -> WaitingChild:
        """Return a waiting child whose process number is known."""
        for _ in range(MAX_STILLBORN):
            process, self.waiting = self.waiting or self._fork_ahead(), None
            if process.meet():
                self.waiting = process
                return process
            process.close()
        raise OSError(f"{MAX_STILLBORN} processes in a row died before their session came")

    def _fork_process(
        self, session: SessionProcess, fresh: SessionProcess, theirs: socket.socket
    ) -> None:
        """Have a session fork, and check what the new process holds."""
        fresh.limit, fresh.others = session.limit, self._others
        assert session.limit is not None
        session.limit.begin(None)
        inode = os.fstat(theirs.fileno()).st_ino
        self.running = session
        try:
            session.proceed()
            wire.pass_on(session.line, ("fork", [], {}, True), [theirs.fileno()])
            theirs.close()
            words = self._two_words(session, fresh)
            session.stop()
        finally:
            self.running = None
        if len(words) < 2 or words[session] != words[fresh] or not words[fresh]:
            session.stop()
            raise Refused("it does not fork")
        pid = words[fresh]
        known = {"1", str(self.fork_server.pid)} | {str(s.pid) for s in self.sessions.values()}
        if str(pid) in known or _parent_of(pid) != os.getpid() or os.getsid(pid) != pid:
            raise Refused("it does not fork as it should")
        fresh.watch(pid)
        fresh.stop()
        self._end_processes(session, spared=str(pid))
        if tie := _tie(pid, inode):
            raise Refused(f"it holds {tie}")

    def _two_words(
        self, session: SessionProcess, fresh: SessionProcess
    ) -> dict[SessionProcess, int]:
        """Wait for the forking process and the new one to say the new one's number; answer the kernel meanwhile."""
        assert session.limit is not None
        words: dict[SessionProcess, int] = {}
        poller = select.poll()
        ends = {one.line.fileno(): one for one in (session, fresh)}
        for descriptor in ends:
            poller.register(descriptor, select.POLLIN)
        if session.limit.descriptor is not None:
            poller.register(session.limit.descriptor, select.POLLIN)
        give_up = time.monotonic() + FORK_S
        while len(words) < 2 and time.monotonic() < give_up:
            for descriptor, events in poller.poll(100):
                if descriptor not in ends:
                    session.limit.answer()
                    continue
                word = b""
                with contextlib.suppress(ConnectionError):
                    word = ends[descriptor].line.recv(4)
                if not word or not events & select.POLLIN:
                    return words
                words[ends[descriptor]] = int.from_bytes(word, "little")
                poller.unregister(descriptor)
        return words

    def _end_processes(self, session: SessionProcess, *, spared: str = "") -> None:
        """Kill what a cell started and left running."""
        assert session.limit is not None
        if not session.limit.ever_granted:
            return
        self.running = session
        try:
            kept = {str(session.pid), spared}
            while left := [pid for pid in session.group() if pid not in kept and _lives(pid)]:
                for pid in left:
                    _kill(int(pid))
        finally:
            self.running = None

    def _new_folder(self, number: int) -> str:
        folder = os.path.join(self.store, str(number))
        os.mkdir(folder, 0o700)
        return folder

    def _remove_folder(self, session: SessionProcess) -> None:
        with contextlib.suppress(OSError):
            empty(session.folder)
            os.rmdir(session.folder)

    def _forget(self, number: int) -> None:
        session = self.sessions.pop(number)
        if any(other.limit is session.limit for other in self.sessions.values()):
            session.limit = None  # forks of one session share it
        session.close()


class CellExecution(Execution):
    """Run one cell. Over a limit it is interrupted, which keeps its session; if it still runs, the process is killed."""

    def __init__(
        self,
        surroundings: Surroundings,
        process: SessionProcess,
        message: dict[str, Any],
        begin: float,
    ) -> None:
        super().__init__(surroundings, process, message, begin)
        self.cpu_before = super()._cpu()
        self.num_interrupts = 0
        self.next_interrupt = 0.0

    def _cpu(self) -> float:
        return max(0.0, super()._cpu() - self.cpu_before)

    def _hear_process(self) -> None:
        try:
            word = self.process.line.recv(wire.CELL_DONE.size)
        except ConnectionError:
            return
        if len(word) == wire.CELL_DONE.size:
            code, hint, peak = wire.CELL_DONE.unpack(word)
            self.done = {"code": code, "hint": hint, "peak": peak, "cpu_s": self._cpu()}

    def _pause_ms(self) -> float | None:
        if self.num_interrupts:
            return max(0.0, self.next_interrupt - time.monotonic()) * 1000 + 1
        return super()._pause_ms()

    def _check(self) -> None:
        if not self.num_interrupts:
            super()._check()
        elif time.monotonic() >= self.next_interrupt:
            self._kill(self.overrun or "wall_time")

    def _kill(self, why: str) -> None:
        if self.num_interrupts >= MAX_INTERRUPTS:
            super()._kill(why)
            return
        self.overrun = self.overrun or why
        self.num_interrupts += 1
        self.next_interrupt = time.monotonic() + INTERRUPT_S
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGINT)

    def _reply(self) -> dict[str, Any]:
        reply = super()._reply()
        reply["hint"] = None if self.done is None else child.HINTS.get(self.done["hint"])
        return reply


def _write_files(folder: str, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = os.path.normpath(os.path.join(folder, name))
        if not path.startswith(folder + os.sep):
            raise Refused(f"the file name {name!r} leads out of the working folder")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(content)


def _copy_folder(source: str, target: str, limit_mib: int | None) -> None:
    """Copy files, folders and links; other kinds are left out. Raises `Refused` for more than the limit."""
    left, entries = (1 << 62) if limit_mib is None else limit_mib << 20, 0
    waiting = [(source, target)]
    while waiting:
        here, there = waiting.pop()
        with os.scandir(here) as listing:
            for entry in listing:
                entries += 1
                facts = entry.stat(follow_symlinks=False)
                left -= max(facts.st_size, facts.st_blocks * 512)
                if entries > MAX_ENTRIES or left < 0:
                    raise Refused("its working folder is too large to copy")
                copy = os.path.join(there, entry.name)
                if stat.S_ISLNK(facts.st_mode):
                    os.symlink(os.readlink(entry.path), copy)
                elif stat.S_ISDIR(facts.st_mode):
                    os.mkdir(copy)
                    waiting.append((entry.path, copy))
                elif stat.S_ISREG(facts.st_mode):
                    shutil.copyfile(entry.path, copy)
                    os.chmod(copy, stat.S_IMODE(facts.st_mode))


def _tie(pid: int, inode: int) -> str | None:
    """Name what ties a stopped process to others; `inode` is that of its own line to the supervisor."""
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            link = os.readlink(f"/proc/{pid}/fd/{number}")
            if link not in HARMLESS and link != f"socket:[{inode}]":
                return f"the open file {link!r}"
        with open(f"/proc/{pid}/maps") as stream:
            for line in stream:
                parts = line.split(maxsplit=5)
                path = parts[5].strip() if len(parts) > 5 else ""
                if parts[1][3] == "s" and (
                    "w" in parts[1] or not path.startswith(("/usr/", "/lib"))
                ):
                    return f"shared memory {path!r}"
        if len(os.listdir(f"/proc/{pid}/task")) > 1:
            return "more than one thread"
    except OSError as error:
        return f"what cannot be seen ({error})"
    return None


def _lives(pid: str) -> bool:
    """Whether a process is there and not just waiting to be reaped."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return int(stream.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return 0


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
