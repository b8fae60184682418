"""What a search has spent, counted while it runs, and whether that reaches a limit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from stepgym.agents.types import ROOT, Budget, SearchTree, Usage
from stepgym.envs.types import State, Step


def parameters_of(model: object) -> int:
    """Return the number of parameters a policy or reward model admits to; 0 where it says nothing."""
    count = getattr(model, "num_parameters", 0)
    return count if isinstance(count, int) else 0


def tokens_read(reward_model: object, tree: SearchTree, states: Sequence[State]) -> int:
    """Return the tokens a reward model reads to score new states of a tree, each by itself.

    It says so itself (`stepgym.agents.types.Reader`); otherwise it reads the problem and all steps of each state.
    The problem's tokens are what the policy was charged for it, once for all steps it drew there.
    """
    own = getattr(reward_model, "tokens_read", None)
    if own is not None:
        return int(sum(own(states)))
    firsts = [*states, *(tree.states[child] for child in tree.children[ROOT])]
    prompt = max((state.steps[0].num_prompt_tokens for state in firsts if state.steps), default=0)
    return sum(
        prompt + sum(step.num_tokens + step.num_reply_tokens for step in state.steps)
        for state in states
    )


@dataclass(slots=True)
class Meter:
    """Running totals of one search, or of a whole run. Not for several threads at once."""

    prompt_tokens: int = 0
    new_tokens: int = 0
    reasoning_tokens: int = 0
    tool_tokens: int = 0
    model_calls: int = 0
    flops: float = 0.0
    sandbox_s: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    wall_s: float = 0.0

    def add_steps(self, steps: Sequence[Step], num_parameters: int) -> None:
        """Charge every step that was drawn, also those that led nowhere new."""
        prompt = sum([step.num_prompt_tokens for step in steps])
        new = sum([step.num_tokens for step in steps])
        reasoning = sum([step.num_reasoning_tokens for step in steps])
        self.prompt_tokens += prompt
        self.new_tokens += new
        self.reasoning_tokens += reasoning
        if num_parameters:
            self.flops += 2.0 * num_parameters * (prompt + new)

    def add(self, other: Meter) -> None:
        """Add another meter's totals, all but the clock."""
        self.prompt_tokens += other.prompt_tokens
        self.new_tokens += other.new_tokens
        self.reasoning_tokens += other.reasoning_tokens
        self.tool_tokens += other.tool_tokens
        self.flops += other.flops
        self.sandbox_s += other.sandbox_s

    def exhausts(self, budget: Budget) -> bool:
        """Say whether any limit is reached, so that no further round may start."""
        self.wall_s = time.perf_counter() - self.started
        return (
            (budget.model_calls is not None and self.model_calls >= budget.model_calls)
            or (budget.new_tokens is not None and self.new_tokens >= budget.new_tokens)
            or (budget.flops is not None and self.flops >= budget.flops)
            or (budget.sandbox_s is not None and self.sandbox_s >= budget.sandbox_s)
            or (budget.wall_s is not None and self.wall_s >= budget.wall_s)
        )

    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens,
            visible_tokens=self.new_tokens - self.reasoning_tokens,
            reasoning_tokens=self.reasoning_tokens,
            tool_tokens=self.tool_tokens,
            model_calls=self.model_calls,
            flops=self.flops,
            sandbox_s=self.sandbox_s,
            wall_s=self.wall_s,
        )
