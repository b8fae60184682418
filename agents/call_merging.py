"""Calls of a policy or a reward model from many searches at the same time, joined into one batch.

Used by the continuous driver, whose searches are threads, and by the model processes of a Ray cluster, whose callers are
tasks on other nodes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from stepgym.agents.costs import num_parameters
from stepgym.agents.types import (
    CountsTokensRead,
    Policy,
    PolicyError,
    RewardModel,
    RunStopped,
    WritesTokens,
)
from stepgym.envs.types import State, Step

WINDOW_S = 0.005
"""How long a call waits for others to join its batch."""
MAX_BATCH = 512
"""States in one call; the others wait for the next one."""
Merge = Callable[[list[Any]], list[Any]]


@dataclass(slots=True)
class _Call:
    """One search's call, waiting to be merged with others."""

    items: list[Any]
    done: Future[list[Any]] = field(default_factory=Future)


class CallMerger:
    """Merges concurrent calls of a batched function into one call at a time.

    A batch starts when every running search waits for it, when it is full, or when its oldest call has waited
    `window_s`. If a merged call raises, each of its calls is made alone, so that only the one at fault gets the
    error. `running` returns how many searches run.
    """

    def __init__(
        self,
        function: Callable[[list[Any]], list[Any]],
        running: Callable[[], int],
        *,
        window_s: float = WINDOW_S,
    ) -> None:
        self._function, self._running, self._window_s = function, running, window_s
        self._waiting: list[_Call] = []
        self._changed = threading.Condition()
        self._closed = False
        self._served: list[_Call] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __call__(self, items: list[Any]) -> list[Any]:
        call = _Call(items)
        with self._changed:
            if self._closed:
                raise RuntimeError("the search was stopped")
            self._waiting.append(call)
            self._changed.notify_all()
        return call.done.result()

    def close(self) -> None:
        """Stop; calls that wait or whose batch is running get an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for call in (*self._waiting, *self._served):
                with suppress(InvalidStateError):
                    call.done.set_exception(RuntimeError("the search was stopped"))
            self._waiting.clear()

    def recheck(self) -> None:
        """Check again whether every running search waits: one has finished."""
        with self._changed:
            self._changed.notify_all()

    def _serve(self) -> None:
        while (batch := self._next_batch()) is not None:
            with suppress(InvalidStateError):  # closed meanwhile: the callers have their error
                self._run(batch)

    def _next_batch(self) -> list[_Call] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            deadline = time.monotonic() + self._window_s
            while not self._closed and not self._ready():
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            if self._closed:
                return None
            batch: list[_Call] = []
            size = 0
            while self._waiting and (not batch or size + len(self._waiting[0].items) <= MAX_BATCH):
                batch.append(self._waiting.pop(0))
                size += len(batch[-1].items)
            self._served = batch
            return batch

    def _ready(self) -> bool:
        return (
            len(self._waiting) >= self._running()
            or sum(len(call.items) for call in self._waiting) >= MAX_BATCH
        )

    def _run(self, batch: list[_Call]) -> None:
        try:
            results = self._function([item for call in batch for item in call.items])
            if len(results) != sum(len(call.items) for call in batch):
                raise ValueError(
                    f"{len(results)} results for {sum(len(call.items) for call in batch)} states"
                )
        except BaseException as error:  # noqa: BLE001 - handed to the threads that asked, which raise or record it
            self._run_alone(batch, error)
            return
        at = 0
        for call in batch:
            call.done.set_result(list(results[at : at + len(call.items)]))
            at += len(call.items)

    def _run_alone(self, batch: list[_Call], error: BaseException) -> None:
        for call in batch:
            try:
                if len(batch) == 1 or not isinstance(error, Exception):
                    raise error
                if isinstance(error, RunStopped):
                    raise error
                call.done.set_result(list(self._function(call.items)))
            except BaseException as own:  # noqa: BLE001 - handed to the thread that asked, which raises or records it
                call.done.set_exception(own)


@dataclass(frozen=True)
class SharedPolicy:
    """The policy as each search calls it."""

    merge: Merge
    num_parameters: int

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        offers = self.merge(list(zip(states, counts, strict=True)))
        failures = {at: fault for at, (_, fault) in enumerate(offers) if fault}
        steps = [own for own, _ in offers]
        if failures:
            raise PolicyError("the policy failed on some states", steps=steps, failures=failures)
        return steps


class SharedRewardModel:
    """The reward model as each search calls it; its costs are those of the model."""

    def __init__(self, merge: Merge, model: RewardModel) -> None:
        self._merge = merge
        self.num_parameters = num_parameters(model)
        if isinstance(model, CountsTokensRead):
            self.tokens_read = model.tokens_read
        if isinstance(model, WritesTokens):
            self.take_usage = model.take_usage

    def score(self, states: Sequence[State]) -> list[list[float]]:
        return self._merge(list(states))


def propose_as_data(policy: Policy, asked: list[Any]) -> list[tuple[list[Step], str]]:
    """Propose, with a partial failure as data, so that it can be split among the merged calls."""
    try:
        return [
            (steps, "")
            for steps in policy.propose(
                [state for state, _ in asked], [count for _, count in asked]
            )
        ]
    except PolicyError as error:
        if error.steps is None:
            raise
        return [(steps, error.failures.get(at, "")) for at, steps in enumerate(error.steps)]
