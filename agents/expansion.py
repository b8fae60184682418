"""How a round's proposals become nodes: equal siblings become one node, faults become notes, arrays grow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

from stepgym.agents.boundary import Failure
from stepgym.agents.types import NodeStatus, Request, SearchTree
from stepgym.envs.types import State, Step

BARREN, ENDED, FAILED, OPEN = (
    NodeStatus.BARREN,
    NodeStatus.ENDED,
    NodeStatus.FAILED,
    NodeStatus.OPEN,
)  # bound once: looking a member up costs seven times the comparison


Expansion = tuple[int, list[Step], list[int] | None]
"""What one request brings: its node, the steps that are new there, and the links of all drawn steps.

A link is an existing child, or `-1 - i` for the `i`-th new step. The links are `None` if the node had no children and
all drawn steps are new.
"""


def split_new_steps(
    tree: SearchTree, requests: Sequence[Request], proposals: Sequence[list[Step]]
) -> list[Expansion]:
    """Separate the drawn steps of each request into new ones and repeated ones, by their text."""
    children = tree.children
    expansions: list[Expansion] = []
    for (node, _, _), steps in zip(requests, proposals):
        if not children[node] and (
            len(steps) < 2 or len({step.text for step in steps}) == len(steps)
        ):
            expansions.append((node, steps, None))
        else:
            expansions.append(_split_repeated(tree, node, steps))
    return expansions


def _split_repeated(tree: SearchTree, node: int, steps: Sequence[Step]) -> Expansion:
    known = {tree.states[child].steps[-1].text: child for child in tree.children[node]}
    new: list[Step] = []
    links = []
    for step in steps:
        link = known.get(step.text)
        if link is None:
            link = known[step.text] = -1 - len(new)
            new.append(step)
        links.append(link)
    return node, new, links


def expand(
    tree: SearchTree,
    expansions: Sequence[Expansion],
    states: Sequence[State | Failure],
    *,
    scores: Sequence[float | Failure | None],
    faults: Sequence[str] = (),
    is_plain: bool = False,
) -> dict[int, list[int]]:
    """Add a round's new children; return for each node that was asked the child of each drawn step.

    `states` and `scores` belong to the new steps of all expansions, one after the other. `faults` has one entry per
    expansion, or is empty if there are none. `is_plain` says that each state's last step is the proposed one.
    """
    if len({expansion[0] for expansion in expansions}) < len(expansions) or not (
        is_plain or _kept_texts(states, expansions)
    ):
        return _expand_one_by_one(tree, expansions, states, scores, faults)
    grown: dict[int, list[int]] = {}
    at = add_nodes(tree, states, scores)  # type: ignore[arg-type]
    parent, children = tree.parent, tree.children
    for node, new_steps, links in expansions:
        count = len(new_steps)
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
        for (node, *_), fault in zip(expansions, faults or repeat("")):
            if fault or not grown[node]:
                _note(tree, node, fault)
    return grown


def _kept_texts(states: Sequence[State | Failure], expansions: Sequence[Expansion]) -> bool:
    """Return whether the domain took every step and kept its text, so that different siblings stay different."""
    steps = [step for _, new, _ in expansions for step in new]
    for state, step in zip(states, steps):
        if isinstance(state, Failure) or state.steps[-1].text != step.text:
            return False
    return True


def _note(tree: SearchTree, node: int, fault: str) -> None:
    if fault:
        tree.notes[node] = fault
    if not tree.children[node]:
        tree.status[node] = FAILED if fault else BARREN


def _expand_one_by_one(
    tree: SearchTree,
    expansions: Sequence[Expansion],
    states: Sequence[State | Failure],
    scores: Sequence[float | Failure | None],
    faults: Sequence[str],
) -> dict[int, list[int]]:
    """Do what `expand` does if siblings may be equal: the domain failed on steps or changed their texts, or a node was
    asked twice in a round."""
    grown: dict[int, list[int]] = {}
    at = 0
    for expansion, fault in zip(expansions, faults or repeat("")):
        end = at + len(expansion[1])
        led = _expand_node(tree, expansion, states[at:end], scores[at:end], fault)
        grown[expansion[0]] = [*grown.get(expansion[0], ()), *led]
        at = end
    return grown


def _expand_node(
    tree: SearchTree,
    expansion: Expansion,
    states: Sequence[State | Failure],
    scores: Sequence[float | Failure | None],
    fault: str,
) -> list[int]:
    node, _, links = expansion
    known = {tree.states[child].steps[-1]: child for child in tree.children[node]}
    reached: list[int | None] = []
    for state, score in zip(states, scores):
        if isinstance(state, Failure):
            fault = fault or state.reason
            reached.append(None)
            continue
        child = known.get(state.steps[-1])
        if child is None:
            child = known[state.steps[-1]] = add_nodes(tree, [state], [score])
            tree.parent.append(node)
            tree.children[node] = [*tree.children[node], child]
        reached.append(child)
    _note(tree, node, fault)
    if links is None:
        return [child for child in reached if child is not None]
    led = [link if link >= 0 else reached[-1 - link] for link in links]
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
    if not [score for score in scores if type(score) is Failure]:
        return first
    for child, score in enumerate(scores, start=first):
        if type(score) is Failure:
            tree.score[child] = None
            tree.status[child] = FAILED
            tree.notes[child] = score.reason
    return first


def add_child(tree: SearchTree, node: int, state: State) -> int:
    """Return the child of `node` with the last step of `state`; a new one unless an equal step was taken before."""
    for child in tree.children[node]:
        if tree.states[child].steps[-1] == state.steps[-1]:
            return child
    child = add_nodes(tree, [state], [None])
    tree.parent.append(node)
    tree.children[node] = [*tree.children[node], child]
    return child
