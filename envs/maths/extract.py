r"""Where in a completion the answer is: a stated order of ways, and the span of what was taken.

The order: the project's answer tokens, the last `\\boxed`, GSM8K's `####`, "final answer is", "the answer is", the
bold words of a lone sentence, a bare answer, the last formula, the last number. What stands between reasoning tokens is mined only where nothing
stands after them; tool calls and their results are never mined.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from stepgym.envs.maths.units import is_unit


class Extraction(NamedTuple):
    """The answer's text, its offsets in the completion, and the way it was found."""

    text: str
    span: tuple[int, int]
    how: str


CUT_OFF = "boxed, cut off"
"""A box that the text ends in without closing it: more digits may have been to come."""

_SIMPLE = re.compile(r"[\s0-9+\-*/^().,$%=A-Za-z]{0,24}\Z")
_PLAIN = re.compile(
    r"(?>\\[A-Za-z]+|[^A-Za-z<#\n\u4e00-\u9fff\\]|\\[^A-Za-z(\[]|[A-Za-z](?![A-Za-z])){0,400}+\Z"
)
"""Commands and single letters only: nothing in it can lead in to an answer."""
_DECORATED = re.compile(r"\s*(\*\*|`+)([^*`\n]+)\1[.\s]*\Z")
"""A whole answer in bold or as code: `**B**`."""
_MARKED = re.compile(r"answer|boxed|fbox|####|<|答案|\n", re.IGNORECASE)
_HIDDEN = re.compile(r"<tool_(call|result)>.*?(?:</tool_\1>|\Z)", re.DOTALL)
_ANSWER_TOKENS = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)
_BOX = re.compile(r"\\+(?:boxed|fbox)\s*(?=[{\w\\])")
_BETWEEN_BOXES = re.compile(
    r"(?:\s|[$,;.()\[\]&+]|\\[\[\]();,!]|\\quad|\\qquad|and|or|和|或|、|，|\\text\{[^{}]{0,40}\}|\\\\|[a-z]+(?:\s+and)|[A-Za-z](?:_\{?\d\}?)?\s*=)*\Z"
)
_PERCENT_AFTER = re.compile(r"\s*\$?\s*(?:percent|pct|\\?%)")
_GSM8K = re.compile(r"####[ \t]*([^\n]+)")
_FINAL = re.compile(
    r"(?:(?:final\s+(?:answer|result)[^\w$\\(\[{}-]{0,6})(?:(?:the\s+)?(?:final\s+)?(?:answer|result))?(?:\s+is\b|\s*[:：=])?|"
    r"\b(?:answer|result)(?:\s+\w+){0,4}?(?:\s+is\b|\s*[:：=])|答案\s*(?:是|为|為)?\s*[:：]?)[\s:：*]*",
    re.IGNORECASE,
)
_FINAL_ANSWER = re.compile(r"final\s+answer", re.IGNORECASE)
_SENTENCE_END = re.compile(
    r"[.。](?=\s*\Z|\s+[A-Z\"*<\[\\]|[\"'*])|\n|[。；]|(?<=\S)\s+(?:because|since|which|I hope)\b|<\|"
)
_FORMULA = re.compile(
    r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\(([^\n]+?)\\\)|(?<!\\)\$((?:[^$\n\\]|\\.)+?)\$", re.DOTALL
)
_NUMBER = re.compile(
    r"(?<![\w.])[-−]?[$€£]?\s?(?:\d+(?:,\d{3})+|\d+)?(?:\.\d+)?(?:/\d+)?\s?(?:%|[$€£])?"
)
_PROSE_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_JOINING = frozenset(
    "and or in where for if sin cos tan cot sec csc ln log exp sqrt arcsin arccos arctan pi lg max min gcd lcm mod with else".split()
)
_BOILERPLATE = re.compile(r"I hope (?:it|this) is correct|<\|im_|\bNote:")
_IN_TEXT = re.compile(
    r"\\(?:text|mathrm|mbox|textbf|operatorname|textnormal|mathbf|begin|end)\*?\s*\{[^{}]*\}"
)


def extract_answer(text: str) -> Extraction:
    """Find the answer in a completion; never raises, and a bare answer is found as it stands."""
    if "**" in text or "`" in text:
        decorated = _DECORATED.match(text)
        if decorated is not None and not _MARKED.search(text):
            return Extraction(decorated.group(2), decorated.span(2), "bare")
    if (_PLAIN.match(text) and "boxed" not in text and "fbox" not in text) or (
        _SIMPLE.match(text) and "**" not in text and not _MARKED.search(text)
    ):
        return Extraction(text, (0, len(text)), "bare")
    masked = _HIDDEN.sub(lambda m: " " * len(m.group()), text) if "<tool_" in text else text
    start = _after_reasoning(masked)
    found = _extract_from(masked, start)
    if found is None and start:
        found = _extract_from(masked, 0)
    return found or Extraction(text, (0, len(text)), "bare")


