"""LaTeX commands with arguments of their own: fractions, roots, big operators, environments, accents."""

from __future__ import annotations

from collections.abc import Callable

from stepgym.envs.maths import conditions
from stepgym.envs.maths.lexer import Unreadable
from stepgym.envs.maths.parser import Command, Parser
from stepgym.envs.maths.tree import Node


def _fraction(parser: Parser) -> Node:
    top = parser.argument()
    if parser.kind == "op" and parser.value == "/":
        parser.advance()
    return ("/", top, parser.argument())


def _root(parser: Parser) -> Node:
    if parser.kind == "op" and parser.value == "[":
        parser.advance()
        index = parser.sum()
        parser.expect("]")
        return ("f", "root", (index, parser.argument()))
    if parser.kind == "op" and parser.value == "(":
        return ("f", "sqrt", (parser.atom(),))
    if parser.kind == "num":
        return ("f", "sqrt", (parser.number(),))
    return ("f", "sqrt", (parser.argument(),))


def _binomial(parser: Parser) -> Node:
    return ("f", "binom", (parser.argument(), parser.argument()))


def _binomial_call(parser: Parser) -> Node:
    node = parser.atom()
    if not (isinstance(node, tuple) and node[0] == "group" and len(node[3]) == 2):
        raise Unreadable("binom needs two arguments")
    return ("f", "binom", tuple(node[3]))


def _bounds(parser: Parser) -> tuple[Node | None, Node | None]:
    low: Node | None = None
    high: Node | None = None
    for _ in range(2):
        if parser.kind == "op" and parser.value == "_":
            parser.advance()
            if parser.value == "{":
                parser.advance()
                low = parser.items(("}",))
                parser.expect("}")
            else:
                low = parser.argument()
        elif parser.kind == "op" and parser.value == "^":
            parser.advance()
            high = parser.exponent()
    return low, high


def _big(name: str) -> Callable[[Parser], Node]:
    def handler(parser: Parser) -> Node:
        low, high = _bounds(parser)
        if not (isinstance(low, tuple) and low[0] == "rel" and low[1] == ("=",)):
            raise Unreadable(f"\\{name} without a lower bound")
        variable = low[2][0]
        if not (isinstance(variable, tuple) and variable[0] in ("v", "k")) or high is None:
            raise Unreadable(f"\\{name} over something else than a letter")
        body = _bind(variable[1], parser.product())
        return (name, variable[1], low[2][1], high, body)

    return handler


def _bind(name: str, body: Node) -> Node:
    """Make the letter bound by a sum or integral a symbol, if it would read as a constant (`i`, `e`)."""
    return _rename(body, name) if name in ("i", "e") else body


def _rename(node: Node, name: str) -> Node:
    if node == ("k", name):
        return ("v", name)
    if not isinstance(node, tuple):
        return node
    return tuple(_rename(item, name) if isinstance(item, tuple) else item for item in node)


def _integral(parser: Parser) -> Node:
    low, high = _bounds(parser)
    parser.integrals += 1
    body = parser.sum()
    parser.integrals -= 1
    variable, body = _take_differential(body)
    return ("int", variable, low, high, body)


def _take_differential(body: Node) -> tuple[str, Node]:
    """Take `dx` off the end of an integrand; raises where there is none."""
    if isinstance(body, tuple) and body[0] == "*":
        factors = list(body[1:])
        for i in range(len(factors) - 1):
            first, second = factors[i], factors[i + 1]
            if first == ("v", "d") and isinstance(second, tuple) and second[0] == "v":
                rest = factors[:i] + factors[i + 2 :]
                return second[1], 1 if not rest else rest[0] if len(rest) == 1 else ("*", *rest)
    if isinstance(body, tuple) and body[0] == "+":
        variable, last = _take_differential(body[-1])
        return variable, ("+", *body[1:-1], last)
    if isinstance(body, tuple) and body[0] == "/":
        variable, top = _take_differential(body[1])
        return variable, ("/", top, body[2])
    if isinstance(body, tuple) and body[0] == "-":
        variable, inner = _take_differential(body[1])
        return variable, ("-", inner)
    raise Unreadable("an integral without its differential")


def _side(parser: Parser) -> str:
    """Take `^+` or `^-` off the end of a limit's bound."""
    tokens, at = parser.tokens, parser.at
    close = next((i for i in range(at, len(tokens)) if tokens[i] == ("op", "}")), 0)
    start = close - 2
    if tokens[start - 1 : start + 1] == [("op", "^"), ("op", "{")]:
        start, close = start - 1, close + 1
    sign = tokens[close - 2 if start < close - 2 else close - 1]
    if start <= at or tokens[start] != ("op", "^") or sign not in (("op", "+"), ("op", "-")):
        return ""
    del tokens[start:close]
    return sign[1]


