"""From episode records to training examples of the embedded models: policy targets, preferences, value targets.

Each function goes over the nodes of finished search trees. An end counts as correct or incorrect if the verifier
decided it; an end without an answer counts as incorrect; UNDECIDED ends and failures make no example.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

from stepgym.agents.embedded.games import GAMES
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.types import Fault
from stepgym.records.loader import states_of
from stepgym.records.run_folder import read_episodes
from stepgym.records.tree import children_of, path_to
from stepgym.training.types import PolicyTarget, Preference, StepLabels, TrainingError, ValueTarget

Answers = tuple[str, ...]
"""Answers to one problem that count as the same."""
Example = TypeVar("Example")
LabelsOf = Callable[[EpisodeRecord], Mapping[int, float]]
"""Returns the labels of a record's nodes."""


def read_runs(folders: Sequence[str], *, undecidable_is_wrong: bool = False) -> list[EpisodeRecord]:
    """Read the episodes of run folders. Raises `RecordError`, and `TrainingError` if no folder is named."""
    if not folders:
        raise TrainingError(
            "say which run folders to learn from: --runs FOLDER (`stepgym selfplay` writes them)"
        )
    records = [record for folder in folders for record in read_episodes(folder)]
    return [count_undecidable_as_wrong(r) for r in records] if undecidable_is_wrong else records


def count_undecidable_as_wrong(record: EpisodeRecord) -> EpisodeRecord:
    """Return the record with answers that are UNDECIDED through their own fault (`Fault.ANSWER`) called incorrect."""
    fault = Fault.ANSWER.value
    nodes = tuple(
        replace(node, verdict="incorrect", fault=None) if node.fault == fault else node
        for node in record.nodes
    )
    if record.fault == fault:
        record = replace(record, verdict="incorrect", fault=None)
    return replace(record, nodes=nodes)


def is_correct(record: EpisodeRecord, node: int) -> bool | None:
    """Return whether a node is a correct end; `None` if it is no end, UNDECIDED, or failed."""
    found = record.nodes[node]
    if found.verdict in ("correct", "incorrect"):
        return found.verdict == "correct"
    has_result = found.answer is not None or found.outcome is not None
    return False if found.status == "ended" and not has_result else None


def episode_is_correct(record: EpisodeRecord) -> bool | None:
    """Return whether the episode was solved; `None` if its verdict is UNDECIDED or it failed. No answer is wrong."""
    return {"correct": True, "incorrect": False, "no_answer": False}.get(record.verdict)


def ends_below(record: EpisodeRecord) -> list[list[bool]]:
    """Return for each node the outcomes of all decided ends at it or below."""
    below: list[list[bool]] = [[] for _ in record.nodes]
    for end in range(len(record.nodes)):
        if (correct := is_correct(record, end)) is not None:
            for node in path_to(record, end):
                below[node].append(correct)
    return below


def verified_targets(records: Iterable[EpisodeRecord]) -> list[PolicyTarget]:
    """Return the steps of verified solutions (supervised fine-tuning, expert iteration), in equal shares at each fork."""
    found = []
    for record in records:
        states = states_of(record)
        steps: dict[int, dict[str, None]] = {}
        for end in range(len(record.nodes)):
            for node, child in pairwise(path_to(record, end)) if is_correct(record, end) else ():
                steps.setdefault(node, {})[record.nodes[child].text] = None
        for node, texts in steps.items():
            found.append(PolicyTarget(states[node].public, dict.fromkeys(texts, 1 / len(texts))))
    return found


def path_targets(
    records: Iterable[EpisodeRecord], *, answers_of: Mapping[str, Answers]
) -> list[PolicyTarget]:
    """Return the steps of every path that ends in one of the answers given for its problem.

    At each fork, a step's share is the fraction of samples that continued through it to such an answer; the fork's
    weight is the number of these samples.
    """
    found = []
    for record in records:
        wanted = frozenset(answers_of.get(record.problem_id, ()))
        samples = [0] * len(record.nodes)
        for end, node in enumerate(record.nodes):
            if node.answer in wanted:
                for on_path in path_to(record, end):
                    samples[on_path] += max(1, node.visits)
        if not any(samples):
            continue
        states = states_of(record)
        for fork, children in enumerate(children_of(record)):
            shares = {
                record.nodes[c].text: samples[c] / samples[fork] for c in children if samples[c]
            }
            if shares:
                found.append(PolicyTarget(states[fork].public, shares, float(samples[fork])))
    return found


def visit_targets(
    records: Iterable[EpisodeRecord], *, temperature: float = 1.0
) -> list[PolicyTarget]:
    """Return AlphaZero's policy targets: at each node with two visited children or more, their visits as shares."""
    found = []
    for record in records:
        states = states_of(record)
        for node, children in enumerate(children_of(record)):
            visits = {
                record.nodes[c].text: record.nodes[c].visits ** (1 / temperature)
                for c in children
                if record.nodes[c].visits
            }
            total = math.fsum(visits.values())
            if len(visits) > 1:
                shares = {text: count / total for text, count in visits.items()}
                found.append(PolicyTarget(states[node].public, shares))
    return found


