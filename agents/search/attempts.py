"""Whole attempts, one step a round, some with an earlier attempt in view: what `revise` and `ab_mcts` share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from stepgym.agents.search.answers import path_score
from stepgym.agents.types import NO_PARENT, ROOT, NodeStatus, Request, SearchTree
from stepgym.envs.types import State

TEMPLATE = "{prompt}\n\nAn earlier attempt, {judgement}:\n{attempt}\n\nTry again, better."


@dataclass(slots=True)
class Attempt:
    """One path from the root to its end; `after` is the attempt that was in view (-1 for none)."""

    after: int
    tip: int = ROOT
    done: bool = False


def view(tree: SearchTree, node: int, failed: int) -> State:
    """Return what the policy sees at `node`: the same steps, and in the prompt the attempt that ended in `failed`.

    How it was judged is told, the verifier's reason is not: it may quote the reference.
    """
    state = tree.states[node]
    text = "\n".join(
        step.text + (f"\n{step.reply}" if step.reply else "") for step in tree.states[failed].steps
    )
    prompt = TEMPLATE.format(prompt=state.prompt, judgement=_judgement(tree, failed), attempt=text)
    return replace(state, prompt=prompt)


def _judgement(tree: SearchTree, node: int) -> str:
    if node in tree.verdicts:
        return f"which was {tree.verdicts[node].status.value}"
    if tree.states[node].answer is None:
        return "which gave no answer"
    score = tree.score[node]
    return "not known to be right" if score is None else f"scored {score:.2f} of 1"


def requests_of(tree: SearchTree, attempts: Sequence[Attempt]) -> list[Request]:
    """Return one request of one step for each attempt that is under way, in their order."""
    running = [attempt for attempt in attempts if not attempt.done]
    return [
        Request(
            a.tip, 1, None if a.after == NO_PARENT else view(tree, a.tip, attempts[a.after].tip)
        )
        for a in running
    ]


def take_in(
    tree: SearchTree, attempts: Iterable[Attempt], grown: Mapping[int, Sequence[int]]
) -> list[Attempt]:
    """Move every running attempt along and return those that are done now."""
    left = {node: list(children) for node, children in grown.items()}
    finished = []
    for attempt in attempts:
        if attempt.done:
            continue
        if attempt.tip == ROOT:
            tree.visits[ROOT] += 1
        if left[attempt.tip]:
            attempt.tip = left[attempt.tip].pop(0)
            tree.visits[attempt.tip] += 1
            attempt.done = tree.status[attempt.tip] is not NodeStatus.OPEN
        else:
            attempt.done = True
        if attempt.done:
            finished.append(attempt)
    return finished


def worth(tree: SearchTree, node: int, aggregation: str) -> float:
    """Return the value of a finished attempt in [0, 1]: its verdict's score, else the reward model's, else 1/2."""
    if node in tree.verdicts:
        return tree.verdicts[node].score
    if tree.states[node].answer is None:
        return 0.0
    score = path_score(tree, node, aggregation)
    return 0.5 if score is None else score
