"""Tokens to tree: a recursive-descent parser with LaTeX's habits (implied products, bare function arguments).

The tree holds exactly what was written: nothing is evaluated or simplified here. Commands with arguments of their
own come in as a table (`latex_commands.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from stepgym.envs.maths import conditions
from stepgym.envs.maths.digits import number_node
from stepgym.envs.maths.lexer import Token, Unreadable
from stepgym.envs.maths.tree import Node

Command: TypeAlias = "Callable[[Parser], Node]"
MAX_DEPTH = 120
MAX_TRIANGLES = 5
_COMBINATIONS = re.compile(r"C_\d{1,4}\Z")
_STYLE = frozenset(
    "boxed boldsymbol bm mathbf mathcal mathscr mathit mathsf mathfrak pmb vec overrightarrow".split()
)
_TEMPERATURES = {"C": "celsius", "F": "fahrenheit"}
_BASE_NAMES = {
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
    "twelve": "12",
    "sixteen": "16",
    "hex": "16",
}
_VARIADIC = frozenset("gcd lcm max min".split())
_ARITIES = {"binom": (2,), "perm": (2,), "mod": (2,), "log": (1, 2)}
"""How many arguments a function takes, if not exactly one."""
_STARTS = frozenset(("num", "v", "k", "fn", "unit", "call"))
_STARTING_COMMANDS = (
    frozenset(
        "frac binom binomfn sqrt emptyset begin lfloor lceil sum prod int lim dots bar overline hat widehat tilde mathbb dot deg underbrace overbrace underline".split()
    )
    | _STYLE
)


class Parser:
    """Reads one list of tokens, from loose to tight: lists, relations, sums, products, powers, atoms, brackets.

    `kind` and `value` are the token at the cursor.
    """

    def __init__(self, tokens: list[Token], commands: Mapping[str, Command]) -> None:
        self.tokens = tokens
        self.commands = commands
        self.at = 0
        self.kind, self.value = tokens[0]
        self.depth = 0
        self.bars = 0
        self.integrals = 0
        self.num_triangles = 0
        self.in_set = False
        self.in_condition = False
        self.braced_system = False
        self.degree_sign, self.primes = False, 0
        self.relations = False
        self.last_set_end: int | None = None

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
            elif self.kind == "where" and self.value == "forall" and not parts:
                self.advance()
                conditions.append(self.relation())  # for all x > 0, ...
            elif self.kind == "where":
                self.advance()
                into = conditions
            elif (self.kind == "op" and self.value in ".&" and into is parts) or (
                self.kind == "text" and into is conditions
            ):
                self.advance()
            else:
                item = self.relation()
                if into is conditions and _names_again(item, parts):
                    into = parts  # `f(x) = 1 for all x, and f(x) = x`
                into.append(item)
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
        if self.kind == "is":  # "even n"
            property_ = self.value
            self.advance()
            if self.kind != "v":
                return ("text", property_)
            return conditions.said_of(self.ratio(), property_, is_condition=True)
        first = self.ratio()
        if self.kind == "op" and self.value == "mid" and not self.in_set:
            self.kind, self.value = "rel", "divides"
        if self.kind == "is":
            return self.property(first)
        if self.kind != "rel":
            return self.modulus(first)
        operators: list[str] = []
        sides = [first]
        outer, self.relations = self.relations, self.relations
        while self.kind == "rel":
            operators.append(self.value)
            self.relations = "===" in operators or "!===" in operators
            self.advance()
            if self.kind == "rel" and operators[-1] in ("<", ">", "=") and self.value in ("=",):
                operators[-1] += "="
                self.advance()
            if self.kind in ("end", "sep") and len(sides) == 1:
                raise Unreadable("a relation without a right side")
            sides.append(self.ratio())
        self.relations = outer
        node = conditions.in_order(("rel", tuple(operators), tuple(sides)))
        return self.property(node) if self.kind == "is" else self.modulus(node)

    def property(self, subject: Node) -> Node:
        property_ = self.value
        self.advance()
        is_condition = self.in_condition or self.in_set
        return conditions.said_of(subject, property_, is_condition=is_condition)

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
        while self.kind == "op" and self.value in ("cup", "cap", "setminus", "triangle"):
            operator = self.value
            self.advance()
            other = self.sum()
            if operator == "triangle":  # the symmetric difference, which doubles what it holds
                self.num_triangles += 1
                if self.num_triangles > MAX_TRIANGLES:
                    raise Unreadable("too many symmetric differences", too_large=True)
                node = ("setminus", ("cup", node, other), ("cap", node, other))
            else:
                node = (operator, node, other)
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
            if self.kind == "num" and self.tokens[self.at - 1][0] == "num":
                return self.sequence(factors)
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

    def sequence(self, factors: list[Node]) -> Node:
        """Numbers with nothing but blanks between them are a sequence, not a product."""
        items = [factors[0] if len(factors) == 1 else ("*", *factors)]
        while self.kind == "num":
            items.append(self.power())
        return ("seq", tuple(items))

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
            if exponent is None and self.degree_sign and self.value in _TEMPERATURES:
                scale = _TEMPERATURES[self.value]
                self.advance()
                return ("*", node, ("unit", scale))
            if exponent is None and self.primes and isinstance(node, tuple) and node[0] == "v":
                return self.postfix(self.maybe_call(("v", node[1] + "'" * self.primes)))
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

    def starts_factor(self) -> bool:
        """Whether the next token may begin a factor of an implied product."""
        kind, value = self.kind, self.value
        if kind in _STARTS:
            return True
        if kind == "op":
            if value == "(":
                return self.tokens[self.at + 1] not in (("cmd", "mod"), ("cmd", "pmod"))
            if value == "|":
                return self.bars == 0 and not self.in_set
            return value in ("{", "[", "\\{")
        return kind == "cmd" and value in _STARTING_COMMANDS

    def argument(self) -> Node:
        """What a command takes: a braced group, or one token (one digit of a number: `\\frac12`)."""
        if self.kind == "op" and self.value == "{":
            return self.braced()
        if self.kind == "num" and len(self.value) > 1 and self.value.isdigit():
            digit, rest = self.value[0], self.value[1:]
            self.tokens[self.at] = ("num", rest)
            self.value = rest
            return int(digit)
        if self.kind == "op" and self.value in "-+" and self.value:
            negative = self.value == "-"
            self.advance()
            node = self.argument()
            return ("-", node) if negative else node
        return self.atom()

    def exponent(self) -> Node | None:
        """After `^`: a node, or `None` for a degree sign (then `degree_sign`), `primes` or an ordinal's letters."""
        self.degree_sign, self.primes = False, 0
        token = (self.kind, self.value)
        if token in (("cmd", "circ"), ("cmd", "deg")):
            self.advance()
            self.degree_sign = True
            return None
        if token == ("op", "{"):
            inside = self.tokens[self.at + 1]
            if inside in (("cmd", "circ"), ("cmd", "deg")) and self.tokens[self.at + 2] == (
                "op",
                "}",
            ):
                for _ in range(3):
                    self.advance()
                self.degree_sign = True
                return None
            if inside == ("op", "}"):
                self.advance()
                self.advance()
                return None
            if inside == ("op", "'"):
                while self.value != "}" and self.kind != "end":
                    self.primes += self.value == "'"
                    self.advance()
                self.advance()
                return None
            return self.braced()
        if token == ("op", "'"):
            self.advance()
            self.primes = 1
            return None
        if self.kind == "op" and self.value in ("-", "+"):
            negative = self.value == "-"
            self.advance()
            node = self.exponent() or 0
            return ("-", node) if negative else node
        base = self.atom()
        if self.kind == "op" and self.value == "!":
            base = self.postfix(base)
        if self.kind == "op" and self.value == "^":
            self.advance()
            inner = self.exponent()
            return base if inner is None else ("^", base, inner)
        return base

    def postfix(self, node: Node) -> Node:
        while True:
            if self.kind == "op":
                if self.value == "!":
                    self.advance()
                    if self.value == "!" and self.kind == "op":
                        self.advance()
                        node = ("f", "double_factorial", (node,))
                    else:
                        node = ("f", "factorial", (node,))
                    self.enter()
                    continue
                if self.value == "%":
                    self.advance()
                    node = ("*", node, ("%",))
                    continue
                if self.value == "'" and isinstance(node, tuple) and node[0] == "v":
                    self.advance()
                    node = self.maybe_call(("v", node[1] + "'"))
                    continue
                if self.value == "_" and isinstance(node, tuple) and node[0] in ("group", "mat"):
                    break
                if self.value == "_":
                    self.advance()
                    node = ("base", _digits_of(node), self.subscript())
                    continue
            elif self.kind == "cmd" and self.value == "deg":
                self.advance()
                unit: Node = ("deg",)
                if self.value in _TEMPERATURES:
                    unit = ("unit", _TEMPERATURES[self.value])
                    self.advance()
                node = ("*", node, unit)
                continue
            elif self.kind == "cmd" and self.value == "choose":
                self.advance()
                node = ("f", "binom", (node, self.power()))
                continue
            break
        return node

    def of_arc(self, degrees: Node) -> Node:
        """Degrees with the minutes and seconds that follow: `12^\\circ 30' 36''`."""
        parts: list[Node] = [degrees]
        for size, marks in ((60, 1), (3600, 2)):
            if self.kind != "num" or not self.value.isdigit():
                break
            at, seen = self.at + 1, 0
            while self.tokens[at] in (("op", "^"), ("op", "{"), ("op", "}"), ("op", "'")):
                seen += self.tokens[at] == ("op", "'")
                at += 1
            if seen != marks:
                break
            parts.append(("/", int(self.value[:4]), size))
            self.at = at - 1
            self.advance()
        return degrees if len(parts) == 1 else ("+", *parts)

    def subscript(self) -> str:
        """The subscript's tokens, joined: `x_{n+1}` is the symbol `x_n+1`."""
        if self.kind == "op" and self.value == "{":
            depth, parts = 0, []
            while True:
                if self.kind == "end":
                    raise Unreadable("unclosed subscript")
                if self.value == "{":
                    depth += 1
                elif self.value == "}":
                    depth -= 1
                else:
                    parts.append(self.value)
                self.advance()
                if depth == 0:
                    return "".join(parts)
        value = self.value
        self.advance()
        return value

    def atom(self) -> Node:
        kind, value = self.kind, self.value
        if kind == "num":
            return self.number()
        if kind == "v":
            self.advance()
            return self.symbol(value)
        if kind == "k":
            self.advance()
            if value in "ei" and self.kind == "op" and self.value == "_":
                return self.symbol(value)
            if value == "R" and self.kind == "op" and self.value == "^":
                return ("v", "R")
            return ("k", value)
        if kind == "op":
            return self.bracket()
        if kind == "fn":
            return self.function()
        if kind == "unit":
            self.advance()
            return ("unit", value)
        if kind == "cmd":
            return self.command()
        if kind == "call":
            self.advance()
            self.advance()
            arguments, _, _ = self.parts((")",))
            self.expect(")")
            return ("call", value, tuple(arguments))
        if kind == "text":
            raise Unreadable(f"words: {value}")
        raise Unreadable(f"unexpected {value!r}" if value else "it ends too early")

    def number(self) -> Node:
        text = self.value
        if self.tokens[self.at + 1] == ("op", "_") and text.isalnum():
            self.advance()
            self.advance()
            base = self.subscript().strip("()").lower()
            return ("base", text, _BASE_NAMES.get(base, base))
        node = number_node(text)
        if node is None:
            raise Unreadable("a number of too many digits", too_large=True)
        self.advance()
        return node

    def symbol(self, name: str) -> Node:
        if self.kind == "op" and self.value == "_":
            self.advance()
            name = f"{name}_{self.subscript()}"
        while self.kind == "op" and self.value == "'":
            self.advance()
            name += "'"
        return self.maybe_call(("v", name))

    def maybe_call(self, node: Node) -> Node:
        """`f(x)` is a call for the letters that name functions; `x(x+1)` stays a product."""
        assert isinstance(node, tuple)
        name = node[1]
        if (
            self.kind == "op"
            and self.value == "("
            and len(name.rstrip("'")) < 4
            and (
                name.rstrip("'")[:1] in ("f", "g", "h", "F", "G", "H")
                or self.defines_function()
                or (name in ("A", "B", "C", "D", "P", "Q", "R") and self.takes_numbers())
            )
        ):
            self.advance()
            arguments, _, _ = self.parts((")",))
            self.expect(")")
            return ("call", name, tuple(arguments))
        return node

    def defines_function(self) -> bool:
        """Whether `(t) =` comes here, or `(10) =` after a capital: the letter before it names a function."""
        following = self.tokens[self.at + 1 : self.at + 4]
        capital = self.tokens[self.at - 1][1].isupper()
        return (
            len(following) == 3
            and (following[0][0] == "v" or (following[0][0] == "num" and capital))
            and following[1] == ("op", ")")
            and following[2] == ("rel", "=")
        )

    def takes_numbers(self) -> bool:
        """Whether `(5, 2)` comes here: a point's coordinates or the numbers of a combination."""
        kinds = [kind for kind, _ in self.tokens[self.at + 1 : self.at + 5]]
        letters = kinds[:3] == ["v", "sep", "v"] and self.tokens[self.at - 1][1] in ("C", "P")
        return (kinds[:3] == ["num", "sep", "num"] or letters) and self.tokens[self.at + 4] == (
            "op",
            ")",
        )

    def function(self) -> Node:
        name = self.value
        self.advance()
        outer: Node | None = None
        base: Node | None = None
        for _ in range(2):
            if self.kind == "op" and self.value == "^":
                self.advance()
                outer = self.exponent()
            elif self.kind == "op" and self.value == "_":
                self.advance()
                if name == "log":
                    base = self.argument() if self.kind == "op" else self.atom_no_product()
                else:
                    self.subscript()
        arguments = self.function_arguments(name)
        if len(arguments) not in _ARITIES.get(name, (1,)) and not (arguments and name in _VARIADIC):
            raise Unreadable(f"{name} of {len(arguments)} arguments")
        if name == "log" and base is not None and len(arguments) == 1:
            node: Node = ("f", "log", (base, *arguments))
        elif name == "log" and len(arguments) == 2:
            node = (
                "f",
                "log",
                (arguments[1], arguments[0]),
            )  # log(8, 2), as computer algebra has it
        elif name == "lg":
            node = ("f", "log", (10, *arguments))
        elif name == "perm":
            n, k = arguments
            node = ("/", ("f", "factorial", (n,)), ("f", "factorial", (("+", n, ("-", k)),)))
        elif name == "cbrt":
            node = ("f", "root", (3, *arguments))
        elif name == "cis":
            node = ("^", ("k", "e"), ("*", ("k", "i"), arguments[0]))
        elif name == "exp":
            node = ("^", ("k", "e"), arguments[0])
        else:
            node = ("f", name, arguments)
        if outer is None:
            return node
        if outer == ("-", 1) and name in (
            "sin",
            "cos",
            "tan",
            "cot",
            "sec",
            "csc",
            "sinh",
            "cosh",
            "tanh",
            "sech",
            "csch",
            "coth",
        ):
            return ("f", "arc" + name, arguments)
        return ("^", node, outer)

    def atom_no_product(self) -> Node:
        if (
            self.kind == "num"
            and len(self.value) > 1
            and self.value.isdigit()
            and self.tokens[self.at + 1][0] not in ("op",)
        ):
            return self.argument()
        return self.atom()

    def function_arguments(self, name: str) -> tuple[Node, ...]:
        """Bracketed arguments, or the product that follows up to the next function, sum or `*`."""
        self.enter()
        if self.kind == "op" and self.value in ("(", "["):
            node = self.group(self.value)
            arguments = node[3] if isinstance(node, tuple) and node[0] == "group" else (node,)
            self.leave()
            return tuple(arguments)
        if self.kind == "op" and self.value == "{":
            node = self.braced()
            if isinstance(node, tuple) and node[0] == "list":
                self.leave()
                return tuple(node[2])
        else:
            negative = self.kind == "op" and self.value == "-"
            if negative:
                self.advance()
            if self.kind == "fn":
                node = self.function()
            else:
                node = self.power()
            factors = [node]
            while (
                self.starts_factor()
                and not self.at_differential()
                and self.kind != "fn"
                and self.value not in ("(", "[", "\\{")
                and self.kind != "unit"
            ):
                factors.append(self.power())
            node = factors[0] if len(factors) == 1 else ("*", *factors)
            if (
                self.kind == "op"
                and self.value == "/"
                and name not in _VARIADIC
                and _is_angle(node)
                and self.tokens[self.at + 1][0] == "num"
            ):
                self.advance()
                node = ("/", node, self.power())
            if negative:
                node = ("-", node)
        self.leave()
        return (node,)

    def at_differential(self) -> bool:
        """Whether `dx` comes here, inside an integral."""
        return (
            self.integrals > 0
            and (self.kind, self.value) == ("v", "d")
            and self.tokens[self.at + 1][0] in ("v", "k")
        )

    def command(self) -> Node:
        handler = self.commands.get(self.value)
        if handler is None:
            raise Unreadable(f"unexpected \\{self.value}")
        self.enter()
        self.advance()
        node = handler(self)
        self.leave()
        return node

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
        if opening in ("(", "["):
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
        closers = (")", "]")
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
        return ("group", opening, closing, tuple(parts))

    def no_set_ends(self) -> bool:
        """Whether no `\\}` follows."""
        if self.last_set_end is None:
            ends = (i for i, token in enumerate(self.tokens) if token == ("op", "\\}"))
            self.last_set_end = max(ends, default=-1)
        return self.at > self.last_set_end

    def set_braces(self) -> Node:
        self.enter()
        self.advance()
        if (self.kind, self.value) == ("cmd", "begin") and self.no_set_ends():
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
        if conditions and not parts:
            raise Unreadable("a set-builder without its element")
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
    """The proper fraction of a mixed number with the percent or degree sign after it."""
    return (
        isinstance(part, tuple)
        and part[0] == "*"
        and len(part) == 3
        and part[2] in (("%",), ("deg",))
        and _is_mixed(whole, part[1])
    )


def _names_again(item: Node, parts: list[Node]) -> bool:
    """Whether an equation has the left side of one before it, `f(x)`, and so is another value of it."""
    return _left_call(item) is not None and any(_left_call(p) == _left_call(item) for p in parts)


def _left_call(node: Node) -> Node | None:
    if not (isinstance(node, tuple) and node[0] == "rel" and node[1] == ("=",)):
        return None
    left: Node = node[2][0]
    return left if isinstance(left, tuple) and left[0] == "call" else None


def _is_angle(node: Node) -> bool:
    """`\\sin \\pi/6` takes the division along; `\\sin x/2` does not."""
    return node == ("k", "pi") or (
        isinstance(node, tuple) and node[0] == "*" and node[-1] == ("k", "pi")
    )


def _digits_of(node: Node) -> str:
    if type(node) is int and node >= 0:
        return str(node) if node < 10**4000 else ""
    raise Unreadable("a subscript on an expression")