def _after_reasoning(text: str) -> int:
    close = text.rfind("</think>")
    if close >= 0 and text[close + 8 :].strip():
        return close + 8
    return 0


def _extract_from(text: str, start: int) -> Extraction | None:
    for way in (_answer_tokens, _boxes, _gsm8k, _phrase, _bold, _bare, _said):
        found = way(text, start)
        if found is not None:
            return found
    return None


def _last(pattern: re.Pattern[str], text: str, start: int) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text, start):
        found = match
    return found


def _answer_tokens(text: str, start: int) -> Extraction | None:
    if "<answer>" not in text:
        return None
    last = _last(_ANSWER_TOKENS, text, start)
    if last is None:
        return None
    inner = _boxes(last.group(1), 0) or _phrase(last.group(1), 0)
    if inner is not None:
        offset = last.start(1)
        return Extraction(
            inner.text, (inner.span[0] + offset, inner.span[1] + offset), "answer tokens"
        )
    return Extraction(last.group(1), last.span(1), "answer tokens")


class _Box(NamedTuple):
    start: int
    inner_start: int
    inner_end: int
    end: int


def _closing_brace(text: str, opening: int) -> int:
    """Offset of the brace that closes the one at `opening`, or -1."""
    depth = 0
    for match in re.compile(r"\\?[{}]").finditer(text, opening):
        if match.group() == "{":
            depth += 1
        elif match.group() == "}":
            depth -= 1
            if depth == 0:
                return match.start()
    return -1


def _box_at(text: str, match: re.Match[str]) -> _Box:
    begin = match.end()
    if text[begin] != "{":
        token = re.compile(r"\\[A-Za-z]+|\w+").match(text, begin)
        end = token.end() if token else begin + 1
        return _Box(match.start(), begin, end, end)
    close = _closing_brace(text, begin)
    if close < 0:
        newline = text.find("\n", begin)
        close = len(text) if newline < 0 else newline
        return _Box(match.start(), begin + 1, close, close)
    return _Box(match.start(), begin + 1, close, close + 1)


def _boxes(text: str, start: int) -> Extraction | None:
    """The last box, with those just before it that only connecting words part from it (one answer in parts)."""
    matches = list(_BOX.finditer(text, start))
    if not matches:
        return None
    last = _box_at(text, matches[-1])
    parts = [last]
    for match in reversed(matches[-21:-1]):
        box = _box_at(text, match)
        if box.end > parts[0].start:  # nested: the outer box holds the answer
            if box.end >= last.end and len(parts) == 1:
                parts = [box]
            continue
        between = text[box.end : parts[0].start]
        if len(between) > 60 or not _BETWEEN_BOXES.match(between):
            break
        parts.insert(0, box)
    if _is_cut_off(text, last):
        return Extraction(text[last.inner_start : last.end], (last.inner_start, last.end), CUT_OFF)
    later = _FINAL_ANSWER.search(text, last.end)
    if later is not None:
        stated = _phrase(text, later.start())
        if stated is not None and any(c.isdigit() or c == "\\" for c in stated.text):
            return stated
    texts = list(dict.fromkeys(text[box.inner_start : box.inner_end].strip() for box in parts))
    texts = [part for part in texts if part] or [""]
    how = "boxed" if len(texts) == 1 else "several boxed"
    if len(texts) == 1 and _PERCENT_AFTER.match(text, last.end):
        texts = [texts[0] + "\\%"] if "%" not in texts[0] else texts
    return Extraction(", ".join(texts), (parts[0].inner_start, parts[-1].inner_end), how)


def _is_cut_off(text: str, box: _Box) -> bool:
    unclosed = box.inner_end == box.end and text[box.inner_start - 1] == "{"
    return unclosed and box.end == len(text.rstrip()) and text[box.end - 1] not in "}$)"


def _gsm8k(text: str, start: int) -> Extraction | None:
    found = _last(_GSM8K, text, start) if "####" in text else None
    return Extraction(found.group(1).strip(), found.span(1), "####") if found else None


