"""Values with labels in words: `Maximum = 2, Minimum = 1`, `Paolo: 18, Qing: 14, Rayna: 7`.

Two labelled lists are compared label by label. Against a list without labels, the labels are left out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.reading import read
from stepgym.envs.maths.statements import has_words

MAX_CHARS = 400
"""A longer text is no list of labelled values."""
_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|mathrm|mbox|textit|mathbf)\s?\{([^{}]*)\}")
_LABELLED = re.compile(
    r"(?:\A|[,;\n]|(?<=\s)and(?=\s))\s*(?:and\s+)?(?P<label>(?:[A-Za-z][A-Za-z'’.-]*\s){0,3}?[A-Za-z][A-Za-z'’-]{2,}(?:\s(?:\d{1,2}|[A-Z]))?)\s{0,2}[:=]"
)
_NO_LABEL = re.compile(
    r"\b(?:total|answer|ans|sum|result|final|solution|sin|cos|tan|cot|sec|csc|log|exp|step|case|so|then|option|choice)\b",
    re.IGNORECASE,
)
"""Words of names in formulas, of steps, of options, and of the one answer that others lead to."""
_GREAT = re.compile(r"\b(?:max|larg|great|high|upper|most|big)", re.IGNORECASE)
_SMALL = re.compile(r"\b(?:min|small|least|low)", re.IGNORECASE)


class Labelled(NamedTuple):
    """One value and its label, in lower case."""

    label: str
    value: str


def labelled(text: str) -> list[Labelled] | None:
    """Return the labelled values that a text consists of; `None` if it is anything else, or has fewer than two."""
    if len(text) > MAX_CHARS or (text.count(":") + text.count("=")) < 2:
        return None
    text = _TEXT_COMMAND.sub(r" \1 ", text).replace("$", " ").strip(" \t\r\n.")
    found = list(_LABELLED.finditer(text))
    if len(found) < 2 or found[0].start() > 0:
        return None
    ends = [match.start() for match in found[1:]] + [len(text)]
    items = [
        Labelled(match["label"].lower(), text[match.end() : end].strip(" \t\n,;"))
        for match, end in zip(found, ends)
    ]
    if len({label for label, _ in items}) < len(items):
        return None
    if any(_NO_LABEL.search(item.label) or not _is_value(item.value) for item in items):
        return None
    return items


def _is_value(text: str) -> bool:
    return bool(text) and ":" not in text and "=" not in text and not has_words(text)


def contradictory(items: list[Labelled]) -> bool:
    """Return whether a value labelled as the greatest is below one labelled as the least."""
    great = [item.value for item in items if _GREAT.search(item.label)]
    small = [item.value for item in items if _SMALL.search(item.label)]
    if len(great) != 1 or len(small) != 1:
        return False
    nodes = read(great[0]).node, read(small[0]).node
    if nodes[0] is None or nodes[1] is None:
        return False
    try:
        return bool(exact(nodes[0]) < exact(nodes[1]))
    except NotRational:
        return False
