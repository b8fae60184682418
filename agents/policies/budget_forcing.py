"""Budget forcing around a policy (Muennighoff et al. 2025, s1, arXiv:2501.19393).

A model thinks between `<think>` and `</think>`. To make it think less, the thought is closed after a number of
tokens. To make it think more, its `</think>` is replaced by "Wait". Forced text is read by the model, not sampled: it
costs prompt tokens and counts in no log-probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

from stepgym.agents.description import describe
from stepgym.agents.policies.chat_policy import NO_PREFILL, ChatPolicy
from stepgym.agents.policies.continuation import Continuation, PartialStep, StepContinuer, Stop
from stepgym.agents.randomness import derive_seed
from stepgym.agents.registry import load_policy
from stepgym.agents.types import HasParameters, Policy, PolicyError
from stepgym.envs.tokens import THINK, THINK_END
from stepgym.envs.types import State, Step

SERVED = ("concurrency", "num_retries", "spending")


@runtime_checkable
class ContinuingPolicy(Policy, StepContinuer, Protocol):
    """A policy that can be forced: one that continues steps."""


class BudgetForcingPolicy:
    """Lets the policy think once on each path, within bounds; later steps are the policy's own.

    The thought is opened for the model and closed after `max_thinking_tokens` (`None` is no limit here). When the
    model would close it, it is continued with `wait`, `num_waits` times. A policy without a token limit of its own
    needs one here.
    """

    def __init__(
        self,
        policy: ContinuingPolicy,
        *,
        max_thinking_tokens: int | None = 512,
        num_waits: int = 0,
        wait: str = "\nWait",
        close: str = f"\n{THINK_END}\n",
    ) -> None:
        if max_thinking_tokens is not None and max_thinking_tokens < 1:
            raise ValueError(
                f"max_thinking_tokens is at least 1 or None, not {max_thinking_tokens!r}"
            )
        if num_waits < 0 or not wait:
            raise ValueError(f"num_waits {num_waits!r} must be >= 0 and wait {wait!r} not empty")
        if THINK_END not in close:
            raise ValueError(f"close {close!r} must hold {THINK_END}")
        if isinstance(policy, ChatPolicy) and policy.continuation != "prefill":
            raise ValueError(f"budget forcing: {NO_PREFILL}")
        self.policy = policy
        self.max_thinking_tokens, self.num_waits, self.wait, self.close = (
            max_thinking_tokens,
            num_waits,
            wait,
            close,
        )

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the policy inside."""
        return self.policy.num_parameters if isinstance(self.policy, HasParameters) else 0

    def __getattr__(self, name: str) -> Any:
        # What a served policy offers besides its steps is offered too: concurrency, num_retries, spending.
        if name in SERVED:
            return getattr(self.policy, name)
        raise AttributeError(name)

    def describe(self) -> dict[str, Any]:
        """Return the policy's settings, as records keep them."""
        return {
            "kind": "budget_forcing",
            "max_thinking_tokens": self.max_thinking_tokens,
            "num_waits": self.num_waits,
            "wait": self.wait,
            "policy": describe(self.policy),
        }

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        """Return up to `counts[i]` steps for `states[i]`.

        Raises `PolicyError`, with the steps of the others, for a state that failed.
        """
        failures: dict[int, str] = {}
        steps: list[list[Step]] = [[] for _ in states]
        thoughts: list[_Thought] = []
        partials = [self._begun(state, count) for state, count in zip(states, counts, strict=True)]
        for i, each in enumerate(self._extend(partials, list(range(len(states))), failures)):
            for child, written in enumerate(each):
                if partials[i].texts:
                    begun = tuple(map(_Piece, partials[i].texts))
                    thoughts.append(_Thought(i, _own_draw(states[i], child), begun).add(written))
                else:
                    steps[i].append(written.step)
        done: list[_Thought] = []
        while thoughts:
            forced = [self._force(thought) for thought in thoughts]
            partials = [self._next(thought) for thought in forced]
            results = self._extend(partials, [thought.owner for thought in forced], failures)
            grown = [thought.add(each[0]) for thought, each in zip(forced, results) if each]
            done += [thought for thought in grown if thought.closed]
            thoughts = [thought for thought in grown if not thought.closed]
        for thought in done:
            steps[thought.owner].append(thought.step)
        if failures:
            message = f"{len(failures)} of {len(states)} states failed, the first: {next(iter(failures.values()))}"
            raise PolicyError(message, steps=steps, failures=failures)
        return steps

    def _begun(self, state: State, count: int) -> PartialStep:
        if any(THINK_END in step.text for step in state.steps):
            return PartialStep(state, num_children=count)
        return PartialStep(
            state,
            (THINK,),
            num_children=count,
            max_new_tokens=self.max_thinking_tokens,
            stops=(THINK_END,),
        )

    def _extend(
        self, partials: Sequence[PartialStep], owners: Sequence[int], failures: dict[int, str]
    ) -> list[list[Continuation]]:
        extended = self.policy.continue_steps(partials)
        failures.update({owners[i]: reason for i, reason in extended.failures.items()})
        return extended.written

    def _force(self, thought: _Thought) -> _Thought:
        """Carry a thought on where waits and tokens are left, and close it otherwise."""
        left = (
            self.max_thinking_tokens is None or thought.step.num_tokens < self.max_thinking_tokens
        )
        if thought.stop is not Stop.LENGTH and thought.num_waits < self.num_waits and left:
            return replace(thought.force(self.wait), num_waits=thought.num_waits + 1)
        return replace(thought.force(self.close), closed=True)

    def _next(self, thought: _Thought) -> PartialStep:
        if thought.closed:
            return thought.partial()
        limit = self.max_thinking_tokens
        left = None if limit is None else limit - thought.step.num_tokens
        return thought.partial(max_new_tokens=left, stops=(THINK_END,))


