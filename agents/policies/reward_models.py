"""Reward models without a network: the policy's confidence, and oracles as upper bounds.

The random control is `stepgym.agents.policies.scripted.RandomRewardModel`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stepgym.envs.types import Problem, State, StepVerifier, Verifier


@dataclass(frozen=True)
class LogProbReward:
    """Scores a step by the policy's confidence: the geometric mean of token probabilities.

    Raises `ValueError` for a step whose policy gave no log-probability.
    """

    num_parameters: int = 0
    """Parameters counted for FLOPs; 0, because the policy has computed the log-probabilities already."""

    def score(self, states: Sequence[State]) -> list[list[float]]:
        """Return one score per step."""
        return [[_confidence(state, at) for at in range(len(state.steps))] for state in states]


def _confidence(state: State, at: int) -> float:
    step = state.steps[at]
    if step.log_prob is None or not math.isfinite(step.log_prob):
        raise ValueError(
            f"step {at} {step.text[:40]!r} has log-probability {step.log_prob!r}; reward model 'log_prob' needs a policy "
            "that gives them"
        )
    return min(1.0, math.exp(step.log_prob / max(1, step.num_tokens)))


class _Oracle:
    """Finds the problem of a state by its prompt: states do not hold their reference."""

    num_parameters = 0

    def __init__(self, problems: Iterable[Problem]) -> None:
        self._problems = {problem.prompt: problem for problem in problems}

    def _problems_of(self, states: Sequence[State]) -> list[Problem]:
        try:
            return [self._problems[state.prompt] for state in states]
        except KeyError as error:
            raise ValueError(
                f"no problem with the prompt {str(error.args[0])[:80]!r} was given to this oracle"
            ) from None


class StepVerifierReward(_Oracle):
    """The oracle over steps: 1 while every step is correct, 0 from the first incorrect one on."""

    def __init__(self, step_verifier: StepVerifier, problems: Iterable[Problem]) -> None:
        super().__init__(problems)
        self._verifier = step_verifier

    def score(self, states: Sequence[State]) -> list[list[float]]:
        """Return one score per step."""
        verdicts = self._verifier.verify_steps(self._problems_of(states), states)
        return [_until_wrong([verdict.score for verdict in each]) for each in verdicts]


def _until_wrong(scores: Sequence[float]) -> list[float]:
    lowest, out = 1.0, []
    for score in scores:
        lowest = min(lowest, score)
        out.append(lowest)
    return out


class VerifierReward(_Oracle):
    """The oracle over answers: scores an answered state's last step by the verdict.

    All other steps score `unknown`.
    """

    def __init__(
        self, verifier: Verifier, problems: Iterable[Problem], *, unknown: float = 0.5
    ) -> None:
        super().__init__(problems)
        self._verifier, self._unknown = verifier, unknown

    def score(self, states: Sequence[State]) -> list[list[float]]:
        """Return one score per step."""
        scores = [[self._unknown] * len(state.steps) for state in states]
        answered = [i for i, state in enumerate(states) if state.answer is not None and state.steps]
        problems = self._problems_of([states[i] for i in answered])
        verdicts = self._verifier.verify(problems, [str(states[i].answer) for i in answered])
        for i, verdict in zip(answered, verdicts):
            scores[i][-1] = verdict.score
        return scores
