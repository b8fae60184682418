"""One program while it runs: wait for its end, or end it when it is over a limit."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from stepgym.sandbox.runner import child, wire
from stepgym.sandbox.runner.prefork import ChildProcess
from stepgym.sandbox.runner.work_folder import Disk

TICK_S = 0.05
STARVED_FACTOR = 9
"""Waiting for a CPU extends the wall time by up to this many times the limit."""
SLOW_S = 0.5
"""From here on a program is slow, so that it is of interest how long it waited for a CPU."""
GROUP_FACTOR = 4
"""All processes of a program together may hold this many times the memory limit."""
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = resource.getpagesize()
BLIND_S = 0.002
"""Seconds between checks for the program's end, on a kernel without process descriptors."""


class OutOfMemoryCounter:
    """Counts the processes of this container that the kernel ended because memory was out."""

    def __init__(self) -> None:
        self.count = out_of_memory_kills()

    def grew(self) -> bool:
        """Whether the kernel has ended a process since this was last asked."""
        before, self.count = self.count, out_of_memory_kills()
        return self.count > before


class Surroundings(NamedTuple):
    """What an execution needs of the supervisor."""

    control: socket.socket
    """The connection to the host."""
    is_tester: bool
    disk: Disk
    out_of_memory: OutOfMemoryCounter
    kill_all: Callable[[], None]


