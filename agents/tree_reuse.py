"""Tree reuse: continue a search from a child of the root once its step has been taken."""

from __future__ import annotations

from stepgym.agents.types import NO_PARENT, SearchTree


def subtree(tree: SearchTree, node: int) -> SearchTree:
    """Return the tree below `node` as a tree of its own.

    Statistics, verdicts and groups of answers are kept; the searches' memory and the usage start anew.
    """
    kept = [node]
    for at in kept:
        kept.extend(tree.children[at])
    kept.sort()
    new = {old: at for at, old in enumerate(kept)}
    return SearchTree(
        tree.problem_id,
        [tree.states[at] for at in kept],
        parent=[new.get(tree.parent[at], NO_PARENT) for at in kept],
        children=[[new[child] for child in tree.children[at]] for at in kept],
        prior=[1.0, *(tree.prior[at] for at in kept[1:])],
        score=[tree.score[at] for at in kept],
        visits=[tree.visits[at] for at in kept],
        value=[tree.value[at] for at in kept],
        status=[tree.status[at] for at in kept],
        asked=[tree.asked[at] for at in kept],
        verdicts={new[at]: verdict for at, verdict in tree.verdicts.items() if at in new},
        notes={new[at]: note for at, note in tree.notes.items() if at in new},
        groups=_renamed({new[at]: group for at, group in tree.groups.items() if at in new}),
        sees_verdicts=tree.sees_verdicts,
    )


def _renamed(groups: dict[int, int]) -> dict[int, int]:
    """Name each group of answers by the first of its nodes that is still there."""
    firsts: dict[int, int] = {}
    return {node: firsts.setdefault(group, node) for node, group in groups.items()}
