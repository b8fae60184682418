"""Unicode mathematics and the noise of typesetting, spelt as plain LaTeX before the lexer reads it."""

from __future__ import annotations

import re
import unicodedata

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni"))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₓₖᵢⱼₐ", "0123456789+-=()nxkija"))
_SUPER_RUN = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_SUB_RUN = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")

_SIGNS = {
    "−": "-",
    "–": "-",
    "—": "-",
    "‐": "-",
    "‑": "-",
    "﹣": "-",
    "－": "-",
    "×": "*",
    "∗": "*",
    "⋅": "*",
    "·": "*",
    "•": "*",
    "⨯": "*",
    "÷": "/",
    "∕": "/",
    "⁄": "/",
    "／": "/",
    "≤": "<=",
    "⩽": "<=",
    "≦": "<=",
    "≥": ">=",
    "⩾": ">=",
    "≧": ">=",
    "≠": "!=",
    "≈": "\\approx ",
    "≡": "\\equiv ",
    "∀": "\\forall ",
    "∈": "\\in ",
    "∉": "\\notin ",
    "∤": "\\nmid ",
    "≢": "\\not\\equiv ",
    "∪": "\\cup ",
    "∩": "\\cap ",
    "∖": "\\setminus ",
    "∅": "\\emptyset ",
    "∞": "\\infty ",
    "±": "\\pm ",
    "∓": "\\mp ",
    "∑": "\\sum ",
    "∏": "\\prod ",
    "∫": "\\int ",
    "°": "^\\circ ",
    "º": "^\\circ ",
    "′": "'",
    "″": "''",
    "ℝ": "\\mathbb{R}",
    "ℤ": "\\mathbb{Z}",
    "ℕ": "\\mathbb{N}",
    "ℚ": "\\mathbb{Q}",
    "ℂ": "\\mathbb{C}",
    "→": "\\to ",
    "⇒": "\\implies ",
    "⟹": "\\implies ",
    "∠": "\\angle ",
    "△": "\\triangle ",
    "⟨": "\\langle ",
    "⟩": "\\rangle ",
    "⌊": "\\lfloor ",
    "⌋": "\\rfloor ",
    "⌈": "\\lceil ",
    "⌉": "\\rceil ",
    "…": "\\ldots ",
    "⋯": "\\ldots ",
    "∣": "|",
    "｜": "|",
    "∧": " and ",
    "∨": " or ",
    "，": ",",
    "、": ",",
    "；": ";",
    "：": ":",
    "。": "",
    "（": "(",
    "）": ")",
    "［": "[",
    "］": "]",
    "【": "[",
    "】": "]",
    "｛": "{",
    "｝": "}",
    "％": "\\%",
    "＝": "=",
    "＋": "+",
    "＜": "<",
    "＞": ">",
    "＄": "\\$",
    "€": "\\text{euro}",
    "£": "\\text{pound sterling}",
    "¥": "\\text{yuan}",
    "￥": "\\text{yuan}",
    "¢": "\\text{cents}",
    "½": "\\tfrac{1}{2}",
    "⅓": "\\tfrac{1}{3}",
    "⅔": "\\tfrac{2}{3}",
    "¼": "\\tfrac{1}{4}",
    "¾": "\\tfrac{3}{4}",
    "⅕": "\\tfrac{1}{5}",
    "⅖": "\\tfrac{2}{5}",
    "⅗": "\\tfrac{3}{5}",
    "⅘": "\\tfrac{4}{5}",
    "⅙": "\\tfrac{1}{6}",
    "⅚": "\\tfrac{5}{6}",
    "⅛": "\\tfrac{1}{8}",
    "⅜": "\\tfrac{3}{8}",
    "⅝": "\\tfrac{5}{8}",
    "⅞": "\\tfrac{7}{8}",
    "√": "\\sqrt ",
    "∛": "\\sqrt[3] ",
    "∜": "\\sqrt[4] ",
    "“": '"',
    "”": '"',
    "’": "'",
    "‘": "'",
    "‖": "\\|",
    "Π": "\\Pi ",
    "\u200b": "",
    "\u200c": "",
    "\u200d": "",
    "\ufeff": "",
    "\u2060": "",
    "\u00ad": "",
}
_GREEK = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "epsilon",
    "ζ": "zeta",
    "η": "eta",
    "θ": "theta",
    "ι": "iota",
    "κ": "kappa",
    "λ": "lambda",
    "μ": "mu",
    "µ": "mu",
    "ν": "nu",
    "ξ": "xi",
    "π": "pi",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
    "φ": "phi",
    "ϕ": "phi",
    "χ": "chi",
    "ψ": "psi",
    "ω": "omega",
    "Γ": "Gamma",
    "Δ": "Delta",
    "Θ": "Theta",
    "Λ": "Lambda",
    "Σ": "Sigma",
    "Φ": "Phi",
    "Ψ": "Psi",
    "Ω": "Omega",
}
_CHINESE_DIGITS = {c: str(i) for i, c in enumerate("零一二三四五六七八九")} | {
    "十": "10",
    "百": "100",
    "千": "1000",
}
_CIRCLED = {chr(0x2460 + i): f" {i + 1}," for i in range(20)}
_TABLE = str.maketrans(_SIGNS | _CIRCLED | {c: f"\\{name} " for c, name in _GREEK.items()})
_ROOT_OF_NUMBER = re.compile(r"(\\sqrt(?:\[\d\])?) (\d+(?:\.\d+)?|[A-Za-z])")
_CHINESE_WORDS = {
    "或": " or ",
    "和": " and ",
    "且": " and ",
    "与": " and ",
    "无解": "\\text{no solution}",
}

