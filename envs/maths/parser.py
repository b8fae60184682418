"""Tokens to tree: a recursive-descent parser with LaTeX's habits (implied products, bare function arguments).

`parse` is the only way in. It builds exactly what was written: nothing is evaluated or simplified here.
"""

from __future__ import annotations

import re

from stepgym.envs.maths.atoms import AtomParser
from stepgym.envs.maths.lexer import Unreadable, lex
from stepgym.envs.maths.tree import Node

_COMBINATIONS = re.compile(r"C_\d{1,4}\Z")
_OPENING_RUN = re.compile(r"[\s({$]*")
_CLOSING_RUN = re.compile(r"[\s)}$.]*\Z")


def parse(text: str, *, thousands: bool = True) -> Node:
    """Read `text` as mathematics; raises `Unreadable`."""
    tokens = lex(_unwrap(text) if len(text) > 200 else text, thousands=thousands)
    return Parser(tokens).whole()


def _unwrap(text: str) -> str:
    """Take off deep runs of brackets around a whole text, which would exhaust any recursion."""
    opening = _OPENING_RUN.match(text)
    closing = _CLOSING_RUN.search(text)
    if opening is None or closing is None:
        return text
    left = [c for c in opening.group() if c in "({"]
    right = [c for c in closing.group() if c in ")}"]
    count = min(len(left), len(right))
    if count < 50:
        return text
    middle = text[opening.end() : closing.start()]
    if "(" in middle or "{" in middle:
        return text
    pairs = all(a + b in ("()", "{}") for a, b in zip(left[-count:], reversed(right[:count])))
    return middle if pairs and len(left) == len(right) else text


