r"""Where in a completion the answer is: a stated order of ways, and the span of what was taken.

The ways, in order; the first that finds something decides:

1. the last `<answer>` of the project's answer tokens;
2. JSON with a field named `answer`;
3. the last box (`boxes.py`), or a "final answer" stated after it;
4. GSM8K's `####`, unless it is a heading;
5. a phrase that announces the answer (`phrases.py`), or a last line labelled `A:`;
6. the only bold words of the last line, or a one-line code block at the end;
7. the whole text, if it is short and no sentence;
8. what the last sentence states (`statements.py`): its formula, its number, or its choice.

Internal reasoning is searched only if nothing follows it; tool calls and their results never are, nor anything
after a stop token (`completions.py`). What 3 to 6 find is narrowed by 8 if it is a sentence. A sentence that hedges
is the answer in full, which is equal to no number. The time is linear in the text's length.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stepgym.envs.maths.boxes import Boxed, find_boxed
from stepgym.envs.maths.completions import Visible, from_json, next_question, unfenced, visible
from stepgym.envs.maths.formulas import find_formulas
from stepgym.envs.maths.hedges import leads_in_doubt, negated, retraction, says_operation
from stepgym.envs.maths.labels import labelled
from stepgym.envs.maths.phrases import COPULAS, Phrase, last_label, last_phrase
from stepgym.envs.maths.reading import read
from stepgym.envs.maths.spelling import names_reals
from stepgym.envs.maths.statements import (
    Stated,
    has_words,
    is_sentence,
    named,
    said_yes_or_no,
    stated,
    stated_choice,
    word_leads,
)
from stepgym.envs.maths.textual import choice, date, is_plain_choice, time_of_day


class Extraction(NamedTuple):
    """The answer's text, its offsets in the completion, and the way it was found."""

    text: str
    """The answer as written, without its mark."""
    span: tuple[int, int]
    """Offsets of the answer's first character and of the one after its last, in the completion."""
    how: str
    """The way it was found: `boxed`, `answer tokens`, `answer is`, `bold`, `bare`, ..."""


class Kind(NamedTuple):
    """What is looked for: the answer to a question, or one thing known about it."""

    is_reference: bool = False
    """A reference is no completion: only marked answers are taken out of it, never a last number."""
    is_choice: bool = False
    """The answer is a letter of a multiple choice."""
    is_text: bool = False
    """The reference is words with numbers in them (`Room 5`), so that words are not taken off the answer."""


CUT_OFF = "boxed, cut off"
"""A box that the text ends in without closing it: more digits may have been to come."""
HEDGED = "a sentence that states no one answer"
MAX_BARE_CHARS = 20_000
"""A longer text without a marked answer is not looked at for sentences."""
_TAIL_CHARS = 2000
"""How much of a text's end the ways without a mark look at."""