class Execution:
    """One program in one child."""

    def __init__(
        self,
        surroundings: Surroundings,
        process: ChildProcess,
        message: dict[str, Any],
        begin: float,
    ) -> None:
        self.surroundings = surroundings
        self.process = process
        assert process.limit is not None
        self.process_limit = process.limit
        self.message = message
        self.limits: dict[str, Any] = message["limits"]
        self.overrun: str | None = None
        self.done: dict[str, Any] | None = None
        self.status: int | None = None
        self.usage: Any = None
        self.begin = begin
        self.starved_s = 0.0
        """By how much the wall time was extended."""
        self.waited_s: float | None = 0.0
        """How long a program that was slow or stopped waited for a CPU."""

    def run(self) -> dict[str, Any]:
        """Wait for the program's end, or end it, and return the reply to the host."""
        self._wait()
        limit = None if self.surroundings.is_tester else self.limits.get("disk_mib")
        if (
            self.overrun is None
            and limit is not None
            and self.surroundings.disk.used() > limit << 20
        ):
            self.overrun = "disk"  # written between two looks
        return self._reply()

    def _wait(self) -> None:
        poller = select.poll()
        for descriptor in (
            self.surroundings.control.fileno(),
            self.process.line.fileno(),
            self.process.ending,
        ):
            if descriptor is not None:
                poller.register(descriptor, select.POLLIN)
        if self.process_limit.descriptor is not None:
            poller.register(self.process_limit.descriptor, select.POLLIN)
        while self.status is None and self.done is None:
            for descriptor, events in poller.poll(self._pause_ms()):
                if descriptor == self.surroundings.control.fileno():
                    self._hear_host()
                elif descriptor == self.process.ending:
                    pass  # reaped below
                elif descriptor == self.process.line.fileno():
                    if events & select.POLLIN:
                        self._hear_process()
                    poller.unregister(descriptor)
                elif events & select.POLLIN:
                    self._reap()  # the dead do not count
                    self.process_limit.answer()
                else:
                    poller.unregister(descriptor)
            self._reap()
            if self.status is None and self.done is None:
                self._check()

    def _pause_ms(self) -> float | None:
        """How long to sleep before something must be checked again."""
        pauses = [BLIND_S] if self.process.ending is None else []
        if self.limits.get("wall_s") is not None:
            left_s = self.begin + self.limits["wall_s"] + self.starved_s - time.monotonic()
            pauses.append(max(0.005, left_s))
        if self.limits.get("cpu_s") is not None:
            pauses.append(max(0.005, (self.limits["cpu_s"] - self._cpu()) / 2))
        if self.limits.get("disk_mib") is not None or self.process_limit.ever_granted:
            pauses.append(TICK_S)
        return max(0.0, min(pauses)) * 1000 + 1 if pauses else None

    def _hear_host(self) -> None:
        message, descriptors = wire.receive(self.surroundings.control)
        wire.close_all(descriptors)
        if message is None:
            self.surroundings.kill_all()
            os._exit(0)
        if message["op"] == "ping":
            wire.send(self.surroundings.control, {"op": "pong"})
        elif message["op"] == "kill" and message["id"] == self.message["id"]:
            self._kill(message["why"])

    def _hear_process(self) -> None:
        """Take the message that a program is done. A candidate is killed then, because it may lie."""
        if self.surroundings.is_tester:
            self.done, _ = wire.receive(self.process.line)
        elif self.process.childless:
            try:
                word = self.process.line.recv(wire.PARTING.size)
            except ConnectionError:
                return
            if len(word) == wire.PARTING.size:
                code, peak = wire.PARTING.unpack(word)
                peak = min(peak, (self.limits.get("memory_mib") or 1 << 20) << 20)
                self.done = {"code": code, "peak": peak, "cpu_s": self._cpu(), "last": True}

    def _reap(self) -> None:
        """Take the status of the child, and of orphans that became ours."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.process.pid:
                self.status, self.usage = status, usage

    def _check(self) -> None:
        """Kill the program when it is over a limit that no rlimit enforces."""
        wall, cpu, disk = (self.limits.get(name) for name in ("wall_s", "cpu_s", "disk_mib"))
        if self.process_limit.overwhelmed:
            self._kill("processes")
        elif wall is not None and self._over_wall_time(wall):
            self._kill("wall_time")
        elif cpu is not None and self._cpu() >= cpu:
            self._kill("cpu_time")
        elif disk is not None and self.surroundings.disk.used() > disk << 20:
            self._kill("disk")
        elif (
            self._resident() > (self.limits.get("memory_mib") or 1 << 40) << 20
            or self._group_memory()
            > ((self.limits.get("memory_mib") or 1 << 40) << 20) * GROUP_FACTOR
        ):
            self._kill("memory")

    def _over_wall_time(self, wall_s: float) -> bool:
        """Whether the wall time is over, without the time in which the program waited for a CPU."""
        elapsed_s = time.monotonic() - self.begin
        if elapsed_s < wall_s + self.starved_s:
            return False
        self.starved_s = min(self._waiting() or 0.0, STARVED_FACTOR * wall_s)
        return elapsed_s >= wall_s + self.starved_s

    def _waiting(self) -> float | None:
        """Seconds that the program's threads were ready and had no CPU: the most of any; `None` where that is not shown."""
        waited_ns = []
        for pid in self.process.group():
            try:
                for thread in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{thread}/schedstat") as stream:
                        waited_ns.append(int(stream.read().split()[1]))
            except (OSError, IndexError):
                continue
        return max(waited_ns) / 1e9 if waited_ns else None

    def _cpu(self) -> float:
        """CPU seconds of the program's process; of all its processes if it has started any."""
        try:
            own = time.clock_gettime((~self.process.pid << 3) | 2)
        except OSError:
            own = 0.0
        if not self.process_limit.ever_granted:
            return own
        ticks = 0
        for pid in self.process.group():
            try:
                with open(f"/proc/{pid}/stat") as stream:
                    ticks += sum(map(int, stream.read().rpartition(")")[2].split()[11:15]))
            except (OSError, ValueError):
                continue
        return max(own, ticks / CLOCK_TICKS)

    def _group_memory(self) -> int:
        """Bytes in memory of all processes of a program that has started some; 0 where that cannot be seen."""
        if not self.process_limit.ever_granted:
            return 0
        total = 0
        for pid in self.process.group():
            try:
                with open(f"/proc/{pid}/statm") as stream:
                    _, resident, shared, *_ = map(int, stream.read().split())
                    total += (resident - shared) * PAGE_BYTES
            except (OSError, ValueError):
                continue
        return total

    def _resident(self) -> int:
        """Bytes in memory of a program whose address space has no limit; 0 when that cannot be seen."""
        if self.message.get("address_space", True):
            return 0
        try:
            with open(f"/proc/{self.process.pid}/statm") as stream:
                return int(stream.read().split()[1]) * PAGE_BYTES
        except OSError:
            return 0

    def _disk_full(self) -> bool:
        return (
            self.surroundings.disk.used() >= ((self.limits.get("disk_mib") or 1 << 40) << 20) * 0.97
        )

    def _kill(self, why: str) -> None:
        self.overrun = self.overrun or why
        self.waited_s = self._waiting()
        try:
            os.kill(self.process.pid, signal.SIGKILL)
            _, self.status, self.usage = os.wait4(self.process.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            self.status = self.status or 0

    def _reply(self) -> dict[str, Any]:
        wall = time.monotonic() - self.begin
        if wall > SLOW_S and self.overrun is None:
            self.waited_s = self._waiting()
        full = self.done is None and self.status != 0 and self._disk_full()
        reply: dict[str, Any] = {
            "op": "result",
            "id": self.message["id"],
            "overrun": self.overrun,
            "wall_s": wall,
            "starved_s": self.waited_s,
        }
        reply.update(
            hint=child.HINTS.get(child.HINT[0]),
            refused_processes=self.process_limit.refused,
            disk_full=full,
        )
        if self.done is not None:
            reply.update(
                status=self.done["code"] << 8, cpu_s=self.done["cpu_s"], peak=self.done["peak"]
            )
        else:
            usage = self.usage or resource.getrusage(resource.RUSAGE_CHILDREN)
            reply.update(
                status=self.status,
                cpu_s=usage.ru_utime + usage.ru_stime,
                peak=usage.ru_maxrss << 10,
                faults=usage.ru_minflt,
            )
        if (
            self.status == signal.SIGKILL
            and not self.overrun
            and self.surroundings.out_of_memory.grew()
        ):
            reply["overrun"] = "memory"
        child.HINT[0] = 0
        return reply


def out_of_memory_kills() -> int:
    """How often the kernel has ended a process of this container because its memory was out."""
    for name in ("memory.events", "memory/memory.oom_control"):
        try:
            with open(f"/sys/fs/cgroup/{name}") as stream:
                return sum(int(line.split()[1]) for line in stream if line.startswith("oom_kill "))
        except OSError:
            continue
    return 0
