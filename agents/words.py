"""The smallest game: spell a word. For conformance checks, tests and benchmarks of search, without any model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stepgym.agents.policies.scripted import ScriptedPolicy, ScriptedRewardModel
from stepgym.envs.types import End, Problem, State, Status, Step, Verdict

LETTERS = "abcd"


@dataclass(frozen=True)
class Words:
    """Each step is one letter; after `size` letters the word is the answer. `x` gets stuck."""

    size: int = 3

    def initial(self, problem: Problem) -> State:
        return State(problem.prompt)

    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        return [self._advance(state, step) for state, step in zip(states, steps, strict=True)]

    def _advance(self, state: State, step: Step) -> State:
        steps = (*state.steps, step)
        if step.text == "x":
            return replace(state, steps=steps, end=End.STUCK)
        if len(steps) < self.size:
            return replace(state, steps=steps)
        return replace(state, steps=steps, end=End.ANSWERED, answer="".join(s.text for s in steps))

    def legal_steps(self, state: State) -> list[str]:
        return list(LETTERS)


@dataclass(frozen=True)
class WordVerifier:
    """The reference is the right word."""

    needs_reference = False

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [
            Verdict(Status.CORRECT, 1.0)
            if answer == problem.reference
            else Verdict(Status.INCORRECT)
            for problem, answer in zip(problems, answers, strict=True)
        ]


@dataclass(frozen=True)
class WordSet:
    """Problems that all ask for the same word."""

    reference: str = "cab"
    count: int = 3
    name: str = "words"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < self.count:
            raise IndexError(f"{self.name} has {self.count} problems, not one at {index}")
        return Problem(f"words/{index}", f"word {index}", self.reference, index=index)


@dataclass(frozen=True)
class WordEnv:
    """What `stepgym.agents.solve` reads of an environment, for words."""

    domain: Words = Words()
    verifier: WordVerifier = WordVerifier()
    problems: WordSet = WordSet()
    env_id: str = "words"


def letters(state: State) -> list[Step]:
    """Offer all letters, the earlier the likelier."""
    return [Step(letter, log_prob=-0.5 - 0.5 * i, num_tokens=2) for i, letter in enumerate(LETTERS)]


SPELLER = ScriptedPolicy(letters)


def word_critic(reference: str) -> ScriptedRewardModel:
    """Score 0.9 while the letters so far begin `reference`, 0.2 otherwise."""
    return ScriptedRewardModel(
        lambda state: (
            0.9 if reference.startswith("".join(step.text for step in state.steps)) else 0.2
        )
    )