def preferences(records: Iterable[EpisodeRecord]) -> list[Preference]:
    """Return the forks at which one step has a correct end below it and another only incorrect ones."""
    found = []
    for record in records:
        states, below = states_of(record), ends_below(record)
        for node, children in enumerate(children_of(record)):
            good = [record.nodes[c].text for c in children if any(below[c])]
            bad = [record.nodes[c].text for c in children if below[c] and not any(below[c])]
            found += [Preference(states[node].public, *texts) for texts in zip(good, bad)]
    return found


def value_targets(
    records: Iterable[EpisodeRecord], game: str, *, labels_of: LabelsOf | None = None
) -> list[ValueTarget]:
    """Return a value target for each labelled step (Monte-Carlo labels by default), as reward models of a game read it.

    A step that was refused makes none: it scores 0 unread. Raises `TrainingError` for records of other games.
    """
    found = []
    reader = GAMES[game]
    for record in records:
        states = states_of(record)
        labels = step_labels(record) if labels_of is None else labels_of(record)
        for node, label in labels.items():
            state = states[node]
            if not reader.plays(state.public):
                raise TrainingError(
                    f"a reward model of {reader.title} cannot read episodes of {record.env_id}; "
                    "train a language model on them: --init smollm2"
                )
            reading = reader.readings(state)[-1] if state.steps else None
            if reading is not None:
                found.append(ValueTarget(reading, label))
    return found


def step_labels(
    record: EpisodeRecord, source: StepLabels = StepLabels.MONTE_CARLO, *, hard: bool = False
) -> dict[int, float]:
    """Return a label for each node that the source can judge: a share, or with `hard` 0 or 1."""
    below = ends_below(record)
    sampled = {
        node: sum(outcomes) / len(outcomes)
        for node, outcomes in enumerate(below)
        if node and outcomes
    }
    exact = {
        node: float(found.step_verdict == "correct")
        for node, found in enumerate(record.nodes)
        if found.step_verdict in ("correct", "incorrect")
    }
    match source:
        case StepLabels.MONTE_CARLO:
            labels = sampled
        case StepLabels.FIRST_ERROR:
            labels = _first_errors(record, sampled)
        case StepLabels.VERIFIER:
            labels = exact
        case StepLabels.AGREEMENT:
            agree = [n for n in sampled if n in exact and (sampled[n] > 0) == (exact[n] > 0)]
            labels = {node: exact[node] for node in agree}
    return {node: float(label > 0) for node, label in labels.items()} if hard else labels


def end_labels(record: EpisodeRecord) -> dict[int, float]:
    """Return the verdict of every decided end: what an outcome reward model learns."""
    ends = {node: is_correct(record, node) for node in range(1, len(record.nodes))}
    return {node: float(correct) for node, correct in ends.items() if correct is not None}


def path_labels(record: EpisodeRecord) -> dict[int, float]:
    """Return the episode's outcome for each step on the chosen path: what AlphaZero's value learns."""
    correct = episode_is_correct(record)
    return {} if correct is None else dict.fromkeys(record.path[1:], float(correct))


def require_step_verdicts(records: Sequence[EpisodeRecord], labels: StepLabels) -> None:
    """Raise `TrainingError` if the labels need step verdicts and the records hold none."""
    needed = labels in (StepLabels.VERIFIER, StepLabels.AGREEMENT)
    if needed and not any(node.step_verdict for record in records for node in record.nodes):
        env_ids = ", ".join(sorted({record.env_id for record in records}))
        raise TrainingError(
            f"the records of {env_ids} hold no step verdicts: the environment has no step verifier, or the run was "
            f"not verified step by step; choose labels {StepLabels.MONTE_CARLO} or {StepLabels.FIRST_ERROR}"
        )


def require(examples: list[Example], problem: str) -> list[Example]:
    """Return the examples; raises `TrainingError` if there are none: "the records hold {problem}"."""
    if not examples:
        raise TrainingError(
            f"the records hold {problem}; play more episodes, easier ones, or with a wider search"
        )
    return examples


def require_both_classes(labels: Sequence[float]) -> None:
    """Raise `TrainingError` unless some labels are good and some are bad."""
    require(list(labels), "no step that could be judged")
    if len({label >= 0.5 for label in labels}) == 1:
        side = "good" if labels[0] >= 0.5 else "bad"
        raise TrainingError(
            f"all {len(labels)} labels are {side}; a reward model needs both: mix levels or searches"
        )


def _first_errors(record: EpisodeRecord, sampled: Mapping[int, float]) -> dict[int, float]:
    """Label each decided path up to the first step below which no end is correct; later steps are not judged."""
    found: dict[int, float] = {}
    for end in range(1, len(record.nodes)):
        if is_correct(record, end) is not None:
            path = path_to(record, end)[1:]
            first = next((at for at, node in enumerate(path) if not sampled[node]), len(path))
            found |= dict.fromkeys(path[:first], 1.0) | dict.fromkeys(path[first : first + 1], 0.0)
    return found
