"""Monte-Carlo tree search: PUCT over steps, with simulations that run to an end.

The descent is in `stepgym.agents.search.puct`, root exploration in `stepgym.agents.search.root`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from stepgym.agents.search.answers import Aggregation, Pick, best_answer, check_choice, has_verified
from stepgym.agents.search.puct import Walks, close, follow, known_already, set_priors, walks_of
from stepgym.agents.search.root import RootNoise, add_dirichlet, choose_gumbel
from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree

BARREN, ENDED, FAILED, OPEN = (
    NodeStatus.BARREN,
    NodeStatus.ENDED,
    NodeStatus.FAILED,
    NodeStatus.OPEN,
)  # bound once: looking a member up costs seven times the comparison


class Backup(StrEnum):
    """What a node's value is made of."""

    MEAN = "mean"
    MAX = "max"


@dataclass(frozen=True, kw_only=True)
class MCTS:
    """Run `simulations` walks from the root, up to `leaves` of them at once.

    A walk follows PUCT (Silver et al. 2017, arXiv:1712.01815; priors are the policy's probabilities renormalised
    among siblings) to a node that has not been asked for `width` steps, asks for them, and goes on through its best
    child until an end (`until_end`; otherwise it stops there). `value` of a walk: the verdict's score where verdicts
    are seen, else the reward model's score of the end, mixed with the score of the first new leaf by
    `outcome_weight`. Walks in flight count as visits of value 0 (virtual loss), so that they spread. Ends are visited
    once; a subtree with nothing left to try is closed. Equal `State.public` at equal depth is one state (`merge`).
    The root's visits are the training target.
    """

    simulations: int = 64
    width: int = 4
    rollout_width: int | None = None
    """Steps asked for beyond the first new leaf of a walk; `None` is `width`."""
    leaves: int = 4
    until_end: bool = True
    outcome_weight: float = 1.0
    """1 is the end alone, 0 the leaf's score alone."""
    backup_rule: str = Backup.MEAN
    exploration: float = 1.25
    exploration_base: float = 19652.0
    prior_temperature: float = 1.0
    widen: float = 0.25
    """Exponent of progressive widening (Couetoux et al. 2011): a node may have been asked for
    `width * visits ** widen` steps, and is asked again when its subtree is used up. 0 is off."""
    root_noise: str = RootNoise.NONE
    noise_fraction: float = 0.25
    dirichlet_alpha: float = 0.3
    gumbel_candidates: int = 16
    merge: bool = True
    stop_at_verified: bool = True
    aggregation: str = Aggregation.LAST
    pick: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("simulations", "width", "leaves"):
            if getattr(self, name) < 1:
                raise ValueError(f"mcts: {name}={getattr(self, name)}; must be at least 1")
        check_choice("mcts", "backup_rule", self.backup_rule, Backup)
        check_choice("mcts", "root_noise", self.root_noise, RootNoise)
        check_choice("mcts", "aggregation", self.aggregation, Aggregation)
        check_choice("mcts", "pick", self.pick, Pick)

    def is_done(self, tree: SearchTree) -> bool:
        """Say whether a verified answer ends the search."""
        return self.stop_at_verified and has_verified(tree)

    def select(self, tree: SearchTree) -> list[Request]:
        if self.is_done(tree):
            return []
        walks = walks_of(self, tree)
        paths, leaf, asked, visits = walks.paths, walks.leaf, tree.asked, tree.visits
        while len(paths) < self.leaves and walks.started < self.simulations:
            if tree.status[ROOT] is not OPEN or not self._launch(tree, walks):
                break
        return [
            Request(node, self.wanted(asked[node], visits[node], node not in leaf))
            for node in paths
        ]

    def wanted(self, asked: int, visits: int, is_leaf: bool) -> int:
        """Return how many steps to ask for: what is missing to the width, or what widening adds."""
        missing = (self.width if is_leaf else self.rollout_width or self.width) - asked
        return missing if missing > 0 else max(1, self.allowed(visits) - asked)

    def allowed(self, visits: int) -> int:
        """Return how many steps a node may have been asked for after so many visits."""
        return max(self.width, int(self.width * visits**self.widen)) if self.widen else self.width

    def due_at(self, asked: int) -> float:
        """Return at how many visits a grown node is to be asked again: the inverse of `allowed`."""
        if asked < self.width:
            return 0.0
        return ((asked + 1) / self.width) ** (1 / self.widen) if self.widen else math.inf

    def _launch(self, tree: SearchTree, walks: Walks) -> bool:
        """Start one walk; a walk that meets an end is backed up at once. False when it met a walk in flight."""
        path = [ROOT]
        tree.visits[ROOT] += 1
        if (
            self.root_noise == RootNoise.GUMBEL
            and walks.live[ROOT]
            and tree.asked[ROOT] >= self.width
        ):
            path.append(choose_gumbel(self, tree, walks))
            walks.enter(tree, path[-1])
        follow(tree, walks, path)
        node = path[-1]
        if node in walks.paths:
            for on_path in path:
                walks.leave(tree, on_path)
            return False
        walks.started += 1
        if tree.status[node] is OPEN:
            walks.paths[node] = path
        else:
            self._finish(tree, walks, path, node)
        return True

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        walks = walks_of(self, tree)
        paths, asked, own = walks.paths, tree.asked, tree.children
        known = len(walks.live)
        walks.cover(len(tree.states))
        due, asked_before = 0.0, -1
        for node, children in grown.items():
            path, leaf = paths.pop(node), walks.leaf.pop(node, node)
            is_new = (
                children is own[node]
                and bool(children)
                and children[0] >= known
                and _adjacent(children)
            )
            if is_new:
                has_more = walks.adopt_new(
                    tree, node, children, merge=self.merge, temperature=self.prior_temperature
                )
            elif known_already(tree, node, known):
                has_more = False
            else:
                has_more = walks.adopt(tree, node, children, known=known, merge=self.merge)
                set_priors(walks, tree, node, children, self.prior_temperature)
            if asked[node] != asked_before:
                asked_before = asked[node]
                due = self.due_at(asked_before)
            walks.due_at[node] = due if has_more else math.inf
            if node == ROOT and self.root_noise == RootNoise.DIRICHLET:
                add_dirichlet(self, tree, walks)
            if self.until_end and walks.live[node]:
                follow(tree, walks, path, grown=True)
                end = path[-1]
                if tree.status[end] is OPEN and end not in paths:
                    paths[end] = path
                    if end != leaf:
                        walks.leaf[end] = leaf
                    continue
            self._finish(tree, walks, path, leaf)

    def _finish(self, tree: SearchTree, walks: Walks, path: list[int], leaf: int) -> None:
        """Carry a walk's value up its path and close what has nothing left to try."""
        end = path[-1]
        score = tree.score[end]
        if tree.status[end] is OPEN and score is not None and self.outcome_weight >= 1.0:  # mostly
            value = score
        else:
            value = self.value_of(tree, end, leaf)
        values, visits, total, worth = tree.value, tree.visits, walks.total, walks.worth
        if self.backup_rule == "mean":
            for node in path:
                total[node] = sum_ = total[node] + value
                worth[node] = values[node] = sum_ / visits[node]
        else:
            for node in path:
                worth[node] = values[node] = max(values[node], value)
                total[node] = values[node] * visits[node]
        if tree.status[end] is not OPEN:
            close(walks, tree, end)
        elif not walks.live[end] and tree.asked[end] and end not in walks.paths:
            if walks.due_at[end] == math.inf:
                close(walks, tree, end)
            else:
                walks.due_at[end] = 0.0

    def value_of(self, tree: SearchTree, end: int, leaf: int) -> float:
        """Return the value of a walk that ended at `end` after the new leaf `leaf`."""
        score, status = tree.score[end], tree.status[end]
        if status is OPEN:
            value = 0.5 if score is None else score
        elif end in tree.verdicts:
            value = tree.verdicts[end].score
        elif (
            (status is ENDED and tree.states[end].answer is None)
            or status is FAILED
            or status is BARREN
        ):
            value = 0.0
        else:
            value = 0.5 if score is None else score
        if self.outcome_weight >= 1.0 or (first := tree.score[leaf]) is None:
            return value
        return self.outcome_weight * value + (1.0 - self.outcome_weight) * first

    def best(self, tree: SearchTree) -> int:
        times = dict(enumerate(tree.visits))
        return best_answer(tree, pick=self.pick, aggregation=self.aggregation, times=times)


def _adjacent(children: Sequence[int]) -> bool:
    return children[-1] - children[0] == len(children) - 1
