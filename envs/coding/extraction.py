"""From a model's answer to a program: find the code in the text, complete it with the task's own code.

Nothing here parses Python: an answer is handled as lines of text, because a parser can be made to crash.
"""

from __future__ import annotations

import re
from html import unescape
from typing import NamedTuple

from stepgym.envs.types import Problem

OPENING = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*$")
TAGS = re.compile(r"\[PYTHON\]\s*?\n?(.*?)(?:\[/PYTHON\]|\Z)", re.DOTALL)
HTML = re.compile(r"<code(?:\s[^>]*)?>\n?(.*?)</code>", re.DOTALL)
QUOTED = re.compile(r"^> ?", re.MULTILINE)
LATE_END = re.compile(r"^(?=.*\S)(?!\s*[`~])(.*?[^`\s])(`{3,})[ \t]*$", re.MULTILINE)
"""A line of code with the closing fence at its end."""
FUTURE = re.compile(r"^from __future__ import [^\n]*\n?", re.MULTILINE)
PROSE = re.compile(r"[A-Z][\w']*,? [A-Za-z]|\*\*|#{2,} |[-*] \w|\d+\. ")
"""How a line of prose begins at the left margin."""
NO_BREAK = re.compile(r"^[ \t]*\u00a0[ \t\u00a0]*", re.MULTILINE)
"""A margin with no-break spaces, which no program has."""
QUOTES = re.compile(r'"""|\'\'\'')
CODE_LINE = re.compile(r"(?:async\s+def|def|class|import|from|@|[)\]}])")
STATEMENT = re.compile(
    r"\s*(?:(?:async\s+def|def|class|import|from|if|for|while|with|try|return|print|raise|assert|global|lambda)\b|@|#|[)\]}]"
    r"|[\w.\[\]'\", ]+\s*(?:[-+*/%&|^]|//|\*\*|<<|>>)?=[^=]|[\w.]+\()"
)
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*(?:\s*,\s*\w+)*\s*(?::[^=]+)?=[^=]")
PYTHON = frozenset({"python", "py", "python3", "pycon", "ipython"})
MARGIN_NAME = re.compile(
    r"^(?:(?:async\s+)?def|class)\s+(\w+)|^(\w+)\s*(?::[^=\n]+)?=[^=]|^import\s+(\w+)", re.MULTILINE
)


MAX_EARLIER = 50


class Block(NamedTuple):
    """A fenced block of an answer."""

    language: str
    """The language that the fence names, in lower case; empty if it names none."""
    code: str
    """The source between the fences."""


def extract_code(answer: str, entry_point: str | None = None) -> str:
    """Return the code of an answer.

    Of several fenced blocks: the last that defines the entry point, after what it needs of earlier blocks; without
    one, the longest that is marked as Python, else the longest that looks like code. Code in `[PYTHON]` tags counts
    as a block. Text without a block is code as a whole, less words before and after the entry point's definition.
    """
    name = None if entry_point is None else entry_point.partition("(")[0]
    answer = answer.removeprefix("\ufeff").replace("\r\n", "\n")
    if "\u00a0" in answer:
        answer = NO_BREAK.sub(lambda margin: margin[0].replace("\u00a0", " "), answer)
    tagged = (
        [Block("python", code) for code in TAGS.findall(answer)] if "[PYTHON]" in answer else []
    )
    if re.search(r"^> ?(?:```|~~~)", answer, re.MULTILINE):
        answer = QUOTED.sub("", answer)
    blocks = tagged or fenced_blocks(answer)
    if not blocks and "</code>" in answer:
        blocks = [Block("python", unescape(code)) for code in HTML.findall(answer)]
    if not blocks:
        if name and defines(answer, name):
            return _cut(answer, name)
        return answer
    cleaned = [Block(block.language, _without_prompts(_dedent(block.code))) for block in blocks]
    python = [b.code for b in cleaned if b.language in PYTHON]
    plain = [b.code for b in cleaned if b.language == ""]
    defining = [code for code in [*python, *plain] if name and defines(code, name)]
    if defining:
        chosen = next(b.code for b in reversed(cleaned) if b.code in defining)
        return _with_earlier(chosen, [b.code for b in cleaned])
    candidates = python or [code for code in plain if _looks_like_code(code)] or plain
    return max(candidates or [b.code for b in cleaned], key=len)


def source_of(text: str, entry_point: str | None) -> str:
    """Return source text as it is, and the code of an answer that begins with words or a fence."""
    if "```" not in text and "~~~" not in text and "[PYTHON]" not in text:
        return text
    first = next((line for line in text.split("\n") if line.strip()), "")
    begins_as_code = STATEMENT.match(first) or first.lstrip().startswith(('"', "'"))
    return text if begins_as_code else extract_code(text, entry_point)


