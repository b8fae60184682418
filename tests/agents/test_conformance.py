"""Everything registered is held to its contract because it is registered; broken things are found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from stepgym.agents.conformance import check_agent, check_policy, check_reward_model, check_search
from stepgym.agents.policies.scripted import ScriptedPolicy, ScriptedRewardModel
from stepgym.agents.registry import SEARCHES, load_policy, load_reward_model, load_search
from stepgym.agents.search.greedy import Greedy
from stepgym.agents.types import ROOT, Request, SearchTree
from stepgym.envs.types import State, Step
from stepgym.plugins.contract import Finding
from stepgym.plugins.names import UnknownNameError


def faults(findings: list[Finding]) -> list[str]:
    return [f"{sentence} {fault}" for sentence, fault in findings if fault is not None]


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_keeps_the_contract(name: str) -> None:
    assert not faults(check_search(load_search(name)))


@pytest.mark.parametrize("name", ["random", "embedded"])
def test_light_policies_and_reward_models_keep_the_contract(name: str) -> None:
    assert not faults(check_policy(load_policy(name, seed=3)))
    assert not faults(check_reward_model(load_reward_model(name, seed=3)))


class Forgetful(Greedy):
    """Asks nodes that cannot grow, for nothing."""

    def select(self, tree: SearchTree) -> list[Request]:
        return [Request(ROOT, 0)]


class Moody:
    """Gives other steps at every call, one too many."""

    calls = 0

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        self.calls += 1
        return [[Step(str(self.calls), log_prob=0.5)] * (count + 1) for count in counts]


@pytest.mark.parametrize(
    ("check", "thing", "sentence"),
    [
        (check_search, Forgetful(), "0 steps asked for at node 0"),
        (check_policy, Moody(), "more steps than were asked for"),
        (check_policy, Moody(), "log_prob=0.5"),
        (check_policy, Moody(), "two calls gave different steps"),
        (check_policy, ScriptedPolicy(lambda state: [Step("")]), "an empty step"),
        (check_reward_model, ScriptedRewardModel(lambda state: 1.5), "not in [0, 1]"),
        (check_reward_model, ScriptedRewardModel({}, default=float("nan")), "not in [0, 1]"),
    ],
)
def test_what_is_broken_is_found(
    check: Callable[[Any], list[Finding]], thing: Any, sentence: str
) -> None:
    assert any(sentence in fault for fault in faults(check(thing)))


def test_unknown_names_show_the_nearest_and_the_list() -> None:
    with pytest.raises(UnknownNameError, match="unknown agent 'mtcs'; did you mean 'mcts'"):
        load_search("mtcs")
    with pytest.raises(UnknownNameError, match="unknown policy 'randon'; did you mean 'random'"):
        load_policy("randon")


def test_a_dotted_path_is_a_name() -> None:
    search = load_search("stepgym.agents.search.beam:Beam", width=3)
    assert search == load_search("beam", width=3)


def test_an_unknown_policy_hears_of_the_names_with_a_prefix() -> None:
    with pytest.raises(
        UnknownNameError,
        match="budget_forcing:NAME, chat:URL#MODEL, embedded, embedded:FOLDER, hf:NAME_OR_FOLDER",
    ):
        load_policy("embeded!")
    with pytest.raises(
        UnknownNameError,
        match=r"did you mean 'random'\? known: embedded, embedded:FOLDER, hf:NAME_OR_FOLDER",
    ):
        load_reward_model("randm")


def test_agents_are_checked() -> None:
    def good(env: Any) -> None:
        env.reset()
        env.step("a")

    async def answers(episode: Any) -> str:
        return "aaa"

    def bad(episode: Any) -> None:
        raise ValueError("boom")

    def idle(episode: Any) -> None:
        return None

    assert not faults(check_agent(good))
    assert not faults(check_agent(answers))
    assert "boom" in faults(check_agent(bad))[0]
    assert "no step and no answer" in faults(check_agent(idle))[0]