_DOUBLED = re.compile(r"\\\\(?=[a-zA-Z{}()\[\]%$])")
_SPACES = re.compile(
    r"\\q?quad(?![a-z]{4})|\\(?:hspace|vspace|hfill|phantom|label|tag)\*?(?:\{[^{}]*\})?|\\n(?=\\)"
)
_SPACED_DIGITS = re.compile(
    r"\\(?:mathbf|boldsymbol|bm|mathsf)\s?\{(?=[^{}/]*\d\.? [\d.])(?![^{}]*\d\d)[^{}/]{1,200}\}"
)
"""Bold digits with blanks between them, as text recognition writes bold numbers: `\\mathbf{2 5}`."""
_BETWEEN_DIGITS = re.compile(r"(?<=\d) ?(\.?) ?(?=\d)")
_UNDERBRACE_RUN = re.compile(
    r"\\underbrace\s*+\{(\d)\1*+\s*+\\[lc]?dots\s*+\1++\s*+\}\s*+_\s*+\{?\s*+(\d{1,5})\s*+[^{}]*+\}?"
)


_COMBINATIONS = re.compile(
    r"(?<![\w})])(?:\{\})?\^\{?(\d{1,4})\}?\s?C_\{?(\d{1,4})\}?|(?<![\w.^])(\d{1,3})C(\d{1,3})(?![\w.])"
)
"""`{}^5C_2` and `5C2`"""
_EUROPEAN = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:\.\d{3})+,\d{1,2}(?![\d.,])")
"""`1.500,25`: points part thousands if a comma parts the decimals."""
_CURRENCY_FIRST = re.compile(r"(USD|US\\?\$|RS\.?|INR|EUR|GBP|RMB|CNY)\s?(?=-?\d)", re.IGNORECASE)
_CURRENCIES = {
    "USD": "dollars",
    "US$": "dollars",
    "US\\$": "dollars",
    "RS": "rupees",
    "RS.": "rupees",
    "INR": "rupees",
    "EUR": "euro",
    "GBP": "pound sterling",
    "RMB": "yuan",
    "CNY": "yuan",
}
"""Currencies by the code that may precede a sum of money."""
_TURNED = re.compile(
    r"([\[\]])(\s{0,9}[^\[\]()\s,][^\[\]()]{0,200},\s{0,9}[^\[\]()\s,][^\[\]()]{0,200})([\[\]])"
)
_EATEN = {
    "\f": ("f", "rac|orall"),
    "\b": ("b", "inom|oxed|ar|egin|eta|ig|mod|f"),
    "\t": ("t", "ext|imes|heta|an|frac|au|herefore"),
    "\r": ("r", "ho|ight|angle|floor|ceil"),
    "\v": ("v", "ec|ert|ar"),
    "\a": ("a", "lpha|ngle|pprox|rc"),
}
"""Control characters that a string's escapes made of the start of a command, with what follows there."""
_EATEN_START = re.compile("|".join(f"{c}(?=(?:{rest}))" for c, (_, rest) in _EATEN.items()))


