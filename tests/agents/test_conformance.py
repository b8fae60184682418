"""Everything registered is held to its contract because it is registered; broken things are found out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from stepgym.agents import solve
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


def policy_of(returned: Any) -> Any:
    """Return a policy whose `propose` returns `returned` for every state, or whatever a function makes of the states."""
    answer = returned if callable(returned) else lambda states: [returned] * len(states)
    return type("Own", (), {"propose": lambda self, states, counts: answer(states)})()


def model_of(answer: Callable[[Sequence[State]], Any]) -> Any:
    return type("Own", (), {"score": lambda self, states: answer(states)})()


def search_of(**methods: Any) -> Any:
    return type("Own", (Greedy,), {name: staticmethod(own) for name, own in methods.items()})()


ARITY = "positional argument"
MISSHAPEN = {
    "policy: too few parameters": (
        type("Own", (), {"propose": lambda self, states: []})(),
        "cannot be called as Own.propose(states, counts)",
        f"policy: .*{ARITY}",
    ),
    "policy: nothing": (
        policy_of(lambda states: None),
        "There is one list of steps per state, in order. propose returned None instead of a list",
        "policy: .*returned None instead of",
    ),
    "policy: a list too many": (
        policy_of(lambda states: [[]] * (len(states) + 1)),
        "There is one list of steps per state, in order. 7 lists for 6 states",
        "policy: .*returned 2 lists of steps for 1 states",
    ),
    "policy: a step per state": (
        policy_of(Step("a")),
        "propose, for one state, returned Step(",
        "policy returned Step instead of a list of steps",
    ),
    "policy: texts": (
        policy_of(["a"]),
        "'a' is no Step with text",
        "returned str instead of a Step",
    ),
    "reward model: no parameter": (
        type("Own", (), {"score": lambda self: []})(),
        "cannot be called as Own.score(states)",
        f"reward model: .*{ARITY}",
    ),
    "reward model: a number per state": (
        model_of(lambda states: [0.5] * len(states)),
        "score, for one state, returned 0.5 instead of a list",
        "reward model: .*returned 0.5 instead of a list of scores",
    ),
    "reward model: one list for all": (
        model_of(lambda states: [[0.5]]),
        "There is one list per state, with one score per step or one for the last. 1 lists for 2",
        "reward model: .*returned 1 lists of scores for 4 states",
    ),
    "reward model: texts": (
        model_of(lambda states: [["good"]] * len(states)),
        "score returned 'good' instead of a number",
        "reward model: .*returned score 'good'",
    ),
    "search: select without the tree": (
        search_of(select=lambda: None),
        "cannot be called as Own.select(tree)",
        f"search: .*{ARITY}",
    ),
    "search: backup without what has grown": (
        search_of(backup=lambda tree: None),
        "cannot be called as Own.backup(tree, grown)",
        f"search: .*{ARITY}",
    ),
    "search: nothing selected": (
        search_of(select=lambda tree: None),
        "select returned None instead of a list of Requests",
        "search: .*select returned None instead of a list of Requests",
    ),
    "search: numbers selected": (
        search_of(select=lambda tree: [0]),
        "select returned 0 instead of a Request",
        "search: .*select returned 0 instead of a Request",
    ),
    "search: no best node": (
        search_of(best=lambda tree: None),
        "best returned None instead of the number of a node",
        "search: .*best returned None instead of the number of a node",
    ),
    "agent: no parameter": (
        type("Own", (), {"act": lambda self: "a"})(),
        "cannot be called as Own.act(episode)",
        f"agent: .*{ARITY}",
    ),
    "agent: a parameter too many": (
        type("Own", (), {"act": lambda self, episode, env: "a"})(),
        "cannot be called as Own.act(episode)",
        f"agent: .*{ARITY}",
    ),
}
"""Kind and mistake -> the thing, the broken clause with its fault, the note of a run."""


@pytest.mark.parametrize("case", MISSHAPEN)
def test_a_wrong_arity_or_shape_breaks_a_clause_and_fails_the_episode(case: str) -> None:
    thing, fault, note = MISSHAPEN[case]
    kind = case.partition(":")[0]
    checks: dict[str, Any] = {
        "policy": (check_policy, {"agent": "beam", "policy": thing}),
        "reward model": (
            check_reward_model,
            {"agent": "beam", "policy": "random", "reward_model": thing},
        ),
        "search": (check_search, {"agent": thing, "policy": "random"}),
        "agent": (check_agent, {"agent": thing, "policy": "random"}),
    }
    check, arguments = checks[kind]
    assert any(fault in found for found in faults(check(thing)))
    [record] = solve("stepgym/Words-v0", episodes=1, **arguments)
    assert record.verdict == "failed" and re.search(note, record.note), record.note


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
