"""The limit on processes and threads: seccomp asks about each new one, the supervisor counts and answers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Callable

RECEIVE, ANSWER = 0xC0502100, 0xC0182101
CONTINUE, EPERM, EAGAIN = 1, 1, 11
MAX_REFUSALS = 64
"""A program that was refused more often is a fork bomb and is ended."""


class ProcessLimit:
    """The listening end of a child's seccomp filter; with descriptor `None` it counts nothing."""

    def __init__(
        self,
        descriptor: int | None,
        *,
        others: Callable[[], set[str]] | None,
        signal_calls: frozenset[int] = frozenset(),
    ) -> None:
        self.descriptor = descriptor
        self.others = others
        """Lists the processes in /proc that belong to no program; `None` where /proc shows others too."""
        self.signal_calls = signal_calls
        """Numbers of system calls that send signals; they are allowed within the sender's session alone."""
        self.allowed: int | None = 1
        self.granted = 0
        self.refused = 0
        self.ever_granted = False

    def begin(self, allowed: int | None) -> None:
        """Start a program that may have `allowed` processes and threads at once."""
        self.allowed, self.granted, self.refused = allowed, 0, 0

    @property
    def overwhelmed(self) -> bool:
        """Whether the program keeps asking for what it was refused."""
        return self.refused > MAX_REFUSALS

    def answer(self) -> None:
        """Answer one question of the kernel."""
        assert self.descriptor is not None
        question = bytearray(80)
        try:
            fcntl.ioctl(self.descriptor, RECEIVE, question, True)
        except OSError:
            return  # the asking process is dead
        identity, caller, _, number = struct.unpack_from("=QIIi", question)
        if number in self.signal_calls:
            target = struct.unpack_from("=i", question, 32)[0]
            refused = 0 if may_signal(caller, target) else -EPERM
            self._send(struct.pack("=QqiI", identity, 0, refused, 0 if refused else CONTINUE))
            return
        if self.allowed is None or self._alive() < self.allowed:
            self.granted += 1
            self.ever_granted = True
            verdict = struct.pack("=QqiI", identity, 0, 0, CONTINUE)
        else:
            self.refused += 1
            verdict = struct.pack("=QqiI", identity, 0, -EAGAIN, 0)
        self._send(verdict)

    def _send(self, verdict: bytes) -> None:
        assert self.descriptor is not None
        with contextlib.suppress(OSError):  # the asking process is dead
            fcntl.ioctl(self.descriptor, ANSWER, verdict)

    def _alive(self) -> int:
        if self.granted == 0:
            return 1
        return 1 + self.granted if self.others is None else self._count(self.others())

    def _count(self, others: set[str]) -> int:
        alive = 0
        for name in os.listdir("/proc"):
            if name.isdigit() and name not in others:
                try:
                    alive += len(os.listdir(f"/proc/{name}/task"))
                except OSError:
                    continue
        return alive

    def close(self) -> None:
        """Stop listening."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def may_signal(caller: int, target: int) -> bool:
    """Whether a process may signal `target` (as in kill(2)): its own group, or a process of its own session."""
    if target == 0:
        return True
    if target == -1:
        return False
    try:
        return os.getsid(abs(target)) == os.getsid(caller)
    except OSError:
        return False
