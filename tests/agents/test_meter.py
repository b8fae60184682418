"""What a reward model is charged: all it reads, for every sibling alike."""

from __future__ import annotations

from dataclasses import dataclass

from stepgym.agents.costs import tokens_read
from stepgym.agents.types import SearchTree
from stepgym.envs.types import State, Step


@dataclass(frozen=True)
class SaysItself:
    """Reads ten tokens, whatever the state."""

    def tokens_read(self, states: list[State]) -> list[int]:
        return [10] * len(states)


ROOT = State("p")
FIRST = State("p", (Step("a", num_tokens=2, num_prompt_tokens=7),))
SECOND = State(
    "p", (Step("b", num_tokens=3),)
)  # drawn together with the first, which was charged the prompt
DEEPER = State(
    "p", (Step("b", num_tokens=3), Step("c", num_tokens=1, num_prompt_tokens=4, num_reply_tokens=5))
)


def test_the_prompt_counts_for_every_sibling() -> None:
    assert tokens_read(object(), SearchTree("x", [ROOT]), [FIRST, SECOND]) == (7 + 2) + (7 + 3)


def test_the_prompt_counts_below_a_sibling_that_was_not_charged_it() -> None:
    tree = SearchTree("x", [ROOT, FIRST, SECOND], parent=[-1, 0, 0], children=[[1, 2], [], []])
    assert tokens_read(object(), tree, [DEEPER]) == 7 + 3 + 1 + 5


def test_a_reward_model_that_says_what_it_reads_is_believed() -> None:
    assert tokens_read(SaysItself(), SearchTree("x", [ROOT]), [FIRST, DEEPER]) == 20
    assert tokens_read(SaysItself(), SearchTree("x", [ROOT]), []) == 0
