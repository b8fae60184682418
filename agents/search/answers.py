"""Which answer to stand by: verified first, then by score, by vote, or by votes weighted with scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import islice

from stepgym.agents.types import ROOT, NodeStatus, SearchTree


class Pick(StrEnum):
    """How one of several answers is chosen when none is verified."""

    SCORE = "score"
    """The answer whose path the reward model likes best."""
    VOTE = "vote"
    """The most frequent answer (self-consistency, Wang et al. 2022, arXiv:2203.11171)."""
    WEIGHTED_VOTE = "weighted_vote"
    """The answer with the largest sum of scores (Li et al. 2022, arXiv:2206.02336)."""


class Aggregation(StrEnum):
    """How the scores of a path's steps become one score (Lightman et al. 2023 use the product)."""

    LAST = "last"
    MIN = "min"
    PROD = "prod"
    MEAN = "mean"


def check_choice(method: str, setting: str, value: str | None, choices: type[StrEnum]) -> None:
    """Raise `ValueError` with the list of choices unless `value` is one of them (or `None`)."""
    if value is not None and value not in list(choices):
        raise ValueError(f"{method}: {setting}={value!r}; choose from {', '.join(choices)}")


def path_score(tree: SearchTree, node: int, aggregation: str = Aggregation.LAST) -> float | None:
    """Return the score of the path to `node`, in [0, 1]; `None` where nothing on it was scored."""
    if aggregation == Aggregation.LAST:
        return tree.score[node]
    scores = [score for at in tree.path(node) if (score := tree.score[at]) is not None]
    if not scores:
        return None
    if aggregation == Aggregation.MIN:
        return min(scores)
    return math.prod(scores) if aggregation == Aggregation.PROD else sum(scores) / len(scores)


def promise(tree: SearchTree, node: int, aggregation: str = Aggregation.LAST) -> float:
    """Return by what a beam keeps nodes: the path's score, or its log-probability where nothing scores."""
    score = path_score(tree, node, aggregation)
    if score is not None:
        return score
    return sum(step.log_prob or 0.0 for step in tree.states[node].steps)


def hopeful(tree: SearchTree, node: int) -> bool:
    """Say whether a node can still become or is an answer that is not known to be wrong."""
    if tree.status[node] is NodeStatus.OPEN:
        return True
    return node in tree.groups and (node not in tree.verdicts or tree.verdicts[node].score > 0)


def verified(tree: SearchTree) -> int | None:
    """Return the first node whose answer is verified as correct, where the search sees verdicts."""
    return next((node for node, verdict in tree.verdicts.items() if verdict.correct), None)


def has_verified(tree: SearchTree) -> bool:
    """Say whether an answer is verified as correct, looking at each verdict once: for `select`, in every round.

    Verdicts are only added while a search runs; it notes in the tree's memory how many it has seen.
    """
    num_seen, found = tree.memory.get("verdicts_seen", (0, False))
    num_new = len(tree.verdicts) - num_seen
    if num_new and not found:
        found = any(
            verdict.correct for verdict in islice(reversed(tree.verdicts.values()), max(0, num_new))
        )
        tree.memory["verdicts_seen"] = (len(tree.verdicts), found)
    return bool(found)


def best_answer(
    tree: SearchTree,
    *,
    pick: str | None = None,
    aggregation: str = Aggregation.LAST,
    times: Mapping[int, int] | None = None,
    among: Iterable[int] | None = None,
) -> int:
    """Return the ended node to stand by; without an answer the ended, then the deepest node; ties to the first.

    `pick=None` is by score where there are scores and by vote otherwise. `times` is how often each ended node was
    reached (once where it does not say). `among` limits the choice to some ended nodes.
    """
    if (node := verified(tree)) is not None:
        return node
    answers = (
        list(tree.groups) if among is None else [node for node in among if node in tree.groups]
    )
    answers = [node for node in answers if hopeful(tree, node)] or answers
    if not answers:
        return _without_answer(tree)
    scores = {node: path_score(tree, node, aggregation) for node in answers}
    if pick is None:
        pick = Pick.VOTE if all(score is None for score in scores.values()) else Pick.SCORE
    if pick == Pick.SCORE:
        return max(answers, key=lambda node: _known(scores[node]))
    votes: dict[int, float] = {}
    for node in answers:
        weight = 1.0 if pick == Pick.VOTE else _known(scores[node])
        votes[tree.groups[node]] = votes.get(tree.groups[node], 0.0) + weight * (times or {}).get(
            node, 1
        )
    winner = max(votes, key=lambda group: votes[group])
    return max(
        (node for node in answers if tree.groups[node] == winner),
        key=lambda node: _known(scores[node]),
    )


def _known(score: float | None) -> float:
    return 0.0 if score is None else score


def _without_answer(tree: SearchTree) -> int:
    ended = next(
        (node for node, status in enumerate(tree.status) if status is NodeStatus.ENDED), None
    )
    if ended is not None:
        return ended
    return max(range(len(tree)), key=lambda node: len(tree.states[node].steps), default=ROOT)
