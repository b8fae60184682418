"""What a policy may learn from its own episodes: laws of teachers, of merged positions and of the replay buffer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.agents.embedded import net
from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.agents.registry import load_policy
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.expressions import evaluate
from stepgym.envs.families.countdown_rules import play
from stepgym.envs.registry import load_env
from stepgym.envs.types import State
from stepgym.records.loader import Environments, states_of
from stepgym.records.tree import ends, path_to
from stepgym.selfplay.teachers import (
    Approval,
    Form,
    Teacher,
    agreement,
    answer_votes,
    approved_answers,
    approved_targets,
    right_answers,
)
from stepgym.training.merged_states import merged_targets
from stepgym.training.types import TrainingError

ENVIRONMENTS = Environments()


@pytest.fixture(scope="module")
def episodes() -> list[EpisodeRecord]:
    """Sums modulo 5, so that even a policy of random weights is right often, and samples meet on positions."""
    env = load_env("stepgym/ModularSums-v0", level=2, modulus=5)
    policy = EmbeddedPolicy(model=net.build(net.POLICY, net.Shape(16, 1, 2), "modular_sums"))
    problems = [env.problems[i] for i in range(30)]
    return list(
        iter_solve(
            problems,
            env=env,
            agent="best_of_n",
            agent_settings={"n": 24, "pick": "vote"},
            policy=policy,
            see_verdicts=False,
            verify_all=True,
        )
    )


def relabelled(records: list[EpisodeRecord]) -> list[EpisodeRecord]:
    """The same episodes with every verdict turned round."""
    other = {"correct": "incorrect", "incorrect": "correct", None: None}
    return [
        replace(
            r,
            verdict="undecided",
            nodes=tuple(replace(n, verdict=other[n.verdict]) for n in r.nodes),
        )
        for r in records
    ]


def parsed(text: str) -> tuple[int, int, int]:
    a, b, c = (int(word) for word in text.replace("+", " ").replace("=", " ").split())
    return a, b, c


@pytest.mark.parametrize("teacher", [Teacher.VOTE, Teacher.RANDOM])
@pytest.mark.parametrize("form", list(Form))
def test_a_teacher_without_labels_sees_none(
    episodes: list[EpisodeRecord], teacher: Teacher, form: Form
) -> None:
    approval = Approval(teacher=teacher, form=form, most_agreed=0.5)
    assert approved_targets(approval, episodes, ENVIRONMENTS) == approved_targets(
        approval, relabelled(episodes), ENVIRONMENTS
    )


def test_shuffled_rewards_leak_no_label(episodes: list[EpisodeRecord]) -> None:
    """What is approved is right as often as any answer is, though as many answers are rewarded as by the verifier."""
    pairs = [(r.problem_id, answer) for r in episodes for answer in answer_votes(r)]
    rewarded = {(r.problem_id, (answer,)) for r in episodes for answer in right_answers(r)}
    hits, asked = 0, 0
    for seed in range(40):
        found = approved_answers(
            Approval(teacher=Teacher.SHUFFLED), episodes, ENVIRONMENTS, seed=seed
        )
        hits += len(set(found.items()) & rewarded)
        asked += len(found)
    assert hits / asked == pytest.approx(len(rewarded) / len(pairs), abs=0.05)


def test_the_verifier_approves_right_answers_and_the_vote_the_most_frequent(
    episodes: list[EpisodeRecord],
) -> None:
    for record in episodes:
        alone = [record]
        right = approved_answers(Approval(teacher=Teacher.VERIFIER), alone, ENVIRONMENTS)
        assert set(right.values()) <= {(record.reference,)}
        (voted,) = approved_answers(Approval(teacher=Teacher.VOTE), alone, ENVIRONMENTS).values()
        assert answer_votes(record)[voted] == max(answer_votes(record).values())


@pytest.fixture(scope="module")
def countdowns() -> list[EpisodeRecord]:
    """Where almost every solution is an expression of its own."""
    env = load_env("stepgym/Countdown-v0", level=3)
    problems = [env.problems[i] for i in range(8)]
    return list(
        iter_solve(
            problems,
            env=env,
            agent="best_of_n",
            agent_settings={"n": 16},
            policy=load_policy("embedded"),
            see_verdicts=False,
            verify_all=True,
        )
    )


def test_every_verified_end_is_learned_from(countdowns: list[EpisodeRecord]) -> None:
    approved = approved_answers(Approval(teacher=Teacher.VERIFIER), countdowns, ENVIRONMENTS)
    assert max(map(len, approved.values())) > 1, "a problem here has many right answers"
    for record in countdowns:
        taken = {
            choice.public: set(choice.shares)
            for choice in approved_targets(Approval(), [record], ENVIRONMENTS).get(
                record.problem_id, []
            )
        }
        states = states_of(record)
        for end in ends(record, "correct"):
            assert all(
                record.nodes[b].text in taken[states[a].public]
                for a, b in pairwise(path_to(record, end))
            )


def test_votes_count_what_the_verifier_calls_the_same(countdowns: list[EpisodeRecord]) -> None:
    """Expressions of equal value are one vote, and all of them are learned from."""
    voted = approved_answers(Approval(teacher=Teacher.VOTE), countdowns, ENVIRONMENTS)
    for record in countdowns:
        values: Counter[Fraction] = Counter()
        for node in record.nodes:
            if node.answer is not None:
                values[value(node.answer)] += node.visits
        approved = voted[record.problem_id]
        assert {value(answer) for answer in approved} == {value(approved[0])}
        assert values[value(approved[0])] == max(values.values())
        assert agreement(record, ENVIRONMENTS.comparison(record)) == pytest.approx(
            max(values.values()) / values.total()
        )
    assert max(map(len, voted.values())) > 1


def value(text: str) -> Fraction:
    found = evaluate(text)
    assert found is not None
    return found.value


def test_merging_takes_an_approved_answer_however_a_line_spells_it(
    countdowns: list[EpisodeRecord],
) -> None:
    """A step that reaches the target from a supported position is a lesson though its line is another's."""
    for record in countdowns:
        approved = right_answers(record)
        for choice in merged_targets(
            [record], ENVIRONMENTS, answers_of={record.problem_id: approved[:1]}, min_support=1
        ):
            left, target = choice.public  # type: ignore[misc]
            if len(left) == 2:
                domain = ENVIRONMENTS.of(record).domain
                stands = State(record.prompt, public=choice.public)
                reaches = [t for t in domain.legal_steps(stands) if play(left, t) == (target,)]
                assert set(choice.shares) == set(reaches)


