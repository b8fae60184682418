"""What a caller may ask of an answer beyond being equal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from stepgym.plugins.names import unknown_name


class Percent(Enum):
    """Whether a percentage and a bare number may be equal."""

    EXACT = "exact"
    """28% is 0.28 and nothing else."""
    REFERENCE = "reference"
    """A reference of 28% also takes 28, for the question asked for percent; 1% never takes 1."""
    EITHER = "either"
    """28% and 28 pass for each other, whichever side has the sign."""


QUESTION_RULES = (
    "percent",
    "rounding",
    "order",
    "variable",
    "constant",
    "form",
    "restated",
    "choices",
    "unit",
    "ends",
    "sentence",
    "expression",
)
"""The names of all rules about the question, in `question.py`."""


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
    """Whether 28% and 28 may be equal."""
    added_constant: bool = False
    """An antiderivative may add `+ C` to a reference without it. The question rule `constant` sets this option."""
    any_constant: bool = False
    """An arbitrary constant may have any name: `A e^x` for `C e^x`. The question rule `constant` sets this option."""
    limit_s: float = 1.0
    """CPU seconds that a worker process may use for one pair."""
    batch_limit_s: float = 10.0
    """CPU seconds that the pairs of one call may use together after each has had its first slice; see `workers.py`.
    Of pairs with different options, the largest limit counts."""
    question_rules: tuple[str, ...] = QUESTION_RULES
    """Which rules of `question.py` apply to a pair whose question is given; `()` switches all of them off."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "question_rules", tuple(self.question_rules))
        for name in self.question_rules:
            if name not in QUESTION_RULES:
                raise unknown_name("question rule", name, QUESTION_RULES, dotted=False)
        if not 0 <= self.float_tolerance < 1:
            raise ValueError(f"float_tolerance {self.float_tolerance!r} is not in [0, 1)")
        for name in ("limit_s", "batch_limit_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)!r} is not positive")


DEFAULT = MathOptions()
