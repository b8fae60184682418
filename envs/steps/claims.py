"""The nouns of step verification on free text: claims, and what becomes of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from stepgym.envs.types import Status


class Kind(Enum):
    """What sort of statement a claim is."""

    ARITHMETIC = "arithmetic"
    """Two sides of an equation or an inequality that hold numbers only: `3 * 4 = 12`."""
    DEFINITION = "definition"
    """A quantity that was given one value before and has another one here."""
    EQUATION = "equation"
    """An equation in one unknown that should have the same solution as the one before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement in a step that mathematics can decide, and its verdict."""

    kind: Kind
    start: int
    """Offset of the claim's first character in the step's text."""
    end: int
    """Offset after the claim's last character."""
    text: str
    status: Status
    """INCORRECT only if the reason is a proof; otherwise UNDECIDED."""
    reason: str = ""


class StepReport(NamedTuple):
    """The claims of one step and what follows from them for the step."""

    claims: tuple[Claim, ...]
    status: Status
    """INCORRECT if a claim is; CORRECT if all claims are and there is one; otherwise UNDECIDED."""
    reason: str


def report_of(claims: Sequence[Claim]) -> StepReport:
    """Combine the claims of one step."""
    wrong = [claim for claim in claims if claim.status is Status.INCORRECT]
    if wrong:
        return StepReport(tuple(claims), Status.INCORRECT, wrong[0].reason)
    decided = bool(claims) and all(claim.status is Status.CORRECT for claim in claims)
    return StepReport(tuple(claims), Status.CORRECT if decided else Status.UNDECIDED, "")
