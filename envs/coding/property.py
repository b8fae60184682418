"""Property tests: a candidate against a reference solution on generated inputs.

Hypothesis generates the inputs.

A task carries the reference and the strategies as source text; both run on the tester's side. Hard-coded outputs
that would pass a task's examples fail here. A difference is shrunk to a minimal counterexample, which the verdict
reports in `details["counterexample"]`. Runs are seeded and bounded in number and time; if the time ends before a
difference was found, the examples tried so far decide, and `details["examples"]` says how much that was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stepgym.envs.coding.grading import LIMITS, grade
from stepgym.envs.types import Verdict
from stepgym.sandbox.types import Limits, Sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyTests:
    """What a property test needs; `data()` is the form that tests of a task take."""

    strategies: str
    """One expression: a tuple of strategies for the positional arguments, `st` being `hypothesis.strategies`.
    `"(st.lists(st.integers()), st.integers(0, 9))"`."""
    reference: str
    """Source of a correct solution with the same entry point."""
    seed: int = 0
    """Seed of the generated inputs."""
    num_examples: int = 100
    """Most inputs that are tried."""
    seconds: float = 4.0
    """Searching for a difference stops after this long; shrinking one it found takes at most as long again."""
    tolerance: float | None = None
    """Relative tolerance for floats; `None` is exact."""
    same_errors: bool = True
    """Whether an input on which the reference raises must make the candidate raise the same type. Otherwise such
    inputs are left out."""

    def data(self) -> dict[str, Any]:
        """Return the tests as JSON-able data, the form that a task takes."""
        return {"style": "property", **asdict(self)}


def grade_by_property(
    solutions: Sequence[str],
    *,
    properties: Sequence[PropertyTests],
    entry_points: Sequence[str],
    sandbox: Sandbox,
    limits: Limits = LIMITS,
) -> list[Verdict]:
    """Grade each solution against its reference in one batch; verdicts in the same order.

    A counterexample is in `details["counterexample"]`. Raises `SandboxError` for a failure of the sandbox.
    """
    tests = [each.data() for each in properties]
    return grade(solutions, tests=tests, entry_points=entry_points, sandbox=sandbox, limits=limits)