def _phrase(text: str, start: int) -> Extraction | None:
    """What follows the last "(final) answer is", to the end of that sentence."""
    lowered = text.lower()
    if "answer" not in lowered and "result" not in lowered and "答案" not in text:
        return None
    best: Extraction | None = None
    for match in list(_FINAL.finditer(text, start))[-3:]:
        begin = match.end()
        stop = _SENTENCE_END.search(text, begin)
        end = stop.start() if stop else len(text)
        if not text[begin:end].strip(" *$\"'"):
            continue
        taken = _tail(text, begin, end)
        if taken.text:
            best = taken
    return best


def _tail(text: str, begin: int, end: int) -> Extraction:
    """A sentence after "the answer is": itself when it is an answer, else its last formula or number."""
    if _num_words(text[begin:end]) >= 2:
        inner = _last_said(text, begin, end)
        if inner is not None:
            return Extraction(inner.text, inner.span, "answer is")
    quoted = text.startswith('\\"', begin)
    begin, end = (
        (begin + 2, text.rfind('\\"', begin + 2, end))
        if quoted and text.rfind('\\"', begin + 2, end) > 0
        else (begin, end)
    )
    while begin < end and text[begin] in " *\"'\t}":
        begin += 1
    while end > begin and text[end - 1] in " *\"'\t.,":
        end -= 1
    return Extraction(text[begin:end], (begin, end), "answer is")


def _num_words(text: str) -> int:
    """How many plain words stand in a text outside formulas and commands; joining words and units do not count."""
    found: list[str] = _PROSE_WORDS.findall(_IN_TEXT.sub(" ", _FORMULA.sub(" ", text[:4000])))
    return sum(word.lower() not in _JOINING and not is_unit(word) for word in found)


def _is_prose(text: str) -> bool:
    """Whether this reads as a sentence rather than as an answer."""
    words: list[str] = _PROSE_WORDS.findall(_IN_TEXT.sub(" ", _FORMULA.sub(" ", text[:4000])))
    return sum(len(word) > 1 and word.islower() and word not in _JOINING for word in words) >= 4


def _bold(text: str, start: int) -> Extraction | None:
    """The only bold words of a single sentence: `So there are **3** ways.`"""
    piece = text[start:].strip()
    if piece.count("**") != 2 or "\n" in piece or not _num_words(piece.split("**")[0]):
        return None
    begin = text.index("**", start) + 2
    end = text.index("**", begin)
    if (
        not text[begin:end].strip()
        or _num_words(text[begin:end]) > 2
        or text[begin:end].rstrip().endswith(":")
    ):
        return None
    return Extraction(text[begin:end].strip("$ "), (begin, end), "bold")


def _bare(text: str, start: int) -> Extraction | None:
    piece = text[start:]
    stripped = piece.strip()
    if len(stripped) <= 20_000 and (
        "\n\n" in stripped or _is_prose(stripped) or _leads_in(stripped)
    ):
        return None
    return Extraction(piece, (start, len(text)), "bare")


def _leads_in(text: str) -> bool:
    """Words before a first formula: `We find that $x < 3$.`"""
    first = _FORMULA.search(text)
    return first is not None and _num_words(text[: first.start()]) > 0


def _said(text: str, start: int) -> Extraction | None:
    """The last formula or number in prose, boilerplate after it left out."""
    boilerplate = _BOILERPLATE.search(text, start)
    return _last_said(text, start, boilerplate.start() if boilerplate else len(text))


def _last_said(text: str, start: int, end: int) -> Extraction | None:
    """Whichever comes last: formulas that only joining words part, or a number."""
    formulas = list(_FORMULA.finditer(text, start, end))
    number = None
    for match in _NUMBER.finditer(text, formulas[-1].end() if formulas else start, end):
        if any(c.isdigit() for c in match.group()):
            number = match
    if number is not None and (
        not formulas or _num_words(text[formulas[-1].end() : number.start()]) > 0
    ):
        return Extraction(number.group().strip(), number.span(), "last number")
    if not formulas:
        return None
    parts = [formulas[-1]]
    for match in reversed(formulas[:-1]):
        between = text[match.end() : parts[0].start()]
        if len(between) > 12 or _num_words(between) or any(c.isdigit() for c in between):
            break
        parts.insert(0, match)
    texts = [next(group for group in part.groups() if group is not None) for part in parts]
    joined = (
        " or ".join(texts)
        if any(" or " in text[p.end() : q.start()] for p, q in pairwise(parts))
        else ", ".join(texts)
    )
    return Extraction(joined, (parts[0].start(), parts[-1].end()), "last formula")
