r"""Phrases that announce an answer, in the most used languages: `The answer is 42`, `Ответ: 42`, `答案是42`.

A phrase is found by its key word, from the end of the text backwards, so that a long text costs one search for each
key word. Behind the key word there must be a colon, a copula such as `is`, or a line break; a negated phrase
(`the answer is not`) still counts, because the text after it decides.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Phrase(NamedTuple):
    """Offsets of a phrase: of its key word, and of the first place for an answer."""

    start: int
    end: int


_MAX_TRIES = 24
"""How many occurrences of a key word are tried, from the last backwards."""
_AFTER = r"[\s:：*_=\"'”]{0,40}"
_COLON = r"[ \t]{0,3}[*_\"'”]{0,4}[ \t]{0,2}[:：=][*_]{0,4}"
_LINE = r"[ \t]{0,3}[*_]{0,4}[ \t]{0,3}\n"


def _key(copula: str, adjectives: str = "") -> re.Pattern[str]:
    """Return the pattern that must match at a key word: the word is already there, its ending is free."""
    between = rf"(?:[ \t]+(?:{adjectives})(?=[ \t:：]))?" if adjectives else ""
    return re.compile(
        rf"{between}(?:{_COLON}|[ \t]{{0,3}}(?:{copula})|{_LINE}){_AFTER}", re.IGNORECASE
    )


_IS = (
    r"[ \t]+(?:(?:is|are|equals|would be|will be|must be|should be|becomes|comes to|turns out to be|"
    r"works out to(?: be)?|comes? out (?:to be|to|as))\b)(?:[ \t]+(?:then|therefore|thus|simply|just|exactly|indeed|clearly|equal to|given by)\b)?"
)
_WORD = r"[ \t]+(?!(?:is|are)\b)[^\s.,:;=]{1,24}"
_ENGLISH = re.compile(
    rf"s?\b(?:{_COLON}|(?:{_WORD}){{0,5}}?{_IS}|"
    rf"[ \t]+(?:to (?:the|this|that|your)|in|for|of|here|key|choice)\b(?:{_WORD}){{0,4}}?{_COLON}){_AFTER}",
    re.IGNORECASE,
)
_RESULT = re.compile(rf"s?\b(?:{_COLON}|{_IS}){_AFTER}", re.IGNORECASE)
_FINAL = re.compile(
    rf"(?:[ \t]{{1,3}}(?:answer|result|solution)[*_]{{0,4}}(?:[ \t]{{0,3}}\n|[ \t]{{1,3}}(?:is|=)\b|{_COLON}|[ \t]{{1,3}}(?=[$\\*\d(-]))|[ \t]?{_COLON}){_AFTER}",
    re.IGNORECASE,
)
_STATES = re.compile(
    r"(?![ \t\r\n*$\"'.]{0,40}(?:\Z|(?:correct|right|valid|reasonable|verified|unique|as follows|found|obtained)\b))",
    re.IGNORECASE,
)
"""What follows a phrase is there, and is not about the answer: `our answer is correct`."""
_ROMANCE = r"finale?|finalmente|final|correcta|correcte|correta|corretta|numérica|est[áa]"
_KEYS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("answer", _ENGLISH),
    ("result", _RESULT),
    ("respuesta", _key(r"es\b|ser[íi]a\b", _ROMANCE)),
    ("resultado", _key(r"es\b|é(?!\w)", _ROMANCE)),
    ("resposta", _key(r"é(?!\w)|seria\b", _ROMANCE)),
    ("risposta", _key(r"è(?!\w)", _ROMANCE)),
    ("antwort", _key(r"ist\b|lautet\b|wäre\b", r"\S{1,20}")),
    ("ergebnis", _key(r"ist\b|lautet\b|beträgt\b")),
    ("jawaban", _key(r"adalah\b|ialah\b", r"\S{1,20}")),
    ("cevap", _key(r"(?=-?\d)")),
    ("réponse", _key(r"est\b|serait\b", _ROMANCE)),
    ("résultat", _key(r"est\b", _ROMANCE)),
    ("ответ", _key(r"[-–—]|равен\b|будет\b|составляет\b|это\b|(?=-?\d)")),
    ("đáp án", _key(r"là(?!\w)|(?=-?\d)", r"\S{1,10}(?: \S{1,10})?")),
    ("đáp số", _key(r"là(?!\w)|(?=-?\d)")),
    ("câu trả lời", _key(r"là(?!\w)", r"\S{1,10}")),
    ("答案", _key(r"就?(?:是|为|為)|(?=[-\d$\\(])")),
    ("结果", _key(r"是|为|為|等于")),
    ("答：", re.compile(r"\s{0,4}")),
    ("答:", re.compile(r"\s{0,4}")),
    ("答え", _key(r"は")),
    ("正解", _key(r"は")),
    ("정답", _key(r"은|는|이")),
    ("답", _key(r"은|는|이")),
    ("उत्तर", _key(r"है(?=\s)|(?=-?\d)")),
    ("जवाब", _key(r"है(?=\s)|(?=-?\d)")),
    ("উত্তর", _key(r"হল(?:ো)?|হলো|হচ্ছে|(?=-?\d)")),
    ("جواب", _key(r"ہے(?=\s)|هو|(?=-?\d)")),
    ("الإجابة", _key(r"هي", r"\S{1,12}")),
    ("الجواب", _key(r"هو", r"\S{1,12}")),
)
_ASCII_KEYS = tuple((word, pattern) for word, pattern in _KEYS if word.isascii())
_LAST_LABEL = re.compile(
    r"[ \t]{0,8}[*_]{0,3}(?:A|Ans|ANS|ans|Sol|Solution|Total)[ \t]{0,3}[.]?[*_]{0,3}[:：=][*_]{0,3}[ \t]{0,3}"
)
COPULAS = re.compile(
    r"\s{0,3}(?:です|である|だ|になります|となります|입니다|이다|예요|이에요|है|हैं|ہے|হবে|(?:(?<=[\d$)}%\]])|['’])[dt][iıuü]r)?[\s。．।.,!*_\"'”]{0,20}\Z"
)
"""Words and stops that may end a sentence after its answer."""


def last_phrase(text: str, lowered: str, start: int, end: int) -> Phrase | None:
    """Return the last phrase between two offsets that something follows; `lowered` is `text` in lower case."""
    best: Phrase | None = None
    for word, pattern in _ASCII_KEYS if text.isascii() else _KEYS:
        at = end
        for _ in range(_MAX_TRIES):
            at = lowered.rfind(word, start if best is None else best.start + 1, at)
            if at < 0:
                break
            match = pattern.match(text, at + len(word), end)
            if match is not None and _STATES.match(text, match.end(), end):
                best = Phrase(at, match.end())
                break
    return _after_final(text, lowered, start, end, best)


def _after_final(
    text: str, lowered: str, start: int, end: int, best: Phrase | None
) -> Phrase | None:
    """Prefer a later `final answer` without a copula: a heading, or `Final answer 42`."""
    at = lowered.rfind("final", start if best is None else best.start, end)
    if at < 0:
        return best
    match = _FINAL.match(text, at + 5, end)
    if match is None or not _STATES.match(text, match.end(), end):
        return best
    return Phrase(at, match.end()) if best is None or match.end() > best.end else best


def last_label(text: str, start: int, end: int) -> Phrase | None:
    """Return the label of the last line if it is one such as `A:`."""
    stop = end
    while stop > start and text[stop - 1].isspace():
        stop -= 1
    begin = text.rfind("\n", start, stop) + 1 or start
    match = _LAST_LABEL.match(text, begin, stop)
    return Phrase(begin, match.end()) if match is not None and match.end() < stop else None
