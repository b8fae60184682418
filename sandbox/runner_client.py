"""The host's connection to one runner: stages of programs go in, what happened comes out.

A runner takes one program at a time. Standard output and error arrive through pipes that the host reads up to the
program's limit, so a program that floods them costs the host nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import importlib.util
import json
import marshal
import os
import select
import socket
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from stepgym.sandbox.runner import wire
from stepgym.sandbox.types import Limits

SILENCE_S = 5.0
"""A runner that does not answer for this long is taken for dead."""
GRACE_S = 0.25
"""How long a candidate may live on after its tester ended."""

MAX_DROPPED_BYTES = 64 << 20
"""A program that writes more to standard error than its limit and this is ended."""

LIMIT_NAMES = [field.name for field in dataclasses.fields(Limits)]


class RunnerLost(Exception):
    """The runner is gone or does not answer; what ran in it may run again in another."""


class RunnerClient:
    """One runner: its socket, and how to end it."""

    def __init__(
        self, control: socket.socket, kill: Callable[[], None], hello: dict[str, Any]
    ) -> None:
        self.control = control
        self.kill = kill
        self.hello = hello
        self.num_programs = 0

    def send(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        """Send to the runner; raises `RunnerLost`."""
        try:
            wire.send(self.control, message, descriptors)
        except OSError as error:
            raise RunnerLost(f"the runner is gone: {error}") from error

    def hang_up(self) -> None:
        """End the connection, from any thread; whoever waits for the runner gets `RunnerLost`."""
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the runner and all inside."""
        self.hang_up()
        self.control.close()
        self.kill()


class LibraryFile:
    """A tester's library as a sealed file without a name, which every tester's stage passes on."""

    def __init__(self, modules: tuple[tuple[str, str], ...]) -> None:
        codes = [compile(text, f"<{name}>", "exec", dont_inherit=True) for name, text in modules]
        # Code is for an interpreter of this version; another one compiles the sources.
        data = marshal.dumps((importlib.util.MAGIC_NUMBER, marshal.dumps(codes), modules), 2)
        self.digest = hashlib.sha256(data).hexdigest()
        self.descriptor = _file_with(data)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
        weakref.finalize(self, os.close, self.descriptor)


@functools.lru_cache(maxsize=8)
def library_file(modules: tuple[tuple[str, str], ...]) -> LibraryFile:
    """Return the file of a library; the last few are kept."""
    return LibraryFile(modules)


@dataclasses.dataclass(slots=True)
class Stage:
    """One stage of one program (compile, run), as the runner receives it."""

    kind: str
    payload: dict[str, Any]
    limits: Limits
    stdin: str = ""
    address_space: bool = True
    more: bool = False
    """Whether another stage follows that needs this one's files."""
    about: dict[str, int] = dataclasses.field(default_factory=dict)
    """Which sessions a stage of a session concerns."""
    library: LibraryFile | None = None
    """What a tester imports besides."""


