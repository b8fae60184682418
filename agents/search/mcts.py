"""Monte-Carlo tree search: PUCT over steps, with simulations that run to an end.

The formula and the descent are in `stepgym.agents.search.puct`, root exploration in `stepgym.agents.search.root`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from stepgym.agents.search.answers import (
    Aggregation,
    Pick,
    best_answer,
    check_choice,
    has_verified,
    known_verdict,
)
from stepgym.agents.search.puct import (
    UNKNOWN_Q,
    MCTSMemory,
    brought_nothing,
    coefficients_of,
    memory_from,
)
from stepgym.agents.search.root import RootNoise, add_dirichlet, choose_gumbel
from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree

BARREN, ENDED, OPEN = NodeStatus.BARREN, NodeStatus.ENDED, NodeStatus.OPEN
DIRICHLET, GUMBEL = RootNoise.DIRICHLET, RootNoise.GUMBEL
# bound once: looking a member up costs seven times the comparison


class Backup(StrEnum):
    """The values that make up the value of a node."""

    MEAN = "mean"
    MAX = "max"


@dataclass(frozen=True, kw_only=True)
class MCTS:
    """Run `simulations` from the root, up to `leaves` of them at once.

    A simulation follows PUCT (Silver et al. 2017, arXiv:1712.01815; priors are the policy's probabilities normalised
    among siblings) to a node that has not been asked for `width` steps, asks for them, and goes on through its best
    child until an end (`until_end`; otherwise it stops there). Its value is the verdict's score if verdicts are seen,
    else the reward model's score of the end, mixed with the score of the first new leaf by `outcome_weight`.
    Simulations in flight count as visits of value 0 (virtual loss), which spreads them. Ends are visited once; a
    subtree with nothing left to try is closed. Equal `State.public` at equal depth is one state (`merge`). The visits
    of the root's children are the training target.

    `pick` (see `stepgym.agents.search.answers.Pick`) chooses among answers if none is verified: by default the best
    score, or a vote without scores. `aggregation` (`Aggregation` there) makes one score of a path's step scores.
    """

    simulations: int = 64
    """Simulations for each problem."""
    width: int = 4
    """Steps asked for at a node when it is first reached."""
    rollout_width: int | None = None
    """Steps asked for beyond the first new leaf of a simulation; `None` is `width`."""
    leaves: int = 4
    """Simulations in flight at once."""
    until_end: bool = True
    """Whether a simulation continues to the end of the episode."""
    outcome_weight: float = 1.0
    """1 is the end alone, 0 the leaf's score alone."""
    backup_rule: str = Backup.MEAN
    """`mean`: the mean of the values below a node; `max`: their maximum."""
    exploration: float = 1.25
    """The constant of c(N) in the exploration term: log((1 + N + exploration_base) / exploration_base) + exploration."""
    exploration_base: float = 19652.0
    """The other constant of c(N); see `exploration`."""
    prior_temperature: float = 1.0
    """Temperature of the priors; above 1 they are more even."""
    widen: float = 0.25
    """Exponent of progressive widening (Couetoux et al. 2011): a node may have been asked for
    `width * visits ** widen` steps, and is asked again when its subtree is used up. 0 is off."""
    root_noise: str = RootNoise.NONE
    """Exploration at the root for self-play: `none`, `dirichlet` or `gumbel`."""
    noise_fraction: float = 0.25
    """With `dirichlet`: the share of noise in the priors of the root."""
    dirichlet_alpha: float = 0.3
    """With `dirichlet`: the concentration of the noise."""
    gumbel_candidates: int = 16
    """With `gumbel`: the number of children that compete (Danihelka et al. 2022)."""
    merge: bool = True
    stop_at_verified: bool = True
    """Whether the search ends at the first verified answer, if it sees verdicts."""
    aggregation: str = Aggregation.LAST
    pick: str | None = None
    seed: int = 0
    """Seed of the root noise."""

    def __post_init__(self) -> None:
        for name, value in (
            ("simulations", self.simulations),
            ("width", self.width),
            ("leaves", self.leaves),
        ):
            if value < 1:
                raise ValueError(f"{name}={value}; must be at least 1")
        check_choice("backup_rule", self.backup_rule, choices=Backup)
        check_choice("root_noise", self.root_noise, choices=RootNoise)
        check_choice("aggregation", self.aggregation, choices=Aggregation)
        check_choice("pick", self.pick, choices=Pick)

    def select(self, tree: SearchTree) -> list[Request]:
        if self.stop_at_verified and has_verified(tree):
            return []
        memory = self._memory(tree)
        paths, first_leaf, asked = memory.paths, memory.first_leaf, tree.asked
        # no node has more visits than the root
        size = 64 + self.simulations + tree.visits[ROOT] - memory.started
        memory.coefficients = coefficients_of(self.exploration, self.exploration_base, size)
        while len(paths) < self.leaves and memory.started < self.simulations:
            if tree.status[ROOT] is not OPEN or not self._start_simulation(tree, memory):
                break
        requests = []
        for node in paths:
            width = (self.rollout_width or self.width) if node in first_leaf else self.width
            missing = width - asked[node]
            if missing <= 0:
                missing = max(1, self._allowed(tree.visits[node]) - asked[node])
            requests.append(Request(node, missing))
        return requests

    def _memory(self, tree: SearchTree) -> MCTSMemory:
        memory: MCTSMemory | None = tree.memory.get(MCTSMemory)
        if memory is None:
            memory = tree.memory[MCTSMemory] = memory_from(tree, widen_at=self.widen_at)
        return memory

    def _allowed(self, visits: int) -> int:
        """Return how many steps a node may have been asked for after so many visits."""
        return max(self.width, int(self.width * visits**self.widen)) if self.widen else self.width

    def widen_at(self, asked: int) -> float:
        """Return the visits at which a node is asked again: the inverse of the widening rule."""
        if asked < self.width:
            return 0.0
        return ((asked + 1) / self.width) ** (1 / self.widen) if self.widen else math.inf

    def _start_simulation(self, tree: SearchTree, memory: MCTSMemory) -> bool:
        """Start one simulation; one that meets an end is backed up at once.

        Return False if it met a simulation in flight.
        """
        path = [ROOT]
        tree.visits[ROOT] += 1
        if (
            self.root_noise == GUMBEL
            and memory.open_children[ROOT]
            and tree.asked[ROOT] >= self.width
        ):
            child = choose_gumbel(
                tree,
                memory,
                seed=self.seed,
                num_candidates=self.gumbel_candidates,
                simulations=self.simulations,
            )
            path.append(child)
            memory.add_visit(tree, child)
        memory.descend(tree, path)
        node = path[-1]
        if node in memory.paths:
            for on_path in path:
                memory.remove_visit(tree, on_path)
            return False
        memory.started += 1
        if tree.status[node] is OPEN:
            memory.paths[node] = path
        else:
            self._finish(tree, memory, path, node)
        return True

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        memory = self._memory(tree)
        paths, asked, children = memory.paths, tree.asked, tree.children
        num_known = len(memory.q)
        memory.extend(len(tree.states))
        first_leaf, next_widening = memory.first_leaf, memory.next_widening
        widen_at, asked_before = 0.0, -1
        for node, drawn in grown.items():
            path, leaf = paths.pop(node), first_leaf.pop(node, node)
            if (
                drawn
                and drawn[0] >= num_known
                and drawn == children[node]
                and drawn[-1] - drawn[0] == len(drawn) - 1
            ):
                has_more = memory.add_first_children(
                    tree, node, drawn, merge=self.merge, temperature=self.prior_temperature
                )
            elif brought_nothing(tree, node, num_known=num_known):
                has_more = False
            else:
                has_more = memory.add_children(
                    tree, node, drawn, num_known=num_known, merge=self.merge
                )
                memory.set_priors(tree, node, drawn, temperature=self.prior_temperature)
            if has_more and asked[node] != asked_before:
                asked_before = asked[node]
                widen_at = self.widen_at(asked_before)
            next_widening[node] = widen_at if has_more else math.inf
            if node == ROOT and self.root_noise == DIRICHLET:
                add_dirichlet(
                    tree,
                    memory,
                    seed=self.seed,
                    alpha=self.dirichlet_alpha,
                    fraction=self.noise_fraction,
                )
            if self.until_end and memory.open_children[node]:
                memory.descend(tree, path, has_grown=True)
                end = path[-1]
                if tree.status[end] is OPEN and end not in paths:
                    paths[end] = path
                    if end != leaf:
                        first_leaf[end] = leaf
                    continue
            self._finish(tree, memory, path, leaf)

    def _finish(self, tree: SearchTree, memory: MCTSMemory, path: list[int], leaf: int) -> None:
        """Back a simulation's value up its path, and close its end if nothing is left to try there."""
        end = path[-1]
        score = tree.score[end]
        if tree.status[end] is OPEN and score is not None and self.outcome_weight >= 1.0:  # mostly
            value = score
        else:
            value = self._value_of(tree, end, leaf)
        values, visits, total_value, q = tree.value, tree.visits, memory.total_value, memory.q
        if self.backup_rule == "mean":
            for node in path:
                total_value[node] = total = total_value[node] + value
                q[node] = values[node] = total / visits[node]
        else:
            for node in path:
                q[node] = values[node] = max(values[node], value)
                total_value[node] = values[node] * visits[node]
        if tree.status[end] is not OPEN:
            memory.close(tree, end)
        elif not memory.open_children[end] and tree.asked[end] and end not in memory.paths:
            if memory.next_widening[end] == math.inf:
                memory.close(tree, end)
            else:
                memory.next_widening[end] = 0.0

    def _value_of(self, tree: SearchTree, end: int, leaf: int) -> float:
        """Return the value of a simulation that ended at `end` after the new leaf `leaf`."""
        status = tree.status[end]
        verdict = known_verdict(tree, end) if status is not OPEN else None
        if verdict is not None:
            value = verdict.score
        elif status is BARREN or (status is ENDED and not tree.states[end].has_result):
            value = 0.0
        else:
            score = tree.score[end]
            value = UNKNOWN_Q if score is None else score
        if self.outcome_weight >= 1.0 or (first := tree.score[leaf]) is None:
            return value
        return self.outcome_weight * value + (1.0 - self.outcome_weight) * first

    def best(self, tree: SearchTree) -> int:
        return best_answer(
            tree,
            pick=self.pick,
            aggregation=self.aggregation,
            num_samples=dict(enumerate(tree.visits)),
        )
