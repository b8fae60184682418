"""A cache of live sessions over immutable states: the session of a state is a function of its start and the calls since.

The session after each chain of calls is kept. A further call runs in a fork of it, so that a search branches over the
whole state of an interpreter or an environment, and the same call after the same calls is answered without running it
again. If no session is kept, the calls run again from the longest chain that is.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

Calls = tuple[str, ...]
Key = tuple[Hashable, Calls]
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class ForkableSession(Protocol[R_co]):
    """What is kept live: an interpreter or an environment in some state."""

    def run(self, code: str, /) -> R_co: ...

    def fork(self) -> ForkableSession[R_co]: ...

    def close(self) -> None: ...


class Job(NamedTuple):
    """Calls to run after earlier ones."""

    before: Calls
    new: Calls
    start: Any = ()
    """What the session is opened with; hashable."""


class Kept(NamedTuple, Generic[R]):
    """The session after a chain of calls, and the result of the last of them."""

    session: ForkableSession[R]
    result: R


class SessionCache(Generic[R]):
    """Runs calls that continue chains of earlier ones. Any thread may call `run`."""

    def __init__(
        self,
        open_session: Callable[[Any], ForkableSession[R]],
        *,
        max_kept: int = 4096,
        num_threads: int = 8,
    ) -> None:
        """`open_session` takes a job's `start`."""
        self.open_session = open_session
        self.max_kept = max_kept
        self.kept: OrderedDict[Key, Kept[R]] = OrderedDict()
        self.lock = threading.Lock()
        self.pool = ThreadPoolExecutor(num_threads, thread_name_prefix="stepgym-sessions")

    def holds(self, chain: Calls) -> bool:
        """Return whether the session after a chain of calls, with the start `()`, is live."""
        return ((), chain) in self.kept

    def run(self, jobs: Sequence[Job]) -> list[list[R]]:
        """Run the new calls of each job and return their results."""
        different = list(dict.fromkeys(jobs))
        found = dict(zip(different, self.pool.map(self._run_job, different)))
        return [found[job] for job in jobs]

    def close(self) -> None:
        """End all sessions."""
        self.pool.shutdown()
        with self.lock:
            for kept in self.kept.values():
                kept.session.close()
            self.kept.clear()

    def after(self, start: Hashable, chain: Calls) -> Kept[R]:
        """Return what is kept for a chain of calls; run what is missing, from the longest chain that is kept."""
        with self.lock:
            lengths = range(len(chain), 0, -1)
            length = next((n for n in lengths if (start, chain[:n]) in self.kept), 0)
            kept = self.kept.get((start, chain[:length]))
            if kept is not None:
                self.kept.move_to_end((start, chain[:length]))
        for end in range(length + 1, len(chain) + 1):
            session = self.open_session(start) if kept is None else kept.session.fork()
            kept = Kept(session, session.run(chain[end - 1]))
            self._keep((start, chain[:end]), kept)
        assert kept is not None
        return kept

    def _run_job(self, job: Job) -> list[R]:
        chain = job.before + job.new
        ends = range(len(job.before) + 1, len(chain) + 1)
        return [self.after(job.start, chain[:end]).result for end in ends]

    def _keep(self, key: Key, kept: Kept[R]) -> None:
        with self.lock:
            self.kept[key] = kept
            self.kept.move_to_end(key)
            while len(self.kept) > self.max_kept:
                _, oldest = self.kept.popitem(last=False)
                oldest.session.close()