class RunningStage:
    """A stage in a runner: its descriptors, what it has written, and the runner's reply."""

    def __init__(self, runner: RunnerClient, stage: Stage, channel: int | None = None) -> None:
        self.runner = runner
        self.stage = stage
        self.reply: dict[str, Any] | None = None
        self.streams = {1: bytearray(), 2: bytearray()}
        self.left = {1: stage.limits.output_bytes, 2: stage.limits.stderr_bytes}
        self.num_dropped = 0
        self.report: int | None = None
        self.killed = False
        runner.num_programs += 1
        self.number = runner.num_programs
        self.pipes: dict[int, int] = {}
        self.names = ["payload"]
        self.theirs: list[int] = []
        self.asked = False
        self.heard = 0.0
        self._prepare(channel)

    def _prepare(self, channel: int | None) -> None:
        """Make the descriptors; the reading ends stay here."""
        names, theirs = self.names, self.theirs
        theirs.append(_file_with(_packed(self.stage.payload)))
        try:
            if self.stage.stdin:
                names.append("stdin")
                theirs.append(_file_with(self.stage.stdin.encode("utf-8", "surrogatepass")))
            for name, stream in (("stdout", 1), ("stderr", 2)):
                ours, writing = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(ours, False)
                self.pipes[ours] = stream
                names.append(name)
                theirs.append(writing)
            if self.stage.kind == "tester":
                self.report = _file_with(b"")
                names.append("report")
                theirs.append(os.dup(self.report))
            if self.stage.library is not None:
                names.append("library")
                theirs.append(os.dup(self.stage.library.descriptor))
            if channel is not None:
                names.append("channel")
                theirs.append(os.dup(channel))
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Send the stage to the runner."""
        try:
            limits = {name: getattr(self.stage.limits, name) for name in LIMIT_NAMES}
            message = {
                "op": "run",
                "id": self.number,
                "kind": self.stage.kind,
                "names": self.names,
                "limits": limits,
            }
            message.update(address_space=self.stage.address_space, more=self.stage.more)
            message.update(self.stage.about)
            self.heard = time.monotonic()
            self.runner.send(message, self.theirs)
        finally:
            wire.close_all(self.theirs)

    def read(self, descriptor: int) -> bool:
        """Read what has arrived in a pipe; false at its end."""
        while True:
            try:
                piece = os.read(descriptor, 65536)
            except BlockingIOError:
                return True
            if not piece:
                return False
            self._keep(self.pipes[descriptor], piece)
            if self.reply is None and len(piece) < 65536:
                return True

    def _keep(self, stream: int, piece: bytes) -> None:
        """Keep what the stream's limit allows; too much standard output ends the program."""
        left = self.left[stream]
        if left is not None:
            excess = max(0, len(piece) - left)
            piece = piece[:left]
            self.left[stream] = left - len(piece)
            if excess:
                self.num_dropped += excess
                if stream == 1 or self.num_dropped > MAX_DROPPED_BYTES:
                    self.stop("output")
        self.streams[stream] += piece

    def stop(self, why: str) -> None:
        """Have the runner kill the program, once."""
        if not self.killed and self.reply is None:
            self.killed = True
            self.runner.send({"op": "kill", "id": self.number, "why": why})
        elif self.reply is not None:
            self.reply["overrun"] = self.reply["overrun"] or why

    def hear(self) -> None:
        """Take a message of the runner; after the reply the pipes hold all there will be."""
        message, descriptors = wire.receive(self.runner.control)
        wire.close_all(descriptors)
        if message is None:
            raise RunnerLost("the runner hung up")
        self.heard, self.asked = time.monotonic(), False
        if message["op"] == "result" and message["id"] == self.number:
            self.reply = message
            for descriptor in list(self.pipes):
                self.read(descriptor)
                os.close(descriptor)
                del self.pipes[descriptor]

    def check(self, now: float) -> None:
        """Ask a silent runner whether it lives; raises `RunnerLost` when it does not say."""
        silent = now - self.heard
        if silent > 2 * SILENCE_S and self.asked:
            raise RunnerLost(f"the runner has not answered for {silent:.0f} s")
        if silent > SILENCE_S and not self.asked:
            self.asked = True
            self.runner.send({"op": "ping"})

    def read_report(self) -> str | None:
        """Return what the tester reported."""
        if self.report is None or not (size := os.fstat(self.report).st_size):
            return None
        return os.pread(self.report, size, 0).decode("utf-8", "surrogatepass")

    def close(self) -> None:
        """Give all descriptors back."""
        wire.close_all(self.theirs)
        wire.close_all(list(self.pipes))
        self.pipes.clear()
        if self.report is not None:
            os.close(self.report)
            self.report = None


def run_together(runnings: Sequence[RunningStage]) -> None:
    """Start the stages and wait for all replies. Of two, the first is the candidate; it ends with the tester."""
    for running in runnings:
        running.start()
    poller = select.poll()
    waited_for: dict[int, RunningStage] = {}
    for running in runnings:
        for descriptor in (running.runner.control.fileno(), *running.pipes):
            waited_for[descriptor] = running
            poller.register(descriptor, select.POLLIN)
    over: float | None = None
    while any(running.reply is None for running in runnings):
        pause_s = SILENCE_S if over is None else max(0.0, over - time.monotonic())
        events = poller.poll(pause_s * 1000 + 1)
        now = time.monotonic()
        for descriptor, _ in events:
            if descriptor not in waited_for:
                continue  # already read to its end, with the reply
            running = waited_for[descriptor]
            if descriptor == running.runner.control.fileno():
                pipes = list(running.pipes)
                running.hear()
                for gone in [descriptor, *pipes] if running.reply is not None else []:
                    if gone in waited_for:
                        poller.unregister(gone)
                        del waited_for[gone]
            elif descriptor in running.pipes and not running.read(descriptor):
                poller.unregister(descriptor)
                del waited_for[descriptor]
        for running in runnings:
            if running.reply is None:
                running.check(now)
        if len(runnings) == 2 and runnings[1].reply is not None and runnings[0].reply is None:
            over = over or now + GRACE_S
            if now >= over:
                runnings[0].stop("grace")


def _packed(payload: dict[str, Any]) -> bytes:
    try:
        return marshal.dumps(payload, 2)
    except (
        ValueError
    ):  # marshal takes built-in types alone; subclasses of str go in as what they are
        return marshal.dumps(json.loads(json.dumps(payload)), 2)


def _file_with(data: bytes) -> int:
    """Make a file without a name that holds `data`, to be read from its start."""
    descriptor = os.memfd_create("stepgym", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    if data:
        written = 0
        while written < len(data):
            written += os.write(descriptor, memoryview(data)[written:])
        os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
