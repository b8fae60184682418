"""What an episode pays for each verdict."""

from __future__ import annotations

from dataclasses import dataclass

from stepgym.envs.types import Status, Verdict


@dataclass(frozen=True, kw_only=True)
class Rewards:
    """The reward for each verdict, paid with the last step of an episode.

    Rewards for single steps need a step verifier.
    """

    correct: float = 1.0
    """The answer is CORRECT."""
    incorrect: float = 0.0
    """The answer is INCORRECT."""
    undecided: float = 0.0
    """The answer is UNDECIDED."""
    no_answer: float = 0.0
    """The episode ended stuck or at the step limit."""
    partial: float = 0.0
    """Multiplied by the verdict's score and added to `incorrect` if an incorrect answer has partial credit."""
    correct_step: float = 0.0
    """Paid for each step that the step verifier finds CORRECT."""
    incorrect_step: float = 0.0
    """Paid for each step that the step verifier finds INCORRECT."""

    def outcome(self, verdict: Verdict | None) -> float:
        """Return the reward for a verdict; `None` is no answer."""
        if verdict is None:
            return self.no_answer
        if verdict.status is Status.CORRECT:
            return self.correct
        if verdict.status is Status.UNDECIDED:
            return self.undecided
        return self.incorrect + self.partial * verdict.score

    def step(self, verdict: Verdict) -> float:
        """Return the reward for a single step."""
        if verdict.status is Status.CORRECT:
            return self.correct_step
        return self.incorrect_step if verdict.status is Status.INCORRECT else 0.0

    @property
    def pays_steps(self) -> bool:
        """Whether single steps are paid."""
        return bool(self.correct_step or self.incorrect_step)
