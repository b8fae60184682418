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
_DIFFERENCE = re.compile(r"[a-z]{1,2}(?:\s?-\s?[a-z]{1,2})+\Z")
_IN_DOLLARS = re.compile(r"\s*\$\s*[a-z]{1,4}\s*\$\s*\Z")
_FILLER = re.compile(r"\A(?:any|all|every|each) |(?<=\w) numbers?(?: of [a-z]+)?\Z")
"""Words that change nothing: "any odd number" is "odd"."""
_ARTICLE = re.compile(r"\b(?:the|an|is|are)\b ?|\ba (?=[a-z]{2})(?!(?:or|and|is)\b)")
"""Words that change nothing; `a` is an article only before a word, because `A-B` and `A or B` name a thing A."""

MAX_CHARS = 2_000
"""Longer texts are no words, choices, times or dates."""
_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_MONTHS = (
    "january february march april may june july august september october november december".split()
)
_SAME = {
    **{name[:3]: name for name in (*_DAYS, *_MONTHS)},
    "tues": "tuesday",
    "thur": "thursday",
    "thurs": "thursday",
    "sept": "september",
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
_ORDINALS = {"twelfth": 12, "twentieth": 20, "thirtieth": 30} | {
    f"{word}th": i for i, word in enumerate(_ONES) if i > 10 and i != 12
}
"""Ordinals that are no names of fractions."""
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
"""Words after a chosen letter that choose another one: `A: or B`, but not `C. Both A and B`."""
_BRACKETED = re.compile(r"(?:\([A-H]\)[\s,;]*(?:and\s*)?){2,8}\Z")
_SECOND_THOUGHT = re.compile(
    r"(?<![A-Za-z])[A-HJ](?![A-Za-z])|\b(?:or|no|not|maybe|wrong|incorrect|false|neither|except)\b"
)
_OPTION = re.compile(
    r"(?:option|choice|answer|letter)\s*:?\s*\(?([A-Ja-j])\)?[.:]?\s*\Z", re.IGNORECASE
)
_TIME = re.compile(
    r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*(a|p)\.?\s?m\.?\Z|(\d{1,2}):(\d{2})(?::(\d{2}))?\Z",
    re.IGNORECASE,
)
_MATHS_WORDS = frozenset(
    "sin cos tan cot sec csc sinh cosh tanh coth sech csch arcsin arccos arctan arccot arcsec arccsc ln log exp sqrt "
    "pi theta alpha beta gamma lambda omega phi mu sigma rho".split()
)
"""Names of functions and letters, which make a mathematical text if only operators and letters are beside them."""
_OPERATORS = re.compile(r"[\s\-*/+()]+")
_JOINS = re.compile(r"\s*[,;&]\s*(?:and\s+)?|\s+and\s+")
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
    """The canonical words of a text answer, or `None` if it is to be read as mathematics.

    Two letters are a product (`xy`), three are a word (`abc`), because an anagram must not pass; `xyz` stays a product.
    """
    if len(text) > MAX_CHARS:
        return None
    bare = unwrap(text)
    said = _YES_NO.match(bare.lower()) if bare[:1] in "yntfYNTF" else None
    if said and not _BUT.search(bare.lower(), said.end()):
        return _SAME.get(said.group(1), said.group(1))
    if not _WORDY.match(bare):
        return None
    stripped = bare.strip(_EDGES)
    if (_VARIABLES.match(stripped) and stripped.lower() != "no") or (
        "," in stripped and _is_letters(stripped)
    ):
        return None
    if "(" in stripped or "/" in stripped or _is_formula(stripped):
        return None
    if _IN_DOLLARS.match(text) or _DIFFERENCE.match(stripped):
        return None
    lowered = _ARTICLE.sub("", stripped.lower()).strip() or stripped.lower()
    if re.search(r"\b(?:or|and|pi|sqrt|infty|inf)\b", lowered) and _is_letters(
        stripped.replace(" or ", ",").replace(" and ", ",")
    ):
        return None
    if lowered in _MATHS_WORDS or lowered in ("inf", "oo", "infty"):
        return None
    lowered = " ".join(re.sub(r"[-.,']", " ", lowered).split())
    if lowered not in _SAME:
        lowered = _FILLER.sub("", lowered) or lowered
    return _SAME.get(lowered, lowered)


def _is_formula(text: str) -> bool:
    """Whether letters and names are between operators: `a-b`, `csc x`, `pi r`."""
    parts = [part for part in _OPERATORS.split(text) if part]
    return len(parts) > 1 and all(_is_name(part) for part in parts)


def _is_name(part: str) -> bool:
    return part in _MATHS_WORDS or (len(part) == 1 and part.islower())


def _is_letters(text: str) -> bool:
    return all(len(part.strip()) <= 1 for part in text.split(","))


def number_in_words(text: str) -> Fraction | None:
    """`twenty-one` is 21, `two thirds` is 2/3, `minus five` is -5; `None` for anything else."""
    sign, _, rest = text.partition(" ")
    if sign in ("minus", "negative") and rest:
        value = number_in_words(rest)
        return None if value is None else -value
    whole, joined, part = text.rpartition(" and ")
    if joined and part.split()[-1:] and part.split()[-1] in _PARTS:  # three and a half
        a, b = number_in_words(whole), number_in_words(part.removeprefix("a "))
        return None if a is None or b is None else a + b
    if text in _ORDINALS:
        return Fraction(_ORDINALS[text])
    part, joined, whole = text.replace(" out of ", " in ").partition(" in ")
    if joined:  # one in four
        a, b = number_in_words(part), number_in_words(whole)
        return None if a is None or not b else a / b
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
        elif token in ("hundred", "dozen"):
            current = (current or 1) * (100 if token == "hundred" else 12)
        elif token in _SCALES:
            total, current = total + (current or 1) * _SCALES[token], 0
        else:
            return None
    return Fraction(total + current)


def choice(text: str) -> str | None:
    """The letter of a multiple choice, decorated or not: `A`, `(A)`, `A)`, `Option A`, `C: 12`.

    `None` if words after the letter name another one or take it back: `A or B`, `A. Wrong`.
    """
    bare = unwrap(text).strip()
    match = _CHOICE.match(bare.strip(".")) or _OPTION.match(bare)
    if match is None or _SECOND_THOUGHT.search(bare, match.end(1)):
        return None
    return match.group(1).upper()


def is_plain_choice(text: str) -> bool:
    """A bare letter from A to J, at most in brackets."""
    return bool(_HAS_CHOICE.search(text, 0, 200) and _PLAIN_CHOICE.match(unwrap(text).strip()))


def time_of_day(text: str) -> tuple[int, bool] | None:
    """Seconds after midnight, and whether morning or afternoon was said."""
    match = _TIME.match(unwrap(text))
    if match is None:
        return None
    half = match.group(4)
    hour, minute, second = (int(g or 0) for g in match.groups()[slice(3) if half else slice(4, 7)])
    if minute > 59 or second > 59 or not (1 <= hour <= 12 if half else hour < 25):
        return None
    if half:
        hour = hour % 12 + (12 if half.lower() == "p" else 0)
    return hour * 3600 + minute * 60 + second, bool(half)


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
    if len(reference) > MAX_CHARS or len(answer) > MAX_CHARS:
        return None
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
        if _items(reference) == _items(answer):
            return True
        return _compare_choices(reference, answer) or False
    if (
        wanted is not None
        and len(wanted) > 2
        and _IN_DOLLARS.match(answer.lower())
        and unwrap(answer).lower() == unwrap(reference).lower()
    ):
        return True  # `$odd$` for `odd`
    times = time_of_day(reference), time_of_day(answer)
    if times[0] and times[1] and (times[0][1] or times[1][1] or ":" in reference):
        (a_s, a_half), (b_s, b_half) = times[0], times[1]
        return a_s == b_s or (a_half != b_half and a_s % 43_200 == b_s % 43_200)
    if None in times and (_is_clock(reference, times[0]) or _is_clock(answer, times[1])):
        return False
    dates = date(reference), date(answer)
    if dates[0] and dates[1]:
        return dates[0][1:] == dates[1][1:] and (
            dates[0][0] == dates[1][0] or None in (dates[0][0], dates[1][0])
        )
    return _compare_choices(reference, answer)


def _items(text: str) -> list[str]:
    """The items of a list of words, sorted: `circle and line segment`."""
    return sorted(words(item) or item for item in _JOINS.split(unwrap(text).strip(_EDGES)))


def _is_clock(text: str, time: tuple[int, bool] | None) -> bool:
    """Whether a time of day can be no ratio: it has its half of the day, or a zero before the minutes."""
    return time is not None and ":" in text and (time[1] or ":0" in text)


_HAS_CHOICE = re.compile(r"(?<![A-Za-z])[A-J](?![A-Za-z])")
_PLAIN_CHOICE = re.compile(r"\(?[A-J]\)?\.?\Z")
_LOWER_CHOICE = re.compile(r"\(?[a-j]\)?\.?\Z")


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
    if is_plain_choice(reference) and _LOWER_CHOICE.match(answer.strip()):
        answer = answer.upper()
    a, b = choice(reference), choice(answer)
    if a is None or b is None:
        return None
    return a == b
