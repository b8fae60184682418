"""The shape of a family that is a game: a step is a move, and the domain decides which moves are legal.

Public data is the position. A move leads to the next position; the answer is known once the game is over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

from stepgym.envs.illegal_steps import ENDS, IllegalSteps, system_text
from stepgym.envs.tokens import final_answer, visible_text
from stepgym.envs.types import End, Problem, State, Status, Step, Verdict


@dataclass(frozen=True)
class GameDomain(ABC):
    """The dynamics of a game. A whole answer may also be given at once, in `<answer>`."""

    illegal_steps: IllegalSteps = ENDS
    step_form: ClassVar[str] = "one move"
    """What a step looks like, for chat models."""

    @abstractmethod
    def play(self, position: Any, text: str) -> Hashable:
        """Return the position after a move given as visible text, or the reason (a `str`) why it is illegal."""

    @abstractmethod
    def moves(self, position: Any) -> list[str]:
        """Return every legal move once; none if and only if the game is over."""

    def over(self, position: Any) -> bool:
        """Return whether there is no legal move; a game may have a quicker way to tell than listing them."""
        return not self.moves(position)

    @abstractmethod
    def answer(self, position: Any, texts: Sequence[str]) -> str:
        """Return the answer of a finished game; `texts` are the legal moves that led to it."""

    @cached_property
    def system(self) -> str:
        """The system text for chat models."""
        return system_text(
            f"Play by the rules of the problem. Each step is {self.step_form} and nothing else. Write an empty line after "
            "each step. You may also give the whole solution at once as <answer>solution</answer>.",
            "The last move ends the episode, and so does an answer.",
            illegal_steps=self.illegal_steps,
        )

    def refusing(self, rule: IllegalSteps) -> Self:
        """Return the game with another rule for illegal moves."""
        return replace(self, illegal_steps=rule)

    def initial(self, problem: Problem) -> State:
        return State(problem.prompt, public=problem.public, system=self.system)

    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        return [self._advance(state, step) for state, step in zip(states, steps, strict=True)]

    def legal_steps(self, state: State) -> list[str]:
        """Return every legal step once."""
        return [] if state.done else self.moves(state.public)

    def _advance(self, state: State, step: Step) -> State:
        if state.done:
            return state
        given = final_answer(step.text)
        if given is not None:
            return State(
                state.prompt,
                (*state.steps, step),
                given,
                End.ANSWERED,
                state.public,
                system=state.system,
            )
        after = self.play(state.public, visible_text(step.text))
        if isinstance(after, str):
            return self.illegal_steps.refuse(state, step, after)
        steps = (*state.steps, step)
        if not self.over(after):
            return State(state.prompt, steps, public=after, system=state.system)
        texts = [visible_text(taken.text) for taken in steps if not taken.reply]
        answer = self.answer(after, texts)
        return State(state.prompt, steps, answer, End.ANSWERED, after, system=state.system)


def right(reason: str, decided_by: str) -> Verdict:
    """Return CORRECT."""
    return Verdict(Status.CORRECT, 1.0, reason, decided_by)


def wrong(reason: str, decided_by: str) -> Verdict:
    """Return INCORRECT."""
    return Verdict(Status.INCORRECT, 0.0, reason, decided_by)
