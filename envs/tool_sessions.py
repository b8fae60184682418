"""Stateful tool calls: the interpreter of a state is a function of its first files and the tool calls before it.

Sessions are bounded by the sandbox (`max_sessions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from stepgym.envs.session_cache import Job, SessionCache
from stepgym.sandbox.types import ExecutionResult, Limits, Sandbox, Session

Files = tuple[tuple[str, bytes], ...]
"""What lies in the working folder before the first call: relative path and content. It is the start of a job."""


class ToolSessions(SessionCache[ExecutionResult]):
    """The interpreters of tool calls. `run` raises only `SandboxError`."""

    def __init__(self, sandbox: Sandbox, limits: Limits) -> None:
        def open_session(files: Files) -> Session:
            return sandbox.open_session(files=dict(files), limits=limits)

        super().__init__(open_session)

    def look(self, jobs: Sequence[Job], limits: Limits) -> list[ExecutionResult]:
        """Run the one new call of each job in a fork that is then dropped, within limits of its own."""

        def one(job: Job) -> ExecutionResult:
            (call,) = job.new
            session = cast(Session, self.after(job.start, job.before).session.fork())
            try:
                return session.run(call, limits=limits)
            finally:
                session.close()

        return list(self.pool.map(one, jobs))