_SIMPLE = re.compile(r"[\s0-9+\-*/^().,$%=]{0,40}[A-Za-z]?[\s0-9+\-*/^().,$%=]{0,40}\Z")
_PLAIN = re.compile(
    r"(?>\\[A-Za-z]+|[^A-Za-z<#\n\\`\u00c0-\U0010ffff]|\\[^A-Za-z(\[]|[A-Za-z](?![A-Za-z])){0,400}+\Z"
)
"""Commands, digits and single letters only: nothing in it can announce an answer."""
_LABEL = re.compile(
    r"\s{0,8}(?:(?:A|Ans)\s?[:=]|=>?|\\(?:Rightarrow|therefore|implies)(?![a-z])|[→⇒∴])\s?(?=\S)"
)
_EMPHASISED = re.compile(r"\s{0,8}\*([^*\n]{1,100})\*\s{0,8}\Z")
_STYLE = re.compile(
    r"\\displaystyle(?![A-Za-z])|\\color\s?(?:\{[A-Za-z]*\}|\[[^\]]*\]\{[^}]*\})|\\textcolor\s?\{[A-Za-z]*\}"
)
_TOKEN_NAMES = ("answer", "final_answer")
_TOKEN_ENDS = ("</answer>", "</final_answer>")
_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|mathrm|mbox|textit|mathbf)\s?\{([^{}]*)\}")
_ANSWER_LABEL = re.compile(
    r"[\s*_]{0,6}(?:the\s)?(?:final\s)?(?:answer|ans|result)(?:\sis)?[\s*_]{0,4}[:=]?[\s*_]{0,6}(?=\S)",
    re.IGNORECASE,
)
_ENVIRONMENT = re.compile(
    r"\\begin\{(?P<name>align|aligned|equation|gather|displaymath|center)(?P<star>\*?)\}(?P<inner>.{1,2000}?)\\end\{(?P=name)(?P=star)\}",
    re.DOTALL,
)
_HEADING = re.compile(
    r"\W{0,4}(?:step|part|case|solution|approach|method|problem|question|explanation)\b|.*:\W{0,4}\Z",
    re.IGNORECASE,
)
_TITLES = r"(?<!\bMr)(?<!\bMs)(?<!\bMrs)(?<!\bDr)(?<!\bSt)"
_SENTENCE_END = re.compile(
    rf"{_TITLES}(?<!\\)[.!?](?=\s{{0,4}}\Z|\s+[A-Z\"*<\[\\($]|[\"'*)])|[。！？；।۔]|\n|(?<=\S)[ \t]+(?:because|since|which|I hope|not \$?\d+|rather than|instead of)\b|<\|"
)
_BOUNDARY = re.compile(
    rf"{_TITLES}(?<!\\)[.!?](?:[\"'”*)]{{0,3}})(?=\s+(?:[A-Z\"*<\[\\($]|\d))|[。！？；।۔]|\n[ \t]*|<\|step_end\|>"
)
_BOILERPLATE = ("I hope it is correct", "I hope this is correct", "Let me know if", "Note:")
"""What may follow the last sentence; a note counts only as the last line."""
_BOLD = re.compile(r"(?<![\w)\]}*])\*\*(?=[^\s*])[^*\n]{1,400}+(?<!\s)\*\*(?![\w(*])")
"""`**42**`, but not the powers of `(x)**2 + y**2`."""
_LOWER_LETTER = re.compile(r"\(?[a-j][).]?")
_THREE_WORDS = re.compile(r"\b[a-z]{2,} [a-z]{2,} [a-z]{2,}\b")
_DIGIT = re.compile(r"\d")
_ECHO_EDGES = " \t\r\n.$}*"
_ECHO_MARK = re.compile(
    r"(?:\A|\\boxed\{|####|<answer>|\b(?:answer|result|solution)(?: is|\s?:)?)[\s$*:]{0,8}(?:\\text\{)?[\s$]{0,4}\Z",
    re.IGNORECASE,
)
MIN_ECHO_CHARS = 12
"""A shorter reference is never searched for literally."""
_SHORT_CHARS = 120
_TEXT_CHARS = 200
"""A longer stretch is narrowed even if the reference is words."""
_EDGES = " \t\r\n*_\"'`"


ANSWER = Kind()
REFERENCE = Kind(is_reference=True)
CHOICE = Kind(is_choice=True)
TEXT = Kind(is_text=True)


def kind_for(reference: str) -> Kind:
    """Return what to look for in an answer to an extracted reference."""
    if is_plain_choice(reference):
        return CHOICE
    if len(reference) > _SHORT_CHARS or _PLAIN.match(reference) or not has_words(reference):
        return ANSWER
    if word_leads(reference) or not _is_readable(reference):
        return ANSWER if _is_date_or_time(reference) else TEXT
    return ANSWER


