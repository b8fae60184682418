"""Processes forked ahead of their programs: already confined, waiting for a program.

After a fork, each page that the parent or the child writes is copied; that is most of what a program costs. So the
supervisor never forks for a program. A fork server, forked off once, does it and writes next to nothing.
"""

from __future__ import annotations

import _socket
import ctypes
import errno
import functools
import os
import platform
import signal
import socket
from _socket import AF_UNIX, SOCK_SEQPACKET
from _socket import socket as unix_socket
from collections.abc import Callable
from os import closerange, setsid
from typing import Any, NamedTuple, NoReturn

from stepgym.sandbox.runner import confine, wire
from stepgym.sandbox.runner.process_limit import ProcessLimit
from stepgym.sandbox.runner.wire import send_descriptor

MAX_DESCRIPTOR = 1024
INVALID = 0xFFFFFFFF
"""The fork server's answer on a kernel that cannot fork a sibling."""


class Confinement(NamedTuple):
    """What a fresh child does to confine itself."""

    alone: bool
    """Whether the supervisor is process 1 of a PID namespace; its end then ends all inside."""
    ruleset: int | None
    """The descriptor of the Landlock ruleset, `None` without Landlock."""
    enter_landlock: Callable[[], object] | None
    enter_seccomp: Callable[[], int | None]
    """Returns the descriptor on which the kernel asks about each new process, `None` without one."""


class ForkServer:
    """The supervisor's end of the process that forks. `child_main` is what a confined child then runs.

    `able` says whether a separate process may fork: Landlock must keep the programs' signals from it, and the kernel
    must let it fork siblings. Otherwise the supervisor forks itself.
    """

    def __init__(
        self,
        confinement: Confinement,
        child_main: Callable[[_socket.socket], NoReturn],
        *,
        able: bool,
    ) -> None:
        self.confinement = confinement
        self.child_main = child_main
        self.able = able
        self.line: socket.socket | None = None
        self.pid = 0
        self.forked = 0

    def start(self) -> None:
        """Fork the server process unless it runs."""
        if self.line is not None or not self.able:
            return
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = fork()
        if self.pid == 0:
            self._serve(theirs)
        theirs.close()

    def stop(self) -> None:
        """Forget the server process, which is dead or about to be."""
        if self.line is not None:
            self.line.close()
            self.line = None
        self.pid = 0

    def order(self, theirs: socket.socket) -> None:
        """Ask for a child that waits at `theirs`; `receive` tells its process number later."""
        if self.line is None:
            self.forked = fork()
            if self.forked == 0:
                child_start(self.confinement, self.child_main)(theirs.fileno())
            return
        try:
            wire.send_descriptor(self.line, theirs.fileno())
        except OSError:
            self.stop()

    def receive(self) -> int:
        """Return the process number of the child that was ordered; 0 when there is none."""
        if self.line is None:
            child, self.forked = max(self.forked, 0), 0
            return child
        try:
            word = self.line.recv(4)
        except ConnectionError:
            word = b""
        if not word:
            self.stop()
        child = int.from_bytes(word, "little")
        if child == INVALID:
            self.able, child = False, 0
            self.stop()
        return child

    def _serve(self, line: socket.socket) -> NoReturn:
        """Fork whenever asked, until the supervisor hangs up. The supervisor is the children's parent: it reaps them."""
        try:
            if not self.confinement.alone:
                confine.prctl(confine.PR_SET_PDEATHSIG, signal.SIGKILL)
            number = line.detach()
            ruleset = self.confinement.ruleset
            _close_all_but(number, *([] if ruleset is None else [ruleset]))
            own = _socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=number)
            start_child = child_start(self.confinement, self.child_main)
            while True:
                word, rights, _, _ = own.recvmsg(1, wire.RIGHTS_BYTES, socket.MSG_CMSG_CLOEXEC)
                if not word:
                    break
                number = int.from_bytes(rights[0][2], "little")
                pid = fork_sibling()
                if pid == 0:
                    start_child(number)
                answer = pid if pid > 0 else INVALID if pid == -errno.EINVAL else 0
                own.send(answer.to_bytes(4, "little"))
                os.close(number)
        finally:
            os._exit(0)