def _limit(parser: Parser) -> Node:
    side = _side(parser)
    low, _ = _bounds(parser)
    if not (isinstance(low, tuple) and low[0] == "rel" and low[1] == ("->",)):
        raise Unreadable("a limit that goes nowhere")
    variable, to = low[2]
    if not (isinstance(variable, tuple) and variable[0] == "v"):
        raise Unreadable("a limit of something else than a letter")
    return ("lim", variable[1], to, side, parser.product())


def _styled(parser: Parser) -> Node:
    return parser.argument()


def _dotted(parser: Parser) -> Node:
    node = parser.argument()
    if not isinstance(node, tuple):
        raise Unreadable("a dot over a digit")
    if node[0] == "v":
        return ("v", f"dotted {node[1]}")  # a derivative by time, not the letter itself
    return node


def _bold(parser: Parser) -> Node:
    node = parser.argument()
    if node in (("k", "i"), ("v", "j"), ("v", "k")):
        assert isinstance(node, tuple)
        return ("v", f"unit vector {node[1]}")
    return node


def _accented(parser: Parser) -> Node:
    node = parser.argument()
    if isinstance(node, tuple) and node[0] in ("v", "k") and node[1] in ("i", "j", "k"):
        return ("v", f"unit vector {node[1]}")
    return node


def _conjugate(parser: Parser) -> Node:
    node = parser.argument()
    if (
        isinstance(node, tuple)
        and node[0] == "*"
        and all(isinstance(f, tuple) and f[0] == "v" and f[1][:1].isupper() for f in node[1:])
    ):
        return node  # a segment: \overline{AB}
    return ("f", "conj", (node,))


_SIGNED = {">0": "+", "<0": "-", "!=0": "*"}
"""`\\mathbb{Q}_{>0}` is `\\mathbb{Q}^+`."""


def _board(parser: Parser) -> Node:
    node = parser.argument()
    if isinstance(node, tuple) and node[0] in ("v", "k") and node[1] in "RZNQC":
        bound = [value for _, value in parser.tokens[parser.at : parser.at + 5]]
        if parser.value == "_" and bound[1] == "{" and (found := _SIGNED.get("".join(bound[2:4]))):
            while parser.value != "}":
                parser.advance()
            parser.advance()
            return ("k", node[1] + found)
        if (
            parser.kind == "op"
            and parser.value in ("^", "_")
            and parser.tokens[parser.at + 1] != ("op", "{")
        ):
            sign = parser.tokens[parser.at + 1][1]
            if sign in ("+", "-", "*"):
                parser.advance()
                parser.advance()
                return ("k", node[1] + sign)
        if (
            parser.kind == "op"
            and parser.value == "^"
            and [t[1] for t in parser.tokens[parser.at + 1 : parser.at + 4]]
            in (["{", "+", "}"], ["{", "-", "}"], ["{", "*", "}"])
        ):
            sign = parser.tokens[parser.at + 2][1]
            for _ in range(4):
                parser.advance()
            return ("k", node[1] + sign)
        return ("k", node[1])
    return node


def _floor(closing: str, name: str) -> Callable[[Parser], Node]:
    def handler(parser: Parser) -> Node:
        node = parser.sum()
        parser.expect(closing)
        return ("f", name, (node,))

    return handler


def _environment_name(parser: Parser) -> str:
    parser.expect("{")
    name = ""
    while parser.value != "}":
        if parser.kind == "end":
            raise Unreadable("unclosed environment")
        name += parser.value
        parser.advance()
    parser.advance()
    return name.rstrip("*")


def _environment(parser: Parser) -> Node:
    name = _environment_name(parser)
    if name in ("array", "tabular") and parser.value == "{":
        while parser.value != "}" and parser.kind != "end":
            parser.advance()
        parser.advance()
    if not (name.endswith("matrix") or name in ("array", "tabular", "cases", "rcases", "dcases")):
        _drop_alignment(parser)
    has_conditions = parser.braced_system or name in ("cases", "rcases", "dcases")
    joined = _rows(parser, has_conditions=has_conditions)
    parser.advance()
    _environment_name(parser)
    if not joined:
        raise Unreadable("an empty environment")
    if has_conditions:
        parser.braced_system = False
        return _cases(joined)
    rows = [[cell for _, cell in row] for row in joined]
    if name.endswith("matrix") or name in ("array", "tabular"):
        node: Node = ("mat", tuple(tuple(row) for row in rows))
        if name == "vmatrix":
            return ("f", "det", (node,))
        return node
    flat = [cell for row in rows for cell in row]
    return flat[0] if len(flat) == 1 else ("list", ",", tuple(flat))


