"""Who says what a policy learns from its own episodes, and in what form."""

from __future__ import annotations

import operator
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from stepgym.agents.types import EpisodeRecord
from stepgym.records.tree import path_to
from stepgym.training import examples
from stepgym.training.examples import Answers, Replay, Same
from stepgym.training.merged_states import merged_targets
from stepgym.training.types import PolicyTarget, StepLabels


class Teacher(StrEnum):
    """Who says which of the policy's own answers are right."""

    VERIFIER = "verifier"
    """The environment's verifier, on every answer: a problem may have many right ones (Countdown)."""
    VOTE = "vote"
    """The answer that most of the search's samples agree on, as the verifier's `same` counts; no label is used."""
    RANDOM = "random"
    """Any of the answers: the control that must not improve."""
    SHUFFLED = "shuffled"
    """The verifier's verdicts, dealt out among all answers of all problems: as many rewards, for nothing."""
    ORACLE = "oracle"
    """The step verifier, on every step: the ceiling."""


class Form(StrEnum):
    """What of an approved episode is learned."""

    PATHS = "paths"
    """The lines that end in the right answer: rejection sampling (STaR, ReST-EM)."""
    MERGED = "merged"
    """The steps between well-supported boards of all lines, merged (`stepgym.training.merged_states`)."""
    BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class Approval:
    """How much agreement makes a vote a label, and how an approved episode is learned from."""

    teacher: str = Teacher.VERIFIER
    form: str = Form.PATHS
    min_agreement: float = 0.0
    """With `vote`: the least share of a problem's answers that must agree."""
    most_agreed: float = 1.0
    """With `vote`: the share of a generation's problems that is learned from, the most agreed on first."""
    min_support: int = 3
    """With `merged`: how many samples must have passed a board."""
    path_weight: float = 1.0
    """With `both`: how much all paths weigh against all merged boards."""


def approve(
    approval: Approval, records: Sequence[EpisodeRecord], *, replay: Replay, seed: int = 0
) -> dict[str, Answers]:
    """Return the approved answers of each problem that has any: all right ones, or all that are the same as the one chosen."""
    votes = {record.problem_id: answer_votes(record, replay.same(record)) for record in records}
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


def answer_votes(record: EpisodeRecord, same: Same = operator.eq) -> Counter[Answers]:
    """Return how many samples gave each answer; those that are the same are one, under all their spellings."""
    spellings: dict[str, list[str]] = {}
    first: dict[str, str] = {}
    votes: Counter[str] = Counter()
    for node in record.nodes:
        if (answer := node.answer) is None:
            continue
        if answer not in first:
            first[answer] = next((other for other in spellings if same(answer, other)), answer)
            spellings.setdefault(first[answer], []).append(answer)
        votes[first[answer]] += max(1, node.visits)
    return Counter({tuple(spellings[answer]): count for answer, count in votes.items()})


def agreement(record: EpisodeRecord, same: Same = operator.eq) -> float:
    """Return the share of the samples with an answer that gave the most frequent one."""
    votes = answer_votes(record, same)
    return max(votes.values()) / votes.total() if votes else 0.0


def right_answers(record: EpisodeRecord) -> Answers:
    """Return the answers in the tree that the verifier calls correct, each once."""
    return tuple(
        dict.fromkeys(
            node.answer
            for node in record.nodes
            if node.answer is not None and node.verdict == "correct"
        )
    )


def lessons(
    approval: Approval, records: Sequence[EpisodeRecord], replay: Replay, *, seed: int = 0
) -> dict[str, list[PolicyTarget]]:
    """Return what the teacher lets the policy learn from each problem's episode; problems without a lesson are absent."""
    if Teacher(approval.teacher) is Teacher.ORACLE:
        found = {record.problem_id: _right_steps(record, replay) for record in records}
    else:
        answers = approve(approval, records, replay=replay, seed=seed)
        form = Form(approval.form)
        found = {}
        for record in records:
            merged = (
                merged_targets(
                    [record], replay, answers_of=answers, min_support=approval.min_support
                )
                if form is not Form.PATHS
                else []
            )
            paths = (
                examples.path_targets([record], replay, answers_of=answers)
                if form is not Form.MERGED
                else []
            )
            scale = (
                approval.path_weight * max(1, len(merged)) / max(1.0, sum(c.weight for c in paths))
                if form is Form.BOTH
                else 1.0
            )
            found[record.problem_id] = merged + [c._replace(weight=c.weight * scale) for c in paths]
    return {problem: choices for problem, choices in found.items() if choices}


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
    """Deal the verdicts out anew over all answers of all problems; of several rewarded ones the most frequent counts."""
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


def _right_steps(record: EpisodeRecord, replay: Replay) -> list[PolicyTarget]:
    """Return the steps of lines on which the step verifier finds nothing wrong."""
    states = replay.states(record)
    right = examples.step_labels(record, replay, states, StepLabels.VERIFIER)
    found: dict[tuple[int, int], PolicyTarget] = {}
    for end, node in enumerate(record.nodes):
        path = path_to(record, end)
        if node.answer is not None and all(right.get(step, 0.0) > 0 for step in path[1:]):
            found |= {
                (a, b): PolicyTarget(states[a].public, {record.nodes[b].text: 1.0})
                for a, b in pairwise(path)
            }
    return list(found.values())
