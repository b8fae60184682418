"""A run as names and plain data, so that any process can play a part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from stepgym.agents.model_names import resolved
from stepgym.agents.registry import POLICIES, REWARD_MODELS, SEARCHES
from stepgym.agents.types import Budget, EpisodeRecord, SharesBudget
from stepgym.envs.registry import NAMES, full_id
from stepgym.plugins.errors import UserError

SLICES_PER_WORKER = 4
"""More slices than workers, so that a slow one does not keep the others waiting at the end."""


Stop = Callable[[], bool]
"""Whether a run should start no more problems."""


def never() -> bool:
    """Let a run go on to its end."""
    return False


@dataclass(frozen=True, kw_only=True)
class Job:
    """How problems of one environment are played: names and plain data, as for `stepgym.agents.solve`."""

    env_id: str
    agent: str = "greedy"
    policy: str = "embedded"
    reward_model: str | None = None
    budget: Budget | None = None
    seed: int = 0
    attempt: int = 0
    env_options: Mapping[str, Any] = field(default_factory=dict)
    agent_settings: Mapping[str, Any] = field(default_factory=dict)
    policy_settings: Mapping[str, Any] = field(default_factory=dict)
    see_verdicts: bool | None = None
    num_parallel: int = 64
    continuous: bool | None = None
    verify_all: bool = False

    def __post_init__(self) -> None:
        for what in ("env_id", "agent", "policy", "reward_model"):
            given = getattr(self, what)
            if not isinstance(given, str) and not (what == "reward_model" and given is None):
                raise UserError(
                    f"other processes need the {what.removesuffix('_id')} by name (a registered one or "
                    f"PACKAGE.MODULE:THING), not {given!r:.80}"
                )


def modules_of(job: Job) -> list[str]:
    """Return the names of the modules that make what the job names; import none of them."""
    found = [
        NAMES.module(full_id(job.env_id)),
        SEARCHES.module(job.agent),
        POLICIES.module(resolved(job.policy, "policy")),
    ]
    if job.reward_model is not None:
        found.append(REWARD_MODELS.module(resolved(job.reward_model, "prm")))
    return found


class Executor(Protocol):
    """Plays problems somewhere."""

    def play(
        self, job: Job, indices: Sequence[int], *, stop: Stop = never
    ) -> Iterator[EpisodeRecord]:
        """Play the problems of the job's environment with these indices; yield each record once, in any order.

        Once `stop` says so, no more problems are started; those in flight are finished.
        """
        ...


@runtime_checkable
class PlacesModels(Protocol):
    """An executor that may give a run's models processes of their own."""

    def with_models(self, job: Job) -> Job:
        """Return the job with models that are proxies of those processes."""
        ...


def slices(job: Job, indices: Sequence[int], count: int) -> Iterator[Sequence[int]]:
    """Cut the problems into slices for `count` workers; a search that shares a budget keeps its groups whole."""
    size = job.num_parallel
    if not shares_budget(job):
        size = max(1, min(size, len(indices) // (SLICES_PER_WORKER * count)))
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def shares_budget(job: Job) -> bool:
    """Return whether the job's search divides a budget among the problems that it plays together."""
    found = SEARCHES.find(job.agent)
    return isinstance(found, type) and issubclass(found, SharesBudget)
