"""The special tokens between the parts of a step, and functions to read and write them.

Parsing is lenient: a part that is opened and not closed (the model was cut off, or stopped at the closing token) extends to
the end, and a closing token without an opening one is plain text. `<tool_result>` in a policy's text is plain text too,
because results come only from the environment, in `Step.reply`.
"""

from __future__ import annotations

import re

from stepgym.envs.types import Segment, SegmentKind, State, Step

STEP_END = "<|step_end|>"
THINK, THINK_END = "<think>", "</think>"
TOOL_CALL, TOOL_CALL_END = "<tool_call>", "</tool_call>"
TOOL_RESULT, TOOL_RESULT_END = "<tool_result>", "</tool_result>"
ANSWER, ANSWER_END = "<answer>", "</answer>"

SPECIAL_TOKENS = (
    STEP_END,
    *(THINK, THINK_END),
    *(TOOL_CALL, TOOL_CALL_END),
    *(TOOL_RESULT, TOOL_RESULT_END),
    *(ANSWER, ANSWER_END),
)

_POLICY_PARTS = {
    THINK: (SegmentKind.REASONING, THINK_END),
    TOOL_CALL: (SegmentKind.TOOL_CALL, TOOL_CALL_END),
    ANSWER: (SegmentKind.ANSWER, ANSWER_END),
}
_OPENING = re.compile("|".join(map(re.escape, _POLICY_PARTS)))
_ANY = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)))


def parse(text: str) -> list[Segment]:
    """Split a policy's text into segments that cover it without gaps or overlaps.

    The first opening token wins, and everything up to its closing token belongs to it: a tool call or an answer inside
    internal reasoning is reasoning.
    """
    segments = []
    at = 0
    while at < len(text):
        opening = _OPENING.search(text, at)
        visible_end = opening.start() if opening else len(text)
        if visible_end > at:
            segments.append(Segment(SegmentKind.VISIBLE, text[at:visible_end], at, visible_end))
        if opening is None:
            break
        kind, closing = _POLICY_PARTS[opening.group()]
        inner_end = text.find(closing, opening.end())
        end = inner_end + len(closing) if inner_end >= 0 else len(text)
        inner = text[opening.end() : inner_end if inner_end >= 0 else end]
        segments.append(Segment(kind, inner, opening.start(), end))
        at = end
    return segments


def visible_text(text: str, *, strip: bool = True) -> str:
    """Return the part of a policy's text that users see.

    It includes answers, but no internal reasoning and no tool calls.
    """
    if "<" not in text:
        return text.strip() if strip else text
    shown = (SegmentKind.VISIBLE, SegmentKind.ANSWER)
    words = "".join(segment.text for segment in parse(text) if segment.kind in shown)
    return words.strip() if strip else words


def final_answer(text: str) -> str | None:
    r"""Return the final answer in a policy's text, `None` if there is none.

    It is the last non-empty `<answer>` outside internal reasoning, or else the last closed `\boxed{...}` in visible text.
    """
    if "<" not in text:
        return last_boxed(text)
    segments = parse(text)
    given = [s.text.strip() for s in segments if s.kind is SegmentKind.ANSWER and s.text.strip()]
    if given:
        return given[-1]
    for segment in reversed(segments):
        if segment.kind is SegmentKind.VISIBLE and (boxed := last_boxed(segment.text)) is not None:
            return boxed
    return None


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last `\boxed{...}` that is closed and not empty."""
    at = len(text)
    while (at := text.rfind("\\boxed{", 0, at)) >= 0:
        start, depth = at + len("\\boxed{"), 1
        for position in range(start, min(len(text), start + 10_000)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                if inner := text[start:position].strip():
                    return inner
                break
    return None


def neutralise(text: str) -> str:
    """Return foreign text with its special tokens escaped, so that it cannot forge any.

    Foreign text is a program's output, for example.
    """
    return _ANY.sub(lambda token: token.group().replace("<", "&lt;"), text)


def render(state: State, *, reasoning: bool = True) -> str:
    """Return the transcript of a state: prompt, steps with their delimiter, replies.

    With `reasoning` it is what a policy sees; without, what a user sees.
    """
    steps = [render_step(step, reasoning=reasoning) for step in state.steps]
    return "".join((state.prompt, "\n", *steps))


def render_step(step: Step, *, reasoning: bool = True) -> str:
    """Return what one step adds to the transcript."""
    text = step.text if reasoning else _without_reasoning(step.text)
    reply = f"{shown_reply(step.reply)}\n" if step.reply else ""
    return f"{text}{STEP_END}\n{reply}"


def shown_reply(reply: str) -> str:
    """Return an environment's reply between tool result tokens; a tool's reply has them already."""
    return reply if reply.startswith(TOOL_RESULT) else f"{TOOL_RESULT}{reply}{TOOL_RESULT_END}"


def _without_reasoning(text: str) -> str:
    kept = (text[s.start : s.end] for s in parse(text) if s.kind is not SegmentKind.REASONING)
    return "".join(kept).strip()
