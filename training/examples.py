"""From records to what the embedded models learn from: boards and steps instead of text.

Each function goes over the nodes of finished searches. Boards are those of the environment's own domain, which is
played again from the problem along each path.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

from stepgym.agents.embedded.games import reading_of
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.registry import load_env
from stepgym.envs.types import Problem, State, Status, Step
from stepgym.records.tree import children_of, decided_below, ends, path_to
from stepgym.training.fit import TrainingError

Answers = tuple[str, ...]
"""Answers of a problem that are taken alike."""
Same = Callable[[str, str], bool]
"""Whether two answers are the same one."""


class Choice(NamedTuple):
    """What a policy should do on a board: step texts with shares that sum to 1."""

    board: Hashable
    target: Mapping[str, float]
    weight: float = 1.0
    """How much it counts beside others."""


class Judged(NamedTuple):
    """How good it is to stand on a board, in [0, 1]; `board` is what a reward model reads of it (`reading_of`)."""

    board: Hashable
    label: float


class Preference(NamedTuple):
    """One step over another on the same board."""

    board: Hashable
    chosen: str
    rejected: str


class Labels(StrEnum):
    """Where the labels of steps come from."""

    MONTE_CARLO = "monte_carlo"
    """The share of the decided ends below a step that are correct (Math-Shepherd, Wang et al. 2024)."""
    VERIFIER = "verifier"
    """The environment's step verifier."""
    AGREEMENT = "agreement"
    """Monte-Carlo, kept only where the step verifier agrees (Zhang et al. 2025, arXiv:2501.07301, with a judge)."""
    FIRST_ERROR = "first_error"
    """Right up to the first step below which nothing is correct. (Samples spent on finding that step by binary search,
    as OmegaPRM, Luo et al. 2024, does, are the search `bisect`'s.)"""


