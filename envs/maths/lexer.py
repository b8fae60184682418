"""Text to tokens: LaTeX, plain ASCII and Python notation in one pass.

Tokens are pairs `(kind, value)`; the kinds are listed in `KINDS`. Nothing here decides what a letter means. Time is
linear in the text: quantifiers are possessive or bounded wherever two of them could share characters.
"""

from __future__ import annotations

import re

from stepgym.envs.maths import conditions
from stepgym.envs.maths.digits import goes_on
from stepgym.envs.maths.spelling import plain
from stepgym.envs.maths.units import is_unit

Token = tuple[str, str]

KINDS = """
num: digits as written     v: a letter or named symbol     k: pi, e, i, inf, R, Z, N, Q, C
fn: a function's name      op: + - * / ^ _ ! ' and brackets     rel: = < > <= >= != in ...
sep: , ; and or \\         where: a condition follows      unit: a unit's phrase     text: words
is: a property of what precedes
cmd: a command that the parser knows by name
"""


class Unreadable(Exception):
    """The text is no expression that this parser reads; `too_large` if its size is the reason."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


MAX_CHARS = 20_000

GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho varrho sigma "
    "tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar"
).split()
FUNCTIONS = (
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth sech csch asin acos atan "
    "arcsinh arccosh arctanh arcsech arccsch arccoth asinh acosh atanh ln log lg exp sqrt cbrt abs floor ceil gcd lcm max min Re Im arg "
    "det tr binom perm factorial sgn sign mod cis"
).split()
_ALIASES = {
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
    "tg": "tan",
    "ctg": "cot",
    "cosec": "csc",
    "cosech": "csch",
    "asec": "arcsec",
    "acsc": "arccsc",
    "acot": "arccot",
    "asech": "arcsech",
    "acsch": "arccsch",
    "acoth": "arccoth",
    "arccosec": "arccsc",
    "nCr": "binom",
    "binomial": "binom",
    "nchoosek": "binom",
    "nPr": "perm",
    "arctg": "arctan",
    "sgn": "sign",
    "ceiling": "ceil",
    "arsinh": "arcsinh",
    "arcosh": "arccosh",
    "artanh": "arctanh",
    "HCF": "gcd",
}

COMMANDS: dict[str, Token] = {name: ("v", name) for name in GREEK}
COMMANDS |= {"varepsilon": ("v", "epsilon"), "vartheta": ("v", "theta"), "varphi": ("v", "phi")}
COMMANDS |= {
    name: ("fn", name) for name in FUNCTIONS if name not in ("sqrt", "binom", "mod", "abs")
}
COMMANDS |= {name: ("fn", alias) for name, alias in _ALIASES.items()}
COMMANDS |= dict.fromkeys(("le", "leq", "leqslant", "leqq", "lte"), ("rel", "<="))
COMMANDS |= dict.fromkeys(("ge", "geq", "geqslant", "geqq", "gte"), ("rel", ">="))
COMMANDS |= dict.fromkeys(("cdot", "times", "ast", "bullet", "star"), ("op", "*"))
COMMANDS |= dict.fromkeys(
    ("ldots", "dots", "cdots", "dotsc", "dotsb", "vdots", "ddots", "dotsm"), ("cmd", "dots")
)
COMMANDS |= dict.fromkeys(("frac", "dfrac", "tfrac", "cfrac", "rac", "fraction"), ("cmd", "frac"))
COMMANDS |= dict.fromkeys(("binom", "dbinom", "tbinom", "choose"), ("cmd", "binom")) | {
    "choose": ("cmd", "choose")
}
COMMANDS |= dict.fromkeys(("vert", "lvert", "rvert"), ("op", "|"))
COMMANDS |= dict.fromkeys(("Vert", "lVert", "rVert", "|", "parallel"), ("op", "||"))
COMMANDS |= dict.fromkeys(("to", "rightarrow", "longrightarrow", "mapsto"), ("rel", "->"))
COMMANDS |= dict.fromkeys(
    ("implies", "Rightarrow", "Longrightarrow", "iff", "Leftrightarrow"), ("rel", "=>")
)
COMMANDS |= dict.fromkeys(("approx", "thickapprox", "simeq"), ("rel", "~"))
COMMANDS |= {
    "mid": ("op", "mid"),
    "divides": ("op", "mid"),
    "pi": ("k", "pi"),
    "infty": ("k", "inf"),
    "infinity": ("k", "inf"),
    "imath": ("k", "i"),
    "jmath": ("v", "j"),
    "lt": ("rel", "<"),
    "gt": ("rel", ">"),
    "ne": ("rel", "!="),
    "neq": ("rel", "!="),
    "equiv": ("rel", "==="),
    "cong": ("rel", "~="),
    "sim": ("rel", "~="),
    "in": ("rel", "in"),
    "notin": ("rel", "notin"),
    "nmid": ("rel", "ndivides"),
    "nequiv": ("rel", "!==="),
    "nleq": ("rel", ">"),
    "ngeq": ("rel", "<"),
    "nless": ("rel", ">="),
    "ngtr": ("rel", "<="),
    "subset": ("rel", "sub"),
    "subseteq": ("rel", "sub"),
    "div": ("op", "/"),
    "pm": ("op", "+-"),
    "mp": ("op", "-+"),
    "cup": ("op", "cup"),
    "bigcup": ("op", "cup"),
    "cap": ("op", "cap"),
    "setminus": ("op", "setminus"),
    "bigtriangleup": ("op", "triangle"),
    "backslash": ("op", "setminus"),
    "smallsetminus": ("op", "setminus"),
    "land": ("sep", "and"),
    "wedge": ("sep", "and"),
    "lor": ("sep", "or"),
    "vee": ("sep", "or"),
    "colon": ("op", ":"),
    "sqrt": ("cmd", "sqrt"),
    "over": ("cmd", "over"),
    "forall": ("where", "forall"),
    "emptyset": ("cmd", "emptyset"),
    "varnothing": ("cmd", "emptyset"),
    "degree": ("cmd", "deg"),
    "circ": ("cmd", "circ"),
    "prime": ("op", "'"),
    "sum": ("cmd", "sum"),
    "prod": ("cmd", "prod"),
    "int": ("cmd", "int"),
    "lim": ("cmd", "lim"),
    "mod": ("cmd", "mod"),
    "bmod": ("cmd", "mod"),
    "pmod": ("cmd", "pmod"),
    "pod": ("cmd", "pmod"),
    "begin": ("cmd", "begin"),
    "end": ("cmd", "end"),
    "lfloor": ("cmd", "lfloor"),
    "rfloor": ("cmd", "rfloor"),
    "lceil": ("cmd", "lceil"),
    "rceil": ("cmd", "rceil"),
    "langle": ("op", "("),
    "rangle": ("op", ")"),
    "lbrace": ("op", "\\{"),
    "rbrace": ("op", "\\}"),
    "lbrack": ("op", "["),
    "rbrack": ("op", "]"),
    "lparen": ("op", "("),
    "rparen": ("op", ")"),
    "ohm": ("unit", "ohm"),
    "Re": ("fn", "Re"),
    "Im": ("fn", "Im"),
    "infin": ("k", "inf"),
    "textdegree": ("cmd", "deg"),
    "textcirc": ("cmd", "circ"),
    "R": ("k", "R"),
    "Z": ("k", "Z"),
}
for _name in "bar overline underline hat widehat tilde vec overrightarrow boxed boldsymbol bm mathbf mathcal mathscr mathit mathsf mathfrak mathbb pmb dot underbrace overbrace".split():
    COMMANDS[_name] = ("cmd", _name)

_NOISE = frozenset(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle scriptstyle limits "
    "nolimits angle triangle therefore because qquad quad thinspace medspace thickspace enspace hline newline bf rm it sf tt "
    "normalsize large Large small measuredangle odot square rbrace0 nonumber notag centerdot0 ensuremath displaylimits mathstrut strut".split()
)
_TEXT_COMMANDS = frozenset(
    "text textbf textit textrm texttt textsf textnormal mathrm mbox hbox operatorname emph textup textmd texttip rm mathop".split()
)
_AND = {
    "and": ("sep", "and"),
    "or": ("sep", "or"),
    "or else": ("sep", "or"),
    "&": ("sep", "and"),
    "to": ("op", ":"),
    ",": ("sep", ","),
}
WHERE_WORDS = frozenset("if for where when with given while as such whenever".split())
WORDS: dict[str, Token] = (
    {
        "forall": ("where", "forall"),
        "and": ("sep", "and"),
        "or": ("sep", "or"),
        "oo": ("k", "inf"),
        "inf": ("k", "inf"),
        "infinity": ("k", "inf"),
        "pi": ("k", "pi"),
        "union": ("op", "cup"),
        "intersect": ("op", "cap"),
        "in": ("rel", "in"),
        "percent": ("op", "%"),
        "pct": ("op", "%"),
        "percentage": ("op", "%"),
        "deg": ("cmd", "deg"),
        "degree": ("cmd", "deg"),
        "degrees": ("cmd", "deg"),
        "mod": ("cmd", "mod"),
        "sqrt": ("cmd", "sqrt"),
        "binom": ("cmd", "binomfn"),
        "infty": ("k", "inf"),
        "emptyset": ("cmd", "emptyset"),
        "pm": ("op", "+-"),
        "per": ("op", "/"),
        "frac": ("cmd", "frac"),
    }
    | {name: ("fn", name) for name in FUNCTIONS if name not in ("sqrt", "binom", "mod")}
    | {name: ("fn", alias) for name, alias in _ALIASES.items()}
    | {name: ("v", name) for name in GREEK if len(name) > 2}
    | {word: ("where", word) for word in WHERE_WORDS if word not in ("as",)}
)

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\\[,;:!\s/>]|~|\$|\\[()\[\]](?!\]))+)
  | (?P<num>[0-9A-Fa-f]{2,40}+(?=_(?:16|\{16\}))
      | 0x[0-9A-Fa-f]++(?![A-Za-z]) | 0b[01]++(?![\dA-Za-z])
      | \d++\s++\d++\s*+/\s*+\d++(?![\d.])
      | \d{1,3}(?:(?:\{,\}|\\,|\\!|,\\[,!]\s?|\\\s|\s)\d{3}(?!\d)){1,40}+(?:\.\d++)?
      | \d++\{,\}(?:\d{1,2}|\d{4,9})(?!\d)
      | [1-9]\d{0,2}(?:,\d{3}){1,40}+(?:\.\d++)?+(?!\d|,\d|\{)
      | [1-9]\d{0,2}(?:\.\d{3}){2,40}+(?![\d.])
      | (?>\d++\.\d*|\.\d+)(?:\\(?:over|under)line\s*+\{\d++\}|\\dot\s*+(?:\{\d\}|\d)(?:\d*+\\dot\s*+(?:\{\d\}|\d))?|(?<=\.)\(\d++\)|(?<=\.\d)\(\d++\)|(?<=\.\d\d)\(\d++\))
      | \d*+\.\d++(?:\\[lc]?dots[cb]?|\.\.\.)
      | (?>\d+\.?\d*|\.\d+)(?:[eE][+-]?\d++(?![.A-Za-z]))?)
  | (?P<cmd>\\[A-Za-z]+)
  | (?P<word>[A-Za-z]+)
  | (?P<rel><=|>=|!=|==|=>|->|=<|<|>|=)
  | (?P<esc>\\[{}%\#&_|$"'])
  | (?P<newline>\\\\(?:\[\w+\])?)
  | (?P<op>\*\*|[-+*/^_!'()\[\]{}|:%&.])
  | (?P<sep>[,;])
  | (?P<bad>.)""",
    re.VERBOSE | re.DOTALL,
)
_ELLIPSIS = re.compile(r"\\[lc]?dots|\.\.\.")
_ESCAPED: dict[str, Token] = {
    "\\{": ("op", "\\{"),
    "\\}": ("op", "\\}"),
    "\\%": ("op", "%"),
    "\\&": ("op", "&"),
    "\\_": ("op", "_"),
    "\\|": ("op", "||"),
    "\\$": ("unit", "dollar"),
}
_RELATIONS = {"==": "=", "=<": "<="}
_BRACED = re.compile(r"\s*+\*?+\s*+\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")
_DENIED = re.compile(
    r"\s*(?:(=)|(\\equiv)|(\\in(?![a-z])|∈)|(\\(?:mid|divides|vert)(?![a-z])|\|)|(<)|(>)|(\\leq?(?![a-z]))|(\\geq?(?![a-z])))"
)
"""A sign of relation after `\\not`."""
_NEGATIVES = ("!=", "!===", "notin", "ndivides", ">=", "<=", ">", "<")
_LONGEST_NAME = max(map(len, COMMANDS))
_MATHS_IN_TEXT = re.compile(r"[\s\d+\-*/^().,=<>$\\{}]*\Z|[A-Za-z]?\Z")
_CHOICE = re.compile(r"\(?([A-Za-z])\)?[.:]?\Z")
_CONTRARY = re.compile(
    r"\b(?:not|no|never|except|unless|than|least|most|between|neither|nor|without|cannot)\b"
)
"""Words that change the meaning of what is beside them."""
_JOINED = re.compile(r"(or|and)([A-Z])\Z")
_FUNCTION_PREFIX = re.compile(
    r"(arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|ln|log|sqrt|pi)([a-z]{1,2})\Z"
)


