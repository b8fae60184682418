"""Illegal steps in every environment, and the system text that names them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.agents import solve
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.envs.illegal_steps import RETRIES
from stepgym.envs.mixture import mixture
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import ENVIRONMENTS, load_env
from stepgym.envs.text_domain import MAX_STEP_CHARS, TextDomain
from stepgym.envs.types import End, LegalSteps, Problem, State, Step
from stepgym.plugins.settings import SettingError
from stepgym.records.loader import states_of

IDS = [card.id for card in ENVIRONMENTS]
ANSWERS = {
    "<answer>": "<answer>1</answer>",
    "\\boxed": "\\boxed{1}",
    "```": "```python\nx = 1\n```",
}
"""A form of answers in a system text -> an answer of this form."""


@pytest.fixture(params=IDS)
def env_id(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def made(env_id: str, **options: Any) -> ReasoningEnv:
    env = load_env(env_id, **options)
    env.reset(options={"index": 0})
    return env


def told(env: ReasoningEnv) -> str:
    system = env.state.system
    assert system is not None
    return system


def legal_step(env: ReasoningEnv) -> str:
    domain = env.domain
    return domain.legal_steps(env.state)[0] if isinstance(domain, LegalSteps) else "I think."


def test_an_illegal_step_ends_every_environment_or_is_tried_again(env_id: str) -> None:
    env = made(env_id, on_illegal="end")
    _, _, terminated, truncated, info = env.step("")
    assert (terminated, truncated, info["end"], info["num_illegal"]) == (True, False, "stuck", 1)
    assert info["reply"] and info["verdict"] == "no_answer"
    assert "An illegal step ends the episode." in told(env)
    env.close()

    env = made(env_id, on_illegal="retry", max_retries=2)
    start = env.state
    for number in (1, 2):
        _, reward, terminated, truncated, info = env.step("")
        assert (reward, terminated, truncated, info["num_illegal"]) == (0, False, False, number)
        assert info["reply"] and env.state.public == start.public
    if not (isinstance(env.domain, LegalSteps) and not env.domain.legal_steps(start)):
        assert env.step(legal_step(env))[4]["num_illegal"] == 2
    env.state = start
    for _ in range(3):
        *_, info = env.step("")
    assert info["end"] == "stuck" and "more than 2 illegal steps end the episode" in told(env)
    env.close()


def test_the_system_text_names_the_step_limit_and_it_holds(env_id: str) -> None:
    env = made(env_id, max_steps=2)
    assert "ends after 2 steps at the latest" in told(env)
    for _ in range(2):
        *_, info = env.step(legal_step(env))
    # A task over a folder has an answer whenever it ends: the folder.
    assert info["end"] == ("answered" if env_id == "stepgym/Repo-v0" else "step_limit")
    env.close()
    if env_id != "stepgym/Mixture-v0":  # members keep their own limits
        unlimited = made(env_id, max_steps=None)
        assert "at the latest" not in told(unlimited)
        unlimited.close()


def test_the_system_text_names_a_form_of_answers_that_ends_the_episode(env_id: str) -> None:
    env = made(env_id)
    system = told(env)
    forms = [answer for form, answer in ANSWERS.items() if form in system]
    if "letters, which are the answer" in system:
        forms = []
        for _ in range(int(re.findall("after ([0-9]+) letters", system)[0])):
            *_, info = env.step("a")
        assert info["end"] == "answered"
    for answer in forms:
        env.reset(options={"index": 0})
        assert env.domain.advance([env.state], [Step(answer)])[0].end is End.ANSWERED
    assert forms or env_id == "stepgym/Words-v0"
    if isinstance(env.domain, LegalSteps):  # the form of a step is that of the legal ones
        [form] = re.findall("such as `(.+?)`", system)
        shape = re.sub(r"\w+|[-+*/]", "_", form)
        env.reset(options={"index": 0})
        legal = env.domain.legal_steps(env.state)
        assert shape in {re.sub(r"\w+|[-+*/]", "_", step) for step in legal}
    env.close()


@pytest.mark.parametrize(
    ("text", "reason", "where"),
    [
        ("", "empty", "local"),
        (" \n ", "empty", "local"),
        ("x" * (MAX_STEP_CHARS + 1), "characters", "local"),
        ("<tool_call></tool_call>", "tool call is empty", "local"),
        ('<tool_call>{"name": "python", "arguments": {}}</tool_call>', "no code", "local"),
        ("<tool_call>1 + 1</tool_call>", "no tool", None),
        ("<answer>3</answer> or <answer>4</answer>", "2 different answers", "local"),
    ],
)
def test_what_is_illegal_in_free_text(text: str, reason: str, where: str | None) -> None:
    env = made("Math-v0", sandbox=where, on_illegal="retry")
    assert reason in env.step(text)[4]["reply"]
    lenient = made("Math-v0", sandbox=None)
    assert lenient.step(text)[4]["num_illegal"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "So x = 3.",
        "<think>first</think>",
        "<answer>3</answer>, that is <answer> 3 </answer>",
        "<answer></answer><answer>3</answer>",
        "x" * MAX_STEP_CHARS,
        "1 < 2 and \\boxed{3}",
    ],
)
def test_what_is_legal_in_free_text(text: str) -> None:
    env = made("Math-v0", sandbox=None, on_illegal="end")
    assert env.step(text)[4]["num_illegal"] == 0


def test_an_empty_last_step_is_legal_after_others() -> None:
    domain = load_env("Math-v0", on_illegal="end").domain
    state = domain.initial(Problem("p", "What is 1 + 1?", "2"))
    [state] = domain.advance([state], [Step("It is 2")])
    [state] = domain.advance([state], [Step("", final=True)])
    assert state.end is End.ANSWERED and state.answer == "It is 2"


def test_tool_calls_of_an_illegal_step_are_not_run_again() -> None:
    env = made("Math-v0", sandbox="local", on_illegal="retry")
    env.step("<tool_call>x = 1</tool_call>")
    *_, info = env.step("<tool_call>x = 2</tool_call><tool_call></tool_call>")
    assert info["num_illegal"] == 1
    assert "1" in env.step("<tool_call>x</tool_call>")[4]["reply"]
    env.close()


def test_unknown_tools_of_a_folder_are_illegal() -> None:
    env = made("Repo-v0", sandbox="local", on_illegal="retry")
    call = '<tool_call>{"name": "remove", "arguments": {"path": "a"}}</tool_call>'
    assert "names no known tool" in env.step(call)[4]["reply"]
    call = '<tool_call>{"name": "files", "arguments": {}}</tool_call>'
    assert env.step(call)[4]["num_illegal"] == 1
    env.close()


def test_an_illegal_step_does_not_stand_in_the_answer() -> None:
    domain = TextDomain(sandbox=None, whole_answer=True, illegal_steps=RETRIES)
    state = domain.initial(Problem("p", "Write f.", ""))
    for text in ("<answer>1</answer><answer>2</answer>", "```python\nx = 1\n```"):
        [state] = domain.advance([state], [Step(text)])
    assert state.answer == "```python\nx = 1\n```"


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.sampled_from(["", "3 + 4", "word", "<answer>7</answer>"]), max_size=12))
def test_refused_steps_are_counted_and_leave_the_position(texts: list[str]) -> None:
    """Any play with retries goes where the same play without its illegal steps goes."""
    env = made("Countdown-v0", on_illegal="retry", max_retries=None)
    domain, start = env.domain, env.state
    state, kept = start, []
    for text in texts:
        [after] = domain.advance([state], [Step(text)])
        if not state.done and not after.steps[-1].refused:
            kept.append(text)
        state = after
    clean: State = start
    for text in kept:
        [clean] = domain.advance([clean], [Step(text)])
    assert (clean.public, clean.end, clean.answer) == (state.public, state.end, state.answer)


def test_searches_see_the_reasons_and_records_keep_them() -> None:
    env = load_env("Words-v0", level=2, on_illegal="retry")
    word = env.problems[0].reference
    script = {(): ["?"], ("?",): [word[0]], ("?", word[0]): [word[1]]}
    [record] = solve(env, agent="greedy", policy=ScriptedPolicy(script), episodes=1)
    assert record.verdict == "correct" and record.env_options["on_illegal"] == "retry"
    refused = states_of(record)[record.path[-1]].steps[0]
    assert refused.refused and "is not one letter" in refused.reply
    assert "more than 8 illegal steps end the episode" in str(record.system)


def test_a_mixture_takes_the_rule_for_all_its_members() -> None:
    env = mixture({"Fractions-v0": 1, "Countdown-v0": 1}, on_illegal="retry")
    for index in range(6):
        env.reset(options={"index": index})
        assert env.step("")[4]["num_illegal"] == 1 and not env.state.done


def test_wrong_options_name_the_way_out() -> None:
    with pytest.raises(ValueError, match="end, retry"):
        load_env("Math-v0", on_illegal="retyr")
    with pytest.raises(SettingError, match="max_retries"):
        load_env("Math-v0", on_illegal="retry", max_retries=-1)
