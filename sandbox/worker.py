"""One worker: it runs one program, or one pair, at a time, in runners that it keeps warm.

A worker has one runner for untrusted programs and, made when first needed, one for testers, one for compiled languages,
and runners for programs and testers that import packages: these have loaded the packages, so that no program waits for
them. A runner is replaced when it dies, when a program with a known answer fails in it after another program was
cut short, and after a number of programs. What ran in a lost runner runs again in a fresh one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Callable, Sequence
from typing import TypeVar

from stepgym.sandbox.languages import payload_of, stages_of
from stepgym.sandbox.outcomes import result_of
from stepgym.sandbox.packages import imported
from stepgym.sandbox.runner_client import (
    RunnerClient,
    RunnerLost,
    RunningStage,
    Stage,
    library_file,
    run_together,
)
from stepgym.sandbox.types import (
    ExecutionResult,
    Limits,
    MissingToolError,
    Outcome,
    Pair,
    PairResult,
    Program,
    SandboxError,
)

Result = TypeVar("Result")
ATTEMPTS = 3
"""How often a program runs whose runner is lost under it."""
PRELOADED = "+packages"
CHECK_PROGRAM, CHECK_OUTPUT = "print(sum(range(10)))", b"45\n"
CLOSED = "this sandbox is closed; open another"
LOST = "it ended its sandbox each time it ran"
TOOLS_WAY_OUT = (
    "build an image with the tools (`stepgym sandbox build --languages`) or install them "
    "for the local sandbox"
)
SUSPICIOUS = frozenset(Outcome) - {Outcome.OK, Outcome.ERROR}
"""After a program with one of these outcomes the runner is checked."""


class Worker:
    """Runs one program, or one pair, at a time."""

    def __init__(
        self,
        open_runner: Callable[[str, Sequence[str]], RunnerClient],
        max_programs: int,
        modules: frozenset[str],
    ) -> None:
        self.open_runner = open_runner
        self.max_programs = max_programs
        self.modules = modules
        """Top-level names of the packages that a runner can load."""
        self.preloaded: frozenset[str] = frozenset()
        self.runners: dict[str, RunnerClient] = {}
        self.num_replaced = 0
        self.closed = False

    def runner(self, kind: str) -> RunnerClient:
        """Return the runner of this kind, starting one when there is none or it has run its number of programs.

        A kind that ends in `PRELOADED` has loaded the packages that programs have imported so far.
        Raises `SandboxError` once the worker is closed, also when that happens while the runner starts.
        """
        runner = self.runners.get(kind)
        if runner is not None and runner.num_programs >= self.max_programs:
            self.drop(kind)
            runner = None
        if runner is None and not self.closed:
            plain = kind.removesuffix(PRELOADED)
            modules = sorted(self.preloaded) if kind != plain else []
            runner = self.runners[kind] = self.open_runner(plain, modules)
        if runner is None or self.closed:
            self.drop()
            raise SandboxError(CLOSED)
        return runner

    def suffix_for(self, *sources: str) -> str:
        """Return what to add to a runner's kind for these programs: `PRELOADED` if they import packages."""
        wanted = imported(sources, self.modules)
        if not wanted:
            return ""
        if not wanted <= self.preloaded:
            self.preloaded |= wanted
            self.drop(f"python{PRELOADED}", f"tester{PRELOADED}")
        return PRELOADED

    def stop(self) -> None:
        """From another thread: end what runs here and let nothing start any more."""
        self.closed = True
        for runner in tuple(self.runners.values()):
            runner.hang_up()

    def drop(self, *kinds: str) -> None:
        """Close runners (all by default); the next use starts fresh ones."""
        for kind in kinds or tuple(self.runners):
            if kind in self.runners:
                self.num_replaced += 1
                self.runners.pop(kind).close()

    def forget(self) -> None:
        """In a fork of the process that opened them: close this end of the runners and leave them running."""
        for runner in self.runners.values():
            runner.control.close()
        self.runners.clear()

    def run(self, program: Program) -> ExecutionResult:
        """Run one program; a runner that is lost on the way is replaced and the program started again."""
        stages = stages_of(program)
        if program.language == "python":
            kind = f"python{self.suffix_for(program.source)}"
        else:
            kind = "tools"
        lost = ExecutionResult(Outcome.KILLED, reason=LOST)
        return self._retried(lambda: self._run_stages(kind, stages), lost, kind)

    def run_pair(self, pair: Pair) -> PairResult:
        """Run one pair, likewise."""
        lost = ExecutionResult(Outcome.KILLED, reason=LOST)
        suffix = self.suffix_for(pair.candidate.source, pair.tester.source, *pair.tester.args)
        kinds = f"python{suffix}", f"tester{suffix}"
        return self._retried(
            lambda: self._run_pair(pair, *kinds), PairResult(lost, lost, None), *kinds
        )

    def _retried(self, attempt: Callable[[], Result], lost: Result, *kinds: str) -> Result:
        for _ in range(ATTEMPTS):
            try:
                return attempt()
            except RunnerLost:
                self.drop(*kinds)
            except OSError as error:
                self.drop(*kinds)
                raise SandboxError(f"this process cannot reach a runner: {error}") from error
            except BaseException:
                self.drop(*kinds)  # a program may still be running in there
                raise
        # Fresh runners that work for other programs were ended by this one.
        for kind in kinds:
            self.check(kind, must_work=True)
        return lost

    def check(self, kind: str, *, must_work: bool = False) -> None:
        """Run a program with a known answer; drop the runner when the answer is wrong.

        `must_work` raises `SandboxError` then.
        """
        fault = ""
        try:
            runner = self.runner(kind)
            if kind.startswith("tester"):
                return  # its programs are trusted, and it is not checked by one
            stage = Stage("program", payload_of(CHECK_PROGRAM), Limits(wall_s=5.0))
            with contextlib.closing(RunningStage(runner, stage)) as running:
                run_together([running])
                if bytes(running.streams[1]) != CHECK_OUTPUT:
                    fault = "a trivial program gave a wrong answer"
        except RunnerLost as error:
            fault = str(error)
        if fault:
            self.drop(kind)
            if must_work:
                raise SandboxError(
                    f"fresh sandboxes do not work ({fault}); is the machine out of memory?"
                )

    def _run_stages(self, kind: str, stages: Sequence[Stage]) -> ExecutionResult:
        runner = self.runner(kind)
        for stage in stages:
            with contextlib.closing(RunningStage(runner, stage)) as running:
                run_together([running])
                result = result_of(running)
                reply = running.reply
                if stage.kind == "command" and reply is not None and reply["hint"] == "missing":
                    tool = stage.payload["command"][0]
                    raise MissingToolError(
                        f"{tool!r} is not in this sandbox; {TOOLS_WAY_OUT}", tool
                    )
            if result.outcome in SUSPICIOUS:
                self.check(kind)
            if stage.more and result.outcome is not Outcome.OK:
                return dataclasses.replace(result, reason=result.reason or "it does not compile")
        return result

    def _run_pair(self, pair: Pair, candidate_kind: str, tester_kind: str) -> PairResult:
        ours, theirs = socket.socketpair()
        with ours, theirs, contextlib.ExitStack() as stack:
            runners = self.runner(candidate_kind), self.runner(tester_kind)
            stages = _pair_stage("candidate", pair.candidate), _pair_stage("tester", pair.tester)
            if pair.library:
                stages[1].library = library_file(pair.library)
                stages[1].payload["library"] = stages[1].library.digest
            candidate = RunningStage(runners[0], stages[0], theirs.fileno())
            stack.callback(candidate.close)
            tester = RunningStage(runners[1], stages[1], ours.fileno())
            stack.callback(tester.close)
            ours.close()
            theirs.close()
            run_together([candidate, tester])
            result = PairResult(result_of(candidate), result_of(tester), tester.read_report())
        if result.candidate.outcome in SUSPICIOUS:
            self.check(candidate_kind)
        return result


def _pair_stage(kind: str, program: Program) -> Stage:
    payload = payload_of(program.source, args=list(program.args), files=dict(program.files))
    return Stage(kind, payload, program.limits, program.stdin)
