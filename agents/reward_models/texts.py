"""The texts that published reward models read, and where in them each step is read.

A layout takes a tokenizer and a state and returns the text, with the offset of the character whose token is read for each step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from stepgym.envs.tokens import shown_reply
from stepgym.envs.types import State, Step
from stepgym.plugins.errors import UserError

SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
STEP_MARK, SHEPHERD_MARK = "<extra_0>", "ки"


class Laid(NamedTuple):
    """A text, and for each step the offset of the character whose token is read."""

    text: str
    places: list[int]


def step_words(step: Step, mark: str) -> str:
    """Return a step with the environment's reply, without the mark that ends steps."""
    reply = f"\n{shown_reply(step.reply)}" if step.reply else ""
    return (step.text + reply).replace(mark, "").strip()


def qwen_messages(state: State) -> list[dict[str, str]]:
    """Return the conversation of Qwen's card: all steps in one message, each followed by `<extra_0>`."""
    said = "".join(step_words(step, STEP_MARK) + STEP_MARK for step in state.steps)
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": state.prompt.replace(STEP_MARK, "")},
        {"role": "assistant", "content": said},
    ]


def qwen(tokenizer: Any, state: State) -> Laid:
    """Lay out a state as Qwen's card does."""
    text: str = tokenizer.apply_chat_template(qwen_messages(state), tokenize=False)
    return Laid(text, _places(text, STEP_MARK, len(state.steps)))


def shepherd_text(state: State) -> str:
    """Return the text of Math-Shepherd's card: numbered steps, each followed by `ки`."""
    steps = [
        f"Step {number}: {step_words(step, SHEPHERD_MARK).removeprefix(f'Step {number}: ')} {SHEPHERD_MARK}"
        for number, step in enumerate(state.steps, start=1)
    ]
    return f"{state.prompt.replace(SHEPHERD_MARK, '')} " + "\n".join(steps)


def shepherd(tokenizer: Any, state: State) -> Laid:
    """Lay out a state as Math-Shepherd's card does."""
    text = shepherd_text(state)
    return Laid(text, _places(text, SHEPHERD_MARK, len(state.steps)))


def _places(text: str, mark: str, count: int) -> list[int]:
    """Return the offsets of the last character of each mark."""
    places = [at + len(mark) - 1 for at in range(len(text)) if text.startswith(mark, at)]
    if len(places) != count:
        raise UserError(f"the chat template shows {len(places)} of {count} marks {mark!r}")
    return places


def skywork(tokenizer: Any, state: State) -> Laid:
    """Lay out a state as Skywork's card does: the problem and each step on a line of its own."""
    text, places = f"{tokenizer.bos_token or ''}{state.prompt}\n", []
    for step in state.steps:
        text += " ".join(step_words(step, "\n\n").split("\n")) + "\n"
        places.append(len(text) - 1)
    return Laid(text, places)


def chat(tokenizer: Any, state: State) -> Laid:
    """Lay out a state as a question and its answer, read at the end."""
    said = "\n\n".join(step_words(step, "\0") for step in state.steps)
    talk = [{"role": "user", "content": state.prompt}, {"role": "assistant", "content": said}]
    if not getattr(tokenizer, "chat_template", None):
        raise UserError(
            "an outcome reward model reads a chat, and this tokenizer has no chat template"
        )
    text: str = tokenizer.apply_chat_template(talk, tokenize=False)
    return Laid(text, [len(text) - 1])
