"""Sequential revision: try, judge, try again with the failed attempt in view (Madaan et al. 2023, arXiv:2303.17651;
Snell et al. 2024, arXiv:2408.03314, section 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepgym.agents.search.answers import Aggregation, Pick, best_answer, check_choice, has_verified
from stepgym.agents.search.attempts import Attempt, requests_of, take_in, worth
from stepgym.agents.types import NO_PARENT, ROOT, NodeStatus, Request, SearchTree


@dataclass(frozen=True, kw_only=True)
class Revise:
    """Make up to `attempts` attempts in `chains` independent chains; each sees the best attempt of its chain so far.

    It ends at a verified answer, or at one that the reward model scores `good_enough` or more.
    """

    attempts: int = 4
    chains: int = 1
    good_enough: float = 1.0
    aggregation: str = Aggregation.LAST
    pick: str | None = None

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.chains < 1:
            raise ValueError(
                f"revise: attempts={self.attempts}, chains={self.chains}: both must be at least 1"
            )
        check_choice("revise", "aggregation", self.aggregation, Aggregation)
        check_choice("revise", "pick", self.pick, Pick)

    def select(self, tree: SearchTree) -> list[Request]:
        if has_verified(tree) or tree.status[ROOT] is not NodeStatus.OPEN:
            return []
        attempts: list[Attempt] = tree.memory.setdefault("attempts", [])
        if not attempts:
            attempts += [Attempt(NO_PARENT) for _ in range(self.chains)]
        elif all(attempt.done for attempt in attempts):
            ends = [attempt.tip for attempt in attempts]
            enough = any(
                tree.states[end].answer is not None
                and worth(tree, end, self.aggregation) >= self.good_enough
                for end in ends
            )
            if enough or len(attempts) >= self.attempts * self.chains:
                return []
            attempts += [
                Attempt(self._in_view(tree, attempts, chain)) for chain in range(self.chains)
            ]
        return requests_of(tree, attempts)

    def _in_view(self, tree: SearchTree, attempts: Sequence[Attempt], chain: int) -> int:
        """Return the chain's best attempt, the latest among equals; none while all failed before their first step."""
        own = [at for at in range(chain, len(attempts), self.chains) if attempts[at].tip != ROOT]
        return max(
            own,
            key=lambda at: (worth(tree, attempts[at].tip, self.aggregation), at),
            default=NO_PARENT,
        )

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        for attempt in take_in(tree, tree.memory["attempts"], grown):
            tree.value[attempt.tip] = worth(tree, attempt.tip, self.aggregation)

    def best(self, tree: SearchTree) -> int:
        times = dict(enumerate(tree.visits))
        return best_answer(tree, pick=self.pick, aggregation=self.aggregation, times=times)
