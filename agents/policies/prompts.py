"""How a state becomes text for a language model: the prompt through the chat template, then its steps as they stand.

The text is made of segments (the prompt, each step, each reply), each turned into tokens by itself, so that a
state's tokens are a function of the state alone and a child begins with its parent's.
"""

from __future__ import annotations

from typing import Any

from stepgym.envs.tokens import TOOL_RESULT, TOOL_RESULT_END
from stepgym.envs.types import State

SYSTEM = (
    "You solve problems step by step. Write one short step per paragraph and leave an empty line after each step. "
    "When you know the result, write it between <answer> and </answer>."
)
"""What a chat model is told before the problem."""
PLAIN = "Problem: {prompt}\nSolution:\n"
"""The prompt of a model without a chat template."""


def head(tokenizer: Any, prompt: str, *, system: str | None, template: str | None) -> tuple[str, str]:
    """Return the text up to the first step in two pieces: what all problems share, and what begins with the prompt.

    `template` (with `{prompt}` in it) takes the place of the chat template; `None` takes the chat template where
    the tokenizer has one and `PLAIN` otherwise.
    """
    if template is None and getattr(tokenizer, "chat_template", None):
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": prompt})
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        # Templates may trim the prompt; the last place it stands is the user's turn.
        at = text.rfind(prompt.strip())
        return text[:at], text[at:]
    before, mark, after = (PLAIN if template is None else template).partition("{prompt}")
    return (before, prompt + after) if mark else ("", before)


def segments(first: tuple[str, str], state: State, *, delimiter: str) -> tuple[str, ...]:
    """Return the whole text of a state in pieces: the head's two, then each step with its delimiter, then its reply."""
    pieces = [*first]
    for step in state.steps:
        pieces.append(step.text + delimiter)
        if step.reply:
            pieces.append(shown_reply(step.reply) + delimiter)
    return tuple(pieces)


def shown_reply(reply: str) -> str:
    """Return an environment's reply as a model sees it, told apart from its own words."""
    return reply if TOOL_RESULT in reply else f"{TOOL_RESULT}{reply}{TOOL_RESULT_END}"
