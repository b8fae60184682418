r"""Boxes: `\boxed{..}` and `\fbox{..}` with their contents, and several boxes that are one answer.

The last box holds the answer. Boxes just before it that only connecting words part from it are parts of the same
answer. Two boxes or more inside one formula with something else between them (`\frac{\boxed{1}}{\boxed{2}}`) make
that formula the answer, and so does a box at the start of a longer formula (`\boxed{42} + 1`), or one box
in a text that is nothing but a formula (`1 + \boxed{42}`). A sign just before a box belongs to it, and so does a percent sign after it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stepgym.envs.maths.formulas import find_formulas
from stepgym.envs.maths.spelling import scale_after


class Box(NamedTuple):
    """Offsets of a box and of its content."""

    start: int
    inner_start: int
    inner_end: int
    end: int


class Boxed(NamedTuple):
    """The contents of the boxes that are the answer, and the offsets from the first to the last."""

    parts: list[str]
    start: int
    end: int
    cut_off: bool = False
    """The text ends inside the box."""


_BOX = re.compile(r"\\+(?:boxed|fbox|framebox)\s{0,8}(?=[{\w\\])")
_BRACE = re.compile(r"\\?[{}]")
_BARE_CONTENT = re.compile(r"\\[dt]?frac\s?\w\s?\w|\\[A-Za-z]+(?:\{[^{}]*\})*|\w+")
_BETWEEN = re.compile(
    r"(?:\s|[$,;.()\[\]&+]|\\[\[\]();,!]|\\quad|\\qquad|and|or|和|或|、|，|\\text\{[^{}]{0,40}\}|\\\\|[a-z]{1,12}\s+and|[A-Za-z](?:_\{?\d\}?)?\s*=)*+\Z"
)
_SIGN_BEFORE = re.compile(r"(?:\A|[\s$=([{,:]|\\[(\[])(-|−|\\pm|±)\s{0,2}\Z|(?:\A|\s)(-|−)\$\Z")
_FACTOR = re.compile(r"[\w.\\{}]+")
_CONTINUES = re.compile(
    r"[\dA-Za-z](?![A-Za-z])|\((?=-?\d|[a-z]\s?[-+*/^])|\\(?:pi|sqrt|[dt]?frac)(?![a-z])|(?:\$|\\[)\]])?(?:\s{0,4}(?:[+\-−×÷/·]|\*(?!\*)|\\(?:cdot|times|div|pm)(?![a-z]))\s{0,4}|\^)\$?"
    r"(?:\{?\(?\{?\d|\\[dt]?frac|\\sqrt|\\pi(?![a-z])|\{?\(?[A-Za-z](?![A-Za-z]))"
)
"""An operand right after a box, or an operator and the start of its operand."""
_LEADS_ON = re.compile(
    r"(?:[\d)}]\s{0,4}(?:[+\-−×÷/·]|\*(?!\*)|\\(?:cdot|times|div|pm)(?![a-z]))\s{0,4}|\\[dt]?frac\{|\\sqrt(?:\[\d\])?\{|\}\{|\\(?:sin|cos|tan|ln|log|exp)\s?\(?|\d\^\{?|[\dA-Za-z])\Z"
)
"""An operand before a box, with its operator or right before it."""
_SIDE_BEGINS = re.compile(
    r"(?:\A|[\n=≈:.]|\$|\\[(\[]|\\(?:approx|equiv)|(?<=[A-Za-z]{2})\s)[\s$]{0,4}[-−]?\s?\Z"
)
_SIDE_ENDS = re.compile(
    r"[\n=≈<>]|[.,;!?:](?=\s|\$|\Z)|\\[)\]](?!\s{0,4}[+\-*/])|\\(?:approx|quad|qquad|text)|(?<=\d)\$(?=\s?[A-Za-z(])"
)
_CHOICE = re.compile(r"\s?(?:\(?[A-J]\)?\s?\Z|\\text)")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_BOX_COMMAND = re.compile(r"\\+(?:boxed|fbox|framebox)\s*(?=\{)")
MAX_BOXES = 21
"""At most so many boxes before the last can be parts of its answer."""


def find_boxed(text: str, start: int, end: int) -> Boxed | None:
    """Return the answer that the boxes between two offsets hold, or `None` without a box."""
    if text.find("box", start, end) < 0:
        return None
    matches = _last_boxes(text, start, end)
    if not matches:
        return None
    last = _box_at(text, matches[-1], end)
    parts = [last]
    whole = False
    for match in reversed(matches[:-1]):
        box = _box_at(text, match, end)
        if box.end > parts[0].start:  # nested: the outer box holds the answer
            if box.end >= last.end and len(parts) == 1:
                parts = [last := box]
            continue
        between = text[box.end : parts[0].start]
        if len(between) > 60 or not _BETWEEN.match(between):
            whole = len(between) <= 60 and len(parts) == 1 and "\n" not in between
            break
        parts.insert(0, box)
    if whole and (formula := _shared_formula(text, match.start(), last)) is not None:
        return formula
    if last.inner_end == last.end and text[last.inner_start - 1] == "{":
        cut = last.end == len(text.rstrip()) and text[last.end - 1] not in "}$)"
        return Boxed([text[last.inner_start : last.end]], last.inner_start, last.end, cut)
    if (
        len(parts) == 1
        and not _CHOICE.match(text, last.inner_start, last.inner_end)
        and (formula := _formula_around(text, last, start, end)) is not None
    ):
        return formula
    contents = [_signed(text, box) for box in parts]
    contents = [part for part in dict.fromkeys(contents) if part] or [""]
    if len(contents) == 1 and "%" not in contents[0]:
        contents[0] += scale_after(text, last.end)
    return Boxed(contents, parts[0].inner_start, parts[-1].inner_end)


def _last_boxes(text: str, start: int, end: int) -> list[re.Match[str]]:
    """Return the last boxes, in order, found from the end so that a long text costs one search."""
    found: list[re.Match[str]] = []
    at = end
    while len(found) < MAX_BOXES:
        at = text.rfind("box", start, at)
        if at < 0:
            break
        begin = at
        for name in ("frame", "f"):
            if text.endswith(name, 0, at):
                begin = at - len(name)
                break
        while begin > start and begin > at - 8 and text[begin - 1] == "\\":
            begin -= 1
        match = _BOX.match(text, begin, end) if text[begin] == "\\" else None
        if match is not None:
            found.append(match)
    return found[::-1]


def _box_at(text: str, match: re.Match[str], end: int) -> Box:
    begin = match.end()
    if text[begin] != "{":
        content = _BARE_CONTENT.match(text, begin, end)
        stop = content.end() if content else begin + 1
        return Box(match.start(), begin, stop, stop)
    close = _closing_brace(text, begin, end)
    if close < 0:
        newline = text.find("\n", begin, end)
        close = end if newline < 0 else newline
        return Box(match.start(), begin + 1, close, close)
    return Box(match.start(), begin + 1, close, close + 1)


def _closing_brace(text: str, opening: int, end: int) -> int:
    """Return the offset of the brace that closes the one at `opening`, or -1."""
    depth = 0
    for match in _BRACE.finditer(text, opening, end):
        if match.group() == "{":
            depth += 1
        elif match.group() == "}":
            depth -= 1
            if depth == 0:
                return match.start()
    return -1


def _signed(text: str, box: Box) -> str:
    """Return a box's content with the sign before the box."""
    content = text[box.inner_start : box.inner_end].strip()
    found = _SIGN_BEFORE.search(text[max(0, box.start - 8) : box.start])
    if found is None or not content:
        return content
    sign = found.group(1) or found.group(2)
    return f"{sign}{content}" if _FACTOR.fullmatch(content) else f"{sign}({content})"


