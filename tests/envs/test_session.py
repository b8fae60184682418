"""Sessions: an episode as a conversation, with forks that are apart."""

from __future__ import annotations

import copy
import random

import pytest

from stepgym.envs.registry import load_env
from stepgym.envs.session import EnvSession, EpisodeOverError, shared_env


def solution(session: EnvSession, seed: int = 0) -> list[str]:
    """Return the steps of one solution of a Countdown session."""
    from stepgym.envs.families.countdown import random_solution

    numbers, target = session.problem.public  # type: ignore[misc]
    return random_solution(numbers, target, random.Random(seed))


def test_a_session_plays_as_the_environment_does() -> None:
    session = EnvSession("stepgym/Countdown-v0", 4, level=3)
    env = load_env("stepgym/Countdown-v0", level=3)
    env.reset(options={"index": 4})
    assert session.prompt == env.problem.prompt
    for text in solution(session):
        reply = session.say(text)
        _, reward, terminated, _, info = env.step(text)
        assert (reply.reward, reply.done) == (reward, terminated)
        assert reply.text
        assert session.info == info
    assert session.done and session.reward == 1.0 and not session.undecided


def test_forks_share_the_past_and_nothing_else() -> None:
    session = EnvSession("stepgym/Countdown-v0", 4, level=3)
    first, *rest = solution(session)
    session.say(first)
    for fork in (session.fork(), copy.copy(session), copy.deepcopy(session)):
        for text in rest:
            fork.say(text)
        assert fork.reward == 1.0
    assert not session.done and len(session.state.steps) == 1 and session.reward == 0.0


def test_sessions_with_the_same_options_share_one_environment() -> None:
    assert shared_env("stepgym/Countdown-v0", level=3) is shared_env(
        "stepgym/Countdown-v0", level=3
    )
    assert shared_env("stepgym/Countdown-v0", level=3) is not shared_env("Countdown-v0", level=2)


def test_a_step_after_the_end_is_refused() -> None:
    session = EnvSession("stepgym/Countdown-v0", 0, level=1)
    while not session.done:
        session.say("not a step")
    with pytest.raises(EpisodeOverError, match="the episode is over"):
        session.say("1 + 1")


def test_an_unknown_option_or_index_is_an_error() -> None:
    with pytest.raises(ValueError, match="levle"):
        EnvSession("stepgym/Countdown-v0", 0, levle=3)
    with pytest.raises(IndexError):
        EnvSession("stepgym/HumanEval-v0", 100_000)


def test_the_reply_is_in_the_info() -> None:
    env = load_env("stepgym/ModularSums-v0", level=1)
    _, info = env.reset(seed=0)
    assert info["reply"] == ""
    _, _, _, _, info = env.step("nonsense")
    assert info["reply"] == env.state.steps[-1].reply
