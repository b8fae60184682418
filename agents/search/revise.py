"""Sequential revision: try, judge, and try again with the failed attempt in view.

After Madaan et al. 2023, arXiv:2303.17651, and Snell et al. 2024, arXiv:2408.03314, section 6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
class Revise:
    """Make up to `attempts` attempts in each of `chains` independent chains.

    Each attempt sees the best one of its chain so far.

    The search ends at a verified answer, or at one that the reward model scores `good_enough` or more.

    `pick` (see `stepgym.agents.search.answers.Pick`) chooses among answers if none is verified: by default the best
    score, or a vote without scores. `aggregation` (`Aggregation` there) makes one score of a path's step scores.
    """

    attempts: int = 4
    chains: int = 1
    good_enough: float = 1.0
    aggregation: str = Aggregation.LAST
    pick: str | None = None

    def __post_init__(self) -> None:
        check_at_least(attempts=self.attempts, chains=self.chains)
        check_choice("aggregation", self.aggregation, choices=Aggregation)
        check_choice("pick", self.pick, choices=Pick)

    def select(self, tree: SearchTree) -> list[Request]:
        if has_verified(tree) or tree.status[ROOT] is not NodeStatus.OPEN:
            return []
        memory = tree.recall(AttemptsMemory)
        attempts = memory.attempts
        if not attempts:
            attempts += [Attempt(NO_PARENT) for _ in range(self.chains)]
        elif memory.all_done:
            enough = any(
                tree.states[attempt.tip].has_result
                and attempt_value(tree, attempt.tip, self.aggregation) >= self.good_enough
                for attempt in attempts
            )
            if enough or len(attempts) >= self.attempts * self.chains:
                return []
            attempts += [
                Attempt(self._best_of_chain(tree, attempts, chain)) for chain in range(self.chains)
            ]
        return memory.requests(tree)

    def _best_of_chain(self, tree: SearchTree, attempts: Sequence[Attempt], chain: int) -> int:
        """Return the chain's best attempt, the latest among equals; `NO_PARENT` if none took a step."""
        own = [at for at in range(chain, len(attempts), self.chains) if attempts[at].tip != ROOT]
        return max(
            own,
            key=lambda at: (attempt_value(tree, attempts[at].tip, self.aggregation), at),
            default=NO_PARENT,
        )

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
