"""The shape of a puzzle that gives each cell a value so that no two linked cells share one: sudoku, graph colouring.

Any complete assignment without a conflict is right. A step is right if the cells left can still be filled, which is
decided exactly, by backtracking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from stepgym.envs.families.game import GameDomain, right, wrong
from stepgym.envs.tokens import final_answer, visible_text
from stepgym.envs.types import Problem, State, Verdict

_CELL = re.compile(r"\s*(\w+)\s*=\s*(\w+)\s*")
Links = tuple[tuple[int, ...], ...]
"""For each cell, the cells that must differ from it."""


class Cells(NamedTuple):
    """`State.public` of an assignment puzzle."""

    names: tuple[str, ...]
    values: tuple[str, ...]
    links: Links
    assigned: tuple[int, ...]
    """For each cell the index of its value, -1 if it has none yet."""

    def shown(self) -> list[str]:
        """Return the filled cells as steps: `r1c2 = 3`."""
        filled = zip(self.names, self.assigned)
        return [f"{name} = {self.values[index]}" for name, index in filled if index >= 0]


@dataclass(frozen=True)
class AssignmentPuzzle(GameDomain):
    """A step fills one cell: `r1c2 = 3`. Values that conflict with a linked cell are illegal."""

    def play(self, position: Cells, text: str) -> Cells | str:
        match = _CELL.fullmatch(text)
        if match is None:
            return "not a step of the form `cell = value`"
        name, value = match.groups()
        if name not in position.names:
            return f"there is no cell {name[:40]!r}"
        if value not in position.values:
            return f"{value[:40]!r} is not one of {', '.join(position.values)}"
        cell, index = position.names.index(name), position.values.index(value)
        if position.assigned[cell] >= 0:
            return f"{name} is {position.values[position.assigned[cell]]} already"
        clash = next((k for k in position.links[cell] if position.assigned[k] == index), None)
        if clash is not None:
            return f"{position.names[clash]} is {value} as well"
        filled = (*position.assigned[:cell], index, *position.assigned[cell + 1 :])
        return position._replace(assigned=filled)

    def moves(self, position: Cells) -> list[str]:
        return list(_moves(position))

    def over(self, position: Cells) -> bool:
        return next(_moves(position), None) is None

    def answer(self, position: Cells, texts: Sequence[str]) -> str:
        return ", ".join(text.strip() for text in texts)


def _moves(position: Cells) -> Iterator[str]:
    names, values, links, assigned = position
    for cell, index in enumerate(assigned):
        if index < 0:
            taken = {assigned[other] for other in links[cell]}
            yield from (f"{names[cell]} = {v}" for k, v in enumerate(values) if k not in taken)


@dataclass(frozen=True)
class AssignmentVerifier:
    """Fills the cells as the answer says, `A = red, B = blue`: all must be filled, without a conflict."""

    needs_reference = False

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [
            self._verify(problem, answer) for problem, answer in zip(problems, answers, strict=True)
        ]

    def same(self, a: str, b: str) -> bool:
        """Two answers are one vote if they give the same cells the same values."""
        return _read(a) == _read(b)

    def _verify(self, problem: Problem, answer: str) -> Verdict:
        position: Any = problem.public
        given = _read(answer)
        if given is None:
            return wrong("not a list such as `A = red, B = blue`", "cells")
        for name, value in given.items():
            if f"{name} = {value}" in position.shown():
                continue  # a cell that was given may be repeated
            after = AssignmentPuzzle().play(position, f"{name} = {value}")
            if isinstance(after, str):
                return wrong(f"{name} = {value}: {after}", "cells")
            position = after
        empty = [name for name, index in zip(position.names, position.assigned) if index < 0]
        if empty:
            return wrong(f"no value for {', '.join(empty[:5])}", "cells")
        return right("every cell has a value and none conflict", "cells")


@dataclass(frozen=True)
class AssignmentStepVerifier:
    """A step is right if it is legal and the cells left can still be filled."""

    def verify_steps(
        self, problems: Sequence[Problem], states: Sequence[State]
    ) -> list[list[Verdict]]:
        return [
            self._verify(problem, state) for problem, state in zip(problems, states, strict=True)
        ]

    def _verify(self, problem: Problem, state: State) -> list[Verdict]:
        position: Any = problem.public
        verdicts: list[Verdict] = []
        for step in state.steps:
            given = final_answer(step.text)
            if given is not None:
                verdicts += AssignmentVerifier().verify([problem], [given])
                continue
            after = AssignmentPuzzle().play(position, visible_text(step.text))
            if isinstance(after, str):
                verdicts.append(wrong(after, "rules"))
                continue
            position = after
            done = complete(position.links, len(position.values), position.assigned)
            verdicts.append(
                wrong("the cells left cannot be filled", "search")
                if done is None
                else right("the cells left can be filled", "search")
            )
        return verdicts


@lru_cache(maxsize=4096)
def complete(links: Links, num_values: int, assigned: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return a complete assignment, `None` if there is none; the cell with the fewest values left is filled first."""
    filled = list(assigned)

    def left(cell: int) -> list[int]:
        taken = {filled[other] for other in links[cell]}
        return [value for value in range(num_values) if value not in taken]

    def fill() -> bool:
        empty = [
            (len(options := left(cell)), cell, options)
            for cell in range(len(filled))
            if filled[cell] < 0
        ]
        if not empty:
            return True
        _, cell, options = min(empty)
        for value in options:
            filled[cell] = value
            if fill():
                return True
        filled[cell] = -1
        return False

    return tuple(filled) if fill() else None


def linked(pairs: Sequence[tuple[int, int]], num_cells: int) -> Links:
    """Return for each cell the cells that a pair links it to."""
    found: list[set[int]] = [set() for _ in range(num_cells)]
    for a, b in pairs:
        found[a].add(b)
        found[b].add(a)
    return tuple(tuple(sorted(others)) for others in found)


def _read(answer: str) -> Mapping[str, str] | None:
    found: dict[str, str] = {}
    for part in re.split(r"[,;\n]", answer):
        if not part.strip():
            continue
        match = _CELL.fullmatch(part)
        if match is None or found.setdefault(match.group(1), match.group(2)) != match.group(2):
            return None
    return found or None
