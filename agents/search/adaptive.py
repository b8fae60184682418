"""Compute-optimal allocation: probe every problem, then spend the rest where and how it pays (Snell et al. 2024,
arXiv:2408.03314, section 3: the best method and width depend on difficulty)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepgym.agents.search.answers import Aggregation, best_answer, verified
from stepgym.agents.search.beam import Beam
from stepgym.agents.search.best_of_n import BestOfN
from stepgym.agents.types import ROOT, NodeStatus, Request, Search, SearchTree


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Share `steps` proposed steps per problem, counted over all problems of the run, by difficulty.

    Every problem first gets `probe` samples. A problem whose probe is verified, or agrees with itself in a share of
    `accept` or more where verdicts are not seen, is done. What they leave goes to the others in equal parts, stage
    by stage: to more samples where the estimate is `hard` or more, and to a beam below that, where a reward model
    can lead samples to ends they would not reach. An estimate is the mean score of the probe's ends; without scores
    the largest share of one answer.
    """

    steps: int = 64
    probe: int = 4
    accept: float = 1.0
    hard: float = 0.3
    stages: int = 3
    pick: str | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "probe", "stages"):
            if getattr(self, name) < 1:
                raise ValueError(f"adaptive: {name}={getattr(self, name)}; must be at least 1")

    def select(self, tree: SearchTree) -> list[Request]:
        method = self._method(tree)
        return [] if method is None else method.select(tree)

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        method = self._method(tree)
        if method is not None:
            method.backup(tree, grown)

    def best(self, tree: SearchTree) -> int:
        times = dict(enumerate(tree.visits))
        return best_answer(tree, pick=self.pick, aggregation=Aggregation.LAST, times=times)

    def _method(self, tree: SearchTree) -> Search | None:
        """Return what grows the tree in this stage; `None` for a problem that gets nothing."""
        name, width = tree.memory.setdefault("plan", ("best_of_n", self.probe))
        if name == "best_of_n":
            return BestOfN(n=width)
        return Beam(width=width) if name == "beam" else None

    def allocate(self, trees: Sequence[SearchTree]) -> bool:
        """Plan the next stage for all problems together; False when nothing is left to spend or to solve."""
        stage = 1 + max((tree.memory.get("stage", 0) for tree in trees), default=self.stages)
        left = self.steps * len(trees) - sum(sum(tree.asked) for tree in trees)
        needy = [tree for tree in trees if self._needs_more(tree)]
        for tree in trees:
            tree.memory["stage"] = stage
            tree.memory["plan"] = ("done", 0)
        if stage > self.stages or not needy:
            return False
        share = left // (len(needy) * (self.stages - stage + 1))
        planned = [self._plan(tree, share) for tree in needy]
        return any(planned)

    def _needs_more(self, tree: SearchTree) -> bool:
        if verified(tree) is not None or tree.status[ROOT] is not NodeStatus.OPEN:
            return False
        return tree.sees_verdicts or not tree.groups or self._agreement(tree) < self.accept

    def _plan(self, tree: SearchTree, share: int) -> bool:
        depth = max(len(state.steps) for state in tree.states)
        samples, width = share // max(1, depth), share // (4 * max(1, depth))
        if (
            self._estimate(tree) < self.hard
            and width
            and any(score is not None for score in tree.score)
        ):
            tree.memory["plan"] = ("beam", width)
            tree.memory["beam"] = [ROOT]
            return True
        if samples:
            tree.memory["plan"] = ("best_of_n", tree.asked[ROOT] + samples)
            tree.memory["waiting"] = {}
        return samples > 0

    def _estimate(self, tree: SearchTree) -> float:
        scores = [
            score
            for node, status in enumerate(tree.status)
            if status is NodeStatus.ENDED and (score := tree.score[node]) is not None
        ]
        return sum(scores) / len(scores) if scores else self._agreement(tree)

    def _agreement(self, tree: SearchTree) -> float:
        votes: dict[int, int] = {}
        for node, group in tree.groups.items():
            votes[group] = votes.get(group, 0) + tree.visits[node]
        total = sum(votes.values())
        return max(votes.values()) / total if total else 0.0
