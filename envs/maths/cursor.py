"""A cursor over tokens: what every layer of the parser moves and asks."""

from __future__ import annotations

from stepgym.envs.maths.lexer import Token, Unreadable
from stepgym.envs.maths.tree import Node

MAX_DEPTH = 120


class Cursor:
    """Position, depth and open bars; the layers above fill in the methods that say they are not here."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.kind, self.value = tokens[0]
        self.depth = 0
        self.bars = 0
        self.integrals = 0
        self.in_set = False
        self.braced_system = False
        self.degree_sign = False
        self.relations = False

    def items(self, closers: tuple[str, ...]) -> Node:
        raise NotImplementedError

    def parts(self, closers: tuple[str, ...]) -> tuple[list[Node], str, list[Node]]:
        raise NotImplementedError

    def relation(self) -> Node:
        raise NotImplementedError

    def sum(self) -> Node:
        raise NotImplementedError

    def product(self) -> Node:
        raise NotImplementedError

    def power(self) -> Node:
        raise NotImplementedError

    def advance(self) -> None:
        self.at += 1
        self.kind, self.value = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def expect(self, value: str) -> None:
        if self.value != value:
            if self.kind == "end":  # a missing closer at the very end is forgiven
                return
            raise Unreadable(f"expected {value!r}, found {self.value!r}")
        self.advance()

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deeply", too_large=True)

    def leave(self) -> None:
        self.depth -= 1

    def atom(self) -> Node:
        raise NotImplementedError

    def postfix(self, node: Node) -> Node:
        raise NotImplementedError
