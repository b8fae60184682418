"""Bisection: its probes stand where binary search puts them, and its labels are nearer the truth than samples' own."""

from __future__ import annotations

from itertools import pairwise

import pytest

from stepgym.agents import EpisodeRecord, load_search
from stepgym.agents.search.bisect import next_probe
from stepgym.agents.solving import iter_solve
from stepgym.envs.registry import load_env
from stepgym.records.tree import ends, path_to
from stepgym.training.examples import step_labels
from stepgym.training.types import StepLabels

ROLLOUTS = 6


def play(agent: str, **settings: int) -> list[EpisodeRecord]:
    env = load_env("stepgym/Countdown-v0", level=4, seed=700_000)
    problems = [env.problems[i] for i in range(25)]
    return list(
        iter_solve(
            problems,
            env=env,
            agent=agent,
            agent_settings=settings,
            policy="embedded",
            see_verdicts=True,
            verify_all=True,
        )
    )


@pytest.fixture(scope="module")
def records() -> list[EpisodeRecord]:
    return play("bisect", samples=8, rollouts=ROLLOUTS)


def test_on_every_wrong_line_the_last_good_step_stands_next_to_one_that_was_probed(
    records: list[EpisodeRecord],
) -> None:
    bisected = 0
    for record in records:
        good = {node for end in ends(record, "correct") for node in path_to(record, end)}
        for end in ends(record, "incorrect") if good else ():
            path = path_to(record, end)
            first = next(i for i, node in enumerate(path) if node not in good)
            assert first == len(path) - 1 or record.nodes[path[first]].visits > ROLLOUTS
            bisected += 1
    assert bisected > 50


def test_visits_count_all_samples_that_pass(records: list[EpisodeRecord]) -> None:
    for record in records:
        below = [0] * len(record.nodes)
        for node in record.nodes[1:]:
            below[node.parent] += node.visits
        assert all(node.visits >= inside for node, inside in zip(record.nodes, below))


def test_labels_are_nearer_the_truth_than_those_of_plain_samples_for_as_many_tokens(
    records: list[EpisodeRecord],
) -> None:
    """The step verifier knows from which positions the target is in reach."""

    def agreement(played: list[EpisodeRecord]) -> tuple[float, float]:
        right, total = 0, 0
        for record in played:
            exact = step_labels(record, StepLabels.VERIFIER)
            found = step_labels(record, StepLabels.FIRST_ERROR)
            right += sum(exact[node] == label for node, label in found.items() if node in exact)
            total += sum(node in exact for node in found)
        return right / total, sum(record.usage["visible_tokens"] for record in played) / len(played)

    bisected, tokens = agreement(records)
    plain, as_many = agreement(play("best_of_n", n=36, wave=36))
    assert as_many > tokens and bisected > plain + 0.01


def test_a_line_of_many_steps_takes_few_probes() -> None:
    path = list(range(65))
    good, probed = {0}, set[int]()
    while (node := next_probe(path, good, probed)) is not None:
        (good if node < 40 else probed).add(node)
    assert len(good | probed) - 1 <= 6
    assert all(later == earlier + 1 for earlier, later in pairwise([max(good), min(probed)]))


@pytest.mark.parametrize("settings", [{"samples": 0}, {"rollouts": 0}])
def test_settings_that_make_no_sense_are_named(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="=0; must be at least 1"):
        load_search("bisect", **settings)
