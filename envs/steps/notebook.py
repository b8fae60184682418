"""What the statements of a solution have defined so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from stepgym.envs.steps.quantities import Quantity


class Definition(NamedTuple):
    """What a letter or a named quantity was said to be."""

    given: Quantity
    """The first side that it was set equal to."""
    value: Fraction
    """The last side of that chain."""
    step: int
    named: bool = False
    """The text says that the letter is a name of this expression."""


class Solved(NamedTuple):
    """The last equation in one unknown."""

    root: Fraction
    step: int
    end: int
    """Offset in its step after the equation."""
    text: str


@dataclass
class Notebook:
    """What earlier statements of the solution defined."""

    letters: dict[str, Definition] = field(default_factory=dict)
    names: dict[str, Definition] = field(default_factory=dict)
    """Named quantities of the current step."""
    solved: dict[str, Solved] = field(default_factory=dict)
    step: int = 0
    given: frozenset[Fraction] = frozenset()
    """Decimals that are exact: the problem states them, or a percentage that they stand for."""

    def begin_step(self, step: int) -> None:
        """Forget the named quantities of earlier steps, which may be set anew."""
        self.step = step
        self.names = {}

    def values(self) -> dict[str, Fraction]:
        """Return the values of the letters that are computed, not assumed for a while or for one case."""
        return {
            letter: definition.value
            for letter, definition in self.letters.items()
            if definition.given.operations
        }
