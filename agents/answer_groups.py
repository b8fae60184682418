"""Which answers of a tree are the same: what votes are counted by.

Equal texts and equal keys (`AnswerKeys`) need no comparison. The others are compared with one representative per
group, for all trees of a round in the same calls.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple

from stepgym.agents import boundary
from stepgym.agents.boundary import Failure
from stepgym.agents.types import SearchTree
from stepgym.envs.types import AnswerEquivalence, AnswerKeys, AnswerPairEquivalence, State


class _Group(NamedTuple):
    """A group of equal answers: its first node, with text and key."""

    node: int
    text: str
    key: Hashable


@dataclass(slots=True)
class AnswerGroups:
    """The groups of one tree's answers, by text and by key. Each group is named by its first node."""

    by_text: dict[str, int] = field(default_factory=dict)
    by_key: dict[Hashable, int] = field(default_factory=dict)
    groups: list[_Group] = field(default_factory=list)
    unkeyed: list[_Group] = field(default_factory=list)
    """The groups without a key, with which every new answer must be compared."""

    def add(self, group: _Group) -> None:
        """Add a group."""
        self.groups.append(group)
        self.by_text.setdefault(group.text, group.node)
        if group.key is None:
            self.unkeyed.append(group)
        else:
            self.by_key.setdefault(group.key, group.node)


@dataclass(frozen=True)
class AnswerComparison:
    """How a verifier compares answers, looked up once per run; by their texts if it does not."""

    answer_key: Callable[[str], Hashable] | None = None
    same_pairs: Callable[[Sequence[tuple[str, str]]], list[bool]] | None = None

    @classmethod
    def of(cls, verifier: object) -> AnswerComparison:
        """Return how this verifier compares answers."""
        same_pairs = None
        if isinstance(verifier, AnswerPairEquivalence):
            same_pairs = verifier.same_pairs
        elif isinstance(verifier, AnswerEquivalence):
            same_pairs = partial(_one_by_one, verifier.same)
        return cls(verifier.answer_key if isinstance(verifier, AnswerKeys) else None, same_pairs)

    @property
    def is_by_text(self) -> bool:
        """Whether only equal texts are one answer."""
        return self.answer_key is None and self.same_pairs is None

    def keys(self, texts: Sequence[str], owners: Sequence[int]) -> Sequence[Hashable]:
        """Return the texts' keys; `None` for a text that must be compared."""
        if self.answer_key is None:
            return [None] * len(texts)
        keys = boundary.answer_keys(self.answer_key, texts, owners=owners)
        return [None if isinstance(key, Failure) else key for key in keys]

    def same(
        self, pairs: Sequence[tuple[str, str]], owners: Sequence[int]
    ) -> Sequence[bool | Failure]:
        """Return for each pair of texts whether they are the same answer."""
        if self.same_pairs is None:  # keys only: what has none is one answer if its text is equal
            return [a == b for a, b in pairs]
        return boundary.same_answers(self.same_pairs, pairs, owners=owners)


def _one_by_one(same: Callable[[str, str], bool], pairs: Sequence[tuple[str, str]]) -> list[bool]:
    return [same(a, b) for a, b in pairs]


def known_groups(tree: SearchTree, comparison: AnswerComparison) -> AnswerGroups:
    """Return the groups of a tree that comes with answers, from an earlier search."""
    known = AnswerGroups()
    for node, group in tree.groups.items():
        known.by_text.setdefault(str(tree.states[node].answer), group)
    if comparison.is_by_text:
        return known
    firsts = [node for node, group in tree.groups.items() if node == group]
    texts = [str(tree.states[node].answer) for node in firsts]
    for first in zip(firsts, texts, comparison.keys(texts, [0] * len(texts))):
        known.add(_Group(*first))
    return known