def lex(text: str, *, thousands: bool = True) -> list[Token]:
    """Return the tokens of `text`, ending in `("end", "")`; raises `Unreadable`.

    With `thousands`, `1,200` outside brackets is one number; inside brackets commas always separate.
    """
    if len(text) > MAX_CHARS:
        raise Unreadable(f"{len(text)} characters", too_large=True)
    text = plain(text)
    if len(text) > 3 * MAX_CHARS:
        raise Unreadable(f"{len(text)} characters", too_large=True)
    tokens: list[Token] = []
    depth = 0
    position = 0
    size = len(text)
    match_at = _TOKEN.match
    while position < size:
        match = match_at(text, position)
        assert match is not None  # the last alternative takes any character
        kind, value = match.lastgroup, match.group()
        position = match.end()
        if kind == "space":
            continue
        if kind == "op":
            if value in "([":
                depth += 1
            elif value in ")]":
                depth -= 1
            tokens.append(("op", "^" if value == "**" else value))
        elif kind == "num":
            if (
                "," in value
                and (depth > 0 or not thousands)
                and tokens[-1:] != [_ESCAPED["\\$"]]
                and "{" not in value
                and "\\" not in value
            ):
                first = value.index(",")
                value, position = value[:first], match.start() + first
            elif (ellipsis := _ELLIPSIS.search(value)) and not goes_on(value):
                first = ellipsis.start()
                value, position = value[:first], match.start() + first
            tokens.append(("num", value))
        elif kind == "word":
            _word(value, tokens, text, match)
        elif kind == "cmd":
            position = _command(value[1:], tokens, text, position)
        elif kind == "rel":
            tokens.append(("rel", _RELATIONS.get(value, value)))
        elif kind == "sep":
            tokens.append(("sep", value))
        elif kind == "esc":
            if value in _ESCAPED:
                if value == "\\{":
                    depth += 1
                elif value == "\\}":
                    depth -= 1
                tokens.append(_ESCAPED[value])
        elif kind == "newline":
            tokens.append(("sep", "\\\\"))
        else:
            raise Unreadable(f"cannot read {value!r}")
    tokens.append(("end", ""))
    if "|" in text:
        _mark_divisions(tokens)
    return tokens