def extract_answer(text: str, *, kind: Kind = ANSWER) -> Extraction:
    """Find the answer in a completion; a bare answer is returned unchanged.

    Never raises on any text.
    """
    if (
        not kind.is_choice
        and (_SIMPLE.match(text) or _PLAIN.match(text))
        and "box" not in text
        and "**" not in text
    ):
        if "*" in text and (inner := _EMPHASISED.match(text)) is not None:
            return Extraction(inner.group(1), inner.span(1), "bare")
        label = None if kind.is_reference else _LABEL.match(text)
        begin = label.end() if label else 0
        return Extraction(text[begin:], (begin, len(text)), "answer is" if label else "bare")
    seen = visible(text)
    found = _extract(seen, kind)
    if found is None and seen.start:
        found = _extract(seen._replace(start=0), kind)
    found = found or Extraction(text, (0, len(text)), "bare")
    if kind.is_text and says_operation(found.text[:_TEXT_CHARS]):
        return found._replace(how=HEDGED)  # `not Room 5` is equal to the same words alone
    return found


def echoes(text: str, reference: str) -> bool:
    """Return whether a text is a reference in words, or ends with one right after a mark: `#### It is even.`

    Such a reference may be no formula and no value, so that nothing else could decide.
    """
    wanted = reference.strip(_ECHO_EDGES)
    given = text.rstrip(_ECHO_EDGES)
    if len(wanted) < MIN_ECHO_CHARS or not given.endswith(wanted) or not has_words(wanted):
        return False
    before = text[: len(given) - len(wanted)]
    mark = _ECHO_MARK.search(before[-80:])
    return mark is not None and not leads_in_doubt(text, len(before[:-80]) + mark.start())


def _extract(seen: Visible, kind: Kind) -> Extraction | None:
    for way in (_answer_tokens, _json, _boxes, _gsm8k, _phrase, _bold_or_code, _bare, _said):
        found = way(seen, kind)
        if found is not None:
            return found
    return None


def _answer_tokens(seen: Visible, kind: Kind) -> Extraction | None:
    """The last answer tokens; several right after each other that differ are one answer in parts."""
    text = seen.text
    if "answer>" not in text:
        return None
    opening = max(text.rfind(f"<{name}>", seen.start, seen.end) for name in _TOKEN_NAMES)
    if opening < 0:
        return None
    parts: list[tuple[int, int]] = []
    until = seen.end
    while opening >= 0 and len(parts) < 8:
        begin = text.index(">", opening) + 1
        closing = text.find("</", begin, until)
        while closing >= 0 and not text.startswith(_TOKEN_ENDS, closing):
            closing = text.find("</", closing + 2, until)
        if closing < 0 and parts:
            break
        parts.append((begin, closing if closing >= 0 else until))
        before = text[max(seen.start, opening - 40) : opening].rstrip()
        if not before.endswith(_TOKEN_ENDS):
            break
        until = opening
        opening = max(text.rfind(f"<{name}>", seen.start, opening) for name in _TOKEN_NAMES)
    parts.reverse()
    found = [_inside(seen, start, end, kind) for start, end in parts]
    texts = list(dict.fromkeys(part.text.strip() for part in found))
    if len(texts) == 1:
        return found[-1]._replace(how=_way("answer tokens", found[-1]))
    return Extraction(", ".join(texts), (parts[0][0], parts[-1][1]), "several answer tokens")


def _inside(seen: Visible, start: int, end: int, kind: Kind) -> Extraction:
    inner = Visible(seen.text, start, end)
    for way in (_json, _boxes, _gsm8k, _phrase, _bold_or_code):
        found = way(inner, kind)
        if found is not None:
            return found
    return _narrowed(seen.text, start, end, "answer tokens", kind)


def _json(seen: Visible, kind: Kind) -> Extraction | None:
    found = from_json(*seen)
    if found is None:
        return None
    if seen.text[slice(*found.span)].strip('"') == found.text:
        begin = seen.text.index(found.text, found.span[0])
        return _narrowed(seen.text, begin, begin + len(found.text), "JSON", kind)
    inner = extract_answer(found.text, kind=kind)
    return Extraction(inner.text, found.span, _way("JSON", inner))


