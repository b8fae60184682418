"""The border to what users plug in: policy, reward model, domain, verifier. What they get wrong becomes data.

One call serves all problems. When it raises or answers in the wrong shape, each problem is asked again alone, so
that only the culprit fails. `KeyboardInterrupt`, `SystemExit` and `SandboxError` pass: a sandbox that is gone says
nothing about an answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from operator import gt
from types import NoneType
from typing import Any, NamedTuple, TypeVar

from stepgym.agents.types import Policy, PolicyError, RewardModel
from stepgym.envs.types import Domain, Problem, State, Step, StepVerifier, Verdict, Verifier
from stepgym.sandbox.types import SandboxError

MAX_STEP_CHARS = 200_000
MOST_LOG_PROB = 1e-6
"""Rounding may lift a probability of 1 a little."""
T = TypeVar("T")


class Failure(NamedTuple):
    """What went wrong in place of a result."""

    reason: str


class Offer(NamedTuple):
    """The usable steps a policy gave for one state, and what was wrong with the rest."""

    steps: list[Step]
    fault: str = ""


class ShapeError(ValueError):
    """A plug-in answered in a shape its protocol does not know."""


def call_isolated(
    call: Callable[..., list[T]],
    owners: Sequence[int],
    who: str,
    items: Sequence[Sequence[Any]] = (),
    again: list[int] | None = None,
) -> list[T] | list[T | Failure]:
    """Return `call(*items)`, whose result has one entry per position of every sequence in `items`, falling back to
    one call per owner when it fails.

    The owners that were called a second time are appended to `again`.
    """
    first = _attempt(call, [list(own) for own in items], who)
    if not isinstance(first, Failure):
        return list(first)
    results: list[T | Failure] = [first] * len(owners)
    if len(set(owners)) > 1:
        for owner in dict.fromkeys(owners):
            mine = [position for position, other in enumerate(owners) if other == owner]
            alone = _attempt(call, [[own[i] for i in mine] for own in items], who)
            if again is not None:
                again.append(owner)
            for i, position in enumerate(mine):
                results[position] = alone if isinstance(alone, Failure) else alone[i]
    return results


def _attempt(
    call: Callable[..., list[T]], items: Sequence[Sequence[Any]], who: str
) -> list[T] | Failure:
    try:
        return call(*items)
    except SandboxError:
        raise
    except Exception as error:  # noqa: BLE001 - a plug-in's failure is recorded, not raised
        return Failure(f"{who}: {type(error).__name__}: {error}"[:2000])


def propose(
    policy: Policy,
    states: Sequence[State],
    counts: Sequence[int],
    owners: Sequence[int],
    again: list[int] | None = None,
) -> tuple[list[list[Step]], dict[int, str]]:
    """Ask the policy for steps; return the usable ones of each state, and by position what was wrong with others.

    A state whose problem failed gets no step and the fault.
    """

    def call(states: Sequence[State], counts: Sequence[int]) -> list[Any]:
        faults: Mapping[int, str] = {}
        try:
            answers = policy.propose(states, counts)
        except PolicyError as error:
            if error.steps is None:
                raise
            answers, faults = error.steps, error.failures
        _same_length(answers, states, "lists of steps", "states")
        if not faults and all_usable(answers, counts):
            return answers
        return [
            usable(answer, count, faults.get(i, ""))
            for i, (answer, count) in enumerate(zip(answers, counts))
        ]

    given: Sequence[Any] = call_isolated(call, owners, "policy", (states, counts), again)
    if set(map(type, given)) <= {list}:
        return list(given), {}
    steps: list[list[Step]] = []
    faults = {}
    for i, own in enumerate(given):
        fault = (
            own.reason if isinstance(own, Failure) else own.fault if isinstance(own, Offer) else ""
        )
        steps.append(
            [] if isinstance(own, Failure) else own.steps if isinstance(own, Offer) else own
        )
        if fault:
            faults[i] = fault
    return steps, faults


def all_usable(answers: Sequence[Sequence[Step]], counts: Sequence[int]) -> bool:
    """Say whether everything in a batch of proposals can be used as it is; `usable` finds out what cannot."""
    if not set(map(type, answers)) <= {list} or any(map(gt, map(len, answers), counts)):
        return False
    steps = list(chain.from_iterable(answers))
    if set(map(type, steps)) != {Step}:
        return not steps
    texts = [step.text for step in steps]
    if set(map(type, texts)) != {str} or not all(texts) or max(map(len, texts)) > MAX_STEP_CHARS:
        return False
    tokens = [step.num_tokens for step in steps]
    if set(map(type, tokens)) != {int} or min(tokens) < 0:
        return False
    log_probs = [step.log_prob for step in steps]
    kinds = set(map(type, log_probs))
    if kinds != {float}:
        return kinds == {NoneType}  # a mixture is rare
    known: list[float] = log_probs  # type: ignore[assignment]
    # a sum with a NaN in it is NaN; without one, least and greatest are what they seem
    return not math.isnan(sum(known)) and min(known) > -math.inf and max(known) <= MOST_LOG_PROB


def usable(answer: object, count: int, fault: str = "") -> Offer:
    """Keep what can be used of one state's proposal; the fault names the first thing that cannot."""
    if not isinstance(answer, list | tuple):
        return Offer(
            [], fault or f"policy returned {type(answer).__name__} where a list of steps was due"
        )
    steps = []
    for step in answer[:count]:
        mended, wrong = _mend(step)
        fault = fault or wrong
        if mended is not None:
            steps.append(mended)
    if len(answer) > count:
        fault = fault or f"policy returned {len(answer)} steps where {count} were asked for"
    return Offer(steps, fault)