def fenced_blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a text, of backticks or tildes; the last may be without an end.

    A fence inside a triple-quoted string of the block does not end it, nor does one that is indented further.
    """
    found: list[Block] = []
    if text.lstrip().startswith(("```", "~~~")) or "\n```" in text:
        text = LATE_END.sub(r"\1\n\2", text)
    lines = text.split("\n")
    last_quote = dict.fromkeys(('"""', "'''"), -1)
    for number, line in enumerate(lines):
        for mark in QUOTES.findall(line):
            last_quote[mark] = number
    language, fence, margin = "", "", 0
    quote = ""
    kept: list[str] | None = None
    for number, line in enumerate(lines):
        opening = OPENING.match(line) if "```" in line or "~~~" in line else None
        if kept is None:
            if opening is not None:
                margin, fence, language = len(opening[1]), opening[2], opening[3].lower()
                kept, quote = [], ""
            continue
        if opening is not None and opening[2][0] == fence[0] and len(opening[2]) >= len(fence):
            deeper = len(opening[1]) > margin + 3
            in_string = bool(quote) and last_quote[quote] > number
            if not deeper and not in_string:
                found.append(Block(language, "\n".join(kept) + "\n"))
                kept = None
                if opening[3]:  # the block before it had no end
                    margin, fence, language = len(opening[1]), opening[2], opening[3].lower()
                    kept, quote = [], ""
                continue
        kept.append(line)
        for mark in QUOTES.findall(line):
            quote = mark if not quote else "" if mark == quote else quote
    if kept is not None:
        found.append(Block(language, "\n".join(kept)))
    return [block for block in found if block.code.strip()]


def solution_source(answer: str, problem: Problem) -> str:
    """Return the program that an answer stands for.

    An answer is a fenced block, a whole function or program, or the body that completes the task's prompt. What the
    prompt has before the asked function (imports, helpers) is put before the answer.
    """
    if problem.task.get("language"):
        return foreign_source(answer, problem)
    prompt, entry_point = problem.task.get("prompt") or "", problem.task.get("entry_point")
    form = problem.task.get("form") or ""
    if form.startswith("literal"):
        return f"ANSWER = {literal_answer(answer, of_call=form.endswith('input'))!r}\n"
    code = extract_code(answer, entry_point)
    if form == "snippet":
        return f"ANSWER = {code!r}\n"
    name = (entry_point or "").partition("(")[0]
    head = re.compile(rf"^(?:async\s+def|def|class)\s+{re.escape(name)}\b", re.MULTILINE)
    asked = head.search(prompt) if name else None
    if asked is None:
        return code
    if defines(code, name):
        first = "".join(FUTURE.findall(code))
        rest = FUTURE.sub("", code) if first else code
        return f"{first}{prompt[: asked.start()]}\n{rest}"
    return f"{prompt}{'' if prompt.endswith(chr(10)) else chr(10)}{_body(code, _indent_of(prompt, asked.end()))}"


FENCES = {
    "javascript": {"javascript", "js", "node", "typescript", "ts", ""},
    "cpp": {"cpp", "c++", "cc", "cxx", "c", ""},
}
"""What fenced blocks of a language are marked with."""
FOREIGN_NAME = re.compile(
    r"^(?:export\s+)?(?:const|let|var|class|struct|(?:async\s+)?function\*?)\s+(\w+)"
    r"|^[\w:<>,*& \t]+?[ \t*&](?!if\b|for\b|while\b|switch\b)(\w+)[ \t]*\([^;=!]*?\)\s*(?:const\s*)?\{",
    re.MULTILINE,
)
"""What a line at the left margin defines in JavaScript or C++."""


def foreign_source(answer: str, problem: Problem) -> str:
    """Return the program that an answer in JavaScript or C++ stands for.

    The last block that defines the asked function is used, with the prompt's declarations before it that the block does not
    repeat. Any other answer is the body that completes the prompt.
    """
    prompt, name = str(problem.task["prompt"]), str(problem.task["entry_point"])
    known = FENCES.get(problem.task["language"], {""})
    text = answer.removeprefix("\ufeff").replace("\r\n", "\n")
    blocks = fenced_blocks(text)
    codes = [block.code for block in blocks if block.language in known] or [b.code for b in blocks]
    whole = [code for code in codes or [text] if name in foreign_names(code)]
    if not whole:
        return prompt + max(codes or [text], key=len)
    head = prompt[: _head_end(prompt, name)]
    if foreign_names(head) & foreign_names(whole[-1]):
        kept = ("#", "using ", "import ")
        head = "\n".join(
            line
            for line in head.split("\n")
            if line.startswith(kept) or ("require(" in line and line not in whole[-1])
        )
    return f"{head}\n{whole[-1]}"


def foreign_names(code: str) -> set[str]:
    """Return the names that JavaScript or C++ defines at the left margin."""
    return {name for names in FOREIGN_NAME.findall(code) for name in names if name}


def _head_end(prompt: str, name: str) -> int:
    """Return where the line begins in which a prompt defines a function."""
    for found in reversed(list(FOREIGN_NAME.finditer(prompt))):
        if name in found.groups():
            return found.start()
    return len(prompt)