def _mark_divisions(tokens: list[Token]) -> None:
    """Read a bar as `divides` if it is the only one of its part and outside brackets: `p|n`.

    A bar that is the only one in round or square brackets is a condition's: `P(A|B)`.
    """
    bars: list[int] = []
    inside: list[list[int]] = []  # where each open bracket is, and the bars in it
    start = 0
    for i, (kind, value) in enumerate(tokens):
        if kind == "op" and value in _OPENING:
            inside.append([i])
        elif kind == "op" and value in _CLOSING:
            opened, *its_bars = inside.pop() if inside else [i]
            if len(its_bars) == 1 and opened + 1 < its_bars[0] < i - 1 and value in ")]":
                tokens[its_bars[0]] = ("op", "mid")
        elif kind == "op" and value == "|":
            bars.append(-1 if inside else i)
            if inside:
                inside[-1].append(i)
        elif kind in ("sep", "where", "end", "rel") or (kind, value) == ("op", "&"):
            alone = len(bars) == 1 and start < bars[0] < i - 1
            if alone and kind != "rel" and tokens[bars[0] + 1] != ("op", "_"):
                tokens[bars[0]] = ("rel", "divides")
            start, bars = i + 1, [-1] if kind == "rel" else []


_OPENING = frozenset(("(", "[", "{", "\\{"))
_CLOSING = frozenset((")", "]", "}", "\\}"))