def test_on_sums_every_answer_is_one_of_its_own(episodes: list[EpisodeRecord]) -> None:
    for record in episodes:
        assert answer_votes(record, ENVIRONMENTS.comparison(record)) == answer_votes(record)
        assert all(len(answers) == 1 for answers in answer_votes(record))


@pytest.mark.parametrize("teacher", list(Teacher))
def test_a_lesson_ends_in_what_its_teacher_approves(
    episodes: list[EpisodeRecord], teacher: Teacher
) -> None:
    """And the oracle's has no wrong step at all."""
    approval = Approval(teacher=teacher)
    approved = approved_answers(approval, episodes, ENVIRONMENTS, seed=1)
    found = approved_targets(approval, episodes, ENVIRONMENTS, seed=1)
    assert found.keys() <= approved.keys() and len(found) > 5
    votes = {record.problem_id: answer_votes(record) for record in episodes}
    right = {record.problem_id: record.reference for record in episodes}
    for problem, choices in found.items():
        steps = [(choice.public, text) for choice in choices for text in choice.shares]
        ends = {str(parsed(text)[2]) for position, text in steps if len(position[0]) == 1}  # type: ignore[index]
        assert ends == set(approved[problem])
        if teacher in (Teacher.VERIFIER, Teacher.ORACLE):
            assert ends == {right[problem]}
        if teacher is Teacher.ORACLE:
            assert all((a + b) % 5 == c for _, text in steps for a, b, c in [parsed(text)])
        if teacher is Teacher.VOTE:
            assert votes[problem][approved[problem]] == max(votes[problem].values())
    if teacher is Teacher.VERIFIER:
        assert found.keys() == {r.problem_id for r in episodes if right_answers(r)}
    if teacher in (Teacher.RANDOM, Teacher.SHUFFLED):
        assert any(approved[problem] != (right[problem],) for problem in found), (
            "chance is no judge"
        )


@given(share=st.floats(0.05, 1), least=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_the_most_agreed_problems_come_first(
    episodes: list[EpisodeRecord], share: float, least: float
) -> None:
    chosen = approved_answers(
        Approval(teacher=Teacher.VOTE, most_agreed=share, min_agreement=least),
        episodes,
        ENVIRONMENTS,
    )
    agreed = {r.problem_id: agreement(r) for r in episodes}
    assert len(chosen) <= max(1, round(share * len(episodes)))
    assert all(agreed[problem] >= least for problem in chosen)
    left_out = [agreed[p] for p in agreed if p not in chosen and agreed[p] >= least]
    assert not chosen or not left_out or max(left_out) <= min(agreed[p] for p in chosen)


@pytest.mark.parametrize("support", [1, 3])
def test_merged_lessons_are_legal_share_out_to_one_and_join_supported_positions(
    episodes: list[EpisodeRecord], support: int
) -> None:
    for record in episodes:
        passed: Counter[object] = Counter()
        for node, state in zip(record.nodes, states_of(record)):
            if not state.done:
                passed[state.public] += node.visits
        for choice in merged_targets(
            [record],
            ENVIRONMENTS,
            answers_of={record.problem_id: (record.reference,)},
            min_support=support,
        ):
            remaining, running, modulus = choice.public  # type: ignore[misc]
            assert passed[choice.public] >= support
            assert sum(choice.shares.values()) == pytest.approx(1)
            for text in choice.shares:
                a, b, c = parsed(text)
                left = list(remaining)
                for number in (a, b) if running is None else (b,):
                    left.remove(number)
                if left:
                    assert passed[(tuple(left), c, modulus)] >= support
                else:
                    assert str(c) == record.reference, (
                        "an end is worth learning when it is the approved answer"
                    )


def test_merging_finds_steps_that_no_sample_took(episodes: list[EpisodeRecord]) -> None:
    """With the right answers known, some of them: that is what paths cannot teach."""
    answers_of = {r.problem_id: (r.reference,) for r in episodes}
    found = {
        (c.public, text)
        for c in merged_targets(episodes, ENVIRONMENTS, answers_of=answers_of, min_support=2)
        for text in c.shares
    }
    taken = {
        (state.public, record.nodes[child].text)
        for record in episodes
        for child, node in enumerate(record.nodes)
        if node.parent >= 0
        for state in [states_of(record)[node.parent]]
    }
    assert found - taken


def test_a_domain_without_legal_steps_is_told_so(episodes: list[EpisodeRecord]) -> None:
    class Bare(Environments):
        """Hides the list of legal steps."""

        def of(self, record: EpisodeRecord) -> Any:
            known = super().of(record)
            domain = SimpleNamespace(initial=known.domain.initial, advance=known.domain.advance)
            return SimpleNamespace(domain=domain, problems=known.problems, verifier=known.verifier)

    with pytest.raises(TrainingError, match="does not list its legal steps; learn from paths"):
        merged_targets(
            episodes[:1], Bare(), answers_of={episodes[0].problem_id: ("0",)}, min_support=1
        )