def _drop_alignment(parser: Parser) -> None:
    """Take the `&` out of an aligned environment, where they separate nothing."""
    tokens, at = parser.tokens, parser.at
    end = next((i for i in range(at, len(tokens)) if tokens[i] == ("cmd", "end")), len(tokens))
    kept = [token for token in tokens[at:end] if token != ("op", "&")]
    if len(kept) < end - at:
        tokens[at:end] = kept
        parser.kind, parser.value = tokens[at]


_Cell = tuple[str, Node]
"""What joins a cell to the one before it (`and`, `or`, else nothing), and the cell."""


def _rows(parser: Parser, *, has_conditions: bool) -> list[list[_Cell]]:
    rows: list[list[_Cell]] = [[]]
    joint = ""
    while not (parser.kind == "cmd" and parser.value == "end"):
        if parser.kind == "end":
            raise Unreadable("unclosed environment")
        if (parser.kind, parser.value) == ("sep", "\\\\"):
            rows.append([])
            joint = ""
            parser.advance()
        elif parser.kind in ("sep", "where") or (
            parser.kind == "op" and parser.value in ("&", ".")
        ):
            words = conditions.unread(parser.value) if parser.kind == "where" else ""
            if words and has_conditions:
                rows[-1].append((joint, ("text", words)))
            joint = parser.value if parser.value in ("and", "or") else ""
            parser.advance()
        else:
            bars, parser.bars = parser.bars, 0
            outer, parser.in_condition = parser.in_condition, has_conditions and bool(rows[-1])
            rows[-1].append((joint, parser.relation()))
            joint, parser.bars, parser.in_condition = "", bars, outer
    return [row for row in rows if row]


OTHERWISE = ("text", "otherwise")
_OTHERWISE = frozenset(("unit", word) for word in ("otherwise", "else", "elsewhere"))


def _cases(rows: list[list[_Cell]]) -> Node:
    if all(len(row) == 1 for row in rows):
        return ("list", ",", tuple(row[0][1] for row in rows))
    pairs = []
    for (_, value), *cells in rows:
        condition = _all_of(cells) if cells else OTHERWISE
        pairs.append((value, OTHERWISE if condition in _OTHERWISE else condition))
    return ("cases", tuple(pairs))


def _all_of(cells: list[_Cell]) -> Node:
    """Join the conditions of a row: `and` binds tighter than `or`, and a comma or a new cell least."""
    parts: list[list[list[Node]]] = []
    for joint, cell in cells:
        if joint == "and" and parts:
            parts[-1][-1].append(cell)
        elif joint == "or" and parts:
            parts[-1].append([cell])
        else:
            parts.append([[cell]])

    def joined(name: str, nodes: list[Node]) -> Node:
        return nodes[0] if len(nodes) == 1 else ("list", name, tuple(nodes))

    return joined("and", [joined("or", [joined("and", each) for each in part]) for part in parts])


def _empty_set(parser: Parser) -> Node:
    return ("set", ())


def _dots(parser: Parser) -> Node:
    return ("dots",)


def _degree(parser: Parser) -> Node:
    return ("deg",)


COMMANDS: dict[str, Command] = {
    "frac": _fraction,
    "sqrt": _root,
    "binom": _binomial,
    "binomfn": _binomial_call,
    "sum": _big("sum"),
    "prod": _big("prod"),
    "int": _integral,
    "lim": _limit,
    "begin": _environment,
    "emptyset": _empty_set,
    "dots": _dots,
    "deg": _degree,
    "mathbb": _board,
    "lfloor": _floor("rfloor", "floor"),
    "lceil": _floor("rceil", "ceil"),
    "bar": _conjugate,
    "overline": _conjugate,
    "mathbf": _bold,
    "boldsymbol": _bold,
    "bm": _bold,
    "vec": _accented,
    "hat": _accented,
    "overrightarrow": _accented,
    "tilde": _styled,
    "widehat": _styled,
    "boxed": _styled,
    "mathcal": _styled,
    "mathscr": _styled,
    "mathit": _styled,
    "mathsf": _styled,
    "mathfrak": _styled,
    "pmb": _bold,
    "dot": _dotted,
    "underline": _styled,
    "underbrace": _styled,
    "overbrace": _styled,
}
