"""Whole attempts, one step a round, some with an earlier attempt in view: what `revise` and `ab_mcts` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from stepgym.agents.search.answers import known_verdict, path_score
from stepgym.agents.types import NO_PARENT, ROOT, NodeStatus, Request, SearchTree
from stepgym.envs.types import State

TEMPLATE = "{prompt}\n\nAn earlier attempt, {judgement}:\n{attempt}\n\nTry again, better."
UNKNOWN_VALUE = 0.5


@dataclass(slots=True)
class Attempt:
    """One path from the root to its end."""

    shown: int
    """The earlier attempt that the policy sees; `NO_PARENT` for none."""
    tip: int = ROOT
    """The last node of the path."""
    done: bool = False


@dataclass(slots=True)
class AttemptsMemory:
    """All attempts in one tree, in the order in which they were started."""

    attempts: list[Attempt] = field(default_factory=list)

    @property
    def all_done(self) -> bool:
        return all(attempt.done for attempt in self.attempts)

    def requests(self, tree: SearchTree) -> list[Request]:
        """Return one request of one step for each running attempt, in order."""
        return [
            Request(
                attempt.tip,
                1,
                None
                if attempt.shown == NO_PARENT
                else view(tree, attempt.tip, shown=self.attempts[attempt.shown].tip),
            )
            for attempt in self.attempts
            if not attempt.done
        ]

    def advance(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> list[Attempt]:
        """Move every running attempt to its next node and return those that are done now."""
        left = {node: list(children) for node, children in grown.items()}
        finished = []
        for attempt in self.attempts:
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


def view(tree: SearchTree, node: int, *, shown: int) -> State:
    """Return what the policy sees at `node`: the same steps, and in the prompt the attempt that ended in `shown`.

    The prompt says how that attempt was judged, without the verifier's reason, which may quote the reference.
    """
    state = tree.states[node]
    text = "\n".join(
        step.text + (f"\n{step.reply}" if step.reply else "") for step in tree.states[shown].steps
    )
    prompt = TEMPLATE.format(prompt=state.prompt, judgement=_judgement(tree, shown), attempt=text)
    return replace(state, prompt=prompt)


def _judgement(tree: SearchTree, node: int) -> str:
    if node in tree.verdicts:
        return f"which was {tree.verdicts[node].status.value}"
    if not tree.states[node].has_result:
        return "which gave no answer"
    score = tree.score[node]
    return "not known to be right" if score is None else f"scored {score:.2f} of 1"


def attempt_value(tree: SearchTree, node: int, aggregation: str) -> float:
    """Return the value of a finished attempt in [0, 1]: its verdict's score, else the reward model's, else 1/2.

    An attempt without a result has the value 0.
    """
    verdict = known_verdict(tree, node)
    if verdict is not None:
        return verdict.score
    if not tree.states[node].has_result:
        return 0.0
    score = path_score(tree, node, aggregation)
    return UNKNOWN_VALUE if score is None else score