def _word(word: str, tokens: list[Token], text: str, match: re.Match[str]) -> None:
    """A run of letters: a name that is known, a unit after a number, single letters, or words."""
    start, end = match.span()
    before: Token = tokens[-1] if tokens else ("", "")
    if before[0] == "unit" and (word == "of" or " of" in before[1]):
        tokens[-1] = ("unit", f"{before[1]} {word}")
        return
    if len(word) == 1:
        special = word in _SPECIAL_LETTERS and before[0] in ("num", "op", "k")
        tokens.append(_single(word, tokens, before, text, start, end) if special else _letter(word))
        return
    if word in _FILLERS:
        return
    after_number = before in _ENDS_QUANTITY or before[0] in ("num", "unit")
    if word in _JOINTS:
        joint = _between_numbers(word, before, text, start, end)
        if joint is not None:
            tokens.extend(joint)
            return
    if word == "log" and end < len(text) and text[end].isdigit():
        tokens += [("fn", "log"), ("op", "_")]  # log2(8)
        return
    known = WORDS.get(word) or WORDS.get(word.lower() if not after_number else "")
    if word == "in" and after_number and _QUANTITY_END.match(text, end):
        known = ("unit", word)
    if known is not None and not (after_number and word in ("min", "sec")):
        tokens.append(known)
        return
    spaced = start > 0 and text[start - 1] in " ~}$"
    if is_unit(word) and (after_number or (spaced and before == ("k", "pi") and word != "hr")):
        tokens.append(("unit", word))
        return
    if after_number and spaced and len(word) >= 3 and not set(word) <= set("xyzabcn"):
        tokens.append(("unit", word))
        return
    if word.lower() in _TEMPERATURES and before in (("cmd", "deg"), ("cmd", "circ")):
        tokens.append(("v", word[0].upper()))
        return
    joined = _JOINED.match(word)
    if joined:
        tokens.append(WORDS[joined.group(1)])
        tokens.extend(_letter(letter) for letter in joined.group(2))
        return
    prefixed = _FUNCTION_PREFIX.match(word)
    if prefixed:
        tokens.append(WORDS[prefixed.group(1)])
        tokens.extend(_letter(letter) for letter in prefixed.group(2))
    elif text.startswith("(", end) and _names_a_function(word):
        tokens.append(("call", word))
    elif len(word) <= 4:
        tokens.extend(_letter(letter) for letter in word)
    else:
        tokens.append(("text", word))


