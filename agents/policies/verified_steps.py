"""A policy without the steps that a step verifier proves wrong: `prune=verified` among an agent's settings.

What is proven wrong is drawn again, `tries` times at most, and never offered; UNDECIDED steps pass. In a game the position
before a step is all that the verifier needs, in free text it reads the solution so far. The verifier sees neither the
reference nor any data of the task that the policy may not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stepgym.agents.description import describe
from stepgym.agents.randomness import reseeded
from stepgym.agents.types import HasParameters, NeedsDomain, Policy, Seeded
from stepgym.envs.types import (
    Domain,
    Environment,
    LegalSteps,
    Problem,
    State,
    Status,
    Step,
    StepVerifier,
)
from stepgym.plugins.errors import UserError

VERIFIED = "verified"


class VerifiedSteps:
    """Draws again what `step_verifier` proves wrong in `domain`.

    The tokens of rejected steps count as prompt tokens of a step that is kept, so that FLOPs are right. If nothing is
    kept at a state, they are not counted.
    """

    def __init__(
        self, policy: Policy, *, domain: Domain, step_verifier: StepVerifier, tries: int = 3
    ) -> None:
        if tries < 1:
            raise UserError(f"tries is at least 1, not {tries!r}")
        self.policy = policy.bind(domain) if isinstance(policy, NeedsDomain) else policy
        self.domain, self.step_verifier, self.tries = domain, step_verifier, tries

    @property
    def num_parameters(self) -> int:
        return self.policy.num_parameters if isinstance(self.policy, HasParameters) else 0

    @property
    def seed(self) -> int:
        """The seed of the policy inside; 0 if it has none."""
        return self.policy.seed if isinstance(self.policy, Seeded) else 0

    @seed.setter
    def seed(self, seed: int) -> None:
        self.policy = reseeded(self.policy, seed)

    def describe(self) -> dict[str, Any]:
        """Return the policy's settings, as records keep them."""
        return {"kind": "verified_steps", "tries": self.tries, "policy": describe(self.policy)}

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        """Return up to `counts[i]` steps that are not proven wrong for `states[i]`. Raises `PolicyError`."""
        kept: list[list[Step]] = [[] for _ in states]
        rejected = [0] * len(states)
        drawn = [0] * len(states)
        for attempt in range(self.tries):
            missing = [i for i, count in enumerate(counts) if len(kept[i]) < count]
            if not missing:
                break
            asked = [_again(states[i], drawn[i]) if attempt else states[i] for i in missing]
            wanted = [counts[i] - len(kept[i]) for i in missing]
            offers = self.policy.propose(asked, wanted)
            wrong = self._wrong([states[i] for i in missing], offers)
            for i, steps, faults in zip(missing, offers, wrong):
                drawn[i] += len(steps)
                kept[i] += [step for step, fault in zip(steps, faults) if not fault]
                rejected[i] += sum(step.num_tokens for step, fault in zip(steps, faults) if fault)
        for i, steps in enumerate(kept):
            if steps and rejected[i]:
                num_prompt_tokens = steps[0].num_prompt_tokens + rejected[i]
                steps[0] = replace(steps[0], num_prompt_tokens=num_prompt_tokens)
        return kept

    def _wrong(self, states: Sequence[State], offers: Sequence[Sequence[Step]]) -> list[list[bool]]:
        """Return for each step whether it is proven wrong; all steps are verified in one call."""
        befores = [state for state, steps in zip(states, offers) for _ in steps]
        steps = [step for steps in offers for step in steps]
        if isinstance(self.domain, LegalSteps):
            afters = [
                State(before.prompt, (step,), public=before.public)
                for before, step in zip(befores, steps)
            ]
        else:
            afters = [
                replace(before, steps=(*before.steps, step)) for before, step in zip(befores, steps)
            ]
        problems = [Problem("", before.prompt, "", public=before.public) for before in befores]
        verdicts = self.step_verifier.verify_steps(problems, afters)
        faults = iter(each[-1].status is Status.INCORRECT for each in verdicts)
        return [[next(faults) for _ in steps] for steps in offers]


def _again(state: State, drawn: int) -> State:
    return replace(state, draw=(state.draw or 0) + drawn)


def pruned(
    policy: Policy, env: Environment, settings: dict[str, Any]
) -> tuple[Policy, dict[str, Any]]:
    """Take `prune` out of an agent's settings and return the policy as it asks for. Raises `UserError`."""
    left = dict(settings)
    given = left.pop("prune", None)
    if given in (None, "none"):
        return policy, left
    if given != VERIFIED:
        raise UserError(f"unknown prune {given!r}; known: none, {VERIFIED}")
    if env.step_verifier is None:
        raise UserError(f"prune={VERIFIED}: {env.env_id} has no step verifier")
    verified = VerifiedSteps(policy, domain=env.domain, step_verifier=env.step_verifier)
    return verified, left
