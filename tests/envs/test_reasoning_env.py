"""The Gymnasium face: the five values, rewards, picking problems, rendering."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from gymnasium.error import ResetNeeded
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.families.countdown import CountdownDomain, CountdownVerifier, make, problems
from stepgym.envs.maths.problems import make as make_maths
from stepgym.envs.problem_sets import Draft, ProceduralSet
from stepgym.envs.reasoning_env import ReasoningEnv, Rewards
from stepgym.envs.spaces import SLOT_BYTES, AnyText
from stepgym.envs.tokens import render
from stepgym.envs.types import Problem, Status, Step, Verdict


class Undecided:
    """A verifier that cannot say."""

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [
            Verdict(Status.UNDECIDED, 0.0, f"is it {problem.reference}?") for problem in problems
        ]


@pytest.mark.parametrize(
    ("text", "rewards", "reward", "verdict"),
    [
        ("<answer>{reference}</answer>", None, 1.0, "correct"),
        ("<answer>1</answer>", None, 0.0, "incorrect"),
        ("<answer>1</answer>", {"incorrect": -1.0}, -1.0, "incorrect"),
        ("nonsense", {"no_answer": -0.5}, -0.5, "no_answer"),
        ("<answer>{reference}</answer>", {"correct": 2.0}, 2.0, "correct"),
    ],
)
def test_outcome_rewards(
    text: str, rewards: dict[str, float] | None, reward: float, verdict: str
) -> None:
    env = make(rewards=rewards or {})
    env.reset(seed=1)
    _, paid, terminated, truncated, info = env.step(
        text.replace("{reference}", env.problem.reference)
    )
    assert (paid, terminated, truncated, info["verdict"]) == (reward, True, False, verdict)


def test_undecided_pays_what_the_user_says_and_is_flagged() -> None:
    for rewards, reward in ((Rewards(), 0.0), (Rewards(undecided=0.25), 0.25)):
        env = ReasoningEnv(
            problems(), domain=CountdownDomain(), verifier=Undecided(), rewards=rewards
        )
        env.reset(seed=1)
        _, paid, _, _, info = env.step("<answer>1</answer>")
        assert (paid, info["undecided"], info["verdict"]) == (reward, True, "undecided")
        assert env.problem.reference not in repr(info)
        assert env.verdict is not None and env.problem.reference in env.verdict.reason


def test_steps_are_paid_where_a_step_verifier_says_so() -> None:
    env = make(rewards=Rewards(correct_step=0.1, incorrect_step=-0.1))
    env.reset(options={"problem": Problem("p", "q", "", public=((3, 4, 5), 35))})
    assert env.step("3 + 4")[1] == pytest.approx(0.1)
    assert env.step("7 * 5")[1] == pytest.approx(1.1)
    env.reset(options={"problem": Problem("p", "q", "", public=((3, 4, 5), 35))})
    assert env.step("3 * 4")[1] == pytest.approx(-0.1)
    with pytest.raises(ValueError, match="no step verifier"):
        ReasoningEnv(
            problems(),
            domain=CountdownDomain(),
            verifier=CountdownVerifier(),
            rewards={"correct_step": 1.0},
        )


def test_the_step_limit_truncates_and_travels_with_the_state() -> None:
    env = make_maths(max_steps=2)
    env.reset(seed=0)
    start = env.state
    assert env.step("a")[2:4] == (False, False)
    assert env.step("b")[2:4] == (False, True)
    with pytest.raises(ResetNeeded, match="over"):
        env.step("c")
    env.state = start
    assert env.step("a")[2:4] == (False, False)
    limited = make(max_steps=1)
    limited.reset(seed=0)
    [first, *_] = limited.domain.legal_steps(limited.state)  # type: ignore[attr-defined]
    assert limited.step(first)[2:4] == (False, True)


def test_resets_go_through_the_problems_and_options_pick() -> None:
    env = make(level=3, seed=4)
    assert [env.reset()[1]["index"] for _ in range(3)] == [0, 1, 2]
    ids = [env.reset(seed=9 if k == 0 else None)[1]["problem_id"] for k in range(3)]
    assert ids == [f"stepgym/Countdown-v0/level-3/seed-9/{k}" for k in range(3)]
    assert env.reset(options={"index": 40})[1]["index"] == 40
    assert env.reset()[1]["index"] == 3, "picking does not move the order on"
    assert (
        env.reset(options={"level": 1})[1]["problem_id"] == "stepgym/Countdown-v0/level-1/seed-9/4"
    )
    picked = problems(2, 3)[5]
    assert (
        env.reset(options={"problem": picked})[1]["problem_id"] == picked.id
        and env.problem is picked
    )


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"indx": 3}, ValueError, "unknown reset option 'indx'; did you mean 'index'?"),
        ({"index": -1}, IndexError, "not -1"),
        ({"index": "3"}, TypeError, "cannot be interpreted as an integer"),
        ({"level": 99}, ValueError, "levels 1 to 10, not 99"),
        ({"problem": "3 4 5"}, TypeError, "not '3 4 5'"),
    ],
)
def test_options_that_make_no_sense(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=re.escape(says)):
        make().reset(options=options)


def test_a_state_of_another_problem_is_refused() -> None:
    env = make()
    with pytest.raises(ResetNeeded, match="call reset"):
        _ = env.state
    env.reset(seed=1)
    state = env.state
    env.reset(seed=2)
    with pytest.raises(ValueError, match="another problem"):
        env.state = state


def test_only_a_state_can_be_restored() -> None:
    env = make()
    env.reset(seed=0)
    with pytest.raises(TypeError, match=r"not .the transcript."):
        env.state = "the transcript"  # type: ignore[assignment]


def test_restoring_random_points_of_random_play_gives_the_same_ends() -> None:
    """Tree search by save and restore: any order of visits sees the same future."""
    env, chance = make(), random.Random(0)
    env.reset(seed=3)
    seen: list[tuple[Any, str, Any]] = []
    for _ in range(50):
        state = chance.choice(
            [env.domain.initial(env.problem), *(after for _, _, after in seen if not after.done)]
        )
        env.state = state
        text = chance.choice(env.domain.legal_steps(state))  # type: ignore[attr-defined]
        env.step(text)
        seen.append((state, text, env.state))
    chance.shuffle(seen)
    for before, text, after in seen:
        env.state = before
        env.step(text)
        assert env.state == after


def test_the_delimiter_may_stand_behind_a_step_and_only_text_is_an_action() -> None:
    env = make()
    env.reset(options={"problem": Problem("p", "q", "", public=((3, 4, 5), 35))})
    env.step("3 + 4<|step_end|>")
    assert env.state.steps == (Step("3 + 4"),)
    with pytest.raises(TypeError, match="not 7"):
        env.step(7)  # type: ignore[arg-type]


def test_rendering_keeps_reasoning_apart(capsys: pytest.CaptureFixture[str]) -> None:
    hidden, shown = (
        make_maths(render_mode="ansi"),
        make_maths(render_mode="ansi", show_reasoning=True),
    )
    for env in (hidden, shown):
        env.reset(seed=1)
        env.step("<think>secret</think>plain")
        env.step("<answer>x</answer>")
    assert "plain" in str(hidden.render()) and "secret" not in str(hidden.render())
    assert "secret" in str(shown.render()) and "= x  [incorrect]" in str(shown.render())
    human = make_maths(render_mode="human")
    human.reset(seed=1)
    human.step("<think>secret</think>plain")
    assert human.render() is None
    printed = capsys.readouterr().out
    assert "Compute" in printed and "plain" in printed and "secret" not in printed
    with pytest.raises(ValueError, match="unknown render_mode 'rgb_array'"):
        make(render_mode="rgb_array")


def one(rng: random.Random, level: int) -> Draft:
    return Draft("one", "1")


def test_an_empty_set_is_refused() -> None:
    class Empty:
        name = "nothing"

        def __len__(self) -> int:
            return 0

        def __getitem__(self, index: int) -> Problem:
            raise IndexError(index)

    with pytest.raises(ValueError, match="nothing holds no problem"):
        ReasoningEnv(Empty(), domain=CountdownDomain(), verifier=CountdownVerifier())


def test_two_problems_with_one_prompt_are_told_apart_by_their_reference_only() -> None:
    item = ProceduralSet("ones", one)[0]
    env = make_maths()
    env.reset(options={"problem": item})
    assert env.step("<answer>1</answer>")[1] == 1.0
    env.reset(options={"problem": replace(item, reference="2")})
    assert env.step("<answer>1</answer>")[1] == 0.0


def test_a_text_too_long_for_shared_memory_fails_loudly() -> None:
    from gymnasium.vector.utils import (
        create_shared_memory,
        read_from_shared_memory,
        write_to_shared_memory,
    )

    space = AnyText()
    memory: Any = create_shared_memory(space, 2)
    texts: Any = read_from_shared_memory(space, memory, 2)
    write_to_shared_memory(space, 1, "é\ud800", memory)
    assert list(texts) == ["", "é\ud800"] and texts[-1] == texts[1] and texts[0:1] == ("",)
    with pytest.raises(ValueError, match="shared_memory=False"):
        write_to_shared_memory(space, 0, "x" * SLOT_BYTES, memory)


@given(st.lists(st.one_of(st.text(max_size=5), st.integers(0, 9)), max_size=12))
def test_the_observation_is_the_transcript_of_the_state_after_any_steps_and_returns(
    moves: list[str | int],
) -> None:
    """A text is a step; a number goes back to the state after so many steps, as a search does."""
    env = make_maths(max_steps=50, sandbox=None)
    seen = [env.reset(seed=1)[0]]
    states = [env.state]
    for move in moves:
        if isinstance(move, int):
            env.state = states[move % len(states)]
            assert env.info["num_steps"] == len(env.state.steps)
        elif not env.state.done:
            seen.append(env.step(move)[0])
            states.append(env.state)
    assert seen == [render(state) for state in states]
