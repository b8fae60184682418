"""Tree search over whole attempts: wider (a new one) or deeper (revise one).

The choice is made by Thompson sampling.

After Inoue et al. 2025, Wider or deeper? (AB-MCTS, arXiv:2503.04412), the variant with one node per decision and Beta
posteriors.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepgym.agents.randomness import derive_seed
from stepgym.agents.search.answers import (
    Aggregation,
    Pick,
    best_answer,
    check_at_least,
    check_choice,
    has_verified,
)
from stepgym.agents.search.attempts import Attempt, AttemptsMemory, attempt_value
from stepgym.agents.types import NO_PARENT, ROOT, NodeStatus, Request, SearchTree


@dataclass(frozen=True, kw_only=True)
class ABMCTS:
    """Make `attempts` attempts, `parallel` at a time.

    For each one, descend from the empty attempt. At every node, draw from the posterior of "a new attempt here" (the
    attempts made directly under it) and from that of "revise one of those there are" (everything below it). The larger
    draw decides between wider and deeper; deeper draws again among the children. A new attempt sees its parent.

    `pick` (see `stepgym.agents.search.answers.Pick`) chooses among answers if none is verified: by default the best
    score, or a vote without scores. `aggregation` (`Aggregation` there) makes one score of a path's step scores.
    """

    attempts: int = 16
    parallel: int = 4
    prior_strength: float = 1.0
    """a = b of the Beta prior."""
    aggregation: str = Aggregation.LAST
    pick: str | None = None
    seed: int = 0
    """Seed of the draws from the posteriors."""

    def __post_init__(self) -> None:
        check_at_least(attempts=self.attempts, parallel=self.parallel)
        if self.prior_strength <= 0:
            raise ValueError(f"prior_strength={self.prior_strength}; must be above 0")
        check_choice("aggregation", self.aggregation, choices=Aggregation)
        check_choice("pick", self.pick, choices=Pick)

    def select(self, tree: SearchTree) -> list[Request]:
        if has_verified(tree) or tree.status[ROOT] is not NodeStatus.OPEN:
            return []
        memory = tree.recall(AttemptsMemory)
        if memory.all_done:
            posterior = _Posterior(self, tree, memory.attempts)
            numbers = range(self.attempts)[len(memory.attempts) :][: self.parallel]
            memory.attempts += [Attempt(posterior.choose(number)) for number in numbers]
        return memory.requests(tree)

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        for attempt in tree.recall(AttemptsMemory).advance(tree, grown):
            tree.value[attempt.tip] = attempt_value(tree, attempt.tip, self.aggregation)

    def best(self, tree: SearchTree) -> int:
        return best_answer(
            tree,
            pick=self.pick,
            aggregation=self.aggregation,
            num_samples=dict(enumerate(tree.visits)),
        )


class _Posterior:
    """Values of finished attempts per attempt: those made directly under it, and all those below it."""

    def __init__(self, search: ABMCTS, tree: SearchTree, attempts: Sequence[Attempt]) -> None:
        self._strength = search.prior_strength
        self._seed = derive_seed(search.seed, tree.problem_id, "thompson")
        self._children: dict[int, list[int]] = {}
        self._direct: dict[int, list[float]] = {}
        self._below: dict[int, list[float]] = {}
        for at, attempt in enumerate(attempts):
            if attempt.tip == ROOT:
                continue
            value = attempt_value(tree, attempt.tip, search.aggregation)
            self._children.setdefault(attempt.shown, []).append(at)
            self._direct.setdefault(attempt.shown, []).append(value)
            above = at
            while above != NO_PARENT:
                self._below.setdefault(above, []).append(value)
                above = attempts[above].shown

    def choose(self, number: int) -> int:
        """Return the attempt that attempt `number` is to revise; `NO_PARENT` for a new one."""
        stream = random.Random(derive_seed(self._seed, number))
        at = NO_PARENT
        while children := self._children.get(at):
            wider = self._draw(stream, self._direct[at])
            deeper = self._draw(
                stream, [value for child in children for value in self._below[child]]
            )
            if wider >= deeper:
                break
            at = max(children, key=lambda child: self._draw(stream, self._below[child]))
        return at

    def _draw(self, stream: random.Random, values: Sequence[float]) -> float:
        won = sum(values)
        return stream.betavariate(self._strength + won, self._strength + len(values) - won)