def _single(
    letter: str, tokens: list[Token], before: Token, text: str, start: int, end: int
) -> Token:
    """A single letter: a unit, a union, a times sign between numbers, or a symbol."""
    ends_operand = before[0] == "num" or before in _ENDS_QUANTITY or before == ("k", "pi")
    if letter == "U" and before in _CLOSERS and _OPENS.match(text, end):
        return ("op", "cup")
    if letter in "xX" and before[0] == "num" and _NUMBER_FOLLOWS.match(text, end):
        return ("op", "*")
    if letter in _LETTER_UNITS and ends_operand:
        spaced = text[start - 1] in " ~" and letter in _SPACED_UNITS
        if _after_dollar(text, start) or (
            spaced and (_QUANTITY_END.match(text, end) or _STEP_FOLLOWS.match(text, end))
        ):
            return ("unit", letter)
        if before == ("op", "/") and tokens[-2:-1] and tokens[-2][0] == "unit":
            return ("unit", letter)
    return _letter(letter)


def _between_numbers(
    word: str, before: Token, text: str, start: int, end: int
) -> list[Token] | None:
    """Words that join numbers, and the letters of ordinals: `3 to 5`, `1 in 4`, `1 out of 4`, `15th`."""
    if word == "of" and before == ("op", "/"):
        return []
    if before[0] != "num":
        return None
    if word in ("st", "nd", "rd", "th") and text[start - 1].isdigit():
        return [] if _RANK_ENDS.match(text, end) else [("text", word)]
    if word == "out" and _OF_NUMBER.match(text, end):
        return [("op", "/")]
    if word in ("in", "to") and _NUMBER_FOLLOWS.match(text, end):
        return [("op", "/" if word == "in" else ":")]
    return None


