"""From the text of a proposal to the problem that it states.

A proposal has one line that begins with its kind, as in `expression: 3 * (4 + 5) - 6`, and may have a line `solution:`. A
program may have several lines and needs a line `input:`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from stepgym.envs.proposals.countdown import read_countdown
from stepgym.envs.proposals.equations import read_equation
from stepgym.envs.proposals.expressions import read_expression
from stepgym.envs.proposals.programs import read_program
from stepgym.envs.proposals.statement import Statement

MAX_LINE = 300
"""Most characters of a problem that is no program."""
MAX_TEXT = 2_500
READERS: Mapping[str, Callable[[str], Statement | str]] = {
    "expression": read_expression,
    "equation": read_equation,
    "countdown": read_countdown,
}
KINDS = (*READERS, "program")
FORMATS = {
    "expression": "expression: 3 * (4 + 5) - 6",
    "equation": "equation: 3x + 4 = 2x - 7",
    "countdown": "countdown: 3, 5, 7, 9 -> 42",
    "program": "program:\ndef f(xs, k):\n    return sum(x for x in xs if x > k)\ninput: [1, 5, 7], 4",
}
"""An example of each kind; the prompts show them, and a proposal that repeats one is not new."""
MORE_FORMATS = {
    "expression": "expression: 84 / (2 + 5) - 3 * 8",
    "equation": "equation: 5(y - 2) = 3y + 8",
    "countdown": "countdown: 2, 4, 6, 10 -> 28",
    "program": (
        "program:\ndef f(text):\n    words = text.split()\n    return [len(w) for w in words]\ninput: 'one more day'"
    ),
}
"""A second example of each kind, for the same purpose."""

_FIELD = re.compile(
    rf"^[ \t]*({'|'.join((*KINDS, 'input', 'solution'))})[ \t]*:", re.MULTILINE | re.IGNORECASE
)


class Parts(NamedTuple):
    """The fields of a proposal."""

    kind: str
    body: str
    given: str | None
    """The input of a program."""
    solution: str | None


def split_proposal(text: str) -> Parts | str:
    """Return the fields of a proposal, or why it does not state exactly one problem."""
    marks = list(_FIELD.finditer(text))
    names = [mark.group(1).lower() for mark in marks]
    stated = [name for name in names if name in KINDS]
    if not stated:
        return f"no line begins with a kind of problem ({', '.join(f'{kind}:' for kind in KINDS)})"
    twice = next((name for name in names if names.count(name) > 1), None)
    if len(stated) > 1 or twice is not None:
        return f"it states more than one problem, or one field twice: {', '.join(names)}"
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    fields = {
        name: text[mark.end() : end].strip("\n") for name, mark, end in zip(names, marks, ends)
    }
    return Parts(stated[0], fields[stated[0]], fields.get("input"), fields.get("solution"))


def read_statement(parts: Parts) -> Statement | str:
    """Return the problem, or why it cannot be read."""
    if parts.kind == "program":
        return read_program(parts.body, parts.given)
    return READERS[parts.kind](parts.body)
