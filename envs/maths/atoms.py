"""The tight half of the parser: numbers, symbols, arguments, functions, subscripts and what follows an atom."""

from __future__ import annotations

from stepgym.envs.maths.brackets import BracketParser
from stepgym.envs.maths.digits import number_node
from stepgym.envs.maths.lexer import Unreadable
from stepgym.envs.maths.tree import Node

_STYLE = frozenset(
    "boxed boldsymbol bm mathbf mathcal mathscr mathit mathsf mathfrak pmb vec overrightarrow".split()
)
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
_STARTS = frozenset(("num", "v", "k", "fn", "unit"))
_STARTING_COMMANDS = (
    frozenset(
        "frac binom binomfn sqrt emptyset begin lfloor lceil sum prod int lim dots bar overline hat widehat tilde mathbb dot deg underbrace overbrace underline".split()
    )
    | _STYLE
)


class AtomParser(BracketParser):
    """Everything tighter than a product. Subclassed by `Parser`."""

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
        """After `^`: a node, or `None` for a degree sign (then `degree_sign`) or an ordinal's letters."""
        self.degree_sign = False
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
                    self.advance()
                self.advance()
                return None
            return self.braced()
        if token == ("op", "'"):
            self.advance()
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
                node = ("*", node, ("deg",))
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
            and name.rstrip("'")[:1] in ("f", "g", "h", "F", "G", "H")
            and len(name.rstrip("'")) < 4
        ):
            self.advance()
            arguments, _, _ = self.parts((")",))
            self.expect(")")
            return ("call", name, tuple(arguments))
        return node

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
        if name == "log" and base is not None:
            node: Node = ("f", "log", (base, *arguments))
        elif name == "lg":
            node = ("f", "log", (10, *arguments))
        elif name == "log" and len(arguments) == 1:
            node = ("f", "ln", arguments)
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
            if len(arguments) > 1 and name not in _VARIADIC | {"binom", "log", "mod"}:
                raise Unreadable(f"{name} of {len(arguments)} arguments")
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
        """Whether `dx` stands here, inside an integral."""
        return (
            self.integrals > 0
            and (self.kind, self.value) == ("v", "d")
            and self.tokens[self.at + 1][0] in ("v", "k")
        )

    def command(self) -> Node:
        from stepgym.envs.maths import commands

        return commands.read(self, self.value)


def _is_angle(node: Node) -> bool:
    """`\\sin \\pi/6` takes the division along; `\\sin x/2` does not."""
    return node == ("k", "pi") or (
        isinstance(node, tuple) and node[0] == "*" and node[-1] == ("k", "pi")
    )


def _digits_of(node: Node) -> str:
    if type(node) is int and node >= 0:
        return str(node) if node < 10**4000 else ""
    raise Unreadable("a subscript on an expression")


def bind(name: str, body: Node) -> Node:
    """Make the letter that a sum or integral binds a symbol, where it reads as a constant (`i`, `e`)."""
    return _rename(body, name) if name in ("i", "e") else body


def _rename(node: Node, name: str) -> Node:
    if node == ("k", name):
        return ("v", name)
    if not isinstance(node, tuple):
        return node
    return tuple(_rename(item, name) if isinstance(item, tuple) else item for item in node)
