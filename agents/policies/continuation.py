"""Continuing a step from a given beginning: an optional protocol of policies, used to force text."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

from stepgym.envs.types import State, Step


class Stop(Enum):
    """Why a child's text ended."""

    DELIMITER = "delimiter"
    STOPPED = "stopped"
    """At one of `PartialStep.stops`."""
    END = "end"
    """The model wrote its end-of-sequence token."""
    LENGTH = "length"
    NOT_FINITE = "not_finite"
    """The model's log-probabilities were not finite; the tokens before are valid."""


class PartialStep(NamedTuple):
    """A state and the beginning of its next step, to be continued."""

    state: State
    texts: tuple[str, ...] = ()
    """The beginning in pieces, as they were forced or sampled."""
    ids: tuple[tuple[int, ...] | None, ...] = ()
    """The tokens of each piece that was sampled, `None` for a piece that was forced; empty if none are known."""
    num_children: int = 1
    max_new_tokens: int | None = None
    stops: tuple[str, ...] = ()
    """Further texts that end the continuation; like delimiters they are left out of it."""


class Continuation(NamedTuple):
    """What was written after the beginning of a step; `step` holds neither the beginning's text nor its tokens."""

    step: Step
    stop: Stop
    begun_ids: tuple[tuple[int, ...], ...] = ()
    """The tokens of each piece of the beginning, as they were read."""


class Continuations(NamedTuple):
    """The continuations of each partial step, in order, and by position why some got fewer."""

    written: list[list[Continuation]]
    failures: dict[int, str]


@runtime_checkable
class StepContinuer(Protocol):
    """A policy that can continue a step whose beginning is given."""

    def continue_steps(self, partials: Sequence[PartialStep]) -> Continuations:
        """Write up to `num_children` continuations for each partial step, all in one batch."""
        ...