def _boxes(seen: Visible, kind: Kind) -> Extraction | None:
    text, start, end = seen
    boxed = find_boxed(text, start, end)
    if boxed is None:
        return None
    if boxed.cut_off:
        return Extraction(boxed.parts[0], (boxed.start, boxed.end), CUT_OFF)
    if not kind.is_reference:
        later = _stated_later(seen, boxed, kind)
        if later is not None:
            return later
    if len(boxed.parts) > 1:
        return Extraction(", ".join(boxed.parts), (boxed.start, boxed.end), "several boxed")
    content = _STYLE.sub("", boxed.parts[0]).strip()
    span = (boxed.start, boxed.end)
    if content[:1] == "=" or has_words(_TEXT_COMMAND.sub(r" \1 ", content)):
        inner = _content(content, kind)
        return Extraction(inner.text, span, _way("boxed", inner))
    return Extraction(content, span, "boxed")


def _way(how: str, inner: Extraction) -> str:
    """Return the way of an answer inside a mark: the mark's, unless the sentence in it hedges."""
    return HEDGED if inner.how == HEDGED else how


def _content(content: str, kind: Kind) -> Extraction:
    """Return the answer in a boxed sentence: `\\text{The answer is } 42`."""
    plain = _TEXT_COMMAND.sub(r" \1 ", content)
    if _is_stated(plain, kind):
        found = _phrase(Visible(plain, 0, len(plain)), kind)
        return found or _narrowed(plain, 0, len(plain), "boxed", kind)
    if any(c.isdigit() for c in content) and _TEXT_COMMAND.fullmatch(content):
        content = plain
    return Extraction(content.strip().removeprefix("=").strip(), (0, len(content)), "boxed")


def _stated_later(seen: Visible, boxed: Boxed, kind: Kind) -> Extraction | None:
    """Return what a text says after its last box that overrules it: a final answer, or a correction."""
    text, _, end = seen
    outer = text.rfind("\\", 0, boxed.start)
    if negated(text, outer, boxed.end + 1):
        span = (max(0, outer - 20), min(end, boxed.end + 20))
        return Extraction(text[slice(*span)], span, HEDGED)
    if end - boxed.end < 4:
        return None
    final = text.lower().rfind("final answer", boxed.end, end)
    if final >= 0:
        found = _phrase(Visible(text, final, end), kind)
        if found is not None and any(c.isdigit() or c == "\\" for c in found.text):
            return found
    return _corrected(text, boxed.end + 1, end, kind)


def _corrected(text: str, start: int, end: int, kind: Kind) -> Extraction | None:
    """Return the answer that replaces one taken back in the text after it, or `None` if none was."""
    words = retraction(text, start, end)
    if words is None:
        return None
    found = _said(Visible(text, words[1], end), kind)
    return found or Extraction(text[words[0] : end].strip(), (words[0], end), HEDGED)


def _gsm8k(seen: Visible, kind: Kind) -> Extraction | None:
    text, start, end = seen
    at = text.rfind("####", start, end)
    while at >= 0:
        begin = at + 4
        stop = text.find("\n", begin, end)
        stop = end if stop < 0 else stop
        line = text[begin:stop]
        if line.strip(_EDGES + "#"):
            last = not text[stop:end].strip()
            if not _HEADING.match(line) and (last or not has_words(line)):
                label = _ANSWER_LABEL.match(text, begin, stop)
                return _narrowed(text, label.end() if label else begin, stop, "####", kind)
        while at > start and text[at - 1] == "#":
            at -= 1
        at = text.rfind("####", max(start, end - _TAIL_CHARS), at)
    return None


