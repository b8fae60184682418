"""Policies and reward models without a neural network, for tests and as controls."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stepgym.agents.policies.tool_calls import ToolForm, ToolRequest
from stepgym.agents.randomness import derive_seed, proposal_seed
from stepgym.envs.types import Domain, LegalSteps, State, Step
from stepgym.plugins.errors import UserError

Script = Callable[[State], Sequence[Step | str]] | Mapping[tuple[str, ...], Sequence[Step | str]]
Scores = Callable[[State], float] | Mapping[str, float]


@dataclass(frozen=True)
class ScriptedPolicy:
    """Proposes what its script contains.

    The script is a function of the state, or a mapping from the texts so far to next steps.

    The steps of a state are proposed in order from `State.draw` on, so that a second proposal continues where the
    first one stopped. A path that is not in the script gets nothing. A string is a step of one token per word. It calls
    tools in the form of Hermes (`stepgym.agents.policies.tool_calls`).
    """

    script: Script
    """State, or texts of the steps so far -> the next steps."""
    num_parameters: int = 0
    """Parameters of the model that it stands for, counted for FLOPs."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        return [self._steps(state, count) for state, count in zip(states, counts, strict=True)]

    def tool_request(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], seen: State
    ) -> ToolRequest:
        """Return what to ask for a turn of a conversation with tools, which the script does not see."""
        return ToolRequest(self, seen, ToolForm.HERMES)

    def _steps(self, state: State, count: int) -> list[Step]:
        if callable(self.script):
            known = self.script(state)
        else:
            known = self.script.get(tuple(step.text for step in state.steps), ())
        first = state.draw or 0
        return [
            step if isinstance(step, Step) else Step(step, num_tokens=len(step.split()))
            for step in known[first : first + count]
        ]


@dataclass(frozen=True)
class RandomLegalPolicy:
    """Draws uniformly from the domain's legal steps.

    It is the control that every learned policy must beat.

    It has no tokenizer; each word counts as one token.
    """

    seed: int = 0
    """Seed of the draws; equal seeds and states give equal steps."""
    domain: LegalSteps | None = None
    """The domain whose legal steps are drawn; `None` until `bind`."""
    num_parameters: int = 0
    """Parameters counted for FLOPs; there is no model."""

    def bind(self, domain: Domain) -> RandomLegalPolicy:
        """Return a copy for this domain; raises `ValueError` if it lists no legal steps."""
        if not isinstance(domain, LegalSteps):
            raise UserError(
                "the policy `random` plays games, whose domain lists its legal steps (legal_steps); "
                f"{type(domain).__name__} has no such list: choose a language model (smollm2, hf:NAME_OR_FOLDER, chat:URL#MODEL)"
            )
        return replace(self, domain=domain)

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        if self.domain is None:
            raise ValueError("random legal play is not bound to a domain: call bind(domain) first")
        return [self._draw(state, count) for state, count in zip(states, counts, strict=True)]

    def _draw(self, state: State, count: int) -> list[Step]:
        assert self.domain is not None
        legal = self.domain.legal_steps(state)
        if not legal:
            return []
        stream = random.Random(proposal_seed(self.seed, state, count))
        log_prob = -math.log(len(legal))
        texts = [stream.choice(legal) for _ in range(count)]
        return [Step(text, log_prob=log_prob, num_tokens=len(text.split())) for text in texts]


@dataclass(frozen=True)
class ScriptedRewardModel:
    """Scores each step by a function of the state up to it, or by the text of the step.

    A text that is not listed scores `default`.
    """

    scores: Scores
    """A function of the state up to a step, or a mapping from a step's text; scores are in [0, 1]."""
    default: float = 0.5
    num_parameters: int = 0
    """Parameters of the model that it stands for, counted for FLOPs."""

    def score(self, states: Sequence[State]) -> list[list[float]]:
        return [
            [self._score(state, end) for end in range(1, len(state.steps) + 1)] for state in states
        ]

    def _score(self, state: State, end: int) -> float:
        if callable(self.scores):
            return self.scores(replace(state, steps=state.steps[:end]))
        return self.scores.get(state.steps[end - 1].text, self.default)


@dataclass(frozen=True)
class RandomRewardModel:
    """Scores at random, as a function of the steps.

    It is the control that every learned reward model must beat.
    """

    seed: int = 0
    """Seed of the scores; equal seeds and steps give equal scores."""
    num_parameters: int = 0
    """Parameters counted for FLOPs; there is no model."""

    def score(self, states: Sequence[State]) -> list[list[float]]:
        return [self._scores(state) for state in states]

    def _scores(self, state: State) -> list[float]:
        texts = [step.text for step in state.steps]
        return [
            derive_seed(self.seed, state.prompt, *texts[: end + 1]) / 2**64
            for end in range(len(texts))
        ]


def spelling_policy(letters: str = "abcd") -> ScriptedPolicy:
    """Return a policy for `stepgym/Words-v0` that proposes all letters.

    Earlier letters have a higher probability.
    """
    steps = [
        Step(letter, log_prob=-0.5 - 0.5 * i, num_tokens=2) for i, letter in enumerate(letters)
    ]
    return ScriptedPolicy(lambda state: steps)


def spelling_reward(word: str) -> ScriptedRewardModel:
    """Return a reward model for `stepgym/Words-v0` that favours one word.

    The score is 0.9 while the letters so far begin `word`, else 0.2.
    """

    def score(state: State) -> float:
        return 0.9 if word.startswith("".join(step.text for step in state.steps)) else 0.2

    return ScriptedRewardModel(score)
