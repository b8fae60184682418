r"""What a sentence states: the one formula, number or choice that is the answer, or nothing.

A sentence is split into words and runs. A run is a stretch of mathematics: a formula between delimiters, or
neighbouring tokens without words (`12 + 30 = 42`, `(0, 1)`, `\frac{1}{2}`), with units and words such as `million`
after a number. The stated answer is the last run after a verb such as `is` or `gives`, else the last run; runs
joined by `and` or commas are one list. A sentence that hedges (see `hedges.py`) states nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stepgym.envs.maths.formulas import find_formulas
from stepgym.envs.maths.hedges import hedged, lists_options, num_letters
from stepgym.envs.maths.spelling import scale_after
from stepgym.envs.maths.units import is_unit


class Stated(NamedTuple):
    """The text of a stated answer, its offsets in the whole text, and what was taken."""

    text: str
    span: tuple[int, int]
    how: str


class _Token(NamedTuple):
    kind: str
    """`run`, `word` or `join`."""
    start: int
    end: int
    formula: bool = False
    said: str = ""
    """The word that replaces the token in a skeleton, if not its own text."""


MAX_CHARS = 1200
"""Of a longer sentence, the end is read."""

_IN_TEXT = (
    r"\\(?:text|mathrm|mbox|textbf|operatorname|textnormal|mathbf|textit|begin|end)\*?\s?\{[^{}]*\}"
)
_PIECE = re.compile(
    rf"(?:{_IN_TEXT}|[^\s\u0900-\u0dff\u0e00-\u0eff\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af。，、：；])+|"
    r"[\u0900-\u0dff\u0e00-\u0eff\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]+|[。，、：；]"
)
_LETTERS = re.compile(r"(?<![\\A-Za-z])[^\W\d_]{2,}")
_COMMAND = re.compile(_IN_TEXT + r"|\\[A-Za-z]+")
_NAMES = frozenset(
    "sin cos tan cot sec csc ln log exp sqrt arcsin arccos arctan pi lg max min gcd lcm mod sinh cosh tanh floor ceil abs theta alpha beta".split()
)
_TWO_LETTER_WORDS = frozenset(
    "is so of in to at on by we he be as an or if do go up us me my no am it ok hi la el le es et de du un ne si ja ou der das ist".split()
)
_SCALES = frozenset(
    "hundred thousand million billion trillion dozen percent pct degrees degree".split()
)
_JOINS = frozenset(("and", "or", "&", "y", "et", "und", "e", "和", "与", "и"))
_ARTICLES = frozenset(("a", "A", "I"))
_EDGES = "*_`\"'“”‘’.,;:!?"
_CLOSING = ".,;:!?\"'”’*`_"

_OPERATORS = re.compile(r"[-+*/^=<>()\[\]{}|%°±×÷·∪∩∈!,$€£−–—→⇒≈≤≥~:&]+|\\[,;:!%]")
_BRACKET_ONLY = re.compile(r"[(\[{|]+|[)\]}|!%°]+")
_BINARY = frozenset("+*/^×÷·±")
_OPERAND = re.compile(r"\s{0,3}[-−+(\[{$]{0,3}(?:\d|\\|[a-zA-Z](?![a-zA-Z]))")

_SENTENCE_WORDS = re.compile(
    r"\b(?:it|is|are|was|were|will|be|the|we|so|thus|there|therefore|hence|then|total|value|answer|that|which|because|has|have|"
    r"he|she|they|you|gives?|gets?|means|equals|think|believe|must|should|makes?|needs?|costs?|took|takes?|would|result|"
    r"final|finally|here|correct|option|choice|got|only|just|exactly|sum|let)\b|['’]s\b",
    re.IGNORECASE,
)
_STATING = re.compile(
    r"\b(?:is|are|was|were|be|equals?|gives?|giving|makes?|gets?|totals?|has|have|had|needs?|costs?|pays?|earns?|spends?|saves?|"
    r"takes?|left|becomes?|yields?|to|exactly|about|approximately|only|of|total|profit)\s?(?:about |approximately |exactly |only |simply |just |now |then |therefore |thus )?\Z"
)
_CONTRAST = re.compile(r"\W*(?:and )?(?:not|rather than|instead of)(?: just)?\W*")
_NUMBER_WORDS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    "eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million"
)
_PART_WORDS = "half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|eighths?|tenths?"
_SAID_NUMBER = re.compile(
    rf"\b(?:is|are|equals|has|have|of)\s((?:{_NUMBER_WORDS})(?:[-\s](?:and\s)?(?:{_NUMBER_WORDS}))*(?:[-\s](?:{_PART_WORDS}))?)\b",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"\W{0,4}(yes|no|true|false)\b[,.;:]?\s", re.IGNORECASE)
_BUT = re.compile(
    r"\b(?:but|unless|except|only if|when|sometimes|yes|no|true|false|or|maybe|perhaps)\b",
    re.IGNORECASE,
)
_CHOICE_FIRST = re.compile(
    r"\s{0,4}\(?([A-J])\)?\s?(?:[,.;:]\s?)?(?:it|since|because|as|which|that|the other|this|these|for|due|given)\b"
)
_CHOICE_LAST = re.compile(
    r"(?:\b(?:option|choice|answer|letter|statement)\s|"
    r"\b(?:is|be|choose|pick|select|it['’]s|say|are)\s(?:option |choice |answer )?)"
    r"[*$({\[\\text ]{0,9}([A-J])(?=[\W_]{0,6}\Z)|"
    r"(?<![\w)])\(([A-J])\)(?=\W{0,6}\Z)|[选選]\s?\(?([A-J])\)?\W{0,4}\Z|"
    r"\A\W{0,3}(?:(?:so|thus|hence|therefore|then),?\s)?(?:option|choice)?\s?[*(]{0,3}([A-J])[*)]{0,3} (?:is|must be) (?:the )?(?:correct|right|answer|true)\b",
    re.IGNORECASE,
)
_LEADING_WORD = re.compile(r"(?<![\w\\])[^\W\d_][^\W\d_A-Z]{2,}(?=[\s:=,.]|\Z)")
_CHOICE_CONCLUDED = re.compile(
    r"\b(?:so|hence|thus|therefore),? (?:it is |it['’]s |the answer is )?[*(]{0,3}([A-J])\W{0,6}\Z"
)
_ORDINAL = re.compile(r"\d+(?:st|nd|rd|th)")
_SIGN_WORD = re.compile(r"(?:\A|(?<=\s))(?:minus|negative)\Z")
_NAMED = re.compile(
    r"\W{0,3}(?:it|this|that|the [a-z]+(?: [a-z]+){0,3}) (?:is|are|was) ([A-Za-z]+(?: [A-Za-z]+){0,2})\W{0,3}\Z",
    re.IGNORECASE,
)
_NUMBER_OR_FORMULA = re.compile(r"[\d#\\]")
_RIGHT_SIDE = re.compile(r"(?<![<>!:=\\])=(?!=)")
_VARIABLE = re.compile(r"[A-Za-z]|\\(?:alpha|beta|gamma|theta|lambda|mu|phi|omega)")


def is_sentence(text: str) -> bool:
    """Return whether a text holds words that only sentences hold, outside formulas and commands."""
    return _SENTENCE_WORDS.search(_words_only(text)) is not None


def has_words(text: str) -> bool:
    """Return whether a word of two letters or more, not a unit, is outside formulas and commands."""
    text = _words_only(text)
    return _holds_other_script(text) or any(_is_word(word) for word in _LETTERS.findall(text))


def word_leads(text: str) -> bool:
    """Return whether a word precedes the first number or formula of a text: `Total 42`, `also 42`."""
    text = _words_only(text)
    number = _NUMBER_OR_FORMULA.search(text)
    if number is None:
        return False
    before = text[: number.start()]
    return _holds_other_script(before) or any(
        word.lower() not in _NAMES for word in _LEADING_WORD.findall(before)
    )


def _holds_other_script(text: str) -> bool:
    return not text.isascii() and any(c >= "\u0900" and c.isalpha() for c in text)


def _words_only(text: str) -> str:
    text = text[-MAX_CHARS:]
    if "$" in text or "\\" in text:
        for formula in reversed(find_formulas(text)):
            text = text[: formula.start] + " # " + text[formula.end :]
        text = _COMMAND.sub(" ", text)
    return text


def stated(text: str, start: int, end: int, *, only: bool = False) -> Stated | None:
    """Return what the sentence between two offsets states as its answer, or `None`.

    With `only`, it must be the only value in the sentence and come right after a verb.
    """
    start = max(start, end - MAX_CHARS)
    sentence = text[start:end]
    if lists_options(sentence):
        return None
    tokens = _tokens(text, start, end)
    runs = _joined(tokens, text)
    if not runs:
        return _in_words(sentence, start)
    skeletons = _skeleton(tokens, runs, text)
    chosen = _chosen(runs, skeletons)
    if only and (len(runs) > 1 or not _STATING.search(skeletons[0])):
        return None
    sign = _SIGN_WORD.search(skeletons[chosen])
    if sign is not None and (chosen == 0 or sign.start() > 0) and len(runs[chosen].parts) == 1:
        skeletons[chosen] = skeletons[chosen][: sign.start()].rstrip()
    else:
        sign = None
    if hedged(_marked(skeletons, chosen)):
        return None
    found = _taken(text, runs[chosen])
    if _ORDINAL.fullmatch(found.text) and skeletons[chosen + 1][:1].isalpha():
        return None  # `the 42nd prime`
    return found if sign is None else found._replace(text=f"-{found.text}")


def stated_choice(text: str, start: int, end: int) -> Stated | None:
    """Return the letter that a sentence chooses (`I think it's (D).`), or `None`."""
    sentence = text[max(start, end - MAX_CHARS) : end]
    offset = end - len(sentence)
    match = _CHOICE_FIRST.match(sentence) or _CHOICE_CONCLUDED.search(sentence)
    if match is None:
        match = _CHOICE_LAST.search(sentence)
        if match is None or num_letters(sentence) > 1:
            return None
        if hedged(sentence[: match.start(match.lastindex or 0)].lower() + "@"):
            return None
    group = match.lastindex or 0
    letter = match.group(group)
    if not letter.isupper():
        return None
    return Stated(letter, (offset + match.start(group), offset + match.end(group)), "choice")


def said_yes_or_no(text: str, start: int, end: int) -> Stated | None:
    """Return the first word of `Yes, because 3 divides 9`, or `None`."""
    match = _YES_NO.match(text, start, end)
    if match is None or _BUT.search(text, match.end(), end):
        return None
    return Stated(match.group(1), match.span(1), "yes or no")


def named(text: str, start: int, end: int) -> Stated | None:
    """Return the name that a sentence without numbers gives: `It is Monday.`"""
    match = _NAMED.fullmatch(text, start, min(end, start + 100)) if end - start <= 100 else None
    if match is None or is_unit(match.group(1)):
        return None
    return Stated(match.group(1), match.span(1), "name")


def _in_words(sentence: str, start: int) -> Stated | None:
    """Return a number in words after a verb: `There are three ways.`"""
    found = list(_SAID_NUMBER.finditer(sentence))
    if len(found) != 1:
        return None
    match = found[0]
    if hedged(sentence[: match.start(1)].lower() + "@" + sentence[match.end(1) :].lower()):
        return None
    return Stated(match.group(1), (start + match.start(1), start + match.end(1)), "last number")


def _tokens(text: str, start: int, end: int) -> list[_Token]:
    tokens: list[_Token] = []
    at = start
    for formula in find_formulas(text, start, end):
        _add_pieces(tokens, text, at, formula.start)
        tokens.append(_Token("run", formula.inner_start, formula.inner_end, True))
        at = formula.end
    _add_pieces(tokens, text, at, end)
    return tokens


def _add_pieces(tokens: list[_Token], text: str, start: int, end: int) -> None:
    for match in _PIECE.finditer(text, start, end):
        token = _classified(match, tokens[-1] if tokens else None)
        if token is not None:
            tokens.append(token)


def _classified(match: re.Match[str], previous: _Token | None) -> _Token | None:
    """Return a piece of plain text as a token; what is only decoration is left out."""
    text, piece, (start, end) = match.string, match.group(), match.span()
    bare = piece.strip(_EDGES)
    if not bare:
        return _Token("join", start, end) if any(c in ",;:、，" for c in piece) else None
    if bare.lower() in _JOINS and (len(bare) > 1 or not _is_operand(text, start, end)):
        return _Token("join", start, end)
    in_run = previous is not None and previous.kind == "run" and not previous.formula
    if not any(c.isalnum() for c in bare):
        if previous is not None and previous.formula and bare in ("%", "\\%"):
            return _Token("join", start, end, said="%")
        if not _OPERATORS.fullmatch(bare):
            return None
        operand_follows = _OPERAND.match(text, end) is not None
        if _BRACKET_ONLY.fullmatch(bare) or (in_run and operand_follows):
            return _Token("run", start, end)
        return _Token("word", start, end, said="plus") if bare in _BINARY else None
    if bare in _ARTICLES and bare == piece and not _is_operand(text, start, end):
        return _Token("word", start, end)
    after_number = in_run and previous is not None and _ends_in_number(text, previous)
    return _Token("run" if _is_mathematics(bare, after_number) else "word", start, end)


def _is_operand(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - 3) : start].strip(), text[end : end + 3].strip()
    return before[-1:] in tuple("=+*/^<>") or after[:1] in tuple("=+-*/^<>,")


def _ends_in_number(text: str, token: _Token) -> bool:
    return text[token.start : token.end].rstrip(_CLOSING + ")}")[-1:].isdigit()


def _is_mathematics(piece: str, after_number: bool) -> bool:
    words = _LETTERS.findall(_COMMAND.sub(" ", piece) if "\\" in piece else piece)
    if _holds_other_script(piece):
        return False
    if not words:
        return True
    if after_number and (piece.lower() in _SCALES or all(is_unit(word) for word in words)):
        return True
    return not any(_is_word(word) or is_unit(word) for word in words) or piece[0].isdigit()


def _is_word(word: str) -> bool:
    if word.lower() in _NAMES:
        return False
    if len(word) == 2 and word.isascii():
        return word.lower() in _TWO_LETTER_WORDS
    return not is_unit(word)


class _Run(NamedTuple):
    parts: tuple[tuple[int, int], ...]
    first: int
    """Index of its first token."""
    last: int
    alternatives: bool
    formula: bool
    percent: bool
    """A percent sign follows the formula."""


def _joined(tokens: list[_Token], text: str) -> list[_Run]:
    """Return runs with a value in them; neighbours make one run, and joining words make a list of several."""
    runs: list[_Run] = []
    i = 0
    while i < len(tokens):
        if tokens[i].kind != "run":
            i += 1
            continue
        first = i
        parts = [(tokens[i].start, tokens[i].end)]
        formula = tokens[i].formula
        alternatives = percent = False
        while i + 1 < len(tokens):
            following = tokens[i + 1]
            if following.kind == "run":
                if following.formula != formula:
                    break
                if formula or _ends_a_member(text[tokens[i].start : tokens[i].end]):
                    parts.append((following.start, following.end))
                else:
                    parts[-1] = (parts[-1][0], following.end)
                i += 1
                continue
            if formula and following.said == "%":
                percent = True
                i += 1
                continue
            j = i + 1
            while j < len(tokens) and tokens[j].kind == "join" and j < i + 3:
                j += 1
            if j == i + 1 or j >= len(tokens) or tokens[j].kind != "run":
                break
            alternatives = alternatives or any(
                text[t.start : t.end].lower().strip(_EDGES) == "or" for t in tokens[i + 1 : j]
            )
            parts.append((tokens[j].start, tokens[j].end))
            formula = formula or tokens[j].formula
            i = j
        if formula or any(_has_value(text[s:e]) for s, e in parts):
            runs.append(_Run(tuple(parts), first, i, alternatives, formula, percent))
        i += 1
    return runs


def _ends_a_member(piece: str) -> bool:
    """Return whether a list continues after this token: after `2,`, but not after `(2,`."""
    return piece[-1:] in ",;" and _balanced(piece)


def _balanced(piece: str) -> bool:
    return piece.count("(") + piece.count("[") + piece.count("{") == (
        piece.count(")") + piece.count("]") + piece.count("}")
    )


def _has_value(piece: str) -> bool:
    return any(c.isdigit() for c in piece) or "\\" in piece or "=" in piece


def _skeleton(tokens: list[_Token], runs: list[_Run], text: str) -> list[str]:
    """Return the words around the runs: one more piece than there are runs."""
    pieces: list[str] = []
    at = 0
    for run in runs:
        pieces.append(_words(tokens[at : run.first], text))
        at = run.last + 1
    tail = text[tokens[runs[-1].last].end : tokens[-1].end + 1]
    ending = (
        "?"
        if "?" in tail or text[tokens[-1].start : tokens[-1].end + 1].rstrip("*\"' ").endswith("?")
        else ""
    )
    pieces.append(_words(tokens[at:], text) + ending)
    return pieces


def _words(tokens: list[_Token], text: str) -> str:
    return " ".join(
        t.said or (text[t.start : t.end].lower() if t.kind != "run" else "#") for t in tokens
    )


def _chosen(runs: list[_Run], pieces: list[str]) -> int:
    last = len(runs) - 1
    if last > 0 and _CONTRAST.fullmatch(pieces[last]):  # `42, not 24`
        last -= 1
    for i in range(last, -1, -1):
        if _STATING.search(pieces[i]):
            return i
    return last


def _marked(pieces: list[str], chosen: int) -> str:
    marked = pieces[0]
    for i, piece in enumerate(pieces[1:]):
        marked += f" {'@' if i == chosen else '#'} {piece}"
    return marked


def _taken(text: str, run: _Run) -> Stated:
    texts = []
    for start, end in run.parts:
        piece = text[start:end].strip().rstrip(_CLOSING).lstrip("*\"'“_`").strip()
        texts.append(piece if run.formula else _right_side(piece))
    texts[-1] += "\\%" if run.percent else scale_after(text, run.parts[-1][1])
    joined = (" or " if run.alternatives else ", ").join(texts)
    return Stated(
        joined,
        (run.parts[0][0], run.parts[-1][1]),
        "last formula" if run.formula else "last number",
    )


def _right_side(piece: str) -> str:
    """Return the last side of an arithmetic chain `12 + 30 = 42`; an equation with a variable stays whole."""
    if "=" not in piece:
        return piece
    sides = _RIGHT_SIDE.split(piece)
    if not sides[-1].strip() or _VARIABLE.search("".join(sides[:-1])):
        return piece
    return sides[-1].strip()
