"""Prepares a step's text for reading: LaTeX and typography become plain characters, all offsets stay the same.

Each replacement is as long as what it replaces, so that a span found in the prepared text is a span of the step.
"""

from __future__ import annotations

import re

STOP = "\x00"
"""Ends a statement: the border of a formula, the end of a sentence."""
_SIGNS = {
    **dict(
        zip("\u00d7\u00b7\u22c5\u2217\u00f7\u2044\u2215\u2212\u2013\u2248\u2245", "****///--~~")
    ),
    **dict.fromkeys('\u2014\u2192\u21d2\u2260\u201c\u201d"', STOP),
    **dict.fromkeys("`&\u20ac\u00a3\u2062\u00a0\u2009\u202f", " "),
}
_COMMANDS = {
    "times": "*",
    "cdot": "*",
    "ast": "*",
    "div": "/",
    "approx": "~",
    **dict.fromkeys("left right big Big bigl bigr quad qquad displaystyle boxed".split(), ""),
    **dict.fromkeys("text mathrm textbf mathbf textit mbox bf rm operatorname".split(), ""),
}
"""LaTeX command -> what it is read as; others end a statement."""
_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.S)
_FRACTIONS = frozenset(("frac", "dfrac", "tfrac", "cfrac"))
_SENTENCE_END = re.compile(r"[.?!;](?=\s|$|\x00)|,(?=\s)|:(?=\s|$)|\n|=>|->")
_BULLET = re.compile(r"(?m)^[ \t]*[-*+\u2022](?=\s)")
_REMARK = re.compile(r"\((?=[^()\d]*[^\W\d])[^()\d+*/=^]*\)")
_CROSS = re.compile(r"(?<=[\d)\s])[xX](?=\s*[\d($])")
_LONG_NUMBER = re.compile(r"\d(?:,?\d){100,}")
_BOLD = re.compile(r"\*\*(?=\S)([^*\n]*?\S)\*\*")


def prepare(text: str) -> str:
    """Return the text in plain characters, equally long."""
    found = _BULLET.sub(lambda m: " " * len(m.group()), without_long_numbers(text))
    found = _BOLD.sub(lambda m: "  " + m.group(1) + "  ", found)
    found = _without_latex(_thousands(found))
    found = "".join(_SIGNS.get(char, char) for char in found)
    found = found.replace("$", " ").replace("{", " ").replace("}", " ")
    found = _CROSS.sub("*", found)
    found = _REMARK.sub(lambda m: " " * len(m.group()), found)
    return _SENTENCE_END.sub(lambda m: STOP * len(m.group()), found)


def without_long_numbers(text: str) -> str:
    """Return the text, equally long, with a stop for each number of more than 100 digits, which nothing here reads."""
    return _LONG_NUMBER.sub(lambda m: STOP * len(m.group()), text)


def _without_latex(text: str) -> str:
    if "\\" not in text:
        return text
    chars = list(text)
    closing: dict[int, int] = {}
    opened: list[int] = []
    for at, char in enumerate(chars):
        if char == "{":
            opened.append(at)
        elif char == "}" and opened:
            closing[opened.pop()] = at
    for match in _COMMAND.finditer(text):
        start, end, name = match.start(), match.end(), match.group(1)
        new = " " * (end - start)
        if name in _FRACTIONS:
            middle = closing.get(end, -1)
            last = closing.get(middle + 1, -1)
            if middle < 0 or last < 0:
                new = STOP * (end - start)
            else:
                new = new[:-1] + "("
                chars[end], chars[middle], chars[middle + 1], chars[last] = (
                    "(",
                    ")",
                    "\u27cb",
                    "\u27ef",
                )
        elif name in _COMMANDS:
            new = _COMMANDS[name].ljust(end - start)
        elif name in "[]":
            new = STOP * (end - start)
        elif name in "()":
            new = "  "
        elif name == "%":
            new = " %"
        elif name == "\\":
            new = (
                "  "
                if re.match(r"\\\\(\[[^]]*\])?\s*&?\s*=", text[start : start + 20])
                else STOP * 2
            )
        elif name.isalpha():
            new = STOP * (end - start)
        chars[start:end] = new
    return "".join(chars)


def _thousands(text: str) -> str:
    """Close up `14{,}000` and `14,\\!000`, keeping the length."""
    found = re.sub(r"(?<=\d)\{,\}(\d{3})(?!\d)", r",\1  ", text)
    return re.sub(r"(?<=\d),\\!(\d{3})(?!\d)", r",\1  ", found)
