"""From episode records to training examples of the embedded models: policy targets, preferences, value targets.

Each function goes over the nodes of finished search trees. An end counts as correct or incorrect if the verifier
decided it; an end without an answer counts as incorrect; UNDECIDED ends and failures make no example.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

from stepgym.agents.embedded.games import reading_of
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.registry import load_env
from stepgym.envs.types import Problem, State, Status, Step
from stepgym.records.rows import children_of, path_to
from stepgym.training.types import PolicyTarget, Preference, StepLabels, TrainingError, ValueTarget

Answers = tuple[str, ...]
"""Answers to one problem that count as the same."""
Same = Callable[[str, str], bool]
"""Whether two answers are the same."""
Example = TypeVar("Example")


@dataclass
class Replay:
    """Plays records again to get the state of every node; environments are made once."""

    envs: dict[tuple[str, int | None, int | None], Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    """The environments' options besides level and seed, which records do not hold."""

    def env(self, record: EpisodeRecord) -> Any:
        key = (record.env_id, record.level, record.seed)
        if key not in self.envs:
            options = {**self.options, "level": record.level, "seed": record.seed}
            self.envs[key] = load_env(
                record.env_id, **{k: v for k, v in options.items() if v is not None}
            )
        return self.envs[key]

    def problem(self, record: EpisodeRecord) -> Problem:
        problem: Problem = self.env(record).problems[record.index]
        if problem.prompt != record.prompt:
            raise TrainingError(
                f"record {record.problem_id}: this version of {record.env_id} makes another problem there; play anew"
            )
        return problem

    def same(self, record: EpisodeRecord) -> Same:
        """Return how the environment's verifier groups answers: by equal strings if it does not say."""
        return getattr(self.env(record).verifier, "same", operator.eq)

    def states(self, record: EpisodeRecord) -> list[State]:
        """Return the state of every node."""
        domain = self.env(record).domain
        states: list[State] = []
        for node in record.nodes:
            if node.parent < 0:
                states.append(domain.initial(self.problem(record)))
            else:
                states.append(domain.advance([states[node.parent]], [Step(node.text)])[0])
        return states


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


def verified_targets(records: Iterable[EpisodeRecord], replay: Replay) -> list[PolicyTarget]:
    """Return the steps of verified solutions (supervised fine-tuning, expert iteration), in equal shares at each fork."""
    found = []
    for record in records:
        states = replay.states(record)
        steps: dict[int, dict[str, None]] = {}
        for end in range(len(record.nodes)):
            for node, child in pairwise(path_to(record, end)) if is_correct(record, end) else ():
                steps.setdefault(node, {})[record.nodes[child].text] = None
        for node, texts in steps.items():
            found.append(PolicyTarget(states[node].public, dict.fromkeys(texts, 1 / len(texts))))
    return found


def path_targets(
    records: Iterable[EpisodeRecord], replay: Replay, *, answers_of: Mapping[str, Answers]
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
        states = replay.states(record)
        for fork, children in enumerate(children_of(record)):
            shares = {
                record.nodes[c].text: samples[c] / samples[fork] for c in children if samples[c]
            }
            if shares:
                found.append(PolicyTarget(states[fork].public, shares, float(samples[fork])))
    return found


def visit_targets(
    records: Iterable[EpisodeRecord], replay: Replay, *, temperature: float = 1.0
) -> list[PolicyTarget]:
    """Return AlphaZero's policy targets: at each node with two visited children or more, their visits as shares."""
    found = []
    for record in records:
        states = replay.states(record)
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


def preferences(records: Iterable[EpisodeRecord], replay: Replay) -> list[Preference]:
    """Return the forks at which one step has a correct end below it and another only incorrect ones."""
    found = []
    for record in records:
        states, below = replay.states(record), ends_below(record)
        for node, children in enumerate(children_of(record)):
            good = [record.nodes[c].text for c in children if any(below[c])]
            bad = [record.nodes[c].text for c in children if below[c] and not any(below[c])]
            found += [Preference(states[node].public, *texts) for texts in zip(good, bad)]
    return found


def step_values(
    records: Iterable[EpisodeRecord],
    replay: Replay,
    *,
    labels: StepLabels = StepLabels.MONTE_CARLO,
    hard: bool = False,
) -> list[ValueTarget]:
    """Return a value target for each step that the source of labels can judge."""
    found = []
    for record in records:
        states = replay.states(record)
        for node, label in step_labels(record, replay, states, labels).items():
            found += _value_target(states[node], float(label > 0) if hard else label)
    return found


def end_values(records: Iterable[EpisodeRecord], replay: Replay) -> list[ValueTarget]:
    """Return the last step of every decided end with its verdict: an outcome reward model's data."""
    found = []
    for record in records:
        states = replay.states(record)
        for end in range(1, len(record.nodes)):
            if (correct := is_correct(record, end)) is not None:
                found += _value_target(states[end], float(correct))
    return found


def path_values(records: Iterable[EpisodeRecord], replay: Replay) -> list[ValueTarget]:
    """Return AlphaZero's value targets: each step on the chosen path with the episode's outcome."""
    found = []
    for record in records:
        if (correct := episode_is_correct(record)) is not None:
            states = replay.states(record)
            for node in record.path[1:]:
                found += _value_target(states[node], float(correct))
    return found


def step_labels(
    record: EpisodeRecord, replay: Replay, states: Sequence[State], labels: StepLabels
) -> dict[int, float]:
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
    exact = _verified_steps(record, replay, states)
    if labels is StepLabels.VERIFIER:
        return exact
    return {
        node: exact[node]
        for node, share in sampled.items()
        if node in exact and (share > 0) == (exact[node] > 0)
    }


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


def _verified_steps(
    record: EpisodeRecord, replay: Replay, states: Sequence[State]
) -> dict[int, float]:
    verifier = replay.env(record).step_verifier
    if verifier is None:
        raise TrainingError(
            f"{record.env_id} has no step verifier; choose labels monte_carlo or first_error"
        )
    nodes = [node for node, state in enumerate(states) if state.steps]
    verdicts = verifier.verify_steps(
        [replay.problem(record)] * len(nodes), [states[node] for node in nodes]
    )
    return {
        node: float(v[-1].correct)
        for node, v in zip(nodes, verdicts)
        if v[-1].status is not Status.UNDECIDED
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
