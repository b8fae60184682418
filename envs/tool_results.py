"""Long tool results: what the policy is shown of them, and how it reads on.

A result that is longer than a limit is shown in part. With `tool_results="short"` the part has a handle (`r1`, `r2`, ...),
and the tool call `read_result("r1", start=400)` shows the next part; `find="text"` shows the part around a text. These
calls are answered from the state and run no program. With `"full"` there is no handle. In both cases the whole result is
in `Step.cut_results`, so that records keep it.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from stepgym.envs.tokens import neutralise

ToolResults = Literal["full", "short"]
DEFAULT_CHARS: Mapping[ToolResults, int] = {"full": 4_000, "short": 400}
"""The longest result that is shown whole, and the length of the part that is shown of others."""
NAME = "read_result"
USAGE = f'{NAME}("r1", start=0, find="text"), the last two optional'
MAX_REQUEST_CHARS = 1_000
BEFORE_FOUND = 40
"""Characters before the text that was looked for."""


class ReadRequest(NamedTuple):
    """A call of `read_result`, with the arguments as the policy wrote them."""

    arguments: tuple[Any, ...]
    named: Mapping[str, Any]


def middle_left_out(text: str, max_chars: int) -> str:
    """Return a long text without its middle, and neutral."""
    if len(text) > max_chars:
        half = max_chars // 2
        text = f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
    return neutralise(text)


def summary(text: str, handle: str, max_chars: int) -> str:
    """Return the beginning and the end of a long text, its size, and how to read on."""
    first, last = text[: 2 * max_chars // 3], text[-(max_chars // 3) :]
    # Whole lines if there are any: half a number reads as another number.
    first = first[: first.rfind("\n") + 1] or first
    last = last[last.find("\n") + 1 :] or last
    size = f"{len(text)} characters, {text.count(chr(10)) + 1} lines"
    return (
        f"{neutralise(first).rstrip()}\n[...]\n{neutralise(last)}\n"
        f'[{handle}: {size}. To read on: {NAME}("{handle}", start={len(first)}) or {NAME}("{handle}", find="text")]'
    )


def read_request(call: str) -> ReadRequest | None:
    """Return a tool call as a request to read on; `None` if it is Python to be run."""
    if len(call) > MAX_REQUEST_CHARS or NAME not in call:
        return None
    try:
        given = json.loads(call)
        if given["name"] != NAME:
            return None
        arguments = given["arguments"]
        return ReadRequest((), arguments if isinstance(arguments, dict) else {"": arguments})
    except (ValueError, KeyError, TypeError, RecursionError):
        pass  # no JSON
    try:
        call_node = _call_of(NAME, ast.parse(call.strip(), mode="eval").body)
        if call_node is None:
            return None
        named = {word.arg or "": ast.literal_eval(word.value) for word in call_node.keywords}
        return ReadRequest(tuple(map(ast.literal_eval, call_node.args)), named)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _call_of(name: str, node: ast.expr) -> ast.Call | None:
    """Return a call of a function by name, perhaps inside `print`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return None
    if node.func.id == "print" and len(node.args) == 1:
        return _call_of(name, node.args[0])
    return node if node.func.id == name else None


def read_on(request: ReadRequest, results: Sequence[str], max_chars: int) -> str:
    """Return the part of a result that was asked for, or what was wrong with the request."""
    names = ("result", "start", "find")
    given = {**dict(zip(names, request.arguments)), **request.named}
    handle, start, find = (given.pop(name, None) for name in names)
    start = 0 if start is None else start
    if (
        given
        or len(request.arguments) > len(names)
        or not isinstance(handle, str)
        or type(start) is not int
        or not isinstance(find, str | None)
    ):
        return f"error: the call is {USAGE}"
    known = {f"r{number}": text for number, text in enumerate(results, 1)}
    if handle not in known:
        there = ", ".join(known) if known else "none so far"
        return f"error: no result {neutralise(handle)[:80]!r}; results that were cut: {there}"
    text = known[handle]
    start = min(max(0, start), len(text))
    if find is not None:
        at = text.find(find, start)
        if at < 0:
            return f"[{handle}: {neutralise(find)[:80]!r} does not occur after character {start}]"
        start = max(start, at - BEFORE_FOUND)
    part = text[start : start + max_chars]
    where = f"[{handle}, characters {start} to {start + len(part)} of {len(text)}]"
    return f"{where}\n{neutralise(part)}"