def literal_answer(answer: str, *, of_call: bool) -> str:
    """Return the literal that an answer gives: without tags, fences and `assert f(...) == ...` around it.

    `of_call` takes the arguments of the call, else what it is compared with.
    """
    tag = re.search(r"\[ANSWER\](.*?)(?:\[/ANSWER\]|\Z)", answer, re.DOTALL)
    text = re.sub(r"\A```\w*\n?|\n?```\Z", "", (tag[1] if tag else answer).strip()).strip()
    asserted = re.fullmatch(r"(?:assert\s+)?f\((.*)\)\s*==\s*(.+)", text, re.DOTALL)
    if asserted:
        return asserted[1 if of_call else 2].strip()
    called = re.fullmatch(r"f\((.*)\)", text, re.DOTALL)
    return called[1].strip() if of_call and called else text


def defines(code: str, name: str) -> bool:
    """Whether a text defines a function, class or name at the left margin."""
    pattern = rf"^(?:async\s+def\s+|def\s+|class\s+){re.escape(name)}\b|^{re.escape(name)}\s*[:=]"
    return re.search(pattern, code, re.MULTILINE) is not None


def _with_earlier(chosen: str, blocks: list[str]) -> str:
    """Put earlier blocks before a block that uses what they define and it does not."""
    parts = [chosen]
    for block in reversed(blocks[: blocks.index(chosen)][-MAX_EARLIER:]):
        defined = {next(filter(None, names)) for names in MARGIN_NAME.findall(block)}
        own = {next(filter(None, names)) for part in parts for names in MARGIN_NAME.findall(part)}
        used = {word for part in parts for word in re.findall(r"\w+", part)}
        if (defined & used) - own and not defined & own:
            parts.insert(0, block)
    return "\n".join(parts)


def _looks_like_code(text: str) -> bool:
    lines = [line for line in text.split("\n") if line.strip()]
    return sum(STATEMENT.match(line) is not None for line in lines) * 2 >= len(lines)


def _without_prompts(code: str) -> str:
    """Return the code of an interactive session, without prompts and output; other code as it is."""
    lines = code.split("\n")
    first = next((line for line in lines if line.strip()), "")
    if not first.startswith(">>>"):
        return code
    return "\n".join(line[4:] for line in lines if line.startswith((">>>", "..."))) + "\n"


def _dedent(code: str) -> str:
    """Take away the margin of a block that was fenced inside a list, but not that of a function's body."""
    first = next((line for line in code.split("\n") if line.strip()), "")
    margin = first[: len(first) - len(first.lstrip())]
    if not margin or not (CODE_LINE.match(first.strip()) or first.strip().startswith(">>>")):
        return code
    return "\n".join(line.removeprefix(margin) for line in code.split("\n"))


def _cut(answer: str, name: str) -> str:
    """Leave out words before the first line of code and after the function."""
    lines = answer.split("\n")
    start = next(
        i
        for i, line in enumerate(lines)
        if CODE_LINE.match(line) or ASSIGNMENT.match(line) or line.startswith("#")
    )
    kept = lines[start:]
    defined = next(i for i, line in enumerate(kept) if defines(line, name))
    for i in range(defined + 1, len(kept)):
        if PROSE.match(kept[i]) and not CODE_LINE.match(kept[i]):
            return "\n".join(kept[:i])
    return "\n".join(kept)


def _indent_of(prompt: str, start: int) -> str:
    """Return the margin of the function's body in a prompt, four blanks if the prompt has none."""
    for line in prompt[start:].split("\n")[1:]:
        if line.strip() and line[0] in " \t" and not line.strip().startswith((")", "]")):
            margin = line[: len(line) - len(line.lstrip())]
            return margin if len(margin.expandtabs(8)) <= 8 else "    "
    return "    "


def _body(code: str, indent: str) -> str:
    """Give a completion the margin of a function body, and end it where text at the left margin is no code of its own."""
    lines = code.split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    if not lines:
        return ""
    if not lines[0].startswith((" ", "\t")):
        rest = [line for line in lines[1:] if line.strip()]
        indents = [len(line) - len(line.lstrip()) for line in rest]
        first_was_stripped = (
            bool(indents)
            and min(indents) >= 2
            and not (lines[0].rstrip().endswith(":") and indents[0] <= min(indents))
        )
        if first_was_stripped:
            margin = next(line for line in rest if len(line) - len(line.lstrip()) == min(indents))
            lines[0] = margin[: min(indents)] + lines[0]
        elif any(width == 0 for width in indents) and not _looks_like_code(code):
            lines = [lines[0], *(line for line in lines[1:] if line.startswith((" ", "\t")))]
            lines = [" " + line for line in lines]
        else:
            lines = [" " + line if line.strip() else line for line in lines]
    margin = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    kept = []
    for line in lines:
        if line.strip() and not line.startswith((" ", "\t", "#")) and not CODE_LINE.match(line):
            break
        kept.append(indent + line.removeprefix(margin) if line.startswith(margin) else line)
    return "\n".join(kept) + "\n"