def _formula_around(text: str, box: Box, start: int, end: int) -> Boxed | None:
    """Return the formula that a box is only a term of, without the box command; `None` if the box is alone."""
    before = text[max(start, box.start - 60) : box.start]
    content = text[box.inner_start : box.inner_end].strip()
    if _CONTINUES.match(text, box.end, end) and _SIDE_BEGINS.search(before):
        stop = _SIDE_ENDS.search(text, box.end, min(end, box.end + 200))
        stop_at = stop.start() if stop else min(end, box.end + 200)
        rest = text[box.end : stop_at].replace("$", " ").strip()
        if not _PROSE.search(rest):
            return Boxed([f"({_signed(text, box)}){rest}"], box.inner_start, stop_at)
        return None
    if box.start - start > 60 or end - box.end > 60 or not _LEADS_ON.search(before):
        return None
    before, after = before.strip().lstrip("$"), text[box.end : end].strip().rstrip("$. ")
    if any(mark in before + after for mark in "=\n,:") or _PROSE.search(before + after):
        return None
    return Boxed([f"{before}({content}){after}"], box.inner_start, box.end)


def _shared_formula(text: str, first: int, last: Box) -> Boxed | None:
    """Return the formula that holds several boxes, without the box commands."""
    window = max(0, first - 400)
    for formula in find_formulas(text, window, min(len(text), last.end + 400)):
        if formula.inner_start <= first and last.end <= formula.inner_end:
            inner = text[formula.inner_start : formula.inner_end]
            side = inner.rsplit("=", 1)[-1] if inner.find("\\boxed") > inner.rfind("=") else inner
            return Boxed(
                [_BOX_COMMAND.sub("", side).strip()], formula.inner_start, formula.inner_end
            )
    return None
