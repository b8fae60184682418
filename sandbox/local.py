"""LocalSandbox: each program in a process of its own, with rlimits and its own session."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stepgym.sandbox.types import ExecutionResult, Limits, Outcome, Pair, PairResult, Program

RUNNER = Path(__file__).parent / "runner"
SIDE = """
import json, socket, sys
sys.path.insert(0, sys.argv[1])
import {module}
channel = socket.socket(fileno=int(sys.argv[2]))
source = open(sys.argv[3]).read()
report = {module}.{function}(channel, source)
if report is not None: open(sys.argv[4], "w").write(report)
"""


class LocalSandbox:
    """Programs as child processes of this one."""

    def __init__(self, *, workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1

    def run(self, programs: Sequence[Program]) -> list[ExecutionResult]:
        """See `Sandbox.run`."""
        return [self._run_one(program) for program in programs]

    def run_pairs(self, pairs: Sequence[Pair]) -> list[PairResult]:
        """See `Sandbox.run_pairs`."""
        return [self._run_pair(pair) for pair in pairs]

    def close(self) -> None:
        """See `Sandbox.close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run_one(self, program: Program) -> ExecutionResult:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in program.files.items():
                (Path(folder) / name).write_text(text)
            main = Path(folder) / ".main.py"
            main.write_text(program.source, errors="surrogatepass")
            return _finish(_start([str(main), *program.args], program, folder), program)

    def _run_pair(self, pair: Pair) -> PairResult:
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryDirectory() as folder, ours, theirs:
            report = Path(folder) / "report"
            sides = []
            for name, program, channel in (
                ("tester.run", pair.tester, ours),
                ("guest.serve", pair.candidate, theirs),
            ):
                module, _, function = name.partition(".")
                source = Path(folder) / f"{module}.txt"
                source.write_text(program.source, errors="surrogatepass")
                code = SIDE.format(module=module, function=function)
                argv = ["-c", code, str(RUNNER), str(channel.fileno()), str(source), str(report)]
                sides.append(_start(argv, program, folder, channel.fileno()))
                channel.close()
            tester = _finish(sides[0], pair.tester)
            candidate = _finish(sides[1], pair.candidate)
            return PairResult(candidate, tester, report.read_text() if report.exists() else None)


def _start(argv: list[str], program: Program, folder: str, *fds: int) -> subprocess.Popen[bytes]:
    def limit() -> None:
        os.setsid()
        limits: Limits = program.limits
        if limits.memory_mib is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limits.memory_mib << 20,) * 2)

    return subprocess.Popen(
        [sys.executable, *([] if argv[0] == "-c" else ["-I"]), *argv],
        cwd=folder,
        preexec_fn=limit,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=fds,
    )


def _finish(process: subprocess.Popen[bytes], program: Program) -> ExecutionResult:
    begin = time.monotonic()
    outcome: Outcome | None = None
    try:
        out, err = process.communicate(program.stdin.encode(), timeout=program.limits.wall_s)
    except subprocess.TimeoutExpired:
        outcome = Outcome.WALL_TIME
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    code = process.returncode
    if outcome is None:
        outcome = Outcome.OK if code == 0 else Outcome.KILLED if code < 0 else Outcome.ERROR
    return ExecutionResult(
        outcome, code, out.decode(errors="replace"), err.decode(errors="replace"), time.monotonic() - begin
    )
