"""Stateful tool calls: the interpreter of a state is a function of its first files and the tool calls before it.

The session after each chain of calls is kept. A further call runs in a fork of it, so that a search branches over the
interpreter's whole state, and the same call after the same calls is answered without running it again. Where no session is
kept, the calls run again from the longest chain that is. Sessions are bounded by the sandbox (`max_sessions`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from stepgym.sandbox.types import ExecutionResult, Limits, Sandbox, Session

Calls = tuple[str, ...]
Files = tuple[tuple[str, bytes], ...]
"""What lies in the working folder before the first call: relative path and content."""
MAX_KEPT = 4096


class Job(NamedTuple):
    """Calls to run after earlier ones."""

    before: Calls
    new: Calls
    files: Files = ()


class Kept(NamedTuple):
    """The session after a chain of calls, and what the last of them gave."""

    session: Session
    result: ExecutionResult


class ToolSessions:
    """Runs tool calls that continue chains of earlier ones. Any thread may call `run`."""

    def __init__(self, sandbox: Sandbox, limits: Limits, *, max_kept: int = MAX_KEPT) -> None:
        self.sandbox = sandbox
        self.limits = limits
        self.max_kept = max_kept
        self.kept: OrderedDict[tuple[Files, Calls], Kept] = OrderedDict()
        self.lock = threading.Lock()
        self.pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="stepgym-tools")

    def run(self, jobs: Sequence[Job]) -> list[list[ExecutionResult]]:
        """Run the new calls of each job; raises only `SandboxError`."""
        different = list(dict.fromkeys(jobs))
        found = dict(zip(different, self.pool.map(self._run_job, different)))
        return [found[job] for job in jobs]

    def look(self, jobs: Sequence[Job], limits: Limits) -> list[ExecutionResult]:
        """Run the one new call of each job in a fork that is then dropped, within limits of its own."""

        def one(job: Job) -> ExecutionResult:
            (call,) = job.new
            session = self._after(job.files, job.before).session.fork()
            try:
                return session.run(call, limits=limits)
            finally:
                session.close()

        return list(self.pool.map(one, jobs))

    def close(self) -> None:
        """End all sessions."""
        self.pool.shutdown()
        with self.lock:
            for kept in self.kept.values():
                kept.session.close()
            self.kept.clear()

    def _run_job(self, job: Job) -> list[ExecutionResult]:
        chain = job.before + job.new
        ends = range(len(job.before) + 1, len(chain) + 1)
        return [self._after(job.files, chain[:end]).result for end in ends]

    def _after(self, files: Files, chain: Calls) -> Kept:
        """Return what is kept for a chain of calls; run what is missing, from the longest chain that is kept."""
        with self.lock:
            lengths = range(len(chain), 0, -1)
            length = next((n for n in lengths if (files, chain[:n]) in self.kept), 0)
            kept = self.kept.get((files, chain[:length]))
            if kept is not None:
                self.kept.move_to_end((files, chain[:length]))
        for end in range(length + 1, len(chain) + 1):
            if kept is None:
                session = self.sandbox.open_session(files=dict(files), limits=self.limits)
            else:
                session = kept.session.fork()
            kept = Kept(session, session.run(chain[end - 1]))
            self._keep((files, chain[:end]), kept)
        assert kept is not None
        return kept

    def _keep(self, key: tuple[Files, Calls], kept: Kept) -> None:
        with self.lock:
            self.kept[key] = kept
            self.kept.move_to_end(key)
            while len(self.kept) > self.max_kept:
                _, oldest = self.kept.popitem(last=False)
                oldest.session.close()
