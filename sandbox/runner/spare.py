"""Processes forked ahead of their programs: made by a process that does nothing else, confined, waiting.

Each page that parent or child writes after a fork is copied, which is most of what a program costs. So process 1 never
forks for a program: a nursery, forked off once, does, and writes next to nothing.
"""

from __future__ import annotations

import _socket
import errno
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, NoReturn

from stepgym.sandbox.runner import child, confine, wire
from stepgym.sandbox.runner.watch import ForkWatch

if TYPE_CHECKING:
    from stepgym.sandbox.runner.zygote import Zygote

MAX_DESCRIPTOR = 1024
INVALID = 0xFFFFFFFF
"""Said of a kernel that has no forking for one's parent."""


class Nursery:
    """The zygote's end of the process that forks."""

    def __init__(self, zygote: Zygote, *, able: bool) -> None:
        self.zygote = zygote
        self.line: socket.socket | None = None
        self.pid = 0
        self.able = able
        """Whether Landlock keeps signals from it, and the kernel lets it fork for its parent; else the zygote forks."""
        self.forked = 0

    def start(self) -> None:
        """Fork the process that forks, if it is not there."""
        if self.line is not None or not self.able:
            return
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = confine.fork()
        if self.pid == 0:
            _be_nursery(self.zygote, theirs)
        theirs.close()

    def stop(self) -> None:
        """Forget the process, which is dead or about to be."""
        if self.line is not None:
            self.line.close()
            self.line = None
        self.pid = 0

    def order(self, theirs: socket.socket) -> None:
        """Ask for a child that waits at `theirs`; who it is comes later, see `receive`."""
        if self.line is None:
            self.forked = confine.fork()
            if self.forked == 0:
                _be_child(self.zygote, theirs.fileno())
            return
        try:
            wire.send_descriptor(self.line, theirs.fileno())
        except OSError:
            self.stop()

    def receive(self) -> int:
        """Return the number of the child that was ordered; 0 when there is none."""
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


def _be_nursery(zygote: Zygote, line: socket.socket) -> NoReturn:
    """Fork whenever asked, until the zygote hangs up. The children are the zygote's own: it reaps them."""
    try:
        if not zygote.alone:
            confine.prctl(confine.PR_SET_PDEATHSIG, signal.SIGKILL)
        number = line.detach()
        _close_all_but(number, *([] if zygote.ruleset is None else [zygote.ruleset]))
        own = _socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=number)
        while True:
            word, rights, _, _ = own.recvmsg(1, wire.RIGHTS_BYTES, socket.MSG_CMSG_CLOEXEC)
            if not word:
                break
            number = int.from_bytes(rights[0][2], "little")
            pid = confine.fork_sibling()
            if pid == 0:
                _be_child(zygote, number)
            own.send(
                (pid if pid > 0 else INVALID if pid == -errno.EINVAL else 0).to_bytes(4, "little")
            )
            os.close(number)
    finally:
        os._exit(0)


def _close_all_but(*kept: int) -> None:
    """Close what a nursery has no use for: a program's descriptors among it, if one was on its way."""
    first = 3
    for number in sorted(kept):
        os.closerange(first, number)
        first = number + 1
    os.closerange(first, MAX_DESCRIPTOR)


class Spare:
    """A process that waits for its program."""

    def __init__(self, zygote: Zygote) -> None:
        self.zygote = zygote
        zygote.nursery.start()
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = 0
        self.watch: ForkWatch | None = None
        self.ending: int | None = None
        """A descriptor that can be read when the process has ended; `None` where the kernel has no such thing."""
        zygote.nursery.order(theirs)
        theirs.close()

    def take(self, message: dict[str, Any], descriptors: list[int]) -> bool:
        """Give the process its program; false when it is dead."""
        if not self.meet():
            return False
        assert self.watch is not None
        self.watch.begin(message["limits"].get("max_processes"))
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
        """Learn who the process is, and get the descriptor on which the kernel will ask about each fork."""
        if self.watch is not None:
            return True
        self.pid = self.zygote.nursery.receive()
        listener = wire.receive_descriptor(self.line) if self.pid else None
        if listener is None:
            return False
        try:
            self.ending = os.pidfd_open(self.pid)
        except OSError:
            self.ending = None
        self.watch = ForkWatch(*listener, others=self.zygote.others if self.zygote.exact else None)
        return True

    @property
    def childless(self) -> bool:
        """Whether the process certainly started no other: the kernel asked about none."""
        return (
            self.watch is not None
            and self.watch.descriptor is not None
            and not self.watch.ever_granted
        )

    def close(self) -> None:
        """Forget the process, which is dead or about to be."""
        self.line.close()
        if self.watch:
            self.watch.close()
        if self.ending is not None:
            os.close(self.ending)
            self.ending = None


def _be_child(zygote: Zygote, number: int) -> NoReturn:
    """Confine this fresh process, then wait for its program; ends with the process."""
    try:
        os.setsid()
        if not zygote.alone:
            confine.prctl(confine.PR_SET_PDEATHSIG, signal.SIGKILL)
        if zygote.enter_landlock is not None:
            zygote.enter_landlock()
        listener = zygote.enter_seccomp()
        line = _socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=number)
        wire.send_descriptor(line, listener)
        os.closerange(3, number)
        os.closerange(number + 1, MAX_DESCRIPTOR)
        if zygote.options.tester:
            from stepgym.sandbox.runner import resident

            resident.serve(line, zygote.options.packages)
        header, descriptors = wire.take_over(line)
        if header is not None:
            child.run(header, descriptors, line)
    finally:
        os._exit(70)
