"""Deciding about each new process or thread: seccomp asks, the runner counts and answers."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable

RECEIVE, ANSWER = 0xC0502100, 0xC0182101
CONTINUE, EAGAIN = 1, 11
PATIENCE = 64
"""So many refusals are a fork bomb: the program is ended."""


class ForkWatch:
    """The listening end of a child's seccomp filter; without one (`None`) it counts nothing."""

    def __init__(self, descriptor: int | None, *, others: Callable[[], set[str]] | None) -> None:
        self.descriptor = descriptor
        self.others = others
        """Which of the processes in /proc are none of the program's; `None` where that cannot be told."""
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
        return self.refused > PATIENCE

    def answer(self) -> None:
        """Answer one question of the kernel."""
        assert self.descriptor is not None
        question = bytearray(80)
        try:
            fcntl.ioctl(self.descriptor, RECEIVE, question, True)
        except OSError:
            return  # who asked is dead
        identity = struct.unpack_from("=Q", question)[0]
        if self.allowed is None or self._alive() < self.allowed:
            self.granted += 1
            self.ever_granted = True
            verdict = struct.pack("=QqiI", identity, 0, 0, CONTINUE)
        else:
            self.refused += 1
            verdict = struct.pack("=QqiI", identity, 0, -EAGAIN, 0)
        try:
            fcntl.ioctl(self.descriptor, ANSWER, verdict)
        except OSError:
            return

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