@dataclass
class Replay:
    """Plays records again to get the state of every node; environments are made once."""

    envs: dict[tuple[str, int | None, int | None], Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the environments were made with besides level and seed; records do not say."""

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
        """Return by what the environment's verifier groups answers: equal strings where it does not say."""
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


def verified_choices(records: Iterable[EpisodeRecord], replay: Replay) -> list[Choice]:
    """Return the steps of verified solutions (supervised fine-tuning, expert iteration), each fork's steps as shares."""
    found = []
    for record in records:
        states = replay.states(record)
        paths = [path_to(record, end) for end in ends(record, "correct")]
        shares: dict[int, dict[str, None]] = {}
        for path in paths:
            for node, child in pairwise(path):
                shares.setdefault(node, {})[record.nodes[child].text] = None
        found += [Choice(states[node].public, even(texts)) for node, texts in shares.items()]
    return found


def path_choices(
    records: Iterable[EpisodeRecord], replay: Replay, *, answers_of: Mapping[str, Answers]
) -> list[Choice]:
    """Return the steps of every line that ends in one of the answers given for its problem.

    Each fork's steps have the samples as shares that went on to those answers, and it weighs as much as they are.
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
                found.append(Choice(states[fork].public, shares, float(samples[fork])))
    return found


def visit_choices(
    records: Iterable[EpisodeRecord], replay: Replay, *, temperature: float = 1.0
) -> list[Choice]:
    """Return AlphaZero's policy target: at each node that has visited children, their visits as shares."""
    found = []
    for record in records:
        states = replay.states(record)
        for node, children in enumerate(children_of(record)):
            visits = {
                c: record.nodes[c].visits ** (1 / temperature)
                for c in children
                if record.nodes[c].visits
            }
            total = math.fsum(visits.values())
            if len(visits) > 1:
                found.append(
                    Choice(
                        states[node].public,
                        {record.nodes[c].text: v / total for c, v in visits.items()},
                    )
                )
    return found


def preferences(records: Iterable[EpisodeRecord], replay: Replay) -> list[Preference]:
    """Return forks where one step has a correct end below it and another only incorrect ones."""
    found = []
    for record in records:
        states, below = replay.states(record), decided_below(record)
        for node, children in enumerate(children_of(record)):
            good = [c for c in children if below[c][0]]
            bad = [c for c in children if below[c][1] and not below[c][0]]
            for chosen, rejected in zip(good, bad):
                found.append(
                    Preference(
                        states[node].public, record.nodes[chosen].text, record.nodes[rejected].text
                    )
                )
    return found


def judged_steps(
    records: Iterable[EpisodeRecord],
    replay: Replay,
    *,
    labels: Labels = Labels.MONTE_CARLO,
    hard: bool = False,
) -> list[Judged]:
    """Return the board after each step with its label. Steps that a source cannot judge are left out."""
    found = []
    for record in records:
        states = replay.states(record)
        for node, label in step_labels(record, replay, states, labels).items():
            found += judged(states[node], float(label > 0) if hard else label)
    return found


def step_labels(
    record: EpisodeRecord, replay: Replay, states: list[State], labels: Labels
) -> dict[int, float]:
    """Return a label for each node that can be judged."""
    below = decided_below(record)
    sampled = {
        node: len(good) / (len(good) + len(bad))
        for node, (good, bad) in enumerate(below)
        if node and (good or bad)
    }
    if labels is Labels.MONTE_CARLO:
        return sampled
    if labels is Labels.FIRST_ERROR:
        return _first_errors(record, sampled)
    exact = _exact(record, replay, states)
    if labels is Labels.VERIFIER:
        return exact
    return {
        node: exact[node]
        for node, share in sampled.items()
        if node in exact and (share > 0) == (exact[node] > 0)
    }


def judged(state: State, label: float) -> list[Judged]:
    """Return the example of a state's last step; none for a step that was refused, which scores 0 unread."""
    reading = reading_of(state)
    return [] if reading is None else [Judged(reading, label)]


def outcomes(records: Iterable[EpisodeRecord], replay: Replay) -> list[Judged]:
    """Return the board of every decided end with its verdict: an outcome reward model's data."""
    found = []
    for record in records:
        states = replay.states(record)
        for verdict in ("correct", "incorrect"):
            for end in ends(record, verdict):
                found += judged(states[end], float(verdict == "correct"))
    return found


def path_outcomes(records: Iterable[EpisodeRecord], replay: Replay) -> list[Judged]:
    """Return AlphaZero's value target: each board on the chosen path with the episode's verdict."""
    found = []
    for record in records:
        if record.verdict in ("correct", "incorrect"):
            states = replay.states(record)
            for node in record.path[1:]:
                found += judged(states[node], float(record.verdict == "correct"))
    return found


def even(texts: Iterable[str]) -> dict[str, float]:
    """Return an equal share for each text."""
    found = list(texts)
    return dict.fromkeys(found, 1 / len(found))


def require(examples: list[Any], what: str) -> list[Any]:
    """Return the examples; raises `TrainingError` where there are none."""
    if not examples:
        raise TrainingError(
            f"the records hold {what}; play more episodes, easier ones, or with a wider search"
        )
    return examples


def require_both_classes(examples: list[Judged]) -> list[Judged]:
    """Return the examples; raises `TrainingError` where all labels say the same."""
    require(examples, "no step that could be judged")
    if all(e.label >= 0.5 for e in examples) or all(e.label < 0.5 for e in examples):
        side = "good" if examples[0].label >= 0.5 else "bad"
        raise TrainingError(
            f"all {len(examples)} labels are {side}; a reward model needs both: mix levels or searches"
        )
    return examples


def _exact(record: EpisodeRecord, replay: Replay, states: list[State]) -> dict[int, float]:
    verifier = replay.env(record).step_verifier
    if verifier is None:
        raise TrainingError(
            f"{record.env_id} has no step verifier; choose labels monte_carlo or first_error"
        )
    nodes = [node for node in range(len(states)) if states[node].steps]
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
    for verdict in ("correct", "incorrect"):
        for end in ends(record, verdict):
            path = path_to(record, end)[1:]
            first = next((at for at, node in enumerate(path) if not sampled[node]), len(path))
            found |= dict.fromkeys(path[:first], 1.0) | dict.fromkeys(path[first : first + 1], 0.0)
    return found