def _mend(step: object) -> tuple[Step | None, str]:
    if not isinstance(step, Step):
        return None, f"policy returned {type(step).__name__} where a Step was due"
    if not isinstance(step.text, str):
        return None, f"policy returned a Step whose text is {type(step.text).__name__}"
    if not step.text and not step.final:
        return None, "policy returned an empty step"
    if len(step.text) > MAX_STEP_CHARS:
        return (
            None,
            f"policy returned a step of {len(step.text)} characters; the limit is {MAX_STEP_CHARS}",
        )
    wrong = ""
    if type(step.num_tokens) is not int or step.num_tokens < 0:
        wrong = f"policy returned num_tokens {step.num_tokens!r}; taken as 0"
        step = replace(step, num_tokens=0)
    log_prob = step.log_prob
    if log_prob is not None and not (
        isinstance(log_prob, float | int) and -math.inf < log_prob <= MOST_LOG_PROB
    ):
        wrong = f"policy returned log-probability {log_prob!r}; taken as unknown"
        step = replace(step, log_prob=None)
    return step, wrong


def advance(
    domain: Domain, states: Sequence[State], steps: Sequence[Step], owners: Sequence[int]
) -> Sequence[State | Failure]:
    """Take one step from each state."""

    def call(states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        after = domain.advance(states, steps)
        _same_length(after, states, "states", "steps")
        if set(map(type, after)) == {State} and min([len(state.steps) for state in after]):
            return after
        for state in after:
            if not (isinstance(state, State) and state.steps):
                raise ShapeError(
                    f"domain.advance returned {state!r:.80} where a state with steps was due"
                )
        return after

    return call_isolated(call, owners, "domain", (states, steps))


def score(
    reward_model: RewardModel,
    states: Sequence[State],
    owners: Sequence[int],
    again: list[int] | None = None,
) -> Sequence[float | Failure]:
    """Return the reward model's score of the last step of each state."""

    def call(states: Sequence[State]) -> list[float]:
        scores = reward_model.score(states)
        _same_length(scores, states, "lists of scores", "states")
        if set(map(len, scores)) != {1}:  # one for the last step is within any state's steps
            for own, state in zip(scores, states):
                if not 0 < len(own) <= len(state.steps):
                    raise _score_error(own, state)
        lasts = [own[-1] for own in scores]
        if (
            set(map(type, lasts)) == {float}
            and min(lasts) >= 0.0
            and max(lasts) <= 1.0
            and not math.isnan(sum(lasts))
        ):
            return lasts
        for own, state in zip(scores, states):
            if own[-1] is None or not 0.0 <= own[-1] <= 1.0:
                raise _score_error(own, state)
        return list(map(float, lasts))

    return call_isolated(call, owners, "reward model", (states,), again)


def _score_error(scores: Sequence[float], state: State) -> ShapeError:
    if not 0 < len(scores) <= len(state.steps):
        return ShapeError(f"returned {len(scores)} scores for {len(state.steps)} steps")
    return ShapeError(f"returned score {scores[-1]!r}; scores are in [0, 1]")


def verify(
    verifier: Verifier, problems: Sequence[Problem], answers: Sequence[str], owners: Sequence[int]
) -> Sequence[Verdict | Failure]:
    """Return the verifier's verdict on each answer."""

    def call(problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        verdicts = verifier.verify(problems, answers)
        _same_length(verdicts, answers, "verdicts", "answers")
        return verdicts

    return call_isolated(call, owners, "verifier", (problems, answers))


def verify_steps(
    verifier: StepVerifier,
    problems: Sequence[Problem],
    states: Sequence[State],
    owners: Sequence[int],
) -> Sequence[list[Verdict] | Failure]:
    """Return the step verifier's verdict on each step of each state."""

    def call(problems: Sequence[Problem], states: Sequence[State]) -> list[list[Verdict]]:
        verdicts = verifier.verify_steps(problems, states)
        _same_length(verdicts, states, "lists of verdicts", "states")
        for own, state in zip(verdicts, states):
            _same_length(own, state.steps, "verdicts", "steps")
        return verdicts

    return call_isolated(call, owners, "step verifier", (problems, states))


def _same_length(results: Sequence[object], asked: Sequence[object], got: str, given: str) -> None:
    if len(results) != len(asked):
        raise ShapeError(f"returned {len(results)} {got} for {len(asked)} {given}")
