"""Answers in words: choices, names, yes and no, "no solution", numbers in words, times of day and dates."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from stepgym.envs.maths.spelling import plain

_TEXT_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mbox|operatorname|textnormal|mathbf|emph|textsf|texttt|boldsymbol|mathit|hbox)\*?\s*(?=\{)"
)
_SPACING = re.compile(r"\\[,;:! ]|\\q?quad(?![a-z])|[~$*{}]|\\(?:left|right)(?![a-z])|\\[()\[\]]")
_WORDY = re.compile(r"[A-Za-z][A-Za-z\s\-'’.,()!?/&]*\Z")
_EDGES = " \t\r\n.,;:!?'\"()"
_VARIABLES = re.compile(r"[xyz]+\Z|[a-zA-Z]{1,2}\Z")
_YES_NO = re.compile(r"(yes|no|true|false)[,.;] ")
_BUT = re.compile(r"\b(?:but|unless|except|only|if|when|sometimes|yes|no|true|false|or|and)\b")
"""Words after which "yes, ..." is no plain yes."""
_ARTICLE = re.compile(r"\b(?:the|a|an|is|are)\b ?")

_SAME = {
    "true": "yes",
    "false": "no",
    "correct": "yes",
    "incorrect": "no",
    "y": "yes",
    "no solution": "none",
    "no solutions": "none",
    "none": "none",
    "no real solution": "none",
    "no real solutions": "none",
    "there no solution": "none",
    "there no solutions": "none",
    "no real roots": "none",
    "empty set": "none",
    "there are no solutions": "none",
    "null set": "none",
    "no such": "none",
    "no solution exists": "none",
    "no values": "none",
    "dne": "undefined",
    "does not exist": "undefined",
    "undefined": "undefined",
    "not defined": "undefined",
    "nonexistent": "undefined",
    "limit does not exist": "undefined",
    "doesn't exist": "undefined",
    "do not exist": "undefined",
    "not exist": "undefined",
    "all real numbers": "reals",
    "real numbers": "reals",
    "all reals": "reals",
    "any real number": "reals",
    "reals": "reals",
    "infinity": "infinity",
    "positive infinity": "infinity",
    "infinitely many": "infinitely many",
    "infinitely many solutions": "infinitely many",
    "infinite": "infinitely many",
}
_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SMALL = {word: i for i, word in enumerate(_ONES)} | {
    word: 20 + 10 * i for i, word in enumerate(_TENS)
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "thirds": 3,
    "quarter": 4,
    "quarters": 4,
    "fourth": 4,
    "fourths": 4,
    "fifth": 5,
    "fifths": 5,
    "sixth": 6,
    "sixths": 6,
    "eighth": 8,
    "eighths": 8,
    "tenth": 10,
    "tenths": 10,
}
_CHOICE = re.compile(r"\(?([A-J])(?:[).:](?=\s|\Z).*|\)\s*\S.*)?\Z", re.DOTALL)
_SECOND_CHOICE = re.compile(
    r"\A\W{0,3}\s(?:or|maybe|not)\b|(?<![\w'’])(?<!\band )\(?[B-HJ]\)?[).:;]|(?<!\band )(?<![\w'’])[A-HJ]\)?\W{0,3}\Z|\bor (?:maybe |perhaps )?\(?[A-J]\b"
)
"""Words behind a chosen letter that choose another one: `A: or B`, but not `C. Both A and B`."""
_BRACKETED = re.compile(r"(?:\([A-H]\)[\s,;]*(?:and\s*)?){2,8}\Z")
_OPTION = re.compile(
    r"(?:option|choice|answer|letter)\s*:?\s*\(?([A-Ja-j])\)?[.:]?\s*\Z", re.IGNORECASE
)
_TIME = re.compile(
    r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*(a|p)\.?\s?m\.?\Z|(\d{1,2}):(\d{2})\Z", re.IGNORECASE
)
_MONTHS = (
    "january february march april may june july august september october november december".split()
)
_DATE_WORD = re.compile(
    r"\A(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,?\s+)?(?:(\d{1,2})(?:st|nd|rd|th)?\s+(?:of\s+)?([a-z]{3,9})|([a-z]{3,9})\.?\s+(\d{1,2})(?:st|nd|rd|th)?)(?:,?\s+(\d{4}))?\Z"
)
_DATE_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})\Z")


def unwrap(text: str) -> str:
    """Take text commands, braces, dollars and spacing off."""
    text = plain(text)
    if "\\" in text or "$" in text or "{" in text:
        text = _SPACING.sub(" ", _TEXT_WRAPPER.sub("", text))
    return " ".join(text.split())


@lru_cache(maxsize=8192)
def words(text: str) -> str | None:
    """The canonical words of a text answer, or `None` where it is to be read as mathematics.

    Two letters are a product (`xy`), three are a word (`abc`), for an anagram must never pass; `xyz` stays a product.
    """
    if len(text) > 2000:
        return None
    bare = unwrap(text)
    if not _WORDY.match(bare):
        return None
    stripped = bare.strip(_EDGES)
    if (_VARIABLES.match(stripped) and stripped.lower() != "no") or (
        "," in stripped and _is_letters(stripped)
    ):
        return None
    if "(" in stripped or "/" in stripped:
        return None
    said = _YES_NO.match(stripped.lower())
    if said and not _BUT.search(stripped.lower(), said.end()):
        return _SAME.get(said.group(1), said.group(1))
    lowered = _ARTICLE.sub("", stripped.lower()).strip() or stripped.lower()
    if re.search(r"\b(?:or|and|pi|sqrt|infty|inf)\b", lowered) and _is_letters(
        stripped.replace(" or ", ",").replace(" and ", ",")
    ):
        return None
    if lowered in (
        "pi",
        "inf",
        "oo",
        "infty",
        "theta",
        "alpha",
        "beta",
        "lambda",
        "omega",
        "phi",
        "gamma",
    ):
        return None
    lowered = " ".join(re.sub(r"[-.,']", " ", lowered).split())
    return _SAME.get(lowered, lowered)


def _is_letters(text: str) -> bool:
    return all(len(part.strip()) <= 1 for part in text.split(","))


def number_in_words(text: str) -> Fraction | None:
    """`twenty-one` is 21, `two thirds` is 2/3; `None` for anything else."""
    tokens = text.replace("-", " ").replace(" and ", " ").split()
    if not tokens or len(tokens) > 16:
        return None
    if tokens[-1] in _PARTS and len(tokens) <= 3:
        top = number_in_words(" ".join(tokens[:-1])) if len(tokens) > 1 else Fraction(1)
        return top / _PARTS[tokens[-1]] if top is not None else None
    total, current = 0, 0
    for token in tokens:
        if token in _SMALL:
            current += _SMALL[token]
        elif token == "hundred":
            current = (current or 1) * 100
        elif token in _SCALES:
            total, current = total + (current or 1) * _SCALES[token], 0
        else:
            return None
    return Fraction(total + current)


def choice(text: str) -> str | None:
    """The letter of a multiple choice, decorated or not: `A`, `(A)`, `A)`, `Option A`, `C: 12`."""
    bare = unwrap(text).strip()
    match = _CHOICE.match(bare.strip(".")) or _OPTION.match(bare)
    if match is None or _SECOND_CHOICE.search(bare, match.end(1)):
        return None
    return match.group(1).upper()


def is_plain_choice(text: str) -> bool:
    """A bare letter from A to J, at most in brackets."""
    return bool(re.match(r"\(?[A-J]\)?\.?\Z", unwrap(text).strip()))


def time_of_day(text: str) -> tuple[int, bool] | None:
    """Minutes after midnight, and whether morning or afternoon was said."""
    bare = unwrap(text)
    match = _TIME.match(bare)
    if match is None:
        return None
    if match.group(5) is not None:
        hour, minute = int(match.group(5)), int(match.group(6))
        return (hour * 60 + minute, False) if hour < 25 and minute < 60 else None
    hour, minute = int(match.group(1)), int(match.group(2) or 0)
    if not 1 <= hour <= 12 or minute > 59:
        return None
    return (hour % 12 + (12 if match.group(4).lower() == "p" else 0)) * 60 + minute, True


def date(text: str) -> tuple[int | None, int, int] | None:
    """(year or `None`, month, day)."""
    bare = unwrap(text)
    iso = _DATE_ISO.match(bare)
    if iso:
        year, month, day = map(int, iso.groups())
        return year, month, day
    match = _DATE_WORD.match(bare.lower())
    if match is None:
        return None
    name = match.group(2) or match.group(3)
    months = [i for i, month in enumerate(_MONTHS, 1) if month == name or (month[:3] == name)]
    if not months:
        return None
    return (
        int(match.group(5)) if match.group(5) else None,
        months[0],
        int(match.group(1) or match.group(4)),
    )


_HAS_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}|[A-J]|:|\d-\d|[^\x00-\x7f]")


def compare_texts(reference: str, answer: str) -> bool | None:
    """Equal, different, or `None` where this is no matter of words."""
    if not (_HAS_WORDS.search(reference) or _HAS_WORDS.search(answer)):
        return None
    wanted, given = words(reference), words(answer)
    if wanted is not None and given is not None:
        if wanted == given:
            return True
        a, b = number_in_words(wanted), number_in_words(given)
        if a is not None and a == b:
            return True
        if date(reference) and date(reference) == date(answer):
            return True
        return _compare_choices(reference, answer) or False
    times = time_of_day(reference), time_of_day(answer)
    if times[0] and times[1] and (times[0][1] or times[1][1] or ":" in reference):
        (a_minutes, a_half), (b_minutes, b_half) = times[0], times[1]
        return a_minutes == b_minutes or (a_half != b_half and a_minutes % 720 == b_minutes % 720)
    if None in times and (_is_clock(reference, times[0]) or _is_clock(answer, times[1])):
        return False
    dates = date(reference), date(answer)
    if dates[0] and dates[1]:
        return dates[0][1:] == dates[1][1:] and (
            dates[0][0] == dates[1][0] or None in (dates[0][0], dates[1][0])
        )
    return _compare_choices(reference, answer)


def _is_clock(text: str, time: tuple[int, bool] | None) -> bool:
    """A time of day that can be no ratio: with its half of the day, or with a nought before the minutes."""
    return time is not None and ":" in text and (time[1] or ":0" in text)


def _choices(text: str) -> tuple[str, bool] | None:
    """The letters of several choices, sorted, and whether anything parts them: `A, C`, `A and C`, `AC`."""
    bare = unwrap(text)
    letters = re.sub(r"\band\b|[\s,;()&]", "", bare)
    if (
        not 2 <= len(letters) <= 8
        or not all(c in "ABCDEFGH" for c in letters)
        or len(set(letters)) < len(letters)
    ):
        return None
    return "".join(sorted(letters)), letters != bare


def _compare_choices(reference: str, answer: str) -> bool | None:
    several = _choices(reference), _choices(answer)
    if (
        several[0]
        and several[1]
        and any(_BRACKETED.match(unwrap(text)) for text in (reference, answer))
    ):
        return several[0][0] == several[1][0]
    if (
        several[0]
        and several[1]
        and (several[0][1] != several[1][1])
        and "(" not in (reference + answer)[1:-1]
    ):
        return several[0][0] == several[1][0]
    if not (is_plain_choice(reference) or is_plain_choice(answer)):
        return None
    a, b = choice(reference), choice(answer)
    if a is None or b is None:
        return None
    return a == b
