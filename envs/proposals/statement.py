"""What every kind of proposed problem offers to the gate and to a solver."""

from __future__ import annotations

from typing import Protocol

from stepgym.envs.types import Problem


class Statement(Protocol):
    """A problem that was read from a proposal.

    The methods that are named after a fault return the reason, or an empty text. The gate asks for them in this order,
    so that each may rely on the ones before it.
    """

    @property
    def kind(self) -> str: ...

    @property
    def key(self) -> str:
        """The same text for two statements of the same problem, whatever their spelling."""
        ...

    @property
    def num_operations(self) -> int:
        """How many operations it takes to solve: the measure of difficulty."""
        ...

    def ambiguous(self) -> str: ...

    def too_large(self) -> str: ...

    def undecidable(self) -> str: ...

    def unsolvable(self) -> str: ...

    def trivial(self) -> str: ...

    def solution(self) -> str:
        """Return the solution as the verifier takes it; called only if the statement is solvable."""
        ...

    def problem(self, reference: str) -> Problem:
        """Return the problem as a solver sees it, in the environment that belongs to the kind."""
        ...
