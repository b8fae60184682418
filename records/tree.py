"""The tree of a record: paths, children, and which decided answers lie below each node."""

from __future__ import annotations

from stepgym.agents.types import EpisodeRecord


def path_to(record: EpisodeRecord, node: int) -> list[int]:
    """Return the nodes from the root to `node`, both included."""
    path = [node]
    while (node := record.nodes[node].parent) >= 0:
        path.append(node)
    return path[::-1]


def children_of(record: EpisodeRecord) -> list[list[int]]:
    """Return the children of every node."""
    children: list[list[int]] = [[] for _ in record.nodes]
    for number, node in enumerate(record.nodes):
        if node.parent >= 0:
            children[node.parent].append(number)
    return children


def ends(record: EpisodeRecord, verdict: str) -> list[int]:
    """Return the answered nodes with that verdict, in the tree's order."""
    return [number for number, node in enumerate(record.nodes) if node.verdict == verdict]


def decided_below(record: EpisodeRecord) -> list[tuple[list[int], list[int]]]:
    """Return for each node the correct and the incorrect answers at it or below, as nodes."""
    below: list[tuple[list[int], list[int]]] = [([], []) for _ in record.nodes]
    for side, verdict in enumerate(("correct", "incorrect")):
        for end in ends(record, verdict):
            for node in path_to(record, end):
                below[node][side].append(end)
    return below
