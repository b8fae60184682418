"""Compute-optimal allocation: probe every problem, then divide the rest by difficulty.

Source: Snell et al. 2024, arXiv:2408.03314, section 3, where the best method and width depend on the difficulty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepgym.agents.search.answers import Pick, best_answer, check_at_least, check_choice, verified
from stepgym.agents.search.beam import Beam
from stepgym.agents.search.best_of_n import BestOfN
from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree


@dataclass(slots=True)
class AdaptiveMemory:
    """A tree's present stage and the search that grows it in that stage."""

    stage: int = 0
    """0 is the probe; later stages divide the rest of the budget."""
    method: BestOfN | Beam | None = None
    """`None` if the tree gets nothing in this stage; in stage 0, if the probe has not started."""


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Divide `steps` steps per problem among all problems of the run, by difficulty.

    Every problem first gets `probe` samples. A problem is done if a sample is verified, or, without verdicts, if a
    share of `accept` or more of the samples agree. What is left goes to the other problems in equal parts, in
    `stages`: to more samples if the estimate is `hard` or more, and below that to a beam, because a reward model can
    lead samples to ends that they would not reach. The estimate is the mean score of the probe's ends; without scores,
    the largest share of one answer.

    `pick` (see `stepgym.agents.search.answers.Pick`) chooses among answers if none is verified: by default the best
    score, or a vote without scores.
    """

    steps: int = 64
    probe: int = 4
    accept: float = 1.0
    hard: float = 0.3
    stages: int = 3
    pick: str | None = None

    def __post_init__(self) -> None:
        check_at_least(steps=self.steps, probe=self.probe, stages=self.stages)
        check_choice("pick", self.pick, choices=Pick)

    def select(self, tree: SearchTree) -> list[Request]:
        memory = tree.recall(AdaptiveMemory)
        if memory.method is None and memory.stage == 0:
            memory.method = BestOfN(n=self.probe)
        return [] if memory.method is None else memory.method.select(tree)

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        method = tree.recall(AdaptiveMemory).method
        if method is not None:
            method.backup(tree, grown)

    def best(self, tree: SearchTree) -> int:
        return best_answer(tree, pick=self.pick, num_samples=dict(enumerate(tree.visits)))

    def allocate(self, trees: Sequence[SearchTree]) -> bool:
        """Plan the next stage for all problems; return False if the budget or the problems are done."""
        memories = [tree.recall(AdaptiveMemory) for tree in trees]
        stage = 1 + max((memory.stage for memory in memories), default=self.stages)
        for memory in memories:
            memory.stage, memory.method = stage, None
        unsolved = [tree for tree in trees if self._needs_more(tree)]
        left = self.steps * len(trees) - sum(sum(tree.asked) for tree in trees)
        if stage > self.stages or not unsolved or left <= 0:
            return False
        share = left // (len(unsolved) * (self.stages - stage + 1))
        for tree in unsolved:
            tree.recall(AdaptiveMemory).method = self._plan(tree, share)
        return any(memory.method is not None for memory in memories)

    def _needs_more(self, tree: SearchTree) -> bool:
        if verified(tree) is not None or tree.status[ROOT] is not NodeStatus.OPEN:
            return False
        return tree.sees_verdicts or not tree.groups or self._agreement(tree) < self.accept

    def _plan(self, tree: SearchTree, share: int) -> BestOfN | Beam | None:
        """Return the search that spends about `share` steps on a tree; `None` if that is too few."""
        depth = max(1, *(len(state.steps) for state in tree.states))
        has_scores = any(score is not None for score in tree.score)
        width = share // (4 * depth)
        if width and has_scores and self._estimate(tree) < self.hard:
            beam = Beam(width=width)
            beam.restart(tree)
            return beam
        if share < depth:
            return None
        samples = BestOfN(n=tree.asked[ROOT] + share // depth)
        samples.restart(tree)
        return samples

    def _estimate(self, tree: SearchTree) -> float:
        """Return how likely a sample is to be right, in [0, 1]."""
        scores = [
            score
            for node, status in enumerate(tree.status)
            if status is NodeStatus.ENDED and (score := tree.score[node]) is not None
        ]
        return sum(scores) / len(scores) if scores else self._agreement(tree)

    def _agreement(self, tree: SearchTree) -> float:
        """Return the share of the samples with an answer that gave the most frequent one."""
        votes: dict[int, int] = {}
        for node, group in tree.groups.items():
            votes[group] = votes.get(group, 0) + tree.visits[node]
        total = sum(votes.values())
        return max(votes.values()) / total if total else 0.0