def group_answers(
    trees: Sequence[SearchTree],
    known: Sequence[AnswerGroups],
    answered: Sequence[Sequence[int]],
    *,
    comparison: AnswerComparison,
) -> None:
    """Put each tree's newly answered nodes into `tree.groups`.

    `known[i]` are the groups of `trees[i]` so far; new ones are added. If a comparison fails, the answers stay apart
    and a note says why.
    """
    if comparison.is_by_text:
        for tree, groups, nodes in zip(trees, known, answered):
            states, by_text = tree.states, groups.by_text
            for node in nodes:
                tree.groups[node] = by_text.setdefault(str(states[node].answer), node)
        return
    left: list[_Ungrouped] = []
    for tree, groups, nodes in zip(trees, known, answered):
        new: dict[str, list[int]] = {}
        for node in nodes:
            text = str(tree.states[node].answer)
            group = groups.by_text.get(text)
            if group is None:
                new.setdefault(text, []).append(node)
            else:
                tree.groups[node] = group
        if new:
            left.append(_Ungrouped(tree, groups, new))
    if not left:
        return
    texts = [text for one in left for text in one.nodes]
    owners = [owner for owner, one in enumerate(left) for _ in one.nodes]
    keys = iter(comparison.keys(texts, owners))
    for one in left:
        one.use_keys(list(islice(keys, len(one.nodes))))
    _compare([one for one in left if one.nodes], comparison)


def group_texts(texts: Sequence[str], comparison: AnswerComparison) -> list[int]:
    """Return for each text the index of the first text that is the same answer, its own if there is none."""
    tree = SearchTree("", [State(""), *(State("", answer=text) for text in texts)])
    nodes = list(range(1, len(texts) + 1))
    group_answers([tree], [AnswerGroups()], [nodes], comparison=comparison)
    return [tree.groups[node] - 1 for node in nodes]


def _compare(left: Sequence[_Ungrouped], comparison: AnswerComparison) -> None:
    """Compare what is left with one group after another, all trees in one call each time."""
    while True:
        owners: list[int] = []
        pairs: list[tuple[str, str]] = []
        for owner, one in enumerate(left):
            own = one.pairs()
            pairs += own
            owners += [owner] * len(own)
        if not pairs:
            return
        for owner, (text, _), same in zip(owners, pairs, comparison.same(pairs, owners)):
            one = left[owner]
            if isinstance(same, Failure):
                boundary.note(one.tree, one.nodes[text][0], same.reason)
            elif same:
                one.put(text, one.to_compare[one.num_compared - 1].node)


@dataclass(slots=True)
class _Ungrouped:
    """New answers of one tree that are not in a group yet."""

    tree: SearchTree
    known: AnswerGroups
    nodes: dict[str, list[int]]
    """Text -> its nodes."""
    keys: dict[str, Hashable] = field(default_factory=dict)
    to_compare: list[_Group] = field(default_factory=list)
    """Groups with which a text may have to be compared."""
    num_compared: int = 0
    """How many of them have been compared."""

    def use_keys(self, keys: Sequence[Hashable]) -> None:
        """Group the texts whose keys are known, and choose the groups with which the others are compared."""
        by_key = self.known.by_key
        self.keys = dict(zip(self.nodes, keys))
        has_unkeyed = None in keys
        needs_comparison = has_unkeyed or bool(self.known.unkeyed)
        for text, key in self.keys.items():
            if key is None:
                continue
            node = by_key.get(key)
            if node is not None:
                self.put(text, node)
            elif not needs_comparison:
                self._start_group(text)
        if self.nodes:
            self.to_compare = [*(self.known.groups if has_unkeyed else self.known.unkeyed)]

    def put(self, text: str, node: int) -> None:
        """Put a text into the group whose first node is `node`."""
        self.known.by_text[text] = node
        for own in self.nodes.pop(text):
            self.tree.groups[own] = node

    def _start_group(self, text: str) -> _Group:
        group = _Group(self.nodes[text][0], text, self.keys[text])
        self.known.add(group)
        self.put(text, group.node)
        return group

    def pairs(self) -> list[tuple[str, str]]:
        """Return what to compare next: all texts left with one group. A text without an equal starts a group."""
        while self.nodes:
            if self.num_compared == len(self.to_compare):
                group = self._start_group(next(iter(self.nodes)))
                for text in [
                    text
                    for text in self.nodes
                    if group.key is not None and self.keys[text] == group.key
                ]:
                    self.put(text, group.node)
                self.to_compare.append(group)
                continue
            group = self.to_compare[self.num_compared]
            self.num_compared += 1
            found = [
                (text, group.text)
                for text in self.nodes
                if group.key is None or self.keys[text] is None
            ]
            if found:
                return found
        return []
