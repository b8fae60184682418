"""Every family, because it is listed: worked solutions, step verifiers, seeds and levels."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.families import cryptarithms
from stepgym.envs.families.game import GameDomain
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import FAMILIES, load_env
from stepgym.envs.types import Problem, State, Status, Step
from stepgym.sandbox.types import Sandbox

CODE = ("WriteFunction", "RepairCode", "PredictInput", "WriteTests")
"""Families whose answers are graded in the sandbox; they verify no steps."""
Family = Callable[..., ReasoningEnv]


@pytest.fixture
def family(local_sandbox: Sandbox) -> Family:
    """Make a family's environment; what needs a sandbox shares one."""

    def make(name: str, level: int, seed: int = 0) -> ReasoningEnv:
        sandbox = {"sandbox": local_sandbox} if name in CODE else {}
        return load_env(f"{name}-v0", level=level, seed=seed, **sandbox)

    return make


def first(env: ReasoningEnv, count: int = 4) -> list[Problem]:
    return [env.problems[i] for i in range(count)]


def solved(problem: Problem) -> State:
    return State(problem.prompt, tuple(Step(text) for text in problem.solution))


@pytest.mark.parametrize("name", FAMILIES)
def test_worked_solutions_are_played_to_a_correct_answer(family: Family, name: str) -> None:
    for level in (1, 4, 7, 10):
        env = family(name, level)
        for problem in first(env, 2):
            env.reset(options={"problem": problem})
            for step in problem.solution:
                *_, info = env.step(step)
            assert info.get("verdict") == "correct", (problem.prompt, problem.solution, info)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in CODE])
def test_no_step_of_a_worked_solution_is_called_incorrect(family: Family, name: str) -> None:
    for level in (1, 5, 10):
        env = family(name, level)
        problems = first(env)
        assert env.step_verifier is not None
        for problem, verdicts in zip(
            problems, env.step_verifier.verify_steps(problems, [solved(p) for p in problems])
        ):
            for text, verdict in zip(problem.solution, verdicts, strict=True):
                assert verdict.status is not Status.INCORRECT, (problem.prompt, text, verdict)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_changed_answer_is_incorrect(family: Family, name: str) -> None:
    env = family(name, 5)
    for problem in first(env):
        last = problem.reference[-1]
        changed = problem.reference[:-1] + ("2" if last == "1" else "1")
        [verdict] = env.verifier.verify([problem], [changed])
        assert verdict.status is Status.INCORRECT, (problem.prompt, changed)


@pytest.mark.parametrize("name", FAMILIES)
def test_seeds_share_nothing_beyond_chance_at_the_highest_level(family: Family, name: str) -> None:
    drawn = [{p.prompt for p in first(family(name, 10, seed), 15)} for seed in range(3)]
    assert all(len(prompts) >= 14 for prompts in drawn)
    assert len(set.union(*drawn)) >= sum(map(len, drawn)) - 2


GAMES = ["Countdown", "ModularSums", "Sudoku", "GraphColouring", "Hanoi", "SlidingTiles"]


@pytest.mark.parametrize("name", GAMES)
def test_illegal_steps_and_answers_are_verified_beside_legal_steps(
    family: Family, name: str
) -> None:
    env = family(name, 3)
    problem = env.problems[0]
    answers = [f"<answer>{text}</answer>" for text in ("nonsense", "", problem.reference)]
    texts = ["nonsense", problem.solution[0], problem.solution[0], *answers]
    state = State(problem.prompt, tuple(map(Step, texts)))
    assert env.step_verifier is not None
    (verdicts,) = env.step_verifier.verify_steps([problem], [state])
    found = [verdict.status is Status.CORRECT for verdict in verdicts]
    again = name in ("Hanoi", "SlidingTiles") and found[2]  # the same move may be played twice
    assert found == [False, True, again, False, False, True], verdicts
    assert env.verifier.same(problem.reference, problem.reference)  # type: ignore[attr-defined]
    assert not env.verifier.same(problem.reference, "nonsense")  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", GAMES)
def test_a_game_is_over_if_and_only_if_no_move_is_legal(family: Family, name: str) -> None:
    for level in (1, 5):
        env = family(name, level)
        assert isinstance(env.domain, GameDomain)
        for problem in first(env, 2):
            state = env.domain.initial(problem)
            while not state.done:
                assert env.domain.legal_steps(state) and not env.domain.over(state.public)
                [state] = env.domain.advance([state], [Step(env.domain.legal_steps(state)[-1])])
            assert env.domain.over(state.public) and not env.domain.moves(state.public)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_reference_does_not_stand_in_the_prompt_by_construction(
    family: Family, name: str
) -> None:
    problems = first(family(name, 8), 10)
    assert not all(p.reference in p.prompt for p in problems)


@pytest.mark.parametrize("name", ["Hanoi", "SlidingTiles"])
def test_a_step_away_from_the_goal_is_incorrect_if_no_move_is_to_spare(
    family: Family, name: str
) -> None:
    env = family(name, 10)
    assert env.step_verifier is not None
    for problem in first(env):
        start = env.domain.initial(problem)
        shortest = problem.solution[0]
        steps = [text for text in env.domain.legal_steps(start) if text != shortest]  # type: ignore[attr-defined]
        states = env.domain.advance([start] * len(steps), [Step(text) for text in steps])
        verdicts = env.step_verifier.verify_steps([problem] * len(states), states)
        there = env.domain.advance([start], [Step(shortest)])
        [[good]] = env.step_verifier.verify_steps([problem], there)
        assert good.correct
        assert any(verdict.status is Status.INCORRECT for [verdict] in verdicts)


def test_a_value_that_leaves_sudoku_without_a_solution_is_incorrect(family: Family) -> None:
    env = family("Sudoku", 4)
    assert env.step_verifier is not None
    seen = set()
    for problem in first(env, 6):
        start = env.domain.initial(problem)
        steps = env.domain.legal_steps(start)  # type: ignore[attr-defined]
        states = env.domain.advance([start] * len(steps), [Step(text) for text in steps])
        for text, [verdict] in zip(
            steps, env.step_verifier.verify_steps([problem] * len(states), states)
        ):
            seen.add(verdict.status)
            if text in problem.solution:
                assert verdict.correct, (problem.prompt, text)
    assert seen == {Status.CORRECT, Status.INCORRECT}


WORDS = st.text("ABCD", min_size=1, max_size=3)


@given(st.lists(WORDS, min_size=2, max_size=3), WORDS)
def test_the_solutions_of_a_cryptarithm_are_those_found_by_trying_every_assignment(
    addends: list[str], total: str
) -> None:
    words = [*addends, total]
    letters = sorted(set("".join(words)))
    expected = []
    for digits in permutations(range(10), len(letters)):
        of = dict(zip(letters, digits))
        *terms, value = (sum(of[x] * 10**k for k, x in enumerate(reversed(word))) for word in words)
        if sum(terms) == value and all(of[word[0]] for word in words if len(word) > 1):
            expected.append(of)
    found = list(cryptarithms.solutions(addends, total))
    assert sorted(map(sorted, (of.items() for of in found))) == sorted(
        map(sorted, (of.items() for of in expected))
    )
    assert cryptarithms.is_single(addends, total) == (len(expected) == 1)


def test_a_cryptarithm_of_more_letters_than_one_table_has_its_known_solution() -> None:
    [of] = cryptarithms.solutions(["SEND", "MORE"], "MONEY")
    assert of == dict(zip("SENDMORY", (9, 5, 6, 7, 1, 0, 8, 2)))
