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
    """Two sides of an equation that hold numbers only: `3 * 4 = 12`."""
    DEFINITION = "definition"
    """A quantity that was given one value before and has another one here."""
    EQUATION = "equation"
    """An equation or inequality in one unknown that should have the same solutions as the one before it."""
    INEQUALITY = "inequality"
    """An inequality between numbers: `3 < 5`."""
    IDENTITY = "identity"
    """Two forms of one expression with letters: `(x + 1)^2 = x^2 + 2x + 1`."""
    CONGRUENCE = "congruence"
    """Equality modulo a number, a remainder, or divisibility."""
    FUNCTION = "function"
    """A value of a function that the problem or an earlier step defines: `f(3) = 10`."""
    DERIVATIVE = "derivative"
    """A derivative: `f'(x) = 2x`."""
    INTEGRAL = "integral"
    """A definite integral, or an antiderivative."""
    MATRIX = "matrix"
    """An equation between matrices, or a row operation."""
    WORDS = "words"
    """Arithmetic in words: `half of 20 is 10`, `2 hours = 120 minutes`."""
    QUOTE = "quote"
    """A result of a tool that the step reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement in a step that mathematics can decide, and its verdict."""

    kind: Kind
    """What sort of statement it is."""
    start: int
    """Offset of the claim's first character in the step's text."""
    end: int
    """Offset after the claim's last character."""
    text: str
    """The claim as it stands in the step."""
    status: Status
    """INCORRECT only if `reason` proves it; UNDECIDED if the claim may mean something else."""
    reason: str = ""
    """The proof that the claim is false; may be empty if it is not INCORRECT."""


class StepReport(NamedTuple):
    """The claims of one step and what follows from them for the step."""

    claims: tuple[Claim, ...]
    """All claims that were found, in the order of the text."""
    status: Status
    """INCORRECT if a claim is; CORRECT if all claims are and there is one; otherwise UNDECIDED."""
    reason: str
    """The proof of the first false claim; empty if there is none."""


def report_of(claims: Sequence[Claim]) -> StepReport:
    """Combine the claims of one step."""
    wrong = [claim for claim in claims if claim.status is Status.INCORRECT]
    if wrong:
        return StepReport(tuple(claims), Status.INCORRECT, wrong[0].reason)
    decided = bool(claims) and all(claim.status is Status.CORRECT for claim in claims)
    return StepReport(tuple(claims), Status.CORRECT if decided else Status.UNDECIDED, "")
