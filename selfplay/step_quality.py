"""How good a step reward model is: AUC over steps, and whether it finds a solution's first error (ProcessBench)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stepgym.agents.types import EpisodeRecord
from stepgym.records.tree import path_to
from stepgym.training.examples import step_labels
from stepgym.training.types import StepLabels


class Trace(NamedTuple):
    """One whole solution: the score of each of its steps, and which are right."""

    problem: int
    scores: tuple[float, ...]
    right: tuple[bool, ...]

    @property
    def first_error(self) -> int | None:
        return next((at for at, right in enumerate(self.right) if not right), None)


class F1(NamedTuple):
    """ProcessBench's figures (Zheng et al. 2024, arXiv:2412.06559)."""

    f1: float
    """Harmonic mean of the two below."""
    on_erroneous: float
    """Share of erroneous solutions whose first error is the first step scored below the threshold."""
    on_correct: float
    """Share of solutions without error of which no step is scored below it."""
    threshold: float


class ScoredSteps(NamedTuple):
    """The scored steps of some trees, each once, and their whole solutions."""

    scores: list[float]
    right: list[bool]
    traces: list[Trace]


def scored_steps(records: Iterable[EpisodeRecord], labels: StepLabels) -> ScoredSteps:
    """Label all scored steps up to a path's first error; after it, right and wrong mean little.

    A solution with a step that cannot be labelled is left out.
    """
    found = ScoredSteps([], [], [])
    for number, record in enumerate(records):
        label = {node: share > 0 for node, share in step_labels(record, labels).items()}
        for node, right in label.items():
            score = record.nodes[node].score
            if score is not None and all(label.get(at, True) for at in path_to(record, node)[1:-1]):
                found.scores.append(score)
                found.right.append(right)
        for end, node_record in enumerate(record.nodes):
            path = path_to(record, end)[1:]
            scores = [record.nodes[node].score for node in path]
            if node_record.answer is None or None in scores or not path or set(path) - label.keys():
                continue
            given = tuple(map(float, scores))  # type: ignore[arg-type]
            found.traces.append(Trace(number, given, tuple(label[node] for node in path)))
    return found


def step_auc(steps: ScoredSteps) -> float | None:
    """Return the chance that a right step scores above a wrong one; `None` where all steps are right, or all wrong."""
    return auc(steps.scores, steps.right) if len(set(steps.right)) == 2 else None


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Return the chance that a right item scores above a wrong one, ties counting half; 0.5 without both classes."""
    order = sorted(set(scores))
    rank = {score: i for i, score in enumerate(order)}
    right, wrong = [0] * len(order), [0] * len(order)
    for score, label in zip(scores, labels, strict=True):
        (right if label else wrong)[rank[score]] += 1
    below, wins = 0, 0.0
    for r, w in zip(right, wrong):
        wins += r * (below + w / 2)
        below += w
    pairs = sum(right) * sum(wrong)
    return wins / pairs if pairs else 0.5


def f1_at(traces: Sequence[Trace], threshold: float) -> F1:
    """Return the figures at a threshold; 0 where solutions of a kind are missing."""
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for trace in traces:
        said = next((at for at, score in enumerate(trace.scores) if score < threshold), None)
        hits[trace.first_error is None].append(said == trace.first_error)
    erroneous, correct = (
        sum(hits[kind]) / len(hits[kind]) if hits[kind] else 0.0 for kind in (False, True)
    )
    both = erroneous + correct
    return F1(2 * erroneous * correct / both if both else 0.0, erroneous, correct, threshold)


def process_f1(traces: Sequence[Trace], *, num_thresholds: int = 50) -> F1:
    """Return F1 on the problems with odd numbers, at the threshold that is best on those with even ones."""
    chosen_on = [trace for trace in traces if trace.problem % 2 == 0]
    measured_on = [trace for trace in traces if trace.problem % 2]
    scores = sorted({score for trace in chosen_on for score in trace.scores})
    tried = scores[:: max(1, len(scores) // num_thresholds)] or [0.5]
    best = max(tried, key=lambda threshold: f1_at(chosen_on, threshold).f1)
    return f1_at(measured_on, best)
