"""Proposed arithmetic: `expression: 3 * (4 + 5) - 6`."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from stepgym.envs.expressions import evaluate, plain_operators
from stepgym.envs.text_domain import INSTRUCTIONS
from stepgym.envs.types import Problem

MAX_OPERATIONS = 12
MAX_DIGITS = 6
MAX_VALUE_DIGITS = 12
MIN_OPERATIONS = 2

_CHARACTERS = re.compile(r"[0-9+\-*/()\s]+")
_LEADING_ZEROS = re.compile(r"\b0+(?=[0-9])")
_SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


class _Part(NamedTuple):
    """A part of an expression: its canonical text, its value, and how many operations change a value."""

    text: str
    value: Fraction
    num_useful: int


@dataclass(frozen=True)
class ProposedExpression:
    """An expression of whole numbers with `+ - * /` and brackets."""

    text: str
    tree: ast.expr

    kind = "expression"

    @property
    def key(self) -> str:
        part = _part(self.tree)
        return f"expression {part.text if part is not None else self.text}"

    @property
    def num_operations(self) -> int:
        return sum(isinstance(node, ast.BinOp) for node in ast.walk(self.tree))

    def too_large(self) -> str:
        if self.num_operations > MAX_OPERATIONS:
            return f"{self.num_operations} operations; at most {MAX_OPERATIONS}"
        longest = max(map(len, re.findall("[0-9]+", self.text)))
        if longest > MAX_DIGITS:
            return f"a number of {longest} digits; at most {MAX_DIGITS}"
        found = evaluate(self.text)
        if found is not None and len(str(found.value)) > MAX_VALUE_DIGITS:
            return f"its value has more than {MAX_VALUE_DIGITS} characters"
        return ""

    def ambiguous(self) -> str:
        return ""

    def undecidable(self) -> str:
        return "" if evaluate(self.text) is not None else "it has no value: it divides by zero"

    def unsolvable(self) -> str:
        return ""

    def trivial(self) -> str:
        part = _part(self.tree)
        num_useful = 0 if part is None else part.num_useful
        if num_useful < MIN_OPERATIONS:
            return (
                f"{num_useful} operations change a value (x + 0, x * 1 and x * 0 do not count); "
                f"at least {MIN_OPERATIONS}"
            )
        return ""

    def solution(self) -> str:
        found = evaluate(self.text)
        assert found is not None, f"{self.text!r} has no value"
        return str(found.value)

    def problem(self, reference: str) -> Problem:
        prompt = f"Compute {self.text}.\n\n{INSTRUCTIONS}"
        return Problem(id=f"proposed/{self.key}", prompt=prompt, reference=reference)


def read_expression(text: str) -> ProposedExpression | str:
    """Read an expression, or return why the text is none."""
    plain = " ".join(_LEADING_ZEROS.sub("", plain_operators(text)).split())
    wrong = "not an expression of whole numbers with + - * / and brackets"
    if not _CHARACTERS.fullmatch(plain):
        return wrong
    try:
        tree = ast.parse(plain, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return wrong
    allowed = (ast.BinOp, ast.Constant, *_SIGNS)
    nodes = list(ast.walk(tree))
    return ProposedExpression(plain, tree) if all(isinstance(n, allowed) for n in nodes) else wrong


def _part(tree: ast.expr) -> _Part | None:
    """Return an expression with the operands of sums and products in order; `None` if it divides by zero."""
    if isinstance(tree, ast.Constant):
        return _Part(str(tree.value), Fraction(str(tree.value)), 0)
    assert isinstance(tree, ast.BinOp)
    left, right = _part(tree.left), _part(tree.right)
    if left is None or right is None:
        return None
    sign, a, b = _SIGNS[type(tree.op)], left.value, right.value
    if sign == "/" and b == 0:
        return None
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a / (b or 1)}[sign]
    if sign in "*/" and 0 in (a, b):
        num_useful = 0  # the result is known before anything else is computed
    else:
        same = {"+": 0 in (a, b), "-": b == 0, "*": 1 in (a, b), "/": b == 1}[sign]
        num_useful = left.num_useful + right.num_useful + (not same)
    parts = sorted((left.text, right.text)) if sign in "+*" else (left.text, right.text)
    return _Part(f"({parts[0]}{sign}{parts[1]})", value, num_useful)
