"""The text before a language model's first step: system text, examples and the problem, through the chat template.

`stepgym.agents.policies.layout` lays out whole states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepgym.envs.tokens import shown_reply
from stepgym.envs.types import State

SYSTEM = (
    "Solve the problem. Write short steps with an empty line between them. Finish with the result as "
    "<answer>result</answer>."
)
"""The system text where the environment gives none. Of the wordings tried, small models follow this one best."""
AUTO = "auto"
"""The value of a policy's `system` that stands for what the environment says (`State.system`)."""
EXAMPLES = (
    (
        "Ann has 3 apples and buys 4 more. How many has she now?",
        "Ann has 3 + 4 = 7 apples.\n\n<answer>7</answer>",
    ),
    ("Compute 4 - 9.", "4 - 9 = -5\n\n<answer>-5</answer>"),
)
"""Examples of the form for very small models; larger ones need none."""
PLAIN = "Problem: {prompt}\nSolution:\n"
"""The prompt of a model without a chat template."""
FOLLOWING = "A"
"""Placeholder for the following text while a segment is tokenised."""


def head(
    tokenizer: Any,
    prompt: str,
    *,
    system: str | None,
    template: str | None,
    examples: Sequence[tuple[str, str]] = (),
) -> tuple[str, str]:
    """Return the text up to the first step in two pieces: what all problems share, and what begins with the prompt.

    `template` (with `{prompt}` in it) takes the place of the chat template; `None` takes the chat template where
    the tokenizer has one and `PLAIN` otherwise. Examples come before the prompt, laid out in the same way.
    """
    if template is None and getattr(tokenizer, "chat_template", None):
        text: str = tokenizer.apply_chat_template(
            messages(prompt, system=system, examples=examples),
            tokenize=False,
            add_generation_prompt=True,
        )
        # Templates may trim the prompt; its last occurrence is the user's turn.
        at = text.rfind(prompt.strip())
        return text[:at], text[at:]
    layout = PLAIN if template is None else template
    shown = "".join(
        layout.replace("{prompt}", question) + answer + "\n\n" for question, answer in examples
    )
    before, mark, after = layout.partition("{prompt}")
    return (shown + before, prompt + after) if mark else (shown, before)


def system_text(system: str | None, told: str | None) -> str | None:
    """Return the system text for a policy's setting `system` and what the environment says, `told`."""
    return (told or SYSTEM) if system == AUTO else system


def messages(
    prompt: str, *, system: str | None, examples: Sequence[tuple[str, str]] = ()
) -> list[dict[str, str]]:
    """Return the conversation up to the first step."""
    turns = [{"role": "system", "content": system}] if system else []
    for question, answer in examples:
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return [*turns, {"role": "user", "content": prompt}]


def segments(first: tuple[str, str], state: State, *, delimiter: str) -> tuple[str, ...]:
    """Return the whole text of a state in pieces: the head's two, then each step with its delimiter, then its reply."""
    pieces = [*first]
    for step in state.steps:
        pieces.append(step.text + delimiter)
        if step.reply:
            pieces.append(shown_reply(step.reply) + delimiter)
    return tuple(pieces)


def segment_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Return a segment's tokens as they are when more text follows (a last line break may merge otherwise)."""
    ids = tokenizer(text + FOLLOWING, add_special_tokens=False).input_ids
    if ids and tokenizer.decode([ids[-1]], clean_up_tokenization_spaces=False) == FOLLOWING:
        return tuple(ids[:-1])
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)
