"""Budget forcing around a scripted writer (what is forced, and when), and around a real decoder (that costs add up)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from stepgym.agents.policies.budget_forcing import BudgetForcingPolicy
from stepgym.agents.policies.continuation import Continuation, Continuations, PartialStep, Stop
from stepgym.agents.policies.transformers_policy import TransformersPolicy
from stepgym.agents.types import PolicyError
from stepgym.envs.types import State, Step


@dataclass
class ScriptedContinuer:
    """Writes the next of its parts for each partial; an answer where nothing tells it to stop."""

    parts: list[tuple[str, int, Stop]]
    seen: list[PartialStep] = field(default_factory=list)

    def continue_steps(self, partials: Sequence[PartialStep]) -> Continuations:
        out = []
        for partial in partials:
            self.seen.append(partial)
            text, length, stop = self.parts.pop(0)
            step = Step(
                text,
                log_prob=-1.0,
                num_tokens=length,
                num_reasoning_tokens=length if partial.stops else 0,
                final=stop is Stop.END,
            )
            out.append([Continuation(step, stop)] * partial.num_children)
        return Continuations(out, {})

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        raise AssertionError("not asked")


ANSWER = ("42", 1, Stop.END)
CASES: list[tuple[str, dict[str, Any], list[tuple[str, int, Stop]], str]] = [
    (
        "a thought within bounds is left alone",
        {},
        [("hm", 5, Stop.STOPPED), ANSWER],
        "<think>hm\n</think>\n42",
    ),
    (
        "a long thought is closed",
        {"max_thinking_tokens": 5},
        [("hm hm", 5, Stop.LENGTH), ANSWER],
        "<think>hm hm\n</think>\n42",
    ),
    (
        "it waits as often as told",
        {"num_waits": 2},
        [("a", 1, Stop.STOPPED), (" b", 1, Stop.STOPPED), (" c", 1, Stop.STOPPED), ANSWER],
        "<think>a\nWait b\nWait c\n</think>\n42",
    ),
    (
        "it waits no longer than the limit",
        {"num_waits": 9, "max_thinking_tokens": 4},
        [("a", 3, Stop.STOPPED), (" b", 1, Stop.LENGTH), ANSWER],
        "<think>a\nWait b\n</think>\n42",
    ),
    (
        "an end of sequence in a thought ends only the thought",
        {},
        [("a", 1, Stop.END), ANSWER],
        "<think>a\n</think>\n42",
    ),
    ("an empty thought is one", {}, [("", 1, Stop.STOPPED), ANSWER], "<think>\n</think>\n42"),
]


@pytest.mark.parametrize(
    ("settings", "parts", "text"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_is_forced(
    settings: dict[str, Any], parts: list[tuple[str, int, Stop]], text: str
) -> None:
    num_tokens, thinking = sum(part[1] for part in parts), sum(part[1] for part in parts[:-1])
    num_parts = len(parts)
    ((step,),) = BudgetForcingPolicy(ScriptedContinuer(parts), **settings).propose(
        [State("p")], [1]
    )
    assert step.text == text
    assert step.final
    assert (step.num_tokens, step.num_reasoning_tokens, step.log_prob) == (
        num_tokens,
        thinking,
        -float(num_parts),
    )


def test_state_that_has_thought_goes_on_as_the_policy_does() -> None:
    writer = ScriptedContinuer([ANSWER])
    state = State("p", (Step("<think>a</think>so"),))
    assert BudgetForcingPolicy(writer).propose([state], [1]) == [[Step("42")]]
    assert writer.seen == [PartialStep(state)]


def test_tokens_left_shrink_with_what_was_thought() -> None:
    writer = ScriptedContinuer([("a", 3, Stop.STOPPED), ("b", 2, Stop.STOPPED), ANSWER])
    BudgetForcingPolicy(writer, max_thinking_tokens=10, num_waits=1).propose([State("p")], [1])
    assert [partial.max_new_tokens for partial in writer.seen] == [10, 7, None]


def test_around_a_model_costs_add_up_and_bounds_hold(
    make_policy: Callable[..., TransformersPolicy],
) -> None:
    inner = make_policy(max_new_tokens=6)
    policy = BudgetForcingPolicy(inner, max_thinking_tokens=9, num_waits=3)
    states, counts = [State("2 + 2?"), State("a longer one?")], [3, 2]
    proposed = policy.propose(states, counts)
    assert [len(steps) for steps in proposed] == counts
    for steps in proposed:
        for step in steps:
            assert step.text.startswith("<think>")
            assert step.text.count("</think>") >= 1
            assert step.num_reasoning_tokens <= 9
            assert step.num_reasoning_tokens < step.num_tokens <= 9 + 6
            assert step.log_prob is not None
            assert step.log_prob < 0
    again = BudgetForcingPolicy(
        make_policy(max_new_tokens=6, kv_mib=0), max_thinking_tokens=9, num_waits=3
    )
    assert [again.propose([state], [count])[0] for state, count in zip(states, counts)] == proposed
    head = len(inner.tokenizer("Problem: 2 + 2?\nSolution:\n<think>").input_ids)
    assert proposed[0][0].num_prompt_tokens <= head + 3 * len("\nWait") + len("\n</think>\n")
    assert policy.num_parameters == inner.num_parameters


def test_state_without_room_fails_alone(make_policy: Callable[..., TransformersPolicy]) -> None:
    policy = BudgetForcingPolicy(make_policy(), max_thinking_tokens=5)
    with pytest.raises(PolicyError, match="no room in the model's context") as caught:
        policy.propose([State("x" * 500), State("y")], [1, 1])
    assert [len(steps) for steps in caught.value.steps or []] == [0, 1]


@pytest.mark.parametrize(
    "wrong", [{"max_thinking_tokens": 0}, {"num_waits": -1}, {"wait": ""}, {"close": "x"}], ids=str
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BudgetForcingPolicy(ScriptedContinuer([]), **wrong)
