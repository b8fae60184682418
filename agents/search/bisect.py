"""Binary search with rollouts for the first wrong step of a solution.

Source: OmegaPRM, Luo et al. 2024, arXiv:2406.06592.

This search makes step labels, not answers. It draws whole samples first. On each wrong one it then looks for the last
step from which the policy still finds a correct answer. Rollouts stay in the tree, where the label methods
`first_error` and `monte_carlo` read them. A path of L steps costs about log2(L) probes instead of L.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stepgym.agents.search.answers import best_answer, check_at_least
from stepgym.agents.search.best_of_n import SamplingMemory
from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree
from stepgym.envs.types import Status


@dataclass(slots=True)
class BisectMemory:
    """The steps that have been probed."""

    probed: set[int] = field(default_factory=set)
    """Indices of the nodes that end with these steps."""


@dataclass(frozen=True, kw_only=True)
class Bisect:
    """Draw `samples`, then probe steps of the wrong ones with `rollouts` rollouts each.

    The search must see verdicts.

    A step counts as good if an end below it is verified as correct. If no rollout below a step is correct, later
    steps are taken as wrong, too. If no sample is correct, nothing is probed; without verdicts, it only samples.
    """

    samples: int = 8
    rollouts: int = 4

    def __post_init__(self) -> None:
        check_at_least(samples=self.samples, rollouts=self.rollouts)

    def select(self, tree: SearchTree) -> list[Request]:
        if requests := tree.recall(SamplingMemory).requests():
            return requests
        if tree.status[ROOT] is not NodeStatus.OPEN:
            return []
        if not tree.asked[ROOT]:
            return [Request(ROOT, self.samples)]
        probed = tree.recall(BisectMemory).probed
        probes = _probes(tree, probed)
        probed.update(probes)
        return [Request(node, self.rollouts) for node in probes]

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        memory = tree.recall(SamplingMemory)
        for node, children in grown.items():
            if (
                node not in memory.unfinished
            ):  # new samples start here and pass through all nodes above
                for passed in tree.path(node):
                    tree.visits[passed] += len(children)
        memory.advance(tree, grown)

    def best(self, tree: SearchTree) -> int:
        return best_answer(tree, num_samples=dict(enumerate(tree.visits)))


def _probes(tree: SearchTree, probed: set[int]) -> list[int]:
    """Return the next step to probe on each wrong path whose bisection is not finished, each step once."""
    good = {
        node for end, verdict in tree.verdicts.items() if verdict.correct for node in tree.path(end)
    }
    if ROOT not in good:
        return []
    wrong = [end for end, verdict in tree.verdicts.items() if verdict.status is Status.INCORRECT]
    found = (next_probe(tree.path(end), good, probed) for end in wrong)
    return list(
        dict.fromkeys(
            node for node in found if node is not None and tree.status[node] is NodeStatus.OPEN
        )
    )


def next_probe(path: Sequence[int], good: set[int], probed: set[int]) -> int | None:
    """Return the next step for the binary search to probe.

    `None` once the first error is found.
    """
    low, high = 0, len(path) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if path[middle] in good:
            low = middle
        elif path[middle] in probed:
            high = middle
        else:
            return path[middle]
    return None
