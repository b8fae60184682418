"""The data types of the sandbox: programs, limits, results, sandboxes and sessions.

Nothing here knows of problems or agents. Only the standard library is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Protocol, Self


class Outcome(Enum):
    """How one program ended; each limit that can be exceeded has its own member."""

    OK = "ok"
    """It ended by itself with exit status 0."""
    ERROR = "error"
    """It ended by itself with another status, or with an uncaught exception."""
    KILLED = "killed"
    """A signal ended it that no limit of ours sent (a segmentation fault, its own `os.kill`)."""
    WALL_TIME = "wall_time"
    CPU_TIME = "cpu_time"
    MEMORY = "memory"
    PROCESSES = "processes"
    OUTPUT = "output"
    DISK = "disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one program may use. `None` is no limit."""

    cpu_s: float | None = 10.0
    """CPU time of all its processes and threads: the usual limit, because a busy machine does not shorten it."""
    wall_s: float | None = 30.0
    """Elapsed time, a backstop for programs that sleep.

    Time in which the program waited for a CPU that other programs used does not count, up to nine times the limit.
    """
    memory_mib: int | None = 512
    """Memory of each process; all processes together may have four times as much, and no more than the sandbox has."""
    max_processes: int | None = 16
    """Processes and threads alive at once, the program's first one included."""
    output_bytes: int | None = 1 << 20
    """Standard output; what came before the limit is kept."""
    stderr_bytes: int | None = 1 << 20
    """Standard error; what comes after the limit is dropped, and the program continues."""
    disk_mib: int | None = 32
    """What the program may write to disk, in all."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program: source text in a language, its input and its limits."""

    source: str
    """The program's text."""
    language: str = "python"
    """A name of `stepgym.sandbox.languages`."""
    stdin: str = ""
    """What the program reads from standard input."""
    args: tuple[str, ...] = ()
    """Command-line arguments."""
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    """Relative path -> content, written into the working directory before the start."""
    limits: Limits = Limits()
    """What the program may use."""


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """The result of running one program.

    `reason` is a sentence for people and is never parsed.
    """

    outcome: Outcome
    """How the program ended."""
    exit_code: int | None = None
    """The exit status; `None` if it was stopped or never ran."""
    stdout: str = ""
    """Standard output, up to `Limits.output_bytes`."""
    stderr: str = ""
    """Standard error, up to `Limits.stderr_bytes`."""
    wall_s: float = 0.0
    """Elapsed seconds."""
    cpu_s: float = 0.0
    """CPU seconds of all its processes and threads."""
    peak_memory_bytes: int | None = None
    """The most memory at once; `None` if it was not measured."""
    reason: str = ""
    starved_s: float | None = 0.0
    """Seconds that a slow program waited for a CPU that other programs used; `None` if the kernel does not say."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two Python programs joined by one channel, each in a runner of its own.

    `candidate` is untrusted: it is loaded, then only answers calls. `tester` is trusted to tell the truth but not
    to end. It runs with a global `remote` (see `stepgym.sandbox.runner.tester`), through which it calls what the
    candidate defines and hands over its findings (`remote.report`); `remote.arguments` are its program's `args`.
    """

    candidate: Program
    tester: Program
    library: tuple[tuple[str, str], ...] = ()
    """Modules of the tester, name and source, each after those it imports; `remote.library()` returns the last one.

    A tester's process loads a library once, whatever the number of pairs that use it.
    """


class PairResult(NamedTuple):
    """Both sides of a `Pair`."""

    candidate: ExecutionResult
    """The untrusted side."""
    tester: ExecutionResult
    """The side with the tests."""
    report: str | None
    """The JSON text the tester reported, `None` when it ended without a report."""


class SandboxError(RuntimeError):
    """The backend failed (no engine, no image, a lost container): never the program's fault."""

    finished: Sequence[Any] = ()
    """What the batch that failed had finished: its results in order, `None` for those that are missing."""


class MissingToolError(SandboxError):
    """The sandbox has no interpreter or compiler of a program's language."""

    def __init__(self, message: str, tool: str = "") -> None:
        super().__init__(message)
        self.tool = tool


class Session(Protocol):
    """A Python interpreter that keeps variables, imports and files from one call to the next."""

    def run(self, code: str, *, limits: Limits | None = None) -> ExecutionResult:
        """Run a cell. The value of its last expression is shown on standard output, as in a notebook.

        A cell that is over a limit is interrupted: the result has its outcome and what it printed, and the session
        goes on with what the cell had done. A cell that ends the process itself is undone. `limits` are those of this
        cell, by default the session's; its memory limit cannot be changed.
        """
        ...

    def fork(self) -> Session:
        """Return a session with the same variables and files.

        The two then continue separately.
        """
        ...

    def close(self) -> None:
        """End the session; a second call does nothing."""
        ...


class Sandbox(Protocol):
    """Runs untrusted programs; a context manager."""

    def run(self, programs: Sequence[Program]) -> list[ExecutionResult]:
        """Run all programs and return their results in the same order; raises only `SandboxError`."""
        ...

    def run_pairs(self, pairs: Sequence[Pair]) -> list[PairResult]:
        """Run all pairs and return their results in the same order; raises only `SandboxError`."""
        ...

    def open_session(
        self, *, files: Mapping[str, bytes] = MappingProxyType({}), limits: Limits | None = None
    ) -> Session:
        """Open a session whose working folder holds `files` (relative path -> content)."""
        ...

    def close(self) -> None:
        """Release everything; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
