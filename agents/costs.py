"""What policies, reward models and sandboxes cost, charged to the usage of the searches that asked for it."""

from __future__ import annotations

from collections.abc import Sequence

from stepgym.agents.types import ROOT, CountsTokensRead, HasParameters, SearchTree, Usage
from stepgym.envs.types import State, Step, UsesSandbox


def num_parameters(model: object) -> int:
    """Return how many parameters a policy or reward model has; 0 if it does not say."""
    count: object = model.num_parameters if isinstance(model, HasParameters) else 0
    return count if isinstance(count, int) else 0


def uses_sandbox(part: object) -> bool:
    """Return whether a domain or verifier runs programs in a sandbox."""
    return isinstance(part, UsesSandbox) and part.sandbox is not None


def tokens_read(reward_model: object, tree: SearchTree, states: Sequence[State]) -> int:
    """Return how many tokens a reward model reads to score new states of a tree, each by itself.

    A model that does not say reads the problem and all steps of each state. The length of the problem is what the
    policy was charged for it; siblings that were drawn together were charged it once.
    """
    if isinstance(reward_model, CountsTokensRead):
        return sum(map(int, reward_model.tokens_read(states)))
    firsts = [*states, *(tree.states[child] for child in tree.children[ROOT])]
    prompt = max((state.steps[0].num_prompt_tokens for state in firsts if state.steps), default=0)
    return sum(
        prompt + sum(step.num_tokens + step.num_reply_tokens for step in state.steps)
        for state in states
    )


def charge_steps(usage: Usage, steps: Sequence[Step], num_parameters: int) -> None:
    """Charge every step that was drawn, including repeated ones."""
    prompt = sum([step.num_prompt_tokens for step in steps])
    new = sum([step.num_tokens for step in steps])
    reasoning = sum([step.num_reasoning_tokens for step in steps])
    usage.prompt_tokens += prompt
    usage.visible_tokens += new - reasoning
    usage.reasoning_tokens += reasoning
    usage.usd += sum([step.usd for step in steps])
    if num_parameters:
        usage.flops += 2.0 * num_parameters * (prompt + new)


def charge_sandbox(trees: Sequence[SearchTree], owners: Sequence[int], seconds: float) -> None:
    """Split the seconds of one batched call evenly over its items; `owners[i]` is the tree of item `i`."""
    for owner in owners:
        trees[owner].usage.sandbox_s += seconds / len(owners)
