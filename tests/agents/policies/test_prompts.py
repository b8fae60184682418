"""How states become text: the chat template where there is one, and children that begin with their parents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.policies import prompts
from stepgym.envs.tokens import shown_reply
from stepgym.envs.types import State, Step

from .conftest import ascii_tokenizer

TEMPLATE = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] | trim }};{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
TOKENIZER = ascii_tokenizer()
CHAT = ascii_tokenizer()
CHAT.chat_template = TEMPLATE


@pytest.mark.parametrize(
    ("prompt", "options", "pieces"),
    [
        ("p", {}, ("[system]S;[user]", "p;[assistant]")),  # what all problems share comes first
        ("p", {"system": None}, ("[user]", "p;[assistant]")),  # no system text, no system turn
        (" p \n", {}, ("[system]S;[user]", "p;[assistant]")),  # a template may trim
        ("S", {}, ("[system]S;[user]", "S;[assistant]")),  # a prompt that is found earlier too
        (
            "p",
            {"examples": [("q", "a")]},
            ("[system]S;[user]q;[assistant]a;[user]", "p;[assistant]"),
        ),
        ("p", {"template": "Q {prompt} A "}, ("Q ", "p A ")),  # a template of one's own wins
        ("p", {"template": "Q {prompt} A ", "examples": [("q", "a")]}, ("Q q A a\n\nQ ", "p A ")),
        ("p", {"template": "nothing"}, ("", "nothing")),  # a template may leave the prompt out
    ],
)
def test_head_of_a_chat_model(
    prompt: str, options: dict[str, object], pieces: tuple[str, str]
) -> None:
    settings: dict[str, object] = {"system": "S", "template": None} | options
    assert prompts.head(CHAT, prompt, **settings) == pieces  # type: ignore[arg-type]


def test_head_without_a_chat_template_is_plain() -> None:
    assert prompts.head(TOKENIZER, "p", system="S", template=None) == (
        "Problem: ",
        "p\nSolution:\n",
    )


texts = st.text(max_size=20)
steps = st.builds(Step, texts, reply=texts)


@given(prompt=texts, before=st.lists(steps, max_size=3), last=steps)
def test_child_begins_with_its_parent(prompt: str, before: list[Step], last: Step) -> None:
    first = prompts.head(TOKENIZER, prompt, system=None, template=None)
    parent = prompts.segments(first, State(prompt, tuple(before)), delimiter="\n\n")
    child = prompts.segments(first, State(prompt, (*before, last)), delimiter="\n\n")
    assert child[: len(parent)] == parent
    assert child[len(parent)] == last.text + "\n\n"


def test_replies_are_told_apart_once() -> None:
    assert shown_reply("4") == "<tool_result>4</tool_result>"
    assert shown_reply("<tool_result>4</tool_result>") == "<tool_result>4</tool_result>"
