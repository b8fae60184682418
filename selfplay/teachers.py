"""Teachers: the choice of those own answers that a policy learns from, and their form."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from stepgym.agents.answer_groups import AnswerComparison, group_texts
from stepgym.agents.types import EpisodeRecord
from stepgym.records.loader import Environments, states_of
from stepgym.records.tree import path_to
from stepgym.training.examples import Answers, path_targets, step_labels
from stepgym.training.merged_states import merged_targets
from stepgym.training.types import PolicyTarget, StepLabels

BY_TEXT = AnswerComparison()
"""Answers are the same if their texts are equal."""


class Teacher(StrEnum):
    """What decides which of the policy's own answers are right."""

    VERIFIER = "verifier"
    """The environment's verifier, on every answer: a problem may have many right ones (Countdown)."""
    VOTE = "vote"
    """The answer that most of the search's samples agree on, counted by the verifier's `same`; no label is used."""
    RANDOM = "random"
    """Any of the answers: the control that must not improve."""
    SHUFFLED = "shuffled"
    """The verifier's verdicts, shuffled over all answers of all problems: as many rewards, without information."""
    ORACLE = "oracle"
    """The step verifier, on every step: the upper bound."""


class Form(StrEnum):
    """What is learned from an approved episode."""

    PATHS = "paths"
    """The paths that end in an approved answer: rejection sampling (STaR, ReST-EM)."""
    MERGED = "merged"
    """The steps between well-supported states of all paths (`stepgym.training.merged_states`)."""
    BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class Approval:
    """The settings of a teacher: which answers it approves, and the targets made from them."""

    teacher: str = Teacher.VERIFIER
    """Name of a `Teacher`."""
    form: str = Form.PATHS
    """Name of a `Form`."""
    min_agreement: float = 0.0
    """With `vote`: the least share of a problem's answers that must agree."""
    most_agreed: float = 1.0
    """With `vote`: the share of a generation's problems that is learned from, in order of agreement."""
    min_support: int = 3
    """With `merged`: the least number of samples that must have passed a state."""
    path_weight: float = 1.0
    """With `both`: the weight of all paths relative to all merged states."""


def approved_answers(
    approval: Approval,
    records: Sequence[EpisodeRecord],
    environments: Environments,
    *,
    seed: int = 0,
) -> dict[str, Answers]:
    """Return each problem's approved answers, by problem id.

    They are all correct answers, or all spellings of the one that was chosen. Problems without any are absent.
    """
    votes = {r.problem_id: answer_votes(r, environments.comparison(r)) for r in records}
    rng = random.Random(seed)
    match Teacher(approval.teacher):
        case Teacher.VOTE:
            return _voted(approval, votes)
        case Teacher.RANDOM:
            return {problem: rng.choice(sorted(found)) for problem, found in votes.items() if found}
        case Teacher.SHUFFLED:
            return _shuffled(records, votes, rng)
        case _:
            return {r.problem_id: right for r in records if (right := right_answers(r))}


def answer_votes(record: EpisodeRecord, comparison: AnswerComparison = BY_TEXT) -> Counter[Answers]:
    """Return how many samples gave each answer.

    Answers that are the same count as one, with all their spellings.
    """
    samples: Counter[str] = Counter()
    for node in record.nodes:
        if node.answer is not None:
            samples[node.answer] += max(1, node.visits)
    texts = list(samples)
    spellings: dict[int, list[str]] = {}
    for text, first in zip(texts, group_texts(texts, comparison)):
        spellings.setdefault(first, []).append(text)
    return Counter(
        {tuple(group): sum(samples[text] for text in group) for group in spellings.values()}
    )


def agreement(record: EpisodeRecord, comparison: AnswerComparison = BY_TEXT) -> float:
    """Return the share of the samples with an answer that gave the most frequent one."""
    votes = answer_votes(record, comparison)
    return max(votes.values()) / votes.total() if votes else 0.0


def right_answers(record: EpisodeRecord) -> Answers:
    """Return the answers in the tree that the verifier calls correct, each once."""
    right = [node.answer for node in record.nodes if node.verdict == "correct"]
    return tuple(dict.fromkeys(answer for answer in right if answer is not None))


def approved_targets(
    approval: Approval,
    records: Sequence[EpisodeRecord],
    environments: Environments,
    *,
    seed: int = 0,
) -> dict[str, list[PolicyTarget]]:
    """Return the policy's targets from each problem's episode; problems without any are absent."""
    if Teacher(approval.teacher) is Teacher.ORACLE:
        found = {record.problem_id: _right_steps(record) for record in records}
    else:
        answers = approved_answers(approval, records, environments, seed=seed)
        found = {
            record.problem_id: _of_record(approval, record, environments, answers)
            for record in records
        }
    return {problem: targets for problem, targets in found.items() if targets}


def _of_record(
    approval: Approval,
    record: EpisodeRecord,
    environments: Environments,
    answers_of: Mapping[str, Answers],
) -> list[PolicyTarget]:
    merged: list[PolicyTarget] = []
    paths: list[PolicyTarget] = []
    if approval.form != Form.PATHS:
        support = approval.min_support
        merged = merged_targets([record], environments, answers_of=answers_of, min_support=support)
    if approval.form != Form.MERGED:
        paths = path_targets([record], answers_of=answers_of)
    if approval.form == Form.BOTH:
        weight = max(1.0, sum(target.weight for target in paths))
        scale = approval.path_weight * max(1, len(merged)) / weight
        paths = [target._replace(weight=target.weight * scale) for target in paths]
    return merged + paths


def _voted(approval: Approval, votes: Mapping[str, Counter[Answers]]) -> dict[str, Answers]:
    shares = {
        problem: max(found.values()) / found.total() for problem, found in votes.items() if found
    }
    ranked = sorted(shares, key=lambda problem: -shares[problem])
    chosen = ranked[: max(1, round(approval.most_agreed * len(votes)))]
    return {p: votes[p].most_common(1)[0][0] for p in chosen if shares[p] >= approval.min_agreement}


def _shuffled(
    records: Sequence[EpisodeRecord], votes: Mapping[str, Counter[Answers]], rng: random.Random
) -> dict[str, Answers]:
    """Shuffle the verdicts over all answers of all problems; of several rewarded answers the most frequent counts."""
    pairs = [
        (record, answers) for record in records for answers in sorted(votes[record.problem_id])
    ]
    dealt = [not set(right_answers(record)).isdisjoint(answers) for record, answers in pairs]
    rng.shuffle(dealt)
    found: dict[str, Answers] = {}
    for (record, answers), reward in zip(pairs, dealt):
        of_problem = votes[problem := record.problem_id]
        if reward and of_problem[answers] > of_problem[found.get(problem, ())]:
            found[problem] = answers
    return found


def _right_steps(record: EpisodeRecord) -> list[PolicyTarget]:
    """Return the steps of paths on which the step verifier finds nothing wrong."""
    states = states_of(record)
    right = step_labels(record, StepLabels.VERIFIER)
    found: dict[tuple[int, int], PolicyTarget] = {}
    for end, node in enumerate(record.nodes):
        path = path_to(record, end)
        if node.answer is not None and all(right.get(step, 0.0) > 0 for step in path[1:]):
            found |= {
                (a, b): PolicyTarget(states[a].public, {record.nodes[b].text: 1.0})
                for a, b in pairwise(path)
            }
    return list(found.values())
