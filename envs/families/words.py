"""Words: spell a word, one letter a step. The smallest environment, for tests and measurements of search.

A step is one of the letters a, b, c, d; after as many letters as the word has, the letters are the answer. Any other
single letter but `x` is a step too, and never right. `x` and any other text are illegal.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, Unpack

from stepgym.envs.illegal_steps import ENDS, IllegalSteps, system_text
from stepgym.envs.problem_sets import Draft, ProceduralSet
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.types import Domain, End, Problem, State, Status, Step, Verdict, Verifier

NAME = "stepgym/Words-v0"
LETTERS = "abcd"
STUCK_LETTER = "x"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a word of `level` letters."""
    word = "".join(rng.choice(LETTERS) for _ in range(level))
    return Draft(f"Spell {word}, one letter a step.", word)


def problems(level: int, seed: int = 0) -> ProceduralSet:
    """Return words of `level` letters."""
    return ProceduralSet(NAME, generate, level=level, seed=seed)


@dataclass(frozen=True)
class SameWord:
    """Problems that all ask for the same word, which the prompt does not show."""

    word: str = "cab"
    count: int = 3
    name: str = "words"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < self.count:
            raise IndexError(f"{self.name} has {self.count} problems, none at {index}")
        return Problem(f"{self.name}/{index}", f"word {index}", self.word, index=index)


@dataclass(frozen=True)
class WordsDomain:
    """The rules: `size` letters are an answer."""

    size: int = 3
    illegal_steps: IllegalSteps = ENDS

    @cached_property
    def system(self) -> str:
        """The system text for chat models."""
        return system_text(
            "Each step is one letter, such as `a`, and nothing else. Write an empty line after each step.",
            f"The episode ends after {self.size} letters, which are the answer.",
            illegal_steps=self.illegal_steps,
        )

    def refusing(self, rule: IllegalSteps) -> Self:
        """Return the domain with another rule for illegal steps."""
        return replace(self, illegal_steps=rule)

    def initial(self, problem: Problem) -> State:
        return State(problem.prompt, system=self.system)

    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        return [self._advance(state, step) for state, step in zip(states, steps, strict=True)]

    def _advance(self, state: State, step: Step) -> State:
        if state.done:
            return state
        steps = (*state.steps, step)
        if len(step.text) != 1 or not step.text.isalpha() or step.text == STUCK_LETTER:
            return self.illegal_steps.refuse(state, step, f"{step.text[:40]!r} is not one letter")
        letters = [taken.text for taken in steps if not taken.reply]
        if len(letters) < self.size:
            return replace(state, steps=steps)
        return replace(state, steps=steps, end=End.ANSWERED, answer="".join(letters))

    def legal_steps(self, state: State) -> list[str]:
        return [] if state.done else list(LETTERS)


@dataclass(frozen=True)
class WordsVerifier:
    """The answer must be the word."""

    needs_reference = False

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [
            Verdict(Status.CORRECT, 1.0)
            if answer == problem.reference
            else Verdict(Status.INCORRECT)
            for problem, answer in zip(problems, answers, strict=True)
        ]


def make(*, level: int = 3, seed: int = 0, **common: Unpack[CommonOptions]) -> ReasoningEnv:
    """Make `stepgym/Words-v0`; the level is the number of letters, 1 to 10."""
    return ReasoningEnv(
        problems(level, seed), domain=WordsDomain(level), verifier=WordsVerifier(), **common
    )


def same_word_env(
    word: str = "cab",
    count: int = 3,
    *,
    domain: Domain | None = None,
    verifier: Verifier | None = None,
) -> ReasoningEnv:
    """Make an environment of `count` problems that all ask for the same word without showing it.

    Tests replace its domain or its verifier.
    """
    return ReasoningEnv(
        SameWord(word, count),
        domain=WordsDomain(len(word)) if domain is None else domain,
        verifier=WordsVerifier() if verifier is None else verifier,
    )