def _names_a_function(word: str) -> bool:
    """Whether an unknown word before a bracket is a function's name and no product of letters."""
    if len(word) == 2:
        return word[0].isupper() and word[1].islower()
    return not set(word) <= set("abcdxyz")


def _after_dollar(text: str, position: int) -> bool:
    """Whether a dollar sign precedes `position`, with only spaces between."""
    while position and text[position - 1] == " " and text[position - 2 : position - 1] == " ":
        position -= 1
    return text[max(0, position - 2) : position].rstrip(" ").endswith("$")


_LETTER_UNITS = frozenset("m s g h t N J L l W V A K F".split())
_SPECIAL_LETTERS = _LETTER_UNITS | frozenset("UxX")
_FILLERS = frozenset("only just exactly simply".split())
"""Words that change nothing before a value: `only x = 0`."""
_JOINTS = frozenset("of st nd rd th out in to".split())
_SPACED_UNITS = frozenset("m s g h L N J W V K".split())
"""Letters that a blank makes a unit at the end of a quantity: `5 m`, but not `5m` or `5 t`."""
_TEMPERATURES = ("celsius", "fahrenheit")
_QUANTITY_END = re.compile(
    r"(?:\s?\^\s?\{?-?\d\}?)?(?:\s?[/*]\s?[A-Za-z]{1,4}(?:\^\{?-?\d\}?)?)?[\s.$)}]{0,8}\Z"
)
_STEP_FOLLOWS = re.compile(
    r"\s\d+(?:\.\d+)?\s?(?:min|mins|minutes|cm|mm|s|sec|seconds|g|mL|ml)[\s.$]{0,4}\Z"
)
"""The smaller part of a quantity in mixed units: `2 h 30 min`."""
_RANK_ENDS = re.compile(
    r"\s{0,4}(?:days?|years?|months?|weeks?|hours?|terms?|places?|positions?|floor|grade)?[\s.$)}]{0,8}\Z",
    re.IGNORECASE,
)
"""What may follow an ordinal that stands for its number: the 15th day, but not the 15th prime."""
_NUMBER_FOLLOWS = re.compile(r"\s{1,4}\d|\s{0,4}10\s?(?:\^|\*\*)")
_OF_NUMBER = re.compile(r"\s{1,4}of\s{1,4}\d")
_OPENS = re.compile(r"\s{0,4}(?:[(\[{]|\\left|\\\{)")
_CLOSERS = (("op", ")"), ("op", "]"), ("op", "}"), ("op", "\\}"))
_ENDS_QUANTITY = (("op", ")"), ("op", "}"), ("op", "/"), ("op", "%"))