class Parser(AtomParser):
    """Lists, relations, set operations, ratios, sums and products, from loose to tight; atoms are inherited."""

    def whole(self) -> Node:
        """The whole text as one node."""
        while self.kind == "sep" or (self.kind == "op" and self.value in ".:"):
            self.advance()
        node = self.items(("end",))
        if self.kind != "end":
            raise Unreadable(f"stopped at {self.value!r}")
        return node

    def items(self, closers: tuple[str, ...]) -> Node:
        """A list up to a closer (not consumed); a list of one is its item."""
        parts, separator, conditions = self.parts(closers)
        if not parts:
            raise Unreadable("nothing to read")
        node: Node = parts[0] if len(parts) == 1 else ("list", separator, tuple(parts))
        return ("where", node, tuple(conditions)) if conditions else node

    def parts(self, closers: tuple[str, ...]) -> tuple[list[Node], str, list[Node]]:
        parts: list[Node] = []
        conditions: list[Node] = []
        into = parts
        separator = ","
        while not (self.kind in closers or (self.kind == "op" and self.value in closers)):
            if self.kind == "sep":
                if self.value == "or":
                    separator = "or"
                elif self.value == "and" and separator == ",":
                    separator = "and"
                elif self.value == ";" and separator == ",":
                    separator = ";"
                self.advance()
            elif self.kind == "where":
                self.advance()
                into = conditions
            elif (self.kind == "op" and self.value in ".&" and into is parts) or (
                self.kind == "text" and into is conditions
            ):
                self.advance()
            else:
                into.append(self.relation())
                while self.kind == "text" and into is conditions:
                    self.advance()  # "where n is an integer"
                if self.kind not in ("sep", "where", *closers) and not (
                    self.kind == "op" and (self.value in closers or self.value in ".&")
                ):
                    raise Unreadable(f"stopped at {self.value!r}")
        return parts, separator, conditions

    def relation(self) -> Node:
        if self.kind == "rel" and self.value == "~":
            self.advance()  # "about 5" is 5
        first = self.ratio()
        if self.kind == "op" and self.value == "mid" and not self.in_set:
            self.kind, self.value = "rel", "divides"
        if self.kind != "rel":
            return self.modulus(first)
        operators: list[str] = []
        sides = [first]
        outer, self.relations = self.relations, self.relations
        while self.kind == "rel":
            operators.append(self.value)
            self.relations = "===" in operators
            self.advance()
            if self.kind == "rel" and operators[-1] in ("<", ">", "=") and self.value in ("=",):
                operators[-1] += "="
                self.advance()
            if self.kind in ("end", "sep") and len(sides) == 1:
                raise Unreadable("a relation without a right side")
            sides.append(self.ratio())
        self.relations = outer
        return self.modulus(("rel", tuple(operators), tuple(sides)))

    def modulus(self, node: Node) -> Node:
        if self.kind == "cmd" and self.value == "pmod":
            self.advance()
            return ("mod", node, self.argument())
        if (
            self.kind == "cmd"
            and self.value == "mod"
            and isinstance(node, tuple)
            and node[0] == "rel"
        ):
            self.advance()
            return ("mod", node, self.sum())
        if (
            self.kind == "op"
            and self.value == "("
            and self.tokens[self.at + 1] in (("cmd", "mod"), ("cmd", "pmod"))
        ):
            self.advance()
            self.advance()
            modulus = self.sum()
            self.expect(")")
            return ("mod", node, modulus)
        return node

    def ratio(self) -> Node:
        first = self.set_operation()
        if not (self.kind == "op" and self.value == ":" and not self.in_set):
            return first
        parts = [first]
        while self.kind == "op" and self.value == ":":
            self.advance()
            if self.kind == "cmd" and self.value == "dots":
                self.advance()
                parts.append(("dots",))
                continue
            parts.append(self.set_operation())
        return ("ratio", tuple(parts))

    def set_operation(self) -> Node:
        node = self.sum()
        while self.kind == "op" and self.value in ("cup", "cap", "setminus"):
            operator = self.value
            self.advance()
            node = (operator, node, self.sum())
        return node

    def sum(self) -> Node:
        self.enter()
        terms: list[Node] = []
        node: Node
        sign = ""
        while self.kind == "op" and self.value in "+-" and self.value:
            if self.value in ("+-", "-+"):
                break
            sign = "-" if (sign == "-") != (self.value == "-") else ""
            self.advance()
        if self.kind == "op" and self.value in ("+-", "-+"):
            operator = self.value
            self.advance()
            node = (operator, 0, self.product())
        else:
            node = self.product()
        terms.append(("-", node) if sign else node)
        while self.kind == "op" and self.value in ("+", "-", "+-", "-+"):
            operator = self.value
            self.advance()
            while self.kind == "op" and self.value in ("+", "-"):
                if self.value == "-":
                    operator = {"+": "-", "-": "+"}.get(operator, operator)
                self.advance()
            term = self.product()
            if operator == "+":
                terms.append(term)
            elif operator == "-":
                terms.append(("-", term))
            else:
                left = terms[0] if len(terms) == 1 else ("+", *terms)
                terms = [(operator, left, term)]
        self.leave()
        return terms[0] if len(terms) == 1 else ("+", *terms)

    def product(self) -> Node:
        mixed = self.kind == "num" and self.tokens[self.at + 1] == ("cmd", "frac")
        factors = [self.unary()]
        while True:
            if self.kind == "op":
                if self.value == "*":
                    self.advance()
                    factors.append(self.unary())
                    continue
                if self.value == "/":
                    self.advance()
                    left = factors[0] if len(factors) == 1 else ("*", *factors)
                    factors = [("/", left, self.unary())]
                    continue
            if self.kind == "cmd" and self.value == "mod" and not self.relations:
                self.advance()
                left = factors[0] if len(factors) == 1 else ("*", *factors)
                factors = [("f", "mod", (left, self.unary()))]
                continue
            if self.kind == "cmd" and self.value == "over":
                self.advance()
                left = factors[0] if len(factors) == 1 else ("*", *factors)
                factors = [("/", left, self.product())]
                continue
            if not self.starts_factor():
                break
            following = self.power()
            if isinstance(following, tuple) and following[0] == "rel" and following[1] == ("in",):
                continue  # "(k in Z)" after an answer says where a letter runs
            if mixed and len(factors) == 1 and _is_mixed(factors[0], following):
                factors = [("+", factors[0], following)]
            elif mixed and len(factors) == 1 and _is_signed_part(factors[0], following):
                factors = [("*", ("+", factors[0], following[1]), following[2])]  # type: ignore[index]
            else:
                factors.append(following)
        return factors[0] if len(factors) == 1 else ("*", *factors)

    def unary(self) -> Node:
        if self.kind == "op" and self.value in ("-", "+"):
            negative = False
            while self.kind == "op" and self.value in ("-", "+"):
                negative ^= self.value == "-"
                self.advance()
            node = self.unary()
            return ("-", node) if negative else node
        return self.power()

    def power(self) -> Node:
        node = self.postfix(self.atom())
        if self.kind == "op" and self.value == "^":
            self.advance()
            exponent = self.exponent()
            if exponent is None:  # a degree sign or an ordinal's letters
                return self.postfix(
                    ("*", self.of_arc(node), ("deg",)) if self.degree_sign else node
                )
            if (
                type(exponent) is int
                and isinstance(node, tuple)
                and node[0] == "v"
                and _COMBINATIONS.match(node[1])
            ):
                return ("f", "binom", (int(node[1][2:]), exponent))
            return self.postfix(("^", node, exponent))
        return node


def _is_mixed(whole: Node, part: Node) -> bool:
    """`3\\frac{1}{2}` is three and a half: a whole number before a proper fraction of whole numbers."""
    return (
        type(whole) is int
        and isinstance(part, tuple)
        and part[0] == "/"
        and type(part[1]) is int
        and type(part[2]) is int
        and 0 < part[1] < part[2]
    )


def _is_signed_part(whole: Node, part: Node) -> bool:
    """The proper fraction of a mixed number with the percent or degree sign behind it."""
    return (
        isinstance(part, tuple)
        and part[0] == "*"
        and len(part) == 3
        and part[2] in (("%",), ("deg",))
        and _is_mixed(whole, part[1])
    )
