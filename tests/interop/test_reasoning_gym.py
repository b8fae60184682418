"""reasoning-gym with the real package: its data sets as environments, its scorers held in check."""

from __future__ import annotations

import pytest

reasoning_gym = pytest.importorskip("reasoning_gym", reason="run by `make test-interop`")

from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.envs.registry import load_env
from stepgym.envs.types import Status, Step

DATA_SETS = ["chain_sum", "gcd", "countdown", "mini_sudoku", "simple_equations", "word_sorting"]


@pytest.mark.parametrize("name", DATA_SETS)
def test_references_are_right_and_other_items_answers_are_not(name: str) -> None:
    env = load_env(f"reasoning-gym:{name}", size=20, seed=1)
    problems = [env.problems[index] for index in range(5)]
    references = [problem.reference for problem in problems]
    assert {v.status for v in env.verifier.verify(problems, references)} == {Status.CORRECT}
    wrong = env.verifier.verify(problems, ["no answer at all"] * 5)
    assert {v.status for v in wrong} == {Status.INCORRECT}
    env.close()


@pytest.mark.parametrize("name", ["graph_color", "propositional_logic", "rush_hour"])
def test_items_without_a_reference_are_named_and_undecided(name: str) -> None:
    """The public package has `None` as the answer of every item of these data sets."""
    for trust_scorer in (False, True):
        env = load_env(f"reasoning-gym:{name}", size=3, seed=2, trust_scorer=trust_scorer)
        assert env.problems.items[1]["answer"] is None and env.problems[1].reference == ""
        [verdict] = env.verifier.verify([env.problems[1]], ["no answer at all"])
        env.close()
        if trust_scorer:
            assert verdict.status is Status.INCORRECT
        else:
            assert verdict.status is Status.UNDECIDED
            assert f"item 1 of reasoning-gym/{name} (seed 2) has no reference" in verdict.reason


def test_a_trusted_scorer_accepts_a_right_answer_without_a_reference() -> None:
    env = load_env("reasoning-gym:propositional_logic", size=3, trust_scorer=True)
    right = env.problems.items[0]["metadata"]["example_answer"]
    assert env.verifier.verify([env.problems[0]], [right])[0].correct
    env.close()


def test_a_scorer_that_runs_code_cannot_stop_us() -> None:
    env = load_env("reasoning-gym:countdown", size=3)
    hostile = ["__import__('os')._exit(1)", "9**9**9**9", "(" * 10_000]
    verdicts = env.verifier.verify([env.problems[0]] * 3, hostile)
    assert all(v.status is not Status.CORRECT for v in verdicts)
    [verdict] = env.verifier.verify([env.problems[0]], [env.problems[0].reference])
    assert verdict.correct
    env.close()


def test_seeds_share_no_items() -> None:
    first, second = (load_env("reasoning-gym:chain_sum", size=50, seed=s).problems for s in (0, 1))
    prompts = {first[index].prompt for index in range(50)}
    assert not prompts & {second[index].prompt for index in range(50)}


def test_an_unknown_data_set_is_named() -> None:
    with pytest.raises(ValueError, match="no_such_set"):
        load_env("reasoning-gym:no_such_set")


def test_it_is_played_by_a_search() -> None:
    from stepgym.agents import solve

    env = load_env("reasoning-gym:gcd", size=4)
    answers = {env.problems[i].prompt: env.problems[i].reference for i in range(4)}
    policy = ScriptedPolicy(
        lambda state: [Step(f"<answer>{answers[state.prompt]}</answer>", num_tokens=3)]
    )
    records = solve(env, agent="greedy", policy=policy)
    assert [record.verdict for record in records] == ["correct"] * 4
