"""Which answers of a tree are the same: what votes are counted by.

Equal texts and equal keys (`AnswerKeys`) need no comparison. The others are compared with one representative per
group, for all trees of a round in the same calls.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from stepgym.agents import boundary
from stepgym.agents.boundary import Failure
from stepgym.agents.types import SearchTree


@dataclass(slots=True)
class AnswerGroups:
    """The groups of one tree's answers, by text and by key. Each group is named by its first node."""

    by_text: dict[str, int] = field(default_factory=dict)
    by_key: dict[Hashable, int] = field(default_factory=dict)
    groups: list[tuple[int, str, Hashable]] = field(default_factory=list)
    """First node, text and key of each group."""


@dataclass(slots=True)
class _Ungrouped:
    """New answers of one tree that are not in a group yet."""

    tree: SearchTree
    known: AnswerGroups
    texts: dict[str, list[int]]
    """Text -> its nodes."""
    keys: dict[str, Hashable] = field(default_factory=dict)
    next_group: int = 0
    """The first group that the texts have not been compared with."""

    def add(self, text: str, group: int) -> None:
        """Put a text into a group."""
        self.known.by_text[text] = group
        for node in self.texts.pop(text):
            self.tree.groups[node] = group

    def pairs(self) -> list[tuple[str, str]]:
        """Return what to compare next: all texts left with one group. A text without an equal starts a group."""
        while self.texts:
            if self.next_group == len(self.known.groups):
                self._start_group()
                continue
            _, first, first_key = self.known.groups[self.next_group]
            self.next_group += 1
            found = [
                (text, first)
                for text in self.texts
                if first_key is None or self.keys.get(text) is None
            ]
            if found:
                return found
        return []

    def _start_group(self) -> None:
        text = next(iter(self.texts))
        node, key = self.texts[text][0], self.keys.get(text)
        self.known.groups.append((node, text, key))
        if key is not None:
            self.known.by_key[key] = node
        self.add(text, node)
        if key is not None:
            for other in [other for other in self.texts if self.keys.get(other) == key]:
                self.add(other, node)


def known_groups(tree: SearchTree, verifier: object) -> AnswerGroups:
    """Return the groups of a tree that comes with answers, from an earlier search."""
    known = AnswerGroups()
    for node, group in tree.groups.items():
        known.by_text.setdefault(str(tree.states[node].answer), group)
    firsts = [node for node, group in tree.groups.items() if node == group]
    texts = [str(tree.states[node].answer) for node in firsts]
    for node, text, key in zip(firsts, texts, _keys(verifier, texts, [0] * len(texts))):
        known.groups.append((node, text, key))
        if key is not None:
            known.by_key.setdefault(key, node)
    return known


def group_answers(
    trees: Sequence[SearchTree],
    known: Sequence[AnswerGroups],
    answered: Sequence[Sequence[int]],
    *,
    verifier: object,
) -> None:
    """Put each tree's newly answered nodes into `tree.groups`.

    `known[i]` are the groups of `trees[i]` so far; new ones are added. If a comparison fails, the answers stay apart
    and a note says why.
    """
    left: list[_Ungrouped] = []
    for tree, groups, nodes in zip(trees, known, answered):
        texts: dict[str, list[int]] = {}
        for node in nodes:
            text = str(tree.states[node].answer)
            group = groups.by_text.get(text)
            if group is None:
                texts.setdefault(text, []).append(node)
            else:
                tree.groups[node] = group
        if texts:
            left.append(_Ungrouped(tree, groups, texts))
    if left:
        _use_keys(left, verifier)
        _compare(left, verifier)


def _use_keys(ungrouped: Sequence[_Ungrouped], verifier: object) -> None:
    """Find the key of every new text, and group those whose key is known."""
    owners = [owner for owner, one in enumerate(ungrouped) for _ in one.texts]
    texts = [text for one in ungrouped for text in one.texts]
    for owner, text, key in zip(owners, texts, _keys(verifier, texts, owners)):
        one = ungrouped[owner]
        group = None if key is None else one.known.by_key.get(key)
        if group is None:
            one.keys[text] = key
        else:
            one.add(text, group)


def _keys(verifier: object, texts: Sequence[str], owners: Sequence[int]) -> list[Hashable]:
    """Return the texts' keys; `None` for a text that has none or whose key cannot be made."""
    keys = boundary.answer_keys(verifier, texts, owners=owners)
    return [None if isinstance(key, Failure) else key for key in keys]


def _compare(ungrouped: Sequence[_Ungrouped], verifier: object) -> None:
    """Compare what is left with one group after another, all trees in one call each time."""
    while True:
        owners: list[int] = []
        pairs: list[tuple[str, str]] = []
        for owner, one in enumerate(ungrouped):
            own = one.pairs()
            pairs += own
            owners += [owner] * len(own)
        if not pairs:
            return
        results = boundary.same_answers(verifier, pairs, owners=owners)
        for owner, (text, _), same in zip(owners, pairs, results):
            one = ungrouped[owner]
            if isinstance(same, Failure):
                boundary.note(one.tree, one.texts[text][0], same.reason)
            elif same:
                one.add(text, one.known.groups[one.next_group - 1][0])
