r"""Finds the formulas of a step (`$...$`, `\(...\)`, `\[...\]`, `align`) and divides each into relations with spans.

A relation is a chain of sides with the signs between them: `x^2 - 1 = (x - 1)(x + 1) = 0`. The rows of an `align`
that begin with a sign continue the chain before them. A formula that is plain arithmetic (`\(3 \times 4 = 12\)`) is not
read here: prose and its formulas are one statement then, which `statements.py` reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from stepgym.envs.maths.reading import read
from stepgym.envs.maths.tree import Node, has
from stepgym.envs.steps.plain_text import STOP

MAX_SIDE = 400
"""Characters of a side; longer ones are not read."""
_FORMULA = re.compile(
    r"""\\\[(?P<a>.{0,4000}?)\\\] | \\\((?P<b>.{0,2000}?)\\\) | \$\$(?P<c>.{0,4000}?)\$\$
    | \\begin\{(?P<name>align|alignat|gather|equation|eqnarray|multline|aligned|gathered)\*?\}(?P<d>.{0,4000}?)\\end\{(?P=name)\*?\}
    | (?<![\\$])\$(?P<e>(?![\s$])(?:[^$\\]|\\.){0,600}?)(?<![\\])\$(?!\d)""",
    re.X | re.S,
)
_BLOCK = re.compile(
    r"\[asy\].{0,8000}?\[/asy\]|```.{0,8000}?```|\\begin\{tabular\}.{0,4000}?\\end\{tabular\}", re.S
)
"""Drawings, programs and tables: no text with claims."""
_LINE = re.compile(r"[^\n\0]+")
_LATEX = re.compile(
    r"\\(?:frac|[dt]frac|sqrt|times|cdot|sum|int|left|over|lim|log|sin|cos|tan|pi|leq?|geq?|begin|[lc]?dots|mathbf|text)(?![A-Za-z])"
    r"|[\^_]\{|&\s*=|\\\\\s*$"
)
"""Marks of a formula; arithmetic in prose may hold a single command, and is then left out."""
_LETTERS = r"\{[^{}]*\}"
_WORDS = re.compile(rf"\\(?:text|mathrm|mbox|textbf|mathbf|textrm|hbox)\s*{_LETTERS}")
_WORDS_ALONE = re.compile(rf"(?:[\s&]*{_WORDS.pattern})+[\s&]*")
_PLAIN_COMMANDS = re.compile(
    r"\\(?:times|cdot|div|[dt]?frac|cfrac|left|right|approx|boxed|displaystyle|q?quad(?![A-Za-z])|[$%,;:! ()\[\]\\{}])"
)
_NO_PLAIN = re.compile(
    r"\\|_|(?<![A-Za-z])(?!(?:of|in|at|to|by|or|on|is)\b)[A-Za-z]{1,2}(?![A-Za-z])|\^(?!\d(?!\d)|\{-?\d+\})|!|\|"
)
_LETTER = re.compile(r"\s*[A-Za-z]\s*")
"""A letter alone, which belongs to the prose around it: `150 + \\( x \\) = 500`."""
_SHORT_FRACTION = re.compile(r"frac(?!\s*\{)")
_SIGNS = {
    "=": "=",
    "<": "<",
    ">": ">",
    r"\le": "<=",
    r"\leq": "<=",
    r"\leqslant": "<=",
    r"\ge": ">=",
    r"\geq": ">=",
    r"\geqslant": ">=",
    r"\lt": "<",
    r"\gt": ">",
    r"\approx": "~",
    r"\simeq": "~",
    r"\doteq": "~",
    r"\equiv": "===",
    r"\mid": "|",
    r"\nmid": "!|",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "≡": "===",
    r"\to": "->",
    r"\rightarrow": "->",
    r"\longrightarrow": "->",
    r"\xrightarrow": "->",
    r"\sim": "->",
    r"\ne": "!=",
    r"\neq": "!=",
    r"\not": "!=",
    r"\cong": "!=",
    r"\in": "!=",
    r"\stackrel": "!=",
    r"\overset": "!=",
    ":=": "!=",
}
"""Sign -> the operator of the relation; `!=` stands for all signs that are not decided."""
_CUTS = frozenset(
    r"\implies \Rightarrow \Longrightarrow \iff \Leftrightarrow \Longleftrightarrow \quad \qquad \text \mbox"
    r" \textrm \textit \textnormal \hbox \mathrm \because \therefore \vee \lor \wedge \land ; ,".split()
)
_OPENING = frozenset((*"{([", r"\{", r"\lfloor", r"\lceil", r"\langle"))
_CLOSING = frozenset((*"})]", r"\}", r"\rfloor", r"\rceil", r"\rangle"))
_SCAN = re.compile(
    r"\\\\(?:\[[^]\n]*\])?|\\(?:begin|end)\{[A-Za-z]+\*?\}|\\[A-Za-z]+|\\.|:=|\n\s*\n|.", re.S
)
_SIGN_AHEAD = re.compile(
    r"[\s&]*(?:\{\}\s*)?(?:=|<|>|\\(?:leq?|geq?|leqslant|geqslant|approx|equiv)(?![A-Za-z]))"
)
_OPERATOR_AHEAD = re.compile(
    r"(?:[\s&]|\{\})*(?:[-+*/^=<>~)\]}!]|\\(?:leq?|geq?|leqslant|geqslant|approx|equiv|times|cdot|div|pm|mp|neq?|sim|to|right|cup|cap|in|mid"
    r"|[lr]?angle|\\|end)(?![A-Za-z])|\Z)"
)
_OPERATOR_BEFORE = re.compile(r"(?:[-+*/^=<>(\[{~]|\\(?:times|cdot|div|pm|mp|left|big\w*))\s*\Z")
_GOES_ON = re.compile(
    r"(?:\$\$?|\\[)\]])\s*(?:[!%\u00b0^]|(?:\$|\\[(\[])\s*(?:\\(?:cdot|times|div)|[-+/*!]))"
)
_COMES_BEFORE = re.compile(r"[-+*/^=<>]\s*(?:\$\$?|\\[(\[])\s*$")
"""An operator in prose before a formula."""
_TRAILING = re.compile(r"(?:\s|&|\\\\(?:\[[^]\n]*\])?)+$")
_THOUSANDS = re.compile(r"(?<=\d),(?:\\!)?\d{3}(?!\d)")
_WORD_COMMANDS = frozenset(r"\text \mbox \textrm \textit \textnormal \hbox \mathrm".split())
_TEXT = re.compile(r"\\(?:text|mbox|textrm|textit|textnormal|hbox|mathrm)\s*\{([^{}]*)\}")
_JOINING = re.compile(
    r"\W*(?:or|and|so|thus|then|hence|therefore|if|when|where|since|because|for|gives|implies|which|as|but|while|is"
    r"|are|with|not|we|that|no|does|by|from|case|using|let|note|noting|recall\w*|assum\w*|tak(?:e|ing)|substitut\w*|plug\w*"
    r"|giv(?:en|ing|es?)|after|before|this|these|it|means|meaning|due|thanks|also|now|on|at|in\s+which|i\.e|namely|provided|until)\b",
    re.I,
)
"""Words in a formula that end a relation; others are units."""
_UNDERSTOOD = re.compile(
    r"\\(?:nonumber|notag|displaystyle|textstyle|limits)(?![A-Za-z])|\\(?:tag|label)\*?\{[^{}]*\}"
)
_UNITS_WRITTEN = re.compile(r"\\(?:text|mathrm|mbox|rm|textrm|operatorname|hbox|\$)|[A-Za-z]{3,}")
APPLIED = re.compile(r"[A-Za-z]\s*(?:\\left)?\(\s*-?\d")
"""A letter before a number in brackets, which may be an unknown function: `p(3)`."""
_MODULUS = re.compile(
    r"\\pmod\s*(?:\{([^{}]*)\}|(\w))|\(?\s*\\(?:text|mathrm|operatorname)?\{?\s*(?:\\?b?mod)\}?\s*\{?([\w^]+)\}?\s*\)?"
)


class Side(NamedTuple):
    """One side of a relation and its place in the step; `node` is `None` if it cannot be read."""

    start: int
    end: int
    text: str
    node: Node | None


class Relation(NamedTuple):
    """A chain of sides; a single side without a sign is a relation too, with no operators."""

    sides: tuple[Side, ...]
    operators: tuple[str, ...]
    lead: str
    """The text between the previous relation and this one, LaTeX included; a new row counts as a line break."""
    modulus: Node | None = None
    """Of a congruence."""

    @property
    def start(self) -> int:
        return self.sides[0].start

    @property
    def end(self) -> int:
        return self.sides[-1].end


def without_formulas(step: str) -> str:
    """Return the step, equally long, with the formulas that are read here and all programs and drawings blanked."""
    chars = list(_blanked(step))
    for start, end in _spans(step):
        chars[start:end] = STOP * (end - start)
    return "".join(chars)


def relations_in(step: str) -> list[Relation]:
    """Return the relations of all formulas of a step, in order."""
    if "$" not in step and "\\" not in step:
        return []
    found: list[Relation] = []
    before = 0
    for start, end in _spans(step):
        for relation in _relations(step, start, end, before):
            found.append(relation)
            before = relation.end
        if found and found[-1].start >= start and _GOES_ON.match(step, end):
            found[-1] = _without_last(found[-1])
    return found


def relation_of(text: str) -> Relation | None:
    """Return the one relation of a text without delimiters, `None` if there are several or none."""
    found = list(_relations(text.strip("$ "), 0, len(text.strip("$ ")), 0))
    return found[0] if len(found) == 1 and found[0].operators else None


def plain_relations_in(step: str) -> list[Relation]:
    """Return the relations of the formulas that are plain arithmetic, if they are complete between their delimiters.

    Prose reads these formulas too, with the words around them; it does not read `$729 = 3^6$`, whose first side looks like
    the end of the words before.
    """
    if "$" not in step and "\\" not in step:
        return []
    found: list[Relation] = []
    for start, end in _delimited(_blanked(step), plain=True):
        if _GOES_ON.match(step, end) or _COMES_BEFORE.search(step[max(0, start - 9) : start]):
            continue
        relations = list(_relations(step, start, end, start))
        found += [each for each in relations if each.operators and all(s.text for s in each.sides)]
    return found


def _without_last(relation: Relation) -> Relation:
    """Return a relation whose last side goes on behind the formula (`$5$!`), so that it cannot be read."""
    return relation._replace(sides=(*relation.sides[:-1], relation.sides[-1]._replace(node=None)))


def _blanked(step: str) -> str:
    return _BLOCK.sub(lambda m: STOP * len(m.group()), step)


def _spans(step: str) -> list[tuple[int, int]]:
    """Return offsets of the formulas that are more than plain arithmetic, without their delimiters.

    A line of LaTeX without delimiters is one too: a step may be cut out of a larger formula.
    """
    text = _blanked(step)
    bare = _FORMULA.sub(lambda m: " " * len(m.group()), text)
    lines = [match.span() for match in _LINE.finditer(bare) if _LATEX.search(match.group())]
    inner = [span for span in _delimited(text) if not any(a <= span[0] < b for a, b in lines)]
    return sorted(inner + lines)


def _delimited(step: str, *, plain: bool = False) -> Iterator[tuple[int, int]]:
    for match in _FORMULA.finditer(step):
        group = next(name for name in "abcde" if match.group(name) is not None)
        start, end = match.span(group)
        text = step[start:end]
        if group == "e" and not _is_formula(text):
            continue
        if plain != (group == "d" or not _is_plain(text)):
            yield start, end


def _is_formula(text: str) -> bool:
    """Say whether the text between two dollar signs is a formula, not prose between two prices."""
    if text[-1:].isspace():
        return False
    return "\\" in text or not re.search(r"[A-Za-z]{3,}\s", text)


def _is_plain(text: str) -> bool:
    rest = _PLAIN_COMMANDS.sub(" ", _WORDS.sub(" ", text))
    if _LETTER.fullmatch(text):
        return True
    if _SHORT_FRACTION.search(text) or "&" in text.replace("\\&", ""):
        return False
    return "<" not in rest and ">" not in rest and _NO_PLAIN.search(rest) is None


def _relations(step: str, start: int, end: int, before: int) -> Iterator[Relation]:
    """Divide one formula; `before` is where the relation before it ended."""
    text = _UNDERSTOOD.sub(lambda m: " " * len(m.group()), step[start:end])
    pieces: list[tuple[int, int]] = []
    operators: list[str] = []
    at = 0
    for cut in [*_cuts(text), _Cut(len(text), len(text), "")]:
        pieces.append((at, cut.start))
        at = cut.end
        if cut.operator:
            operators.append(cut.operator)
            continue
        sides = tuple(_side(text, a, b, start) for a, b in pieces)
        if any(side.text for side in sides):
            yield _with_modulus(sides, tuple(operators), step[before : sides[0].start])
            before = sides[-1].end
        pieces, operators = [], []


class _Cut(NamedTuple):
    start: int
    end: int
    operator: str
    """Empty where a relation ends."""


def _cuts(text: str) -> Iterator[_Cut]:
    """Yield the signs and the borders of relations that stand outside brackets."""
    depth = 0
    last = 0  # where the side being read begins
    after_sign = False
    in_remark = False  # a relation of this row ended before
    for match in _SCAN.finditer(text):
        token = match.group()
        if token in _OPENING or token.startswith(r"\begin"):
            depth += 1
        elif token in _CLOSING or token.startswith(r"\end"):
            depth = max(0, depth - 1)
        elif token.startswith("\\\\"):
            blank = not text[last : match.start()].strip(" \t\n&")
            if (
                depth == 0
                and not (blank and after_sign)
                and (in_remark or not _SIGN_AHEAD.match(text, match.end()))
            ):
                yield _Cut(match.start(), match.end(), "")
                last, after_sign = match.end(), False
            in_remark = in_remark and depth > 0
        elif (
            depth == 0
            and token == "&"
            and (after_sign or _WORDS_ALONE.fullmatch(text, last, match.start()))
            and _ends_column(text, last, match.start())
        ):
            yield _Cut(match.start(), match.end(), "")
            last, after_sign, in_remark = match.end(), False, True
        elif depth == 0 and (operator := _SIGNS.get(token)):
            yield _Cut(match.start(), match.end(), operator)
            last, after_sign = match.end(), True
        elif depth == 0 and (token in _CUTS or token.startswith("\n")):
            if token in (r"\text", r"\mbox", r"\textrm"):
                words = _TEXT.match(text, match.start())
                if words is None or not _JOINING.match(words.group(1)):
                    continue
                yield _Cut(match.start(), words.end(), "")
                last, after_sign, in_remark = words.end(), False, True
            elif token != "," or not _THOUSANDS.match(text, match.start()):
                yield _Cut(match.start(), match.end(), "")
                last, after_sign, in_remark = match.end(), False, True


def _ends_column(text: str, start: int, at: int) -> bool:
    """Say whether an alignment mark after a side parts it from a remark or from another relation, not from its own sign."""
    before = text[start:at].rstrip(" \t\n&")
    return (
        bool(before) and not _OPERATOR_BEFORE.search(before) and not _OPERATOR_AHEAD.match(text, at)
    )


def _side(text: str, start: int, end: int, offset: int) -> Side:
    raw = text[start:end]
    stripped = _TRAILING.sub("", raw.strip(" \t\n&~"))
    begin = start + (raw.index(stripped) if stripped else 0)
    node = None
    if stripped and len(stripped) <= MAX_SIDE:
        node = read(_cleaned(stripped)).node
        if node is not None and has(node, "unit") and not _UNITS_WRITTEN.search(stripped):
            node = None  # `3 m` is 3 times an unknown
    return Side(offset + begin, offset + begin + len(stripped), stripped, node)


def _cleaned(side: str) -> str:
    """Return a side's text as the reader of answers takes it: no alignment marks, no full stop."""
    if "\\begin" not in side:
        side = side.replace("&", " ")
    return side.replace(r"\!", " ").replace("\\$", " ").strip().rstrip(".")


def _with_modulus(sides: tuple[Side, ...], operators: tuple[str, ...], lead: str) -> Relation:
    """Take `\\pmod{7}` off the last side of a congruence."""
    if "===" not in operators:
        return Relation(sides, operators, lead)
    last = sides[-1]
    match = _MODULUS.search(last.text)
    if match is None:
        return Relation(sides, operators, lead, None)
    node = read(_cleaned(last.text[: match.start()])).node
    modulus = read(next(filter(None, match.groups()), "")).node
    return Relation((*sides[:-1], last._replace(node=node)), operators, lead, modulus)
