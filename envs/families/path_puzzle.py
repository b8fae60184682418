"""The shape of a puzzle that asks for a sequence of moves from one arrangement to another, within a number of moves.

Any sequence that reaches the goal in time is right. A step is right if the goal can still be reached in time, which is
decided exactly, by breadth-first search.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stepgym.envs.families.game import GameDomain, right, wrong
from stepgym.envs.tokens import final_answer, visible_text
from stepgym.envs.types import Problem, State, Verdict

MAX_ANSWER_MOVES = 1_000


class Position(NamedTuple):
    """`State.public` of a path puzzle."""

    arrangement: Hashable
    goal: Hashable
    moves_left: int


@dataclass(frozen=True)
class PathPuzzle(GameDomain):
    """The dynamics of a path puzzle; a subclass says which moves an arrangement has."""

    @abstractmethod
    def neighbours(self, arrangement: Any) -> Mapping[str, Hashable]:
        """Return move -> next arrangement."""

    def play(self, position: Position, text: str) -> Position | str:
        found = self.neighbours(position.arrangement)
        move = normal(text)
        if move not in found:
            return f"{text.strip()[:40]!r} is not a legal move; legal: {', '.join(found)}"
        return Position(found[move], position.goal, position.moves_left - 1)

    def moves(self, position: Position) -> list[str]:
        return [] if self.over(position) else list(self.neighbours(position.arrangement))

    def over(self, position: Position) -> bool:
        return position.arrangement == position.goal or position.moves_left <= 0

    def answer(self, position: Position, texts: Sequence[str]) -> str:
        return ", ".join(map(normal, texts))

    def path(self, start: Hashable, goal: Hashable, limit: int) -> list[str] | None:
        """Return the moves of a shortest path, `None` if there is none within `limit` moves."""
        if start == goal:
            return []
        before: dict[Hashable, tuple[Hashable, str]] = {start: (start, "")}
        frontier = [start]
        for _ in range(limit):
            frontier_after = []
            for arrangement in frontier:
                for move, after in self.neighbours(arrangement).items():
                    if after in before:
                        continue
                    before[after] = arrangement, move
                    if after == goal:
                        return self._unwound(before, start, goal)
                    frontier_after.append(after)
            frontier = frontier_after
        return None

    def _unwound(
        self, before: Mapping[Hashable, tuple[Hashable, str]], start: Hashable, at: Hashable
    ) -> list[str]:
        moves = []
        while at != start:
            at, move = before[at]
            moves.append(move)
        return moves[::-1]


@dataclass(frozen=True)
class PathVerifier:
    """Plays the moves of an answer, separated by commas or lines: they must reach the goal in time."""

    puzzle: PathPuzzle
    needs_reference = False

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [
            self._verify(problem, answer) for problem, answer in zip(problems, answers, strict=True)
        ]

    def same(self, a: str, b: str) -> bool:
        """Two answers are one vote if they have the same moves."""
        return listed(a) == listed(b)

    def _verify(self, problem: Problem, answer: str) -> Verdict:
        position: Any = problem.public
        for number, move in enumerate(listed(answer), start=1):
            if self.puzzle.over(position):
                break
            after = self.puzzle.play(position, move)
            if isinstance(after, str):
                return wrong(f"move {number}: {after}", "moves")
            position = after
        if position.arrangement != position.goal:
            return wrong(
                f"the moves do not reach the goal; {position.moves_left} are left", "moves"
            )
        return right("the moves reach the goal", "moves")


@dataclass(frozen=True)
class PathStepVerifier:
    """A step is right if it is legal and the goal can still be reached in time."""

    puzzle: PathPuzzle

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
                verdicts += PathVerifier(self.puzzle).verify([problem], [given])
                continue
            after = self.puzzle.play(position, visible_text(step.text))
            if isinstance(after, str):
                verdicts.append(wrong(after, "rules"))
                continue
            position = after
            found = self.puzzle.path(position.arrangement, position.goal, position.moves_left)
            verdicts.append(
                wrong("the goal cannot be reached in time", "search")
                if found is None
                else right(f"the goal is {len(found)} moves away", "search")
            )
        return verdicts


def normal(text: str) -> str:
    """Return a move in lower case, with single spaces."""
    return " ".join(text.lower().replace("→", "->").split())


def listed(answer: str) -> list[str]:
    """Return the moves of an answer, at most a thousand."""
    return [move for part in re.split(r"[,;\n]", answer) if (move := normal(part))][
        :MAX_ANSWER_MOVES
    ]