def _phrase(seen: Visible, kind: Kind) -> Extraction | None:
    """What follows the last phrase that announces an answer, to the end of that sentence."""
    text, start, end = seen
    lowered = text.lower()
    if len(lowered) != len(text):  # some capital letters are two letters in lower case
        lowered = text
    stop = end if kind.is_reference else next_question(text, start, end)
    phrase = _last_phrase(text, lowered, start, stop, kind)
    if phrase is None and stop < end:
        phrase, stop = _last_phrase(text, lowered, start, end, kind), end
    if phrase is None:
        return None
    found = _announced(text, phrase, stop, kind)
    if kind.is_reference:
        return found
    return _corrected(text, found.span[1], stop, kind) or found


def _last_phrase(text: str, lowered: str, start: int, end: int, kind: Kind) -> Phrase | None:
    label = None if kind.is_choice or kind.is_reference else last_label(text, start, end)
    return label or last_phrase(text, lowered, start, end)


def _announced(text: str, phrase: Phrase, end: int, kind: Kind) -> Extraction:
    begin = phrase.end
    window = min(end, begin + _TAIL_CHARS)
    environment = _ENVIRONMENT.match(text, begin, window)
    if environment is not None:
        start, stop_at = environment.span("inner")
        return Extraction(text[start:stop_at].strip(), (start, stop_at), "answer is")
    formula = next(iter(find_formulas(text, begin, window)), None) if text[begin] in "$\\" else None
    opens = formula is not None and formula.start == begin
    stop = _SENTENCE_END.search(text, formula.end if formula and opens else begin, window)
    end = stop.start() if stop else window
    if not kind.is_reference and leads_in_doubt(text, phrase.start):
        return Extraction(text[phrase.start : end], (phrase.start, end), HEDGED)
    return _narrowed(text, begin, end, "answer is", kind)


def _narrowed(text: str, start: int, end: int, how: str, kind: Kind) -> Extraction:
    """Return a stretch without its decoration, or what it states if it is a sentence."""
    while start < end and text[start] in " \t\r\n*\"'`}_":
        start += 1
    while end > start and text[end - 1] in " \t\r\n*\"'`.,_":
        end -= 1
    tail = COPULAS.search(text, max(start + 1, end - 30), end)
    if tail is not None:
        end = tail.start()
    if _is_stated(text[start:end], kind):
        found = _stated(text, start, end, kind)
        if found is not None:
            return Extraction(found.text, found.span, how)
        if not kind.is_reference and any(c.isdigit() for c in text[start:end]):
            how = HEDGED
    return Extraction(text[start:end], (start, end), how)


def _is_stated(piece: str, kind: Kind) -> bool:
    """Return whether a stretch is to be read as a sentence and not as the answer itself."""
    if len(piece) > MAX_BARE_CHARS:
        return False
    if kind.is_choice:
        return len(piece) > 3
    if kind.is_text and len(piece) < _TEXT_CHARS:
        return False
    if not has_words(piece) or labelled(piece) is not None or names_reals(piece):
        return False
    if is_sentence(piece) or says_operation(piece) or word_leads(piece):
        return not _is_date_or_time(piece)
    return not _is_readable(piece)


def _is_readable(piece: str) -> bool:
    return read(piece).node is not None or bool(choice(piece)) or _is_date_or_time(piece)


def _is_date_or_time(piece: str) -> bool:

    piece = piece.rstrip(" .")
    return bool(time_of_day(piece) or date(piece))


def _stated(text: str, start: int, end: int, kind: Kind) -> Stated | None:
    if kind.is_choice:
        return stated_choice(text, start, end)
    if kind.is_reference:
        return None
    return said_yes_or_no(text, start, end) or stated(text, start, end)


