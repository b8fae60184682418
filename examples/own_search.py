"""A search chooses which nodes to expand and which one to answer with. It calls no model, so it works with all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepgym.agents import solve
from stepgym.agents.types import NodeStatus, Request, SearchTree


@dataclass(frozen=True)
class BestFirst:
    """Always grow the open node that the reward model likes best, until something is verified or the time is up."""

    rounds: int = 40
    width: int = 3

    def select(self, tree: SearchTree) -> list[Request]:
        solved = any(verdict.correct for verdict in tree.verdicts.values())
        open_nodes = [
            node
            for node in range(len(tree))
            if tree.status[node] is NodeStatus.OPEN and not tree.asked[node]
        ]
        if solved or not open_nodes or sum(map(bool, tree.asked)) >= self.rounds:
            return []
        return [Request(max(open_nodes, key=lambda node: tree.score[node] or 0.0), self.width)]

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        for parent, children in grown.items():
            for node in tree.path(parent):
                tree.visits[node] += len(children)

    def best(self, tree: SearchTree) -> int:
        correct = [node for node, verdict in tree.verdicts.items() if verdict.correct]
        ended = [node for node in range(len(tree)) if tree.states[node].answer is not None]
        return (correct or ended or [0])[-1]


records = solve(
    "stepgym/Countdown-v0",
    agent=BestFirst(),
    policy="random",
    reward_model="random",
    level=1,
    episodes=20,
)
print(f"solved {sum(record.verdict == 'correct' for record in records)} of {len(records)}")
print(f"the first tree has {len(records[0].nodes)} nodes and ends in {records[0].answer}")
