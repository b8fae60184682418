"""Brackets: groups, tuples and intervals, sets and set-builders, absolute values."""

from __future__ import annotations

from stepgym.envs.maths.cursor import Cursor
from stepgym.envs.maths.lexer import Unreadable
from stepgym.envs.maths.tree import Node


class BracketParser(Cursor):
    """Whatever opens and closes."""

    def bracket(self) -> Node:
        opening = self.value
        if opening == "|":
            return self.absolute("|", "abs")
        if opening == "||":
            return self.absolute("||", "norm")
        if opening == "{":
            node = self.braced()
            if isinstance(node, tuple) and node[0] == "list":
                return ("set", node[2])
            return node
        if opening == "\\{":
            return self.set_braces()
        if opening in ("(", "[", "]"):
            return self.group(opening)
        if opening in ("+-", "-+"):
            self.advance()
            return (opening, 0, self.product())
        if opening in "+-":
            self.advance()
            inner = self.power()
            return ("-", inner) if opening == "-" else inner
        raise Unreadable(f"unexpected {opening!r}")

    def absolute(self, bar: str, name: str) -> Node:
        self.enter()
        self.advance()
        self.bars += 1
        in_set, self.in_set = self.in_set, False
        node = self.sum()
        self.bars -= 1
        self.in_set = in_set
        self.expect(bar)
        self.leave()
        return ("f", name, (node,))

    def group(self, opening: str) -> Node:
        self.enter()
        self.advance()
        bars, self.bars = self.bars, 0
        in_set, self.in_set = self.in_set, False
        closers = (")", "]") if opening != "]" else ("]", "[")
        if self.kind == "op" and self.value in closers:
            closing = self.value
            self.advance()
            self.leave()
            return ("group", opening, closing, ())
        parts, _, conditions = self.parts(closers)
        self.bars, self.in_set = bars, in_set
        closing = self.value if self.kind == "op" else ")" if opening == "(" else "]"
        self.expect(closing)
        self.leave()
        if len(parts) == 1 and not conditions and (opening, closing) in (("(", ")"), ("[", "]")):
            return parts[0]
        if opening == "]":
            opening = "("
            closing = {"[": ")", "]": "]"}[closing]
        return ("group", opening, closing, tuple(parts))

    def set_braces(self) -> Node:
        self.enter()
        self.advance()
        if (self.kind, self.value) == ("cmd", "begin") and ("op", "\\}") not in self.tokens[
            self.at :
        ]:
            self.braced_system = (
                True  # a brace that is never closed holds a system or the cases of a function
            )
            node = self.atom()
            self.leave()
            return node
        bars, self.bars = self.bars, 0
        in_set, self.in_set = self.in_set, True
        closers = ("\\}", "}", "|", ":", "mid")
        if self.kind == "op" and self.value in ("\\}", "}"):
            self.advance()
            self.leave()
            self.bars, self.in_set = bars, in_set
            return ("set", ())
        parts, _, conditions = self.parts(closers)
        if self.kind == "op" and self.value in ("|", ":", "mid"):
            self.advance()
            self.in_set = False
            conditions, joined, more = self.parts(("\\}", "}"))
            conditions = [("list", "or", tuple(conditions))] if joined == "or" else conditions
            conditions += more
        self.bars, self.in_set = bars, in_set
        if self.kind == "op" and self.value == "}":
            self.advance()
        else:
            self.expect("\\}")
        self.leave()
        if conditions:
            return (
                "where_set",
                parts[0] if len(parts) == 1 else ("list", ",", tuple(parts)),
                tuple(conditions),
            )
        return ("set", tuple(parts))

    def braced(self) -> Node:
        self.enter()
        self.expect("{")
        bars, self.bars = self.bars, 0
        in_set, self.in_set = self.in_set, False
        node = self.items(("}",))
        self.bars, self.in_set = bars, in_set
        self.expect("}")
        self.leave()
        return node
