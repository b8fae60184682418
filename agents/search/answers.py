"""The choice of an answer: a verified one first, then by score or vote."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from stepgym.agents.types import ROOT, NodeStatus, SearchTree
from stepgym.envs.types import Status, Verdict


class Pick(StrEnum):
    """The rule that chooses one of several answers if none is verified."""

    SCORE = "score"
    """The answer whose path has the highest score."""
    VOTE = "vote"
    """The most frequent answer (self-consistency, Wang et al. 2022, arXiv:2203.11171)."""
    WEIGHTED_VOTE = "weighted_vote"
    """The answer with the largest sum of scores (Li et al. 2022, arXiv:2206.02336)."""


class Aggregation(StrEnum):
    """The function that makes one score of the scores of a path's steps.

    Lightman et al. 2023 (arXiv:2305.20050) use the product.
    """

    LAST = "last"
    MIN = "min"
    PROD = "prod"
    MEAN = "mean"


def check_choice(setting: str, value: str | None, *, choices: type[StrEnum]) -> None:
    """Raise `ValueError` with the list of choices unless `value` is one of them (or `None`)."""
    if value is not None and value not in list(choices):
        raise ValueError(f"{setting}={value!r}; choose from {', '.join(choices)}")


def check_at_least(*, least: int = 1, **settings: int) -> None:
    """Raise `ValueError` for the first setting that is below `least`."""
    for name, value in settings.items():
        if value < least:
            raise ValueError(f"{name}={value}; must be at least {least}")


def aggregate(scores: Sequence[float], aggregation: str = Aggregation.LAST) -> float:
    """Return one score for the scores of a path's steps; `scores` is not empty."""
    if aggregation == Aggregation.LAST:
        return scores[-1]
    if aggregation == Aggregation.MIN:
        return min(scores)
    return math.prod(scores) if aggregation == Aggregation.PROD else sum(scores) / len(scores)


def path_score(tree: SearchTree, node: int, aggregation: str = Aggregation.LAST) -> float | None:
    """Return the score of the path to `node`, in [0, 1]; `None` if nothing on it was scored."""
    if aggregation == Aggregation.LAST:
        return tree.score[node]
    scores = [score for at in tree.path(node) if (score := tree.score[at]) is not None]
    return aggregate(scores, aggregation) if scores else None


def beam_score(tree: SearchTree, node: int, aggregation: str = Aggregation.LAST) -> float:
    """Return the value by which a beam ranks a node.

    It is the path's score, or its log-probability if there are no scores.
    """
    score = path_score(tree, node, aggregation)
    if score is not None:
        return score
    return sum(step.log_prob or 0.0 for step in tree.states[node].steps)


def known_verdict(tree: SearchTree, node: int) -> Verdict | None:
    """Return the verdict on a node's answer; `None` if there is none yet or it is UNDECIDED."""
    verdict = tree.verdicts.get(node)
    return None if verdict is None or verdict.status is Status.UNDECIDED else verdict


def may_be_right(tree: SearchTree, node: int) -> bool:
    """Return whether a node can grow, or has an answer that is not known to be wrong."""
    if tree.status[node] is NodeStatus.OPEN:
        return True
    verdict = known_verdict(tree, node)
    return node in tree.groups and (verdict is None or verdict.score > 0)


def verified(tree: SearchTree) -> int | None:
    """Return the first node whose answer is verified as correct."""
    return next((node for node, verdict in tree.verdicts.items() if verdict.correct), None)


@dataclass(slots=True)
class SeenVerdicts:
    """How many of a tree's verdicts have been looked at, and whether one was correct."""

    count: int = 0
    """How many of `SearchTree.verdicts` have been looked at, in the order in which they were added."""
    any_correct: bool = False
    """Whether one of them is correct."""


def has_verified(tree: SearchTree) -> bool:
    """Return whether an answer is verified as correct; cheap enough for every `select`.

    Each verdict is looked at once, because verdicts are only added while a search runs.
    """
    if not tree.verdicts:
        return False
    seen = tree.recall(SeenVerdicts)
    num_new = len(tree.verdicts) - seen.count
    if num_new and not seen.any_correct:
        new = islice(reversed(tree.verdicts.values()), num_new)
        seen.any_correct = any(verdict.correct for verdict in new)
        seen.count = len(tree.verdicts)
    return seen.any_correct


def best_answer(
    tree: SearchTree,
    *,
    pick: str | None = None,
    aggregation: str = Aggregation.LAST,
    num_samples: Mapping[int, int] | None = None,
) -> int:
    """Return the ended node whose answer is chosen.

    Without an answer, it is the ended node with the best outcome, else the first ended, else the deepest node.

    `pick=None` is by score if there are scores, and by vote otherwise. `num_samples` is how many samples reached each
    node (one, if it does not say). Ties go to the first.
    """
    if (node := verified(tree)) is not None:
        return node
    answers = [node for node in tree.groups if may_be_right(tree, node)] or list(tree.groups)
    if not answers:
        return _without_answer(tree)
    scores = {node: path_score(tree, node, aggregation) for node in answers}
    if pick is None:
        pick = Pick.VOTE if all(score is None for score in scores.values()) else Pick.SCORE
    if pick == Pick.SCORE:
        return max(answers, key=lambda node: scores[node] or 0.0)
    votes: dict[int, float] = {}
    for node in answers:
        weight = 1.0 if pick == Pick.VOTE else scores[node] or 0.0
        group = tree.groups[node]
        votes[group] = votes.get(group, 0.0) + weight * (num_samples or {}).get(node, 1)
    winner = max(votes, key=lambda group: votes[group])
    voters: Iterable[int] = (node for node in answers if tree.groups[node] == winner)
    return max(voters, key=lambda node: scores[node] or 0.0)


def _without_answer(tree: SearchTree) -> int:
    ended = [node for node, status in enumerate(tree.status) if status is NodeStatus.ENDED]
    if outcomes := [node for node in ended if tree.states[node].outcome is not None]:
        return max(outcomes, key=lambda node: _outcome_value(tree, node))
    if ended:
        return ended[0]
    return max(range(len(tree)), key=lambda node: len(tree.states[node].steps), default=ROOT)


def _outcome_value(tree: SearchTree, node: int) -> tuple[float, float]:
    """Return the rank of an outcome by what the search may see of it: its verdict's score, then the path's score."""
    verdict = known_verdict(tree, node)
    return (0.0 if verdict is None else verdict.score, path_score(tree, node) or 0.0)