def child_start(
    confinement: Confinement, child_main: Callable[[_socket.socket], NoReturn]
) -> Callable[[int], NoReturn]:
    """Return what a fresh child does: confine itself, then run `child_main` on its line (a descriptor's number).

    It uses variables alone, because looking up an attribute for the first time writes to memory in several places.
    """
    alone, enter_landlock, enter_seccomp = confinement[0], confinement[2], confinement[3]

    def start(number: int) -> NoReturn:
        try:
            setsid()
            if not alone:
                confine.prctl(confine.PR_SET_PDEATHSIG, signal.SIGKILL)
            if enter_landlock is not None:
                enter_landlock()
            listener = enter_seccomp()
            line = unix_socket(AF_UNIX, SOCK_SEQPACKET, 0, number)
            send_descriptor(line, listener)
            closerange(3, number)
            closerange(number + 1, MAX_DESCRIPTOR)
            child_main(line)
        finally:
            os._exit(70)

    return start


def _close_all_but(*kept: int) -> None:
    """Close every descriptor that the fork server has no use for, a program's descriptors included."""
    first = 3
    for number in sorted(kept):
        os.closerange(first, number)
        first = number + 1
    os.closerange(first, MAX_DESCRIPTOR)


class ChildProcess:
    """The supervisor's end of one confined process."""

    def __init__(self, line: socket.socket, *, others: Callable[[], set[str]] | None) -> None:
        self.line = line
        self.others = others
        """Lists the processes in /proc that belong to no program; `None` where /proc shows others too."""
        self.pid = 0
        self.limit: ProcessLimit | None = None
        self.ending: int | None = None
        """A descriptor that is readable once the process has ended; `None` if the kernel has none."""

    def watch(self, pid: int) -> None:
        """Remember the process number and open a descriptor that becomes readable when it ends."""
        self.pid = pid
        try:
            self.ending = os.pidfd_open(pid)
        except OSError:
            self.ending = None

    @property
    def childless(self) -> bool:
        """Whether the process certainly started no other: the kernel asked about none."""
        return (
            self.limit is not None
            and self.limit.descriptor is not None
            and not self.limit.ever_granted
        )

    def group(self) -> list[str]:
        """List the numbers of the program's processes; only the first where /proc shows others too."""
        if self.others is None:
            return [str(self.pid)]
        others = self.others()
        return [name for name in os.listdir("/proc") if name.isdigit() and name not in others]

    def close(self) -> None:
        """Forget the process, which is dead or about to be."""
        self.line.close()
        if self.limit:
            self.limit.close()
        if self.ending is not None:
            os.close(self.ending)
            self.ending = None


class WaitingChild(ChildProcess):
    """One child that the fork server makes: it waits for its program, then runs it."""

    def __init__(
        self,
        server: ForkServer,
        *,
        others: Callable[[], set[str]] | None,
        signal_calls: frozenset[int] = frozenset(),
    ) -> None:
        self.server = server
        self.signal_calls = signal_calls
        server.start()
        line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        super().__init__(line, others=others)
        server.order(theirs)
        theirs.close()

    def take(self, message: dict[str, Any], descriptors: list[int]) -> bool:
        """Give the process its program; false when the process is dead."""
        if not self.meet():
            return False
        assert self.limit is not None
        self.limit.begin(message["limits"].get("max_processes"))
        header = (
            message["kind"],
            message["names"],
            message["limits"],
            message.get("address_space", True),
        )
        try:
            wire.pass_on(self.line, header, descriptors)
        except OSError:
            return False
        return True

    def meet(self) -> bool:
        """Receive the process number and the descriptor on which the kernel will ask about each fork."""
        if self.limit is not None:
            return True
        pid = self.server.receive()
        listener = wire.receive_descriptor(self.line) if pid else None
        if listener is None:
            return False
        self.watch(pid)
        self.limit = ProcessLimit(*listener, others=self.others, signal_calls=self.signal_calls)
        return True


def fork() -> int:
    """Fork through libc, without the interpreter's bookkeeping.

    This process has one thread and holds no lock, so nothing needs repair in the child; `os.fork` would write (and
    so copy) a megabyte to find that out. Hash seed and random state are the same in every child, so that the same
    program does the same.
    """
    return int(_FORK())


_FORK = ctypes.PyDLL(None).fork
CLONE_PARENT, SIGCHLD = 0x8000, 17


def fork_sibling() -> int:
    """Fork a process whose parent is the parent of this one; on failure return minus the error number."""
    pid = int(_CLONE())
    return pid if pid >= 0 else -ctypes.get_errno()


_CLONE = functools.partial(
    ctypes.PyDLL(None, use_errno=True).syscall,
    ctypes.c_long(56 if platform.machine() == "x86_64" else 220),
    ctypes.c_ulong(CLONE_PARENT | SIGCHLD),
    *(ctypes.c_ulong(0),) * 4,
)
