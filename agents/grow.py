"""How a round's proposals become nodes: equal siblings merge, faults are noted, arrays grow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

from stepgym.agents.boundary import Failure
from stepgym.agents.types import NO_PARENT, NodeStatus, Request, SearchTree
from stepgym.envs.types import State, Step

BARREN, ENDED, FAILED, OPEN = (
    NodeStatus.BARREN,
    NodeStatus.ENDED,
    NodeStatus.FAILED,
    NodeStatus.OPEN,
)  # bound once: looking a member up costs seven times the comparison


Growth = tuple[int, list[Step], list[int] | None]
"""What one request brings: its node, the steps that are new there, and where every drawn step leads: a child that was
there before, or `-1 - i` for the `i`-th new one; `None` where the drawn steps are the new ones and the node had no
children."""


def plan(
    tree: SearchTree, requests: Sequence[Request], offers: Sequence[list[Step]]
) -> list[Growth]:
    """Sort the drawn steps of each request into new ones and repetitions, by their text."""
    children = tree.children
    growths: list[Growth] = []
    for (node, _, _), steps in zip(requests, offers):
        if not children[node] and (
            len(steps) < 2 or len({step.text for step in steps}) == len(steps)
        ):
            growths.append((node, steps, None))
        else:
            growths.append(_plan_again(tree, node, steps))
    return growths


def _plan_again(tree: SearchTree, node: int, steps: Sequence[Step]) -> Growth:
    known = {tree.states[child].steps[-1].text: child for child in tree.children[node]}
    fresh: list[Step] = []
    links = []
    for step in steps:
        link = known.get(step.text)
        if link is None:
            link = known[step.text] = -1 - len(fresh)
            fresh.append(step)
        links.append(link)
    return node, fresh, links


def grow_all(
    tree: SearchTree,
    growths: Sequence[Growth],
    states: Sequence[State | Failure],
    scores: Sequence[float | Failure | None],
    faults: Sequence[str] = (),
    is_plain: bool = False,
) -> dict[int, list[int]]:
    """Add a round's new children and return, for each node that was asked, the child each drawn step led to.

    `states` and `scores` are those of all growths' new steps, one after the other; `faults` what was wrong with each
    growth's proposal, empty for nothing anywhere; `is_plain` says that each state's last step is the proposed one.
    """
    if len({growth[0] for growth in growths}) < len(growths) or not (
        is_plain or _as_planned(states, growths)
    ):
        return _grow_all_slowly(tree, growths, states, scores, faults)
    grown: dict[int, list[int]] = {}
    at = add_nodes(tree, states, scores)  # type: ignore[arg-type]
    parent, children = tree.parent, tree.children
    for node, fresh, links in growths:
        count = len(fresh)
        end = at + count
        parent += [node] * count
        new = list(range(at, end))
        if links is None:
            grown[node] = children[node] = new
        else:
            if new:
                children[node] = [*children[node], *new]
            grown[node] = [link if link >= 0 else at - 1 - link for link in links]
        at = end
    if faults or [] in grown.values():
        for (node, *_), fault in zip(growths, faults or repeat("")):
            if fault or not grown[node]:
                _note(tree, node, fault)
    return grown


def _as_planned(states: Sequence[State | Failure], growths: Sequence[Growth]) -> bool:
    """Say whether the domain took every step and kept its text, so that siblings that differed still do."""
    steps = [step for _, fresh, _ in growths for step in fresh]
    for state, step in zip(states, steps):
        if isinstance(state, Failure) or state.steps[-1].text != step.text:
            return False
    return True


def _note(tree: SearchTree, node: int, fault: str) -> None:
    if fault:
        tree.notes[node] = fault
    if not tree.children[node]:
        tree.status[node] = FAILED if fault else BARREN


def _grow_all_slowly(
    tree: SearchTree,
    growths: Sequence[Growth],
    states: Sequence[State | Failure],
    scores: Sequence[float | Failure | None],
    faults: Sequence[str],
) -> dict[int, list[int]]:
    grown: dict[int, list[int]] = {}
    at = 0
    for growth, fault in zip(growths, faults or repeat("")):
        end = at + len(growth[1])
        led = _grow_slowly(tree, growth, states[at:end], scores[at:end], fault)
        grown[growth[0]] = [*grown.get(growth[0], ()), *led]
        at = end
    return grown


def _grow_slowly(
    tree: SearchTree,
    growth: Growth,
    states: Sequence[State | Failure],
    scores: Sequence[float | Failure | None],
    fault: str,
) -> list[int]:
    """Grow where the domain failed on steps or rewrote their texts, or a node was asked twice in a round: siblings
    may be equal after all."""
    node, _, links = growth
    known = {tree.states[child].steps[-1]: child for child in tree.children[node]}
    ends: list[int | None] = []
    for state, score in zip(states, scores):
        if isinstance(state, Failure):
            fault = fault or state.reason
            ends.append(None)
            continue
        child = known.get(state.steps[-1])
        if child is None:
            child = known[state.steps[-1]] = add_nodes(tree, [state], [score])
            tree.parent.append(node)
            tree.children[node] = [*tree.children[node], child]
        ends.append(child)
    _note(tree, node, fault)
    if links is None:
        return [end for end in ends if end is not None]
    led = [link if link >= 0 else ends[-1 - link] for link in links]
    return [child for child in led if child is not None]


NO_CHILDREN: list[int] = []
"""Shared by all nodes that never grew: `children[node]` is replaced, never changed in place."""


def add_nodes(
    tree: SearchTree, states: Sequence[State], scores: Sequence[float | Failure | None]
) -> int:
    """Append one node per state to every array but `parent` and return the index of the first."""
    first, count = len(tree.states), len(states)
    tree.states.extend(states)
    tree.children.extend([NO_CHILDREN] * count)
    tree.prior.extend([1.0] * count)
    tree.visits.extend([0] * count)
    tree.value.extend([0.0] * count)
    tree.asked.extend([0] * count)
    tree.status.extend([OPEN if state.end is None else ENDED for state in states])
    tree.score.extend(scores)  # type: ignore[arg-type]
    if Failure not in set(map(type, scores)):
        return first
    for child, score in enumerate(scores, start=first):
        if type(score) is Failure:
            tree.score[child] = None
            tree.status[child] = FAILED
            tree.notes[child] = score.reason
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
