"""ScriptedSandbox: a sandbox that runs nothing and answers from a script, for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Self

from stepgym.sandbox.types import (
    ExecutionResult,
    Limits,
    Outcome,
    Pair,
    PairResult,
    Program,
    SandboxError,
)

Script = Mapping[str, ExecutionResult] | Callable[[Program], ExecutionResult]


class ScriptedSandbox:
    """Answers each program with the result that `script` has for its source.

    Unknown programs get `default`. A pair is answered by `pairs`; without it the tester's source is looked up, and its
    standard output is the report. What was asked stays in `programs` and `asked_pairs`, in order.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        pairs: Callable[[Pair], PairResult] | None = None,
        default: ExecutionResult = ExecutionResult(Outcome.OK, 0),  # noqa: B008 - frozen, so one is enough
    ) -> None:
        self.script = script or {}
        self.pairs = pairs
        self.default = default
        self.programs: list[Program] = []
        self.asked_pairs: list[Pair] = []
        self.closed = False

    def run(self, programs: Sequence[Program]) -> list[ExecutionResult]:
        """See `Sandbox.run`."""
        self._refuse_when_closed()
        self.programs += programs
        return [self._answer(program) for program in programs]

    def run_pairs(self, pairs: Sequence[Pair]) -> list[PairResult]:
        """See `Sandbox.run_pairs`."""
        self._refuse_when_closed()
        self.asked_pairs += pairs
        return [self.pairs(pair) if self.pairs else self._answer_pair(pair) for pair in pairs]

    def open_session(
        self, *, files: Mapping[str, bytes] = MappingProxyType({}), limits: Limits | None = None
    ) -> ScriptedSession:
        """See `Sandbox.open_session`. A cell is answered like a program with the same source."""
        self._refuse_when_closed()
        return ScriptedSession(self, limits or Limits())

    def close(self) -> None:
        """See `Sandbox.close`."""
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self, program: Program) -> ExecutionResult:
        if callable(self.script):
            return self.script(program)
        return self.script.get(program.source, self.default)

    def _answer_pair(self, pair: Pair) -> PairResult:
        tester = self._answer(pair.tester)
        return PairResult(self._answer(pair.candidate), tester, tester.stdout or None)

    def _refuse_when_closed(self) -> None:
        if self.closed:
            raise SandboxError("this sandbox is closed; open another")


class ScriptedSession:
    """A session that runs nothing.

    `cells` has the cells that were run, in order, including those of the session from which it was forked.
    """

    def __init__(
        self, sandbox: ScriptedSandbox, limits: Limits, *, cells: Sequence[str] = ()
    ) -> None:
        self.sandbox = sandbox
        self.limits = limits
        self.cells = list(cells)
        self.closed = False

    def run(self, code: str, *, limits: Limits | None = None) -> ExecutionResult:
        """See `Session.run`."""
        if self.closed:
            raise SandboxError("this session is closed; open another")
        self.cells.append(code)
        return self.sandbox.run([Program(code, limits=limits or self.limits)])[0]

    def fork(self) -> ScriptedSession:
        """See `Session.fork`."""
        return ScriptedSession(self.sandbox, self.limits, cells=self.cells)

    def close(self) -> None:
        """See `Session.close`."""
        self.closed = True
