"""Policies and reward models in processes of their own on a Ray cluster (actors), shared by all tasks that search.

Calls of different tasks that come within a few milliseconds are one batch. A task sees a proxy that describes itself as
the model does; the random draws of a policy depend on its seed and the state, not on the batch, so that records are those
of one process.

A process that dies is started anew. Each call that it left unanswered is made again without others in its batch, so that
a call at which the process dies again is known, and fails; the others go on.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from stepgym.agents.call_merging import CallMerger, SharedPolicy, propose_as_data
from stepgym.agents.costs import num_parameters
from stepgym.agents.description import describe
from stepgym.agents.jobs import Job
from stepgym.agents.randomness import derive_seed, reseeded
from stepgym.agents.registry import load_policy, load_reward_model
from stepgym.agents.searching import bind_domain
from stepgym.agents.types import (
    CountsTokensRead,
    NeedsDomain,
    RunStopped,
    Selective,
    ServesConcurrently,
    WritesTokens,
)
from stepgym.envs.registry import load_env
from stepgym.envs.types import State, Step
from stepgym.plugins.errors import UserError

PREFIX = "ray:"
MAX_DEATHS = 2
"""A call that is made alone fails when the process has died so often while it was served."""
MAX_STARTS = 10
"""How often a process may die before it can say what it has loaded."""
MAX_RETRIES = 100
"""How often a call is made again whose process died before its turn."""
NOTICE_S = 0.05
"""Time for the news that a call is being served to reach the caller."""
MAX_WAITING = 1000
"""Calls that one process takes in at once; further ones wait in Ray."""


class About(NamedTuple):
    """What a proxy must know of its model."""

    description: Any
    num_parameters: int
    counts_tokens_read: bool


class ModelProcess:
    """A policy or a reward model, in a process of its own. Threads call it; the model is called by one at a time."""

    def __init__(self, job: Job, role: str, path: Sequence[str]) -> None:
        sys.path.extend(place for place in path if place not in sys.path)
        self._job, self._role = job, role
        self._loading = threading.Lock()
        self._loaded: Any = None
        self._by_seed: dict[int, Any] = {}
        # How many tasks call is unknown, so that every batch waits its few milliseconds.
        self._merged = CallMerger(self._serve, lambda: sys.maxsize)
        self._serving = threading.Lock()

    def about(self, seed: int) -> About:
        """Return the description of the model that draws with `seed`. Raises `UserError` if it cannot be made."""
        model = reseeded(self._model(), seed)
        return About(describe(model), num_parameters(model), isinstance(model, CountsTokensRead))

    def require_playable(self, state: State) -> None:
        """Raise `UserError` for a state that the model cannot work on."""
        model = self._model()
        if isinstance(model, Selective):
            model.require_playable(state)

    def call(self, method: str, seed: int, items: Sequence[Any]) -> list[Any]:
        """Call a batched method of the model that draws with `seed`, together with the calls of other tasks."""
        return self._merged([(method, seed, item) for item in items])

    def call_alone(self, method: str, seed: int, items: Sequence[Any]) -> Iterator[list[Any]]:
        """Yield an empty list when the call has its turn, and then its results."""
        with self._serving:
            yield []
            time.sleep(NOTICE_S)
            yield self._results([(method, seed, item) for item in items])

    def _model(self) -> Any:
        with self._loading:  # not in `__init__`, whose errors Ray does not hand over
            if self._loaded is None:
                self._loaded = _load(self._job, self._role)
            return self._loaded

    def _serve(self, calls: list[tuple[str, int, Any]]) -> list[Any]:
        with self._serving:
            return self._results(calls)

    def _results(self, calls: list[tuple[str, int, Any]]) -> list[Any]:
        groups: dict[tuple[str, int], list[int]] = {}
        for place, (method, seed, _) in enumerate(calls):
            groups.setdefault((method, seed), []).append(place)
        results: dict[int, Any] = {}
        for (method, seed), places in groups.items():
            found = METHODS[method](self._seeded(seed), [calls[place][2] for place in places])
            results |= zip(places, found, strict=True)
        return [results[place] for place in range(len(calls))]

    def _seeded(self, seed: int) -> Any:
        if seed not in self._by_seed:
            model = reseeded(self._model(), seed)
            if isinstance(model, NeedsDomain):
                env = load_env(
                    self._job.env_id, **{"seed": self._job.seed, **self._job.env_options}
                )
                model = bind_domain(model, env.domain)
            self._by_seed[seed] = model
        return self._by_seed[seed]


METHODS: Mapping[str, Callable[[Any, list[Any]], list[Any]]] = {
    "propose": propose_as_data,
    "score": lambda model, states: model.score(states),
    "tokens_read": lambda model, states: model.tokens_read(states),
}


def _load(job: Job, role: str) -> Any:
    name = job.policy if role == "policy" else job.reward_model or ""
    model: Any
    if role == "policy":
        model = load_policy(name, **{"seed": job.seed, **job.policy_settings})
    else:
        model = load_reward_model(name, seed=job.seed)
    if isinstance(model, ServesConcurrently | WritesTokens):
        raise UserError(
            f"{role.replace('_', ' ')} {name!r} is in front of a server, which all tasks share as it is; leave out "
            f"{role}_actors"
        )
    return model


class _Proxy:
    """What all proxies do: find the processes by their names, and split calls among them.

    All states of a problem go to the same process, whose caches then serve the whole search.
    """

    def __init__(self, names: str, *, seed: int = 0) -> None:
        import ray

        self._ray = ray
        self._processes = [ray.get_actor(name) for name in names.split(",")]
        self.seed = seed
        self._known: dict[int, About] = {}
        self.num_parameters = self._about.num_parameters

    @property
    def _about(self) -> About:
        if self.seed not in self._known:
            self._known[self.seed] = self._wait_for(self._processes[0].about.remote(self.seed))
        return self._known[self.seed]

    def describe(self) -> Any:
        """Return the model's own description."""
        return self._about.description

    def require_playable(self, state: State) -> None:
        """Raise `UserError` for a state that the model cannot work on."""
        self._wait_for(self._processes[0].require_playable.remote(state))

    def _call(self, method: str, states: Sequence[State], items: Sequence[Any]) -> list[Any]:
        shares: dict[int, list[int]] = {}
        for place, state in enumerate(states):
            shares.setdefault(derive_seed(state.prompt) % len(self._processes), []).append(place)
        running = [
            (self._processes[at], (method, self.seed, [items[i] for i in places]))
            for at, places in shares.items()
        ]
        merged = [
            process.call.options(max_task_retries=0).remote(*call) for process, call in running
        ]
        results: dict[int, Any] = {}
        for places, reference, (process, call) in zip(shares.values(), merged, running):
            try:
                own = self._get(reference)
            except self._ray.exceptions.RayActorError:
                own = self._call_alone(process, call)
            results |= zip(places, own, strict=True)
        return [results[place] for place in range(len(items))]

    def _call_alone(self, process: Any, call: tuple[str, int, list[Any]]) -> list[Any]:
        """Make a call again whose process died, in a batch of its own."""
        num_deaths = 0
        for _ in range(MAX_RETRIES):
            self._wait_for(process.about.remote(self.seed))
            options = {"num_returns": "streaming", "max_task_retries": 0}
            has_its_turn = False
            try:
                stream = process.call_alone.options(**options).remote(*call)
                self._get(next(stream))
                has_its_turn = True
                return list(self._get(next(stream)))
            except self._ray.exceptions.RayActorError:
                num_deaths += has_its_turn
            if num_deaths == MAX_DEATHS:
                break
        raise RuntimeError(
            f"the model's process died {num_deaths} times at this call (out of memory?)"
        )

    def _wait_for(self, reference: Any) -> Any:
        """Return a result that a process gives once it is up. Raises `RunStopped` if it does not come up."""
        try:
            return self._get(reference)
        except self._ray.exceptions.RayActorError as error:
            raise RunStopped(
                f"the model's process does not come up again: {error}; the same command continues the run"
            ) from error

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:  # the model raised, as it would here
            raise error.cause from error


class RemotePolicy(_Proxy):
    """The policy in the processes of these names (`A,B`)."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        """Return up to `counts[i]` steps for `states[i]`. Raises `PolicyError`."""

        def merge(asked: list[tuple[State, int]]) -> list[Any]:
            return self._call("propose", [state for state, _ in asked], asked)

        return SharedPolicy(merge, self.num_parameters).propose(states, counts)


class RemoteRewardModel(_Proxy):
    """The reward model in the processes of these names (`A,B`)."""

    def __init__(self, names: str, *, seed: int = 0) -> None:
        super().__init__(names, seed=seed)
        if self._about.counts_tokens_read:
            self.tokens_read = self._tokens_read

    def score(self, states: Sequence[State]) -> list[list[float]]:
        """Return the model's scores of each state."""
        return self._call("score", states, states)

    def _tokens_read(self, states: Sequence[State]) -> list[int]:
        return self._call("tokens_read", states, states)
