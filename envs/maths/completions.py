r"""Which part of a completion is the answer's: without reasoning, tool calls, stop tokens and what follows them.

Hidden parts are blanked, never cut out, so that offsets stay those of the completion. Every search is linear.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple


class Visible(NamedTuple):
    """A completion with its tool calls blanked, and where in it the answer may be."""

    text: str
    start: int
    end: int


class Stretch(NamedTuple):
    """A text and its offsets in the completion; the text may be decoded."""

    text: str
    span: tuple[int, int]


_HIDDEN = re.compile(r"<tool_(call|result)>.*?(?:</tool_\1>|\Z)", re.DOTALL)
_STOP = re.compile(
    r"<\|im_start\|>\s{0,2}(?:user|system|human)\b|<\|(?!step_end|start|im_start|channel|message|begin)[a-z_]{2,24}\|>|</s>|<eos>|<end_of_turn>|<｜end▁of▁sentence｜>"
)
_ROLE = re.compile(
    r"\s{0,8}(?:<\|im_start\|>|<\|start_header_id\|>)\s{0,2}assistant\s{0,2}(?:<\|end_header_id\|>)?"
)
_REASONING_ENDS = (
    "</think>",
    "</thinking>",
    "</reasoning>",
    "[/THINK]",
    "<|channel|>final<|message|>",
)
_NEXT_QUESTION = re.compile(
    r"\n[ \t]{0,4}[#*]{0,4}\s?(?:Q|Question|Problem|Human|User)\b[ \d]{0,4}[*]{0,2}[:：]"
)
_JSON_KEYS = (
    "final_answer",
    "final answer",
    "finalanswer",
    "answer",
    "result",
    "solution",
    "output",
    "value",
)
_JSON_FIELD = re.compile(
    r'"(?:final[_ ]?)?(?:answer|result)"\s{0,8}:\s{0,8}("(?:[^"\\]|\\.)*+"|-?\d+(?:,\d{3})*(?:\.\d+)?|\[[^\[\]]*+\])',
    re.IGNORECASE,
)
MAX_JSON_CHARS = 20_000


def visible(text: str) -> Visible:
    """Find the part of a completion that is for the reader."""
    start, end = 0, len(text)
    if "<" in text or "[/THINK]" in text:
        if "<tool_" in text:
            text = _HIDDEN.sub(lambda match: " " * len(match.group()), text)
        start = _after_reasoning(text)
        role = _ROLE.match(text, start)
        if role is not None:
            start = role.end()
        end = _before_stop(text, start)
    return Visible(text, start, end)


def _after_reasoning(text: str) -> int:
    """Return the offset of the reasoning's end, or 0 if nothing follows it."""
    for token in _REASONING_ENDS:
        at = text.rfind(token)
        if at >= 0 and text[at + len(token) :].strip():
            return at + len(token)
    return 0


def _before_stop(text: str, start: int) -> int:
    """Return the offset of the first stop token that has text before it."""
    for match in _STOP.finditer(text, start):
        if text[start : match.start()].strip():
            return match.start()
        start = match.end()
    return len(text)


def next_question(text: str, start: int, end: int) -> int:
    """Return the offset at which a base model begins a next question of its own, or `end`."""
    if ":" not in text and "：" not in text:
        return end
    match = _NEXT_QUESTION.search(text, start, end)
    return end if match is None else match.start()


def unfenced(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the offsets of the code block that a text ends with, if it is one line."""
    closing = text.rfind("```", start, end)
    if closing <= start or text[closing + 3 : end].strip():
        return None
    opening = text.rfind("```", start, closing)
    if opening < 0:
        return None
    begin = text.find("\n", opening, closing)
    inner = text[begin + 1 : closing].strip() if begin >= 0 else ""
    if not inner or "\n" in inner:
        return None
    begin = text.index(inner, begin + 1)
    return begin, begin + len(inner)


def from_json(text: str, start: int, end: int) -> Stretch | None:
    """Return the answer of a JSON object: the whole text, or a field named `answer` in its last lines."""
    if '"' not in text:
        return None
    whole = text[start:end].strip() if end - start <= MAX_JSON_CHARS else ""
    if whole.startswith("{") and whole.endswith("}"):
        found = _from_object(whole)
        if found is not None:
            begin = text.index(whole, start)
            return Stretch(found, (begin, begin + len(whole)))
    last = None
    for match in _JSON_FIELD.finditer(text, max(start, end - MAX_JSON_CHARS), end):
        last = match
    if last is None:
        return None
    return Stretch(_literal(last.group(1)), last.span(1))


def _from_object(text: str) -> str | None:
    try:
        value = json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return None
    return _field(value)


def _field(value: object) -> str | None:
    """Return the answer's field of an object, or of an object in that field."""
    by_name = (
        {str(key).lower(): found for key, found in value.items()} if isinstance(value, dict) else {}
    )
    for key in _JSON_KEYS:
        if key in by_name:
            inner = by_name[key]
            return _field(inner) if isinstance(inner, dict) else _as_text(inner)
    return None


def _as_text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return None


def _literal(literal: str) -> str:
    """Return the value of a JSON literal; LaTeX whose backslashes were not doubled stays as it is."""
    if literal[0] == '"' and "\\" in literal and "\\\\" not in literal:
        return literal[1:-1]
    try:
        found = _as_text(json.loads(literal, parse_float=str, parse_int=str))
    except (ValueError, RecursionError):
        found = None
    return literal.strip('"') if found is None else found
