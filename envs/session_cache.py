"""A cache of live sessions over immutable states: the session of a state is a function of the calls before it.

The session after each chain of calls is kept. A further call runs in a fork of it, so that a search branches over the
whole state of an interpreter or an environment, and the same call after the same calls is answered without running it
again. If no session is kept, the calls run again from the longest chain that is.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, Protocol, TypeVar

Calls = tuple[str, ...]
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class ForkableSession(Protocol[R_co]):
    """What is kept live: an interpreter or an environment in some state."""

    def run(self, code: str, /) -> R_co: ...

    def fork(self) -> ForkableSession[R_co]: ...

    def close(self) -> None: ...


class Kept(NamedTuple, Generic[R]):
    """The session after a chain of calls, and the result of the last of them."""

    session: ForkableSession[R]
    result: R


class SessionCache(Generic[R]):
    """Runs calls that continue chains of earlier ones. Any thread may call `run`."""

    def __init__(
        self,
        open_session: Callable[[], ForkableSession[R]],
        *,
        max_kept: int = 4096,
        num_threads: int = 8,
    ) -> None:
        self.open_session = open_session
        self.max_kept = max_kept
        self.kept: OrderedDict[Calls, Kept[R]] = OrderedDict()
        self.lock = threading.Lock()
        self.pool = ThreadPoolExecutor(num_threads, thread_name_prefix="stepgym-sessions")

    def __contains__(self, chain: Calls) -> bool:
        return chain in self.kept

    def run(self, jobs: Sequence[tuple[Calls, Calls]]) -> list[list[R]]:
        """Run for each job, given as calls before and new calls, the new ones, and return their results."""
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

    def _run_job(self, job: tuple[Calls, Calls]) -> list[R]:
        before, new = job
        chain = before + new
        return [self._after(chain[:end]).result for end in range(len(before) + 1, len(chain) + 1)]

    def _after(self, chain: Calls) -> Kept[R]:
        """Return what is kept for a chain of calls; run what is missing, from the longest chain that is kept."""
        with self.lock:
            length = next((n for n in range(len(chain), 0, -1) if chain[:n] in self.kept), 0)
            kept = self.kept.get(chain[:length])
            if kept is not None:
                self.kept.move_to_end(chain[:length])
        for end in range(length + 1, len(chain) + 1):
            session = self.open_session() if kept is None else kept.session.fork()
            kept = Kept(session, session.run(chain[end - 1]))
            self._keep(chain[:end], kept)
        assert kept is not None
        return kept

    def _keep(self, chain: Calls, kept: Kept[R]) -> None:
        with self.lock:
            self.kept[chain] = kept
            self.kept.move_to_end(chain)
            while len(self.kept) > self.max_kept:
                _, oldest = self.kept.popitem(last=False)
                oldest.session.close()
