"""How a round's proposals become nodes: equal siblings merge, faults are noted, arrays grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stepgym.agents.boundary import Failure, Offer
from stepgym.agents.types import NO_PARENT, NodeStatus, SearchTree
from stepgym.envs.types import State, Step


@dataclass(slots=True)
class Growth:
    """What one request brings: the steps that are new under its node, and where every drawn step leads."""

    node: int
    offer: Offer
    num_siblings: int
    """How many children the node had when this was planned."""
    fresh: list[Step] = field(default_factory=list)
    links: list[int] = field(default_factory=list)
    """One per drawn step: a child that was there before, or `-1 - i` for `fresh[i]`."""


def plan(tree: SearchTree, node: int, offer: Offer) -> Growth:
    """Sort the drawn steps into new ones and repetitions, by their text."""
    siblings = tree.children[node]
    growth = Growth(node, offer, len(siblings))
    steps = offer.steps
    texts = {step.text for step in steps}
    if not siblings and len(texts) == len(steps):
        growth.fresh = steps
        growth.links = list(range(-1, -1 - len(steps), -1))
        return growth
    known = {tree.states[child].steps[-1].text: child for child in siblings}
    for step in steps:
        link = known.get(step.text)
        if link is None:
            link = known[step.text] = -1 - len(growth.fresh)
            growth.fresh.append(step)
        growth.links.append(link)
    return growth


def grow(
    tree: SearchTree,
    growth: Growth,
    states: Sequence[State | Failure],
    scores: Sequence[float | Failure | None],
) -> list[int]:
    """Add the new children and return the child that each drawn step led to."""
    node = growth.node
    failure = next((state for state in states if isinstance(state, Failure)), None)
    as_planned = failure is None and len(tree.children[node]) == growth.num_siblings
    if as_planned and all(state.steps[-1].text == step.text for state, step in zip(states, growth.fresh)):  # type: ignore[union-attr]
        first = add_children(tree, node, states, scores)  # type: ignore[arg-type]
        led = [link if link >= 0 else first - 1 - link for link in growth.links]
    else:
        led = _grow_slowly(tree, growth, states, scores)
    fault = growth.offer.fault or (failure.reason if failure else "")
    if fault:
        tree.notes[node] = fault
    if not tree.children[node]:
        tree.status[node] = NodeStatus.FAILED if fault else NodeStatus.BARREN
    return led


def _grow_slowly(
    tree: SearchTree,
    growth: Growth,
    states: Sequence[State | Failure],
    scores: Sequence[float | Failure | None],
) -> list[int]:
    """Grow where the domain failed on some steps or rewrote their texts, so that siblings may be equal after all."""
    known = {tree.states[child].steps[-1]: child for child in tree.children[growth.node]}
    ends: list[int | None] = []
    for state, score in zip(states, scores):
        if isinstance(state, Failure):
            ends.append(None)
            continue
        child = known.get(state.steps[-1])
        if child is None:
            child = known[state.steps[-1]] = add_children(tree, growth.node, [state], [score])
        ends.append(child)
    led = [link if link >= 0 else ends[-1 - link] for link in growth.links]
    return [child for child in led if child is not None]


def add_children(
    tree: SearchTree, node: int, states: Sequence[State], scores: Sequence[float | Failure | None]
) -> int:
    """Append one node per state and return the index of the first."""
    first, count = len(tree.states), len(states)
    tree.states.extend(states)
    tree.parent.extend([node] * count)
    tree.children[node].extend(range(first, first + count))
    tree.children.extend([[] for _ in states])
    tree.prior.extend([1.0] * count)
    tree.visits.extend([0] * count)
    tree.value.extend([0.0] * count)
    tree.asked.extend([0] * count)
    tree.status.extend([NodeStatus.OPEN if state.end is None else NodeStatus.ENDED for state in states])
    for child, score in enumerate(scores, start=first):
        if isinstance(score, Failure):
            tree.score.append(None)
            tree.status[child] = NodeStatus.FAILED
            tree.notes[child] = score.reason
        else:
            tree.score.append(score)
    return first


def subtree(tree: SearchTree, node: int) -> SearchTree:
    """Return the tree below `node` as a tree of its own with its statistics, to go on from once a step is taken.

    The search's notes and the usage stay behind.
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
        groups=_regroup({new[at]: group for at, group in tree.groups.items() if at in new}),
        sees_verdicts=tree.sees_verdicts,
    )


def _regroup(groups: dict[int, int]) -> dict[int, int]:
    """Name each group of answers by the first of its nodes that is still there."""
    firsts: dict[int, int] = {}
    return {node: firsts.setdefault(group, node) for node, group in groups.items()}