PERCENT_WORDS = re.compile(
    r"(?<![^\W\d_])(?:per(?:[\s~]|-|\\ )?cent|prozent|por[\s~]?cien(?:to)?|por[\s~]?cento|pour[\s~-]?cent|per[\s~]?cento)(?![^\W\d_])",
    re.IGNORECASE,
)
"""Spellings of `percent` that are more than one word, or of another language."""
PART_WORDS = re.compile(
    r"(?<![^\W\d_])(?:(per[\s~-]?mill?e?)|(basis[\s~-]points?|bps))(?![^\W\d_])|(‰)", re.IGNORECASE
)
"""Names of a thousandth and of a hundredth of a percent."""
_AFTER = re.compile(
    rf"(?:\s|[$}}]|\\[)\]~]){{0,5}}(?:\\(?:text|mathrm|mbox)\s?\{{\s{{0,3}})?(?:{PERCENT_WORDS.pattern}|\\?%|pct\b|"
    rf"{PART_WORDS.pattern}|(?P<scale>hundred|thousand|million|billion|trillion|dozen)\b)",
    re.IGNORECASE,
)


def scale_after(text: str, position: int) -> str:
    """Return the percent sign or the word such as `thousand` that follows a number, or nothing."""
    match = _AFTER.match(text, position)
    if match is None:
        return ""
    if match["scale"]:
        return f"\\text{{ {match['scale'].lower()}}}"
    thousandth, hundredth_of_percent, sign = match.groups()[:3]
    return " permille" if thousandth or sign else " basispoints" if hundredth_of_percent else "\\%"


def _binomial(match: re.Match[str]) -> str:
    top, bottom = [group for group in match.groups() if group]
    return f"\\binom{{{top}}}{{{bottom}}}"


def _part(match: re.Match[str]) -> str:
    return " basispoints " if match.group(2) else " permille "


_UNIT_IN_BRACKETS = re.compile(
    r"(?<=[\d}])\s{0,3}\(\s?(?!(?:arc)?(?:sin|cos|tan|cot|sec|csc|log|lg|ln|exp|sqrt|mod|bmod|min|max|gcd|lcm|base|pi|theta|alpha|beta|phi|[xyz]{2,4}|[abc]{2,3})\b)"
    r"([A-Za-z]{3,}(?:['’.][a-z]*)?(?:-[a-z]{2,})*(?:\s{1,2}[A-Za-z.'’-]+){0,5}|(?:sq|cu)\.?\s[a-z]+|[cmkd]m|[km]g|ft|yd|mi|m[lL]|cl|hr|lb|oz|[KMGT]B|(?<=\s\()[mgslhL])\s?\)\Z"
)
"""`9 (apples)`: the unit of a count in brackets."""
_ALL_REALS_BUT = re.compile(
    r"[\s$]*(?:\\text\s?\{\s*)?(?:(?:[xyt]|\$[xyt]\$|(?:the|its)\sdomain(?:\sof\s(?:the\sfunction|[fgh]|\$[^$]{1,9}\$))?)\s(?:is|can be)\s)?(?:all|any)\sreal\s(?:numbers?|values)(?:\sof)?(?:\s\$?[xyt]\$?)?,?\s"
    r"(?:except|excluding|other than|but not|not equal to|besides)(?:\s(?:for|when|if|where))?[\s$}]*(?:[xyt]\s*(?:=|\\neq?)\s*)?"
    r"((?:[^A-Za-z$\\]|\\[a-z]+\b|\band\b|\\text\{\s*and\s*\}|\b[xyt]\s*=|\$|[k-n]|i)+?)[\s$.}]*\Z",
    re.IGNORECASE,
)
"""The reals without some numbers, in words: `all real numbers except 1 and 2`."""
_AND_NEXT = re.compile(r"(?:\\text\{\s*and\s*\}|\band\b|\$|[xyt]\s*=)+")
_HTML_SCRIPT = re.compile(r"<su([pb])>([^<>]{1,200})</su\1>")
_FEET_AND_INCHES = re.compile(r"\s*(\d+)'\s?(\d+(?:\.\d+)?)(?:''|\")?\s*\Z")
"""`6'2"`, alone: after degrees, the same signs are minutes and seconds of arc."""