def _letter(letter: str) -> Token:
    return ("k", letter) if letter in "ei" else ("v", letter)


def _command(name: str, tokens: list[Token], text: str, position: int) -> int:
    """Append the meaning of `\\name`; returns where to read on (text commands swallow their braces)."""
    if name == "triangle" and tokens and (tokens[-1][0] == "v" or tokens[-1] in _CLOSERS):
        tokens.append(("op", "triangle"))  # between two sets
        return position
    token = COMMANDS.get(name)
    if token is not None:
        tokens.append(token)
        return position
    if name in _TEXT_COMMANDS:
        braced = _BRACED.match(text, position)
        if braced is None:
            return position
        _text(braced.group(1), tokens, math=name in ("mathrm", "operatorname", "mathop"))
        return braced.end()
    if name in _NOISE:
        if name in ("left", "right") and position < len(text) and text[position] == ".":
            return position + 1
        return position
    if name == "not" and (denied := _DENIED.match(text, position)):
        tokens.append(("rel", _NEGATIVES[(denied.lastindex or 1) - 1]))
        return denied.end()
    prefix = next(
        (
            n
            for n in (name[:k] for k in range(min(len(name) - 1, _LONGEST_NAME), 1, -1))
            if n in COMMANDS and n not in ("in", "le", "ne", "ge", "to")
        ),
        None,
    )
    if prefix is None:
        raise Unreadable(f"unknown command \\{name}")
    tokens.append(COMMANDS[prefix])
    return position - len(name) + len(prefix)


def _text(content: str, tokens: list[Token], *, math: bool) -> None:
    """What `\\text{...}` says: a joining word, a condition, mathematics, a unit, or words."""
    words = content.replace("\\", " ").replace("$", "").strip(" .~{}")
    lowered = words.lower().strip(" ,;")
    if not lowered:
        if words:
            tokens.append(("sep", ","))
        return
    said = conditions.tokens_of(content, lex)
    if said is not None:
        tokens.extend(said)
    elif lowered.endswith(" and"):
        while lowered.endswith(" and"):
            words = words.strip(" ,;")[:-4]
            lowered = words.lower().strip(" ,;")
        _text(words, tokens, math=math)
        tokens.append(("sep", "and"))
    elif _CONTRARY.search(lowered):
        tokens.append(("text", words))
    elif lowered in _AND:
        tokens.append(_AND[lowered])
    elif lowered in _FILLERS:
        return
    elif lowered.split()[0] in WHERE_WORDS or lowered in ("is", "are", "any", "all"):
        tokens.append(("where", lowered))
    elif (
        len(words) == 1
        and words in _LETTER_UNITS
        and tokens
        and (tokens[-1][0] in ("num", "unit") or tokens[-1] in _ENDS_QUANTITY)
    ):
        tokens.append(("unit", words))
    elif _MATHS_IN_TEXT.match(words):
        tokens.extend(lex(content)[:-1])
    elif (lowered in FUNCTIONS or (math and (lowered in WORDS or words in COMMANDS))) and not (
        lowered in ("min", "sec") and tokens and tokens[-1][0] in ("num", "unit")
    ):
        tokens.append(COMMANDS.get(words) or WORDS[lowered])
    elif lowered in ("percent", "pct", "percentage", "degrees", "degree", "pi"):
        tokens.append(WORDS[lowered])
    elif lowered in ("st", "nd", "rd", "th"):
        return
    elif math and len(words) <= 2 and not is_unit(words):
        tokens.extend(_letter(letter) for letter in words)
    else:
        tokens.append(("unit" if not _CHOICE.match(words) else "text", words))
