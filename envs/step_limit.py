"""A step limit as part of the dynamics, so that a restored state has the steps left that it had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stepgym.envs.illegal_steps import IllegalSteps, limit_sentence
from stepgym.envs.types import (
    Domain,
    End,
    LegalSteps,
    Problem,
    RefusesSteps,
    State,
    Step,
    UsesSandbox,
)
from stepgym.plugins.settings import SettingError


class StepLimit:
    """A domain that ends an episode after `max_steps` steps; everything else is the inner domain's."""

    def __init__(self, domain: Domain, max_steps: int) -> None:
        if max_steps < 1:
            raise SettingError(f"max_steps is at least 1, not {max_steps!r}")
        self.domain = domain
        self.max_steps = max_steps
        if isinstance(domain, LegalSteps):  # set here, because isinstance does not see __getattr__
            self.legal_steps = domain.legal_steps
        if isinstance(domain, UsesSandbox):
            self.sandbox = domain.sandbox
        if isinstance(domain, RefusesSteps):
            self.refusing = self._refusing

    def initial(self, problem: Problem) -> State:
        state = self.domain.initial(problem)
        told = [state.system] if state.system else []
        return replace(state, system=" ".join([*told, limit_sentence(self.max_steps)]))

    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        return [self._limit(state) for state in self.domain.advance(states, steps)]

    def _refusing(self, rule: IllegalSteps) -> StepLimit:
        assert isinstance(self.domain, RefusesSteps)
        return StepLimit(self.domain.refusing(rule), self.max_steps)

    def _limit(self, state: State) -> State:
        if state.done or len(state.steps) < self.max_steps:
            return state
        return State(
            state.prompt, state.steps, None, End.STEP_LIMIT, state.public, system=state.system
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "domain":
            raise AttributeError(name)
        return getattr(self.domain, name)