def plain(text: str) -> str:
    """Spell `text` in ASCII LaTeX: unicode signs, full-width forms, doubled backslashes, runs under a brace."""
    if not text.isprintable():
        text = _EATEN_START.sub(lambda m: "\\" + _EATEN[m.group()][0], text)
    if not text.isascii():
        text = _from_unicode(text)
    if "real" in text and (reals := _ALL_REALS_BUT.match(text[:400])) is not None:
        text = f"\\mathbb{{R}} \\setminus \\{{{_AND_NEXT.sub(',', reals.group(1))}\\}}"
    if "ent" in text or "ENT" in text or "cien" in text:
        text = PERCENT_WORDS.sub("percent", text)
    if "mil" in text or "basis" in text or "bps" in text or "‰" in text:
        text = PART_WORDS.sub(_part, text)
    if (
        text.endswith(")")
        and (unit := _UNIT_IN_BRACKETS.search(text, max(0, len(text) - 80))) is not None
    ):
        text = f"{text[: unit.start()]}\\text{{ {unit.group(1)}}}"
    if "'" in text and (height := _FEET_AND_INCHES.match(text)) is not None:
        text = f"{height.group(1)} feet {height.group(2)} inches"
    if "</su" in text:
        text = _HTML_SCRIPT.sub(
            lambda m: f"{'^' if m.group(1) == 'p' else '_'}{{{m.group(2)}}}", text
        )
    if "C" in text:
        text = _COMBINATIONS.sub(_binomial, text)
    if "." in text and "," in text:
        text = _EUROPEAN.sub(lambda m: m.group().replace(".", "").replace(",", "."), text)
    if text[:1].isalpha() and (money := _CURRENCY_FIRST.match(text)) is not None:
        text = f"{text[money.end() :].strip()}\\text{{ {_CURRENCIES[money.group(1).upper()]}}}"
    if ("[" in text or "]" in text) and "," in text and _turns_brackets(text):
        text = _TURNED.sub(_usual_brackets, text)
    if "\\" in text:
        if "\\\\" in text and ("\\begin" not in text or "\\\\begin" in text):
            text = _DOUBLED.sub(r"\\", text)
        if (
            "quad" in text
            or "space" in text
            or "\\n" in text
            or "\\t" in text
            or "\\l" in text
            or "\\h" in text
        ):
            text = _SPACES.sub(" ", text)
        if "{" in text and " " in text:
            text = _SPACED_DIGITS.sub(lambda m: _BETWEEN_DIGITS.sub(r"\1", m.group()), text)
        if "\\underbrace" in text:
            text = _UNDERBRACE_RUN.sub(_repeat_digit, text)
    return text


def names_reals(text: str) -> bool:
    """Whether a text names the reals without some numbers: `all real numbers except 1`."""
    return "real" in text and _ALL_REALS_BUT.match(text[:400]) is not None


def _turns_brackets(text: str) -> bool:
    """Whether open ends of intervals are written with turned brackets: `]1, 2[`, `[1, 2[`."""
    left, right = text.count("["), text.count("]")
    return left != right or 0 <= text.find("]") < text.find("[")


def _usual_brackets(match: re.Match[str]) -> str:
    opening, inside, closing = match.groups()
    before = match.string[: match.start()]
    if sum(before.count(c) for c in "()[]") % 2:
        return match.group()  # the first bracket closes one before it
    return ("(" if opening == "]" else "[") + inside + (")" if closing == "[" else "]")


def _from_unicode(text: str) -> str:
    text = _SUPER_RUN.sub(lambda m: "^{" + "".join(_SUPERSCRIPTS[c] for c in m.group()) + "}", text)
    text = _SUB_RUN.sub(lambda m: "_{" + "".join(_SUBSCRIPTS[c] for c in m.group()) + "}", text)
    text = text.translate(_TABLE)
    if not text.isascii():
        if text.strip() in _CHINESE_DIGITS:
            return _CHINESE_DIGITS[text.strip()]
        for word, spelt in _CHINESE_WORDS.items():
            text = text.replace(word, spelt)
        text = unicodedata.normalize("NFKC", text)
    return _ROOT_OF_NUMBER.sub(r"\1{\2}", text)


def _repeat_digit(match: re.Match[str]) -> str:
    """`\\underbrace{00\\ldots0}_{100}` is a hundred zeros."""
    return match.group(1) * int(match.group(2))