class _Piece(NamedTuple):
    """A stretch of a thought; its tokens and their log-probabilities are `None` if it was forced or they are unknown."""

    text: str
    ids: tuple[int, ...] | None = None
    log_probs: tuple[float | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Thought:
    """One child's step while it is written; `step` adds up what its parts cost."""

    owner: int
    state: State
    pieces: tuple[_Piece, ...]
    step: Step = field(default_factory=lambda: Step("", log_prob=0.0))
    stop: Stop = Stop.LENGTH
    num_waits: int = 0
    closed: bool = False

    def add(self, written: Continuation) -> _Thought:
        """Return the thought with one more part, written by the model."""
        old, new = self.step, written.step
        pieces = (*self.pieces, _Piece(new.text, new.token_ids, new.token_log_probs))
        tokens = _tokens(pieces, written.begun_ids)
        step = Step(
            "".join(piece.text for piece in pieces),
            log_prob=None
            if old.log_prob is None or new.log_prob is None
            else old.log_prob + new.log_prob,
            num_tokens=old.num_tokens + new.num_tokens,
            num_reasoning_tokens=old.num_reasoning_tokens + new.num_reasoning_tokens,
            num_prompt_tokens=old.num_prompt_tokens + new.num_prompt_tokens,
            final=new.final and self.closed,
            token_ids=None if tokens is None else tuple(token for token, _ in tokens),
            token_log_probs=None if tokens is None else tuple(log_prob for _, log_prob in tokens),
            context_ids=new.context_ids,
        )
        return replace(self, pieces=pieces, step=step, stop=written.stop)

    def force(self, text: str) -> _Thought:
        """Return the thought with a forced piece at its end."""
        return replace(self, pieces=(*self.pieces, _Piece(text)))

    def partial(self, **limits: Any) -> PartialStep:
        """Return the thought so far, to be continued."""
        texts = tuple(piece.text for piece in self.pieces)
        return PartialStep(self.state, texts, tuple(piece.ids for piece in self.pieces), **limits)


def _tokens(
    pieces: Sequence[_Piece], begun_ids: Sequence[tuple[int, ...]]
) -> list[tuple[int, float | None]] | None:
    """Return the tokens of a whole step as they were read and written, and the log-probabilities of those written."""
    last = pieces[-1]
    if last.ids is None or len(begun_ids) != len(pieces) - 1:
        return None
    found: list[tuple[int, float | None]] = []
    for piece, ids in zip(pieces, (*begun_ids, last.ids)):
        known = piece.log_probs if piece.ids is not None else None
        found += zip(ids, (None,) * len(ids) if known is None else known)
    return found


def _own_draw(state: State, child: int) -> State:
    """Give each child random numbers of its own: two equal thoughts may end differently."""
    return (
        state if state.draw is None else replace(state, draw=derive_seed(state.draw, child) % 2**31)
    )


def load(
    name: str,
    *,
    seed: int = 0,
    max_thinking_tokens: int | None = 512,
    num_waits: int = 0,
    wait: str = "\nWait",
    **settings: Any,
) -> BudgetForcingPolicy:
    """Make the policy `budget_forcing:NAME`; other settings are those of the policy inside."""
    if name.startswith("chat:"):
        settings.setdefault("continuation", "prefill")
    inner: Any = load_policy(name, seed=seed, **settings)
    if not isinstance(inner, ContinuingPolicy):
        raise ValueError(
            f"policy {name!r} cannot continue a step whose beginning is given; hf:NAME_OR_FOLDER and "
            "chat:URL#MODEL can"
        )
    return BudgetForcingPolicy(
        inner, max_thinking_tokens=max_thinking_tokens, num_waits=num_waits, wait=wait
    )
