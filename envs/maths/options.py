"""What a caller may ask of an answer beyond being equal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Percent(Enum):
    """Whether a percentage and a bare number may be equal."""

    EXACT = "exact"
    """28% is 0.28 and nothing else."""
    REFERENCE = "reference"
    """A reference of 28% also takes 28, for the question asked for percent; 1% never takes 1."""
    EITHER = "either"
    """28% and 28 pass for each other, whichever side has the sign."""


@dataclass(frozen=True, slots=True)
class MathOptions:
    """Strictness of `verify_answer`; the defaults compare values and never forms."""

    float_tolerance: float = 0.0
    """Relative error allowed, and only when the reference is a decimal. With 0, decimals must be equal, save that
    an exact answer may meet a decimal reference of three or more significant digits by rounding to it."""
    simplified: bool = False
    """The answer must be in lowest terms and worked out: `2/4`, `1+1` and `\\sqrt{8}` are INCORRECT."""
    order_matters: bool = False
    """Top-level lists must keep the reference's order: `2, 1` is not `1, 2`. Tuples always do, sets never."""
    units_required: bool = False
    """A reference with a unit takes no answer without one."""
    percent: Percent = Percent.REFERENCE
    limit_s: float = 1.5
    """CPU seconds that a worker process may use for one pair."""
    batch_limit_s: float = 20.0
    """CPU seconds that the pairs of one call may use after each has had its first slice; see `workers.py`."""

    def __post_init__(self) -> None:
        if not 0 <= self.float_tolerance < 1:
            raise ValueError(f"float_tolerance {self.float_tolerance!r} is not in [0, 1)")
        for name in ("limit_s", "batch_limit_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)!r} is not positive")


DEFAULT = MathOptions()
