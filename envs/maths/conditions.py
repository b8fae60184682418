r"""Conditions in words as tokens: `\text{if n is even}`, `p \text{ does not divide } n`, `x \text{ is irrational}`.

Divisibility becomes a relation. A property becomes a token that `Parser.relation` puts behind what it is said of. Words
that are not listed here stay words, which the parser compares as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from stepgym.envs.maths.tree import Node, symbols

Token = tuple[str, str]

_PREDICATE = re.compile(
    r"""\b(?P<not>(?:do(?:es)?\s+not|doesn't|don't|doesn’t|don’t)\s+)?divides?\b
    | \b(?:is|are)\s+(?P<not2>not\s+)?(?P<of>(?:evenly\s+)?divisible\s+by|an?\s+(?:integer\s+)?multiple\s+of|multiples\s+of)\b
    | \b(?:is|are)\s+(?P<not3>not\s+)?(?P<in>an?\s+(?:divisor|factor)\s+of|(?:divisors|factors)\s+of)\b
    | \b(?:(?:is|are)\s+)?(?P<not4>not\s+)?(?:an?\s+)?(?P<word>even|odd)(?:\s+(?:integers?|numbers?))?\b
    | \b(?:is|are)\s+(?P<not5>not\s+)?(?:an?\s+)?(?P<word2>rational|irrational|integers?|whole|real|prime|composite|positive|negative
        |non-?negative|non-?positive|non-?zero|zero|perfect\s+square|perfect\s+cube|square-?free)(?:\s+numbers?)?(?!\s*[-a-z])""",
    re.VERBOSE | re.IGNORECASE,
)
_CONNECTIVE = re.compile(r"\s*\b(if|for|where|when|whenever|while|and|or)\b\s*", re.IGNORECASE)
_MATHS = re.compile(r"(?:[^A-Za-z\\]|\\[A-Za-z]+|(?<![A-Za-z])[A-Za-z](?![A-Za-z]))*")
_SIGN = re.compile(r"[<>=≤≥≠∈∣]|\\(?:leq?|geq?|neq?|in|mid|nmid|equiv|notin)(?![A-Za-z])")
_SETS = {"rational": "Q", "integer": "Z", "whole": "Z", "real": "R"}
_COMPARED = {
    "positive": (">", "<="),
    "negative": ("<", ">="),
    "nonnegative": (">=", "<"),
    "nonpositive": ("<=", ">"),
    "zero": ("=", "!="),
    "nonzero": ("!=", "="),
}
_UNSAID = re.compile(
    r"(?:if|for|where|when|whenever|while|given|with|such|that|as|is|are|any|all|every|each|some|the|we|have|otherwise|otherwise if|\W)*",
    re.IGNORECASE,
)
"""Words of a condition that say nothing by themselves."""


def tokens_of(content: str, lex: Callable[[str], list[Token]]) -> list[Token] | None:
    """Return the tokens of a condition in words, without the end token; `None` if some words are not read here."""
    if not (_PREDICATE.search(content) or _SIGN.search(content)):
        return None
    tokens: list[Token] = []
    at = 0
    for match in [*_PREDICATE.finditer(content), None]:
        piece = content[at : match.start() if match else len(content)]
        for i, part in enumerate(_CONNECTIVE.split(piece)):
            if i % 2:
                word = part.lower()
                tokens.append(("sep" if word in ("and", "or") else "where", word))
            elif part.strip(" ,.;~$"):
                if not _MATHS.fullmatch(part):
                    return None
                tokens += lex(part)[:-1]
        if match is not None:
            tokens.append(_token(match))
            at = match.end()
    return tokens


def _token(match: re.Match[str]) -> Token:
    denied = any(match[name] for name in ("not", "not2", "not3", "not4", "not5"))
    word = match["word"] or match["word2"]
    if word is not None:
        return ("is", f"{'not ' if denied else ''}{' '.join(word.lower().split())}")
    if match["of"]:
        return ("rel", "indivisible" if denied else "divisible")
    return ("rel", "ndivides" if denied else "divides")


def unread(words: str) -> str:
    """Return what is left of a condition in words without the words that say nothing by themselves."""
    return "" if _UNSAID.fullmatch(words) else " ".join(words.lower().split())


def said_of(subject: Any, property_: str, *, is_condition: bool) -> Node:
    """Return the condition that `subject` has a property; a number with such a word after it is a quantity.

    What is neither a letter nor in a condition is an answer with a remark: the word is kept as a unit.
    """
    kind = subject[0] if isinstance(subject, tuple) else ""
    if kind == "rel":
        operators, sides = subject[1:]
        letters = [
            side for side in sides if is_condition and isinstance(side, tuple) and side[0] == "v"
        ]
        if len(letters) == 1:  # `n > 2 \text{ is even}`
            said = said_of(letters[0], property_, is_condition=True)
            return ("list", "and", (subject, said))
        return ("rel", operators, (*sides[:-1], ("*", sides[-1], ("unit", property_))))
    if not symbols(subject) or not (is_condition or kind == "v"):
        return ("*", subject, ("unit", property_))
    word = property_.removeprefix("not ").removesuffix("s").replace("-", "")
    holds = not property_.startswith("not ")
    if word in ("even", "odd"):
        return ("rel", ("divides" if holds == (word == "even") else "ndivides",), (2, subject))
    if word in _COMPARED:
        return ("rel", (_COMPARED[word][not holds],), (subject, 0))
    if word == "irrational":
        word, holds = "rational", not holds
    members: Node = ("k", _SETS[word]) if word in _SETS else ("text", word)
    return ("rel", ("in" if holds else "notin",), (subject, members))


def in_order(node: Any) -> Node:
    """Write `n is divisible by 3` as `3 divides n`; said of a value, it is a remark, which is kept as a unit."""
    operators, sides = node[1:]
    if operators[-1] in ("divisible", "indivisible"):
        if len(operators) > 1 or not symbols(sides[0]):
            remark = ("*", sides[-2], ("unit", operators[-1]))
            return ("rel", operators[:-1], (*sides[:-2], remark)) if len(operators) > 1 else remark
        return ("rel", ("divides" if operators == ("divisible",) else "ndivides",), sides[::-1])
    return node  # type: ignore[no-any-return]
