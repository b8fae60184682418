"""Writing on from the beginning of a step: what a policy may offer besides `propose`, so that others can force words."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from stepgym.envs.types import State, Step


class Stop(Enum):
    """Why a child's text ended."""

    DELIMITER = "delimiter"
    STOPPED = "stopped"
    """At a text that was asked for to stop at."""
    END = "end"
    """The model wrote its end-of-sequence token."""
    LENGTH = "length"
    NOT_FINITE = "not_finite"
    """The model's log-probabilities were not finite; what came before stands."""


class Opening(NamedTuple):
    """A state and the beginning of its next step, to be written on."""

    state: State
    texts: tuple[str, ...] = ()
    """The beginning, in the pieces in which it came about: the model's own pieces are read from the cache."""
    ids: tuple[tuple[int, ...] | None, ...] = ()
    """The tokens of each piece that was sampled, `None` for a piece that was forced; empty if none are known."""
    num_children: int = 1
    max_new_tokens: int | None = None
    stops: tuple[str, ...] = ()
    """Further texts that end the writing; like delimiters they are left out."""


class Written(NamedTuple):
    """What was written after an opening; `step` holds neither the opening's text nor its tokens."""

    step: Step
    stop: Stop
    opening_ids: tuple[tuple[int, ...], ...] = ()
    """The tokens of each piece of the opening, as they were read."""


class Extended(NamedTuple):
    """What was written for each opening, in order, and by position why some openings got less."""

    written: list[list[Written]]
    failures: dict[int, str]


class Writer(Protocol):
    """A policy that can write on from the beginning of a step."""

    def extend(self, openings: Sequence[Opening]) -> Extended:
        """Write up to `num_children` continuations per opening, all in one batch."""
        ...
