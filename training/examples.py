"""From episode records to training examples of the embedded models: policy targets, preferences, value targets.

Each function goes over the nodes of finished search trees. An end counts as correct or incorrect if the verifier
decided it; an end without an answer counts as incorrect; UNDECIDED ends and failures make no example.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

from stepgym.agents.embedded.games import reading_of
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.types import Fault, State
from stepgym.records.loader import states_of
from stepgym.records.run_folder import read_episodes
from stepgym.records.tree import children_of, path_to
from stepgym.training.types import PolicyTarget, Preference, StepLabels, TrainingError, ValueTarget

Answers = tuple[str, ...]
"""Answers to one problem that count as the same."""
Example = TypeVar("Example")


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
    return False if found.status == "ended" and found.answer is None else None


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


def step_values(
    records: Iterable[EpisodeRecord],
    *,
    labels: StepLabels = StepLabels.MONTE_CARLO,
    hard: bool = False,
) -> list[ValueTarget]:
    """Return a value target for each step that the source of labels can judge."""
    found = []
    for record in records:
        states = states_of(record)
        for node, label in step_labels(record, labels).items():
            found += _value_target(states[node], float(label > 0) if hard else label)
    return found


def end_values(records: Iterable[EpisodeRecord]) -> list[ValueTarget]:
    """Return the last step of every decided end with its verdict: an outcome reward model's data."""
    found = []
    for record in records:
        states = states_of(record)
        for end in range(1, len(record.nodes)):
            if (correct := is_correct(record, end)) is not None:
                found += _value_target(states[end], float(correct))
    return found


def path_values(records: Iterable[EpisodeRecord]) -> list[ValueTarget]:
    """Return AlphaZero's value targets: each step on the chosen path with the episode's outcome."""
    found = []
    for record in records:
        if (correct := episode_is_correct(record)) is not None:
            states = states_of(record)
            for node in record.path[1:]:
                found += _value_target(states[node], float(correct))
    return found


def step_labels(record: EpisodeRecord, labels: StepLabels) -> dict[int, float]:
    """Return a label for each node that the source of labels can judge."""
    below = ends_below(record)
    sampled = {
        node: sum(outcomes) / len(outcomes)
        for node, outcomes in enumerate(below)
        if node and outcomes
    }
    if labels is StepLabels.MONTE_CARLO:
        return sampled
    if labels is StepLabels.FIRST_ERROR:
        return _first_errors(record, sampled)
    exact = _verified_steps(record)
    if labels is StepLabels.VERIFIER:
        return exact
    return {
        node: exact[node]
        for node, share in sampled.items()
        if node in exact and (share > 0) == (exact[node] > 0)
    }


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


def _value_target(state: State, label: float) -> list[ValueTarget]:
    """Return the target of a state's last step; none for a step that was refused, which scores 0 unread."""
    reading = reading_of(state) if state.steps else None
    return [] if reading is None else [ValueTarget(reading, label)]


def _verified_steps(record: EpisodeRecord) -> dict[int, float]:
    return {
        node: float(found.step_verdict == "correct")
        for node, found in enumerate(record.nodes)
        if found.step_verdict in ("correct", "incorrect")
    }


def _first_errors(record: EpisodeRecord, sampled: Mapping[int, float]) -> dict[int, float]:
    """Label each decided path up to the first step below which no end is correct; later steps are not judged."""
    found: dict[int, float] = {}
    for end in range(1, len(record.nodes)):
        if is_correct(record, end) is not None:
            path = path_to(record, end)[1:]
            first = next((at for at, node in enumerate(path) if not sampled[node]), len(path))
            found |= dict.fromkeys(path[:first], 1.0) | dict.fromkeys(path[first : first + 1], 0.0)
    return found