def _bold_or_code(seen: Visible, kind: Kind) -> Extraction | None:
    """The only bold words of the last line, if they are no sentence, or a code block of one line at the end."""
    text, start, end = seen
    code = unfenced(text, start, end) if "```" in text else None
    if code is not None:
        return _narrowed(text, *code, "code block", kind)
    window = max(start, end - _TAIL_CHARS)
    while end > window and text[end - 1].isspace():
        end -= 1
    begin = text.rfind("\n", window, end) + 1 or window
    bold = _BOLD.findall(text[begin:end])
    if len(bold) != 1:
        return None
    opening = text.index(bold[0], begin)
    closing = opening + len(bold[0]) - 2
    inner = text[opening + 2 : closing].strip()
    if not inner or inner.endswith(":"):
        return None
    alone = not (text[begin:opening] + text[closing + 2 : end]).strip(" .>-*#")
    if alone:
        return _narrowed(text, opening + 2, closing, "bold", kind)
    if is_sentence(inner):
        return None
    if _stated(text, begin, end, kind) is None or (has_words(inner) and not _is_readable(inner)):
        return None
    return Extraction(inner.strip("$ "), (opening + 2, closing), "bold")


def _bare(seen: Visible, kind: Kind) -> Extraction | None:
    """The whole text, if it is no sentence: a line or a few of mathematics or a name."""
    text, start, end = seen
    stripped = text[start:end].strip()
    if stripped[:1] == "`" == stripped[-1:] and len(stripped) > 2:
        return _narrowed(text, start, end, "bare", kind)
    whole = Extraction(text[start:end], (start, end), "bare")
    if kind.is_reference:
        return _stated_reference(text, start, end) or whole
    if len(stripped) > MAX_BARE_CHARS:
        return whole
    if kind.is_choice:
        if len(stripped) > 200:
            return None
        chosen = stated_choice(text, start, end)
        if chosen is not None:
            return Extraction(chosen.text, chosen.span, chosen.how)
        if _LOWER_LETTER.fullmatch(stripped):
            return whole._replace(text=stripped.upper())
        return None if is_sentence(stripped) else whole
    if len(stripped) > _SHORT_CHARS and _is_prose(stripped):
        return None
    label = _LABEL.match(text, start, end)
    if label is not None:
        start = label.end()
        whole = Extraction(text[start:end], (start, end), "answer is")
    name = None if kind.is_text else named(text, start, end)
    if name is not None:
        return Extraction(name.text, name.span, name.how)
    return None if "\n\n" in stripped or _is_stated(text[start:end].strip(), kind) else whole


def _is_prose(piece: str) -> bool:
    """Return whether a longer text is plainly prose: three words in a row, numbers, and no LaTeX."""
    return "\\" not in piece and bool(_THREE_WORDS.search(piece)) and bool(_DIGIT.search(piece))


def _stated_reference(text: str, start: int, end: int) -> Extraction | None:
    """Return the one value that a reference in a plain sentence states: `There are 3 ways.`"""
    if end - start > 400 or not is_sentence(text[start:end]) or _is_readable(text[start:end]):
        return None
    found = stated(text, start, end, only=True)
    return None if found is None else Extraction(found.text, found.span, found.how)


def _said(seen: Visible, kind: Kind) -> Extraction | None:
    """What the last sentence states, boilerplate after it left out."""
    text, start, end = seen
    start = max(start, end - _TAIL_CHARS)
    for opening in _BOILERPLATE:
        at = text.find(opening, start, end)
        if (
            at > start
            and text[start:at].strip()
            and (opening[-1] != ":" or "\n" not in text[at:end])
        ):
            end = at
    while end > start and text[end - 1] in _EDGES:
        end -= 1
    begins = [start, *(match.end() for match in _BOUNDARY.finditer(text, start, end))]
    for begin, stop in zip(reversed(begins), [end, *reversed(begins[1:])], strict=True):
        if not text[begin:stop].strip(_EDGES):
            continue
        found = _stated(text, begin, stop, kind)
        if found is not None:
            return Extraction(found.text, found.span, found.how)
        if any(c.isdigit() for c in text[begin:stop]) or kind.is_choice:
            return Extraction(text[begin:stop].strip(), (begin, stop), HEDGED)
    return None
