r"""What a question asks for, if the reference and the answer leave it open: small named rules.

A rule looks at the question's text, the reference and the answer. It may change the pair or the options before they
are compared (`percent`, `rounding`, `order`, `form`, `choices`, `unit`, `variable`, `ends`, `sentence`), or veto a CORRECT verdict
afterwards (`variable`, `constant`, `restated`). A rule that changes the verdict is named in `decided_by`, as in
`question: percent`. `MathOptions.question_rules` says which rules apply. A question that no rule understands changes
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from math import gcd
from typing import NamedTuple

from stepgym.envs.maths import lists, quantities
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.options import QUESTION_RULES, MathOptions, Percent
from stepgym.envs.maths.reading import quick_decimal, quick_number, read
from stepgym.envs.maths.textual import choice, is_plain_choice, unwrap
from stepgym.envs.maths.tree import Node, symbols
from stepgym.envs.maths.units import is_unit


class Case(NamedTuple):
    """One pair to decide, with what its question asks."""

    question: str
    reference: str
    answer: str
    options: MathOptions


class Adjusted(NamedTuple):
    """A pair after the rules, and the names of the rules that changed it."""

    case: Case
    rules: tuple[str, ...] = ()
    original: Case | None = None
    """The pair before the rules, if a rule changed it."""


MAX_CHARS = 8000
"""Of a longer question, the end is read."""
MAX_ANSWER_CHARS = 2000
"""No rule applies to a longer reference or answer."""

_BLANKS = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*")

_PERCENT = re.compile(r"\b(?:percent(?:age)?|per cent)\b|\\?%", re.IGNORECASE)
_ASKS_PERCENT = re.compile(
    r"\b(?:what|which|how many|find|the|as an?|in|nearest|whole)\s+(?:\w+\s+){0,2}per ?cent(?:age)?s?\b|"
    r"\bexpress(?:ed)?\b[^.?!]{0,60}\bper ?cent",
    re.IGNORECASE,
)
_ASKING = re.compile(
    r"[^.?!\n]{0,600}\?|(?:(?<=[.?!\n,] )|\A|(?<=\n))(?:find|compute|determine|express|calculate|evaluate|give|write|what|by what|how|state|round)\b[^.?!\n]{0,600}",
    re.IGNORECASE,
)
_ASKED_EXPRESSION = re.compile(
    r"\b(?:find|compute|determine|calculate|evaluate|what is|value of|equals)\s+(?:the\s+)?(?:[\w-]+\s+){0,4}?\$([^$=]{3,200})\$",
    re.IGNORECASE,
)
_ASKS_FRACTION = re.compile(
    r"\b(?:as|in|into)\s+(?:a|an|the)?\s*(?:\w+\s+){0,2}(?:fraction|decimal)\b|\bwhat\s+(?:is the\s+)?(?:fraction|probability|ratio)\b",
    re.IGNORECASE,
)
_PLACE_NAMES = {
    "tenth": 1,
    "hundredth": 2,
    "thousandth": 3,
    "ten-thousandth": 4,
    "cent": 2,
    "penny": 2,
    "integer": 0,
    "whole": 0,
    "unit": 0,
    "one": 0,
    "dollar": 0,
    "degree": 0,
    "percent": 0,
    "minute": 0,
    "second": 0,
    "day": 0,
    "ten": -1,
    "hundred": -2,
    "thousand": -3,
    "million": -6,
}
_NEAREST = re.compile(
    r"\bnearest\s+(?:\$?(?P<number>0?\.0*1|10*)\b|(?P<name>ten-thousandth|[a-z]+))", re.IGNORECASE
)
_PLACES = re.compile(
    r"\b(?P<count>\d|one|two|three|four|five|six)\s+(?:decimal\s+(?:places?|digits?|points?)|places?\s+(?:after|past)|d\.?p\.?\b|decimals\b)",
    re.IGNORECASE,
)
_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_LEAST, _MOST = "least|smallest|lowest|shortest", "greatest|largest|highest|longest"
_ORDER = re.compile(
    r"\b(?:in|by|into)\s+(?:strictly\s+)?(?:(?P<up>increasing|ascending)|(?P<down>decreasing|descending)|alphabetical|numerical|chronological|the same|that|this|the given)\s+order\b|"
    rf"\bfrom\s+(?:the\s+)?(?:(?P<least>{_LEAST})\s+to\s+(?:the\s+)?(?:{_MOST})|(?P<most>{_MOST})\s+to\s+(?:the\s+)?(?:{_LEAST}))\b|\brespectively\b",
    re.IGNORECASE,
)
_APPROXIMATE = re.compile(r"\bapproximate(?:ly)?\b|\bestimate\b|\broughly\b", re.IGNORECASE)
_MONOTONIC = re.compile(
    r"\b(?:monoton\w+|(?:in|de)creasing)\b[^.?!]{0,60}\bintervals?\b|\bintervals?\b[^.?!]{0,60}\b(?:monoton|(?:in|de)creas)",
    re.IGNORECASE,
)
_OPEN_ENDS = str.maketrans("[]", "()")
_FORM = re.compile(
    r"[\"“](?P<before>[^\"“”\[\]]{0,200})\[(?P<choices>[^\[\]/]{1,40}(?:/[^\[\]/]{1,40})+)\](?P<after>[^\"“”\[\]]{0,200})[\"”]"
)
"""The form in which an answer is to be given: `"It is [odd/even]"`."""
_WHO = re.compile(
    r"\b(?:who|which|what)\s(?P<rest>[^?:,;.]{3,200}?)(?=[?:,;.]|\s(?:if|when|assuming|given)\b)",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[^\s.,;:!?\"“”()]+")
_ARTICLES = frozenset(("a", "an", "the"))
_ANY_ORDER = re.compile(r"\bany\s+order\b|\border does not matter\b", re.IGNORECASE)
_SIMPLEST = re.compile(
    r"\b(?:simplest|lowest|reduced|fully reduced|most simplified)\s+(?:\w+\s+)?(?:form|terms|fraction)\b|\b(?:fully|completely)\s+simplif|"
    r"\bsimplif(?:y|ied)\s+(?:your|the)\s+(?:answer|fraction)|\breduced\s+(?:common\s+)?fraction\b|\birreducible\b|\brelatively prime\b",
    re.IGNORECASE,
)
_FACTORED = re.compile(r"\bfactor(?:ed|ise|ize|ised|ized)?\b", re.IGNORECASE)
_VARIABLE = re.compile(
    r"(?i:\b(?:solve|solving)\b[^.?!]{0,120}?\bfor|\bvalue of|\bfind|\bdetermine|\bwhat is|\bcompute)\s+"
    r"(?:the (?:real |positive |unknown )?(?:number |value |integer )?)?"
    r"\$?\\?\(?\s*(?P<name>[a-zA-Z])\s*\\?\)?\$?"
    r"(?=[\s.,?!;:]*(?:\Z|[.?!;:\n]|(?:and|if|when|such|in|given|for|that|so|where|Give|Express|Round)\b))"
)
_NAMED = re.compile(r"[\s$]*([a-zA-Z])\s*=\s*([^=<>,]{1,200}?)[\s$.]*\Z")
_SEVERAL_NAMED = re.compile(
    r"([a-zA-Z])\s*=\s*([^=<>,;]{1,100}?)(?=\s*(?:[,;]|\band\b|\\text\{\s*and\s*\}|[$.\s]*\Z))"
)
_INTEGRATION = re.compile(
    r"\\int|∫|integra|antiderivative|primitive|differential equation|anti-derivative|indefinite|dy/dx|\\frac\{d",
    re.IGNORECASE,
)
_INDEFINITE = re.compile(
    r"(?:\\int|∫)(?!\s*(?:\\limits)?\s*_)|antiderivative|anti-derivative|primitive|indefinite",
    re.IGNORECASE,
)
"""An integral without bounds, or its name."""
_DIFFERENTIAL = re.compile(
    r"differential equation|\bgeneral solution\b|\\frac\s?\{d\^?\{?2?\}?\s?\w?\}|\bd[yxu]\s?/\s?d[xt]\b|\b[yxu]\s?(?:'|\^\{?\\prime)",
    re.IGNORECASE,
)
_GENERAL = re.compile(
    r"\b(?:general|most general|all)\s+(?:\w+\s+)?(?:antiderivatives?|solutions?|integrals?)\b|\bfamily of\b",
    re.IGNORECASE,
)
_PLUS_CONSTANT = re.compile(r"\+\s*(?:C|c|K|k|const(?:ant)?|\\text\{C\})(?:_\{?\d\}?)?[\s$.]*\Z")
_LABEL = re.compile(
    r"(?:\\(?:textbf|text|mathrm|textup|mathbf)\s*\{)?\s*(?:\(([A-J])\)|(?<![\w\\])([A-J])[).:](?=[\s}\\$]))\s*\}?[\s:~\\]*"
)
_SEPARATOR = re.compile(r"(?:\\q?quad|\\\\|\\hspace\{[^}]*\}|\\ |[\s$,;.~}])+\Z")
_UNIT_ASKED = re.compile(
    r"\bhow many\s+((?:square |cubic )?[a-z]+)\b|\bin\s+((?:square |cubic )?[a-z]+)[?.]|\bnumber of\s+((?:square |cubic )?[a-z]+)\b",
    re.IGNORECASE,
)
_HAS_OPERATION = re.compile(
    r"[+*^=/]|\w\s*-|\\(?:frac|cdot|times|sqrt|sum|int|prod|lim|binom|log|ln|sin|cos|tan)|!"
)
_SPACE = re.compile(
    r"\\(?:left|right|displaystyle|dfrac|tfrac|cdot|times|[,;:!])(?![A-Za-z])|[\s$*]+|\\[()\[\]]"
)


def adjust(case: Case) -> Adjusted:
    """Apply the rules that come before the comparison."""
    if max(len(case.reference), len(case.answer)) > MAX_ANSWER_CHARS:
        return Adjusted(case._replace(question=""))
    question = _LINES.sub("\n", _BLANKS.sub(" ", case.question[-MAX_CHARS:]))
    original = case = case._replace(question=question)
    fired: tuple[str, ...] = ()
    for name, rule in BEFORE.items():
        if name in case.options.question_rules:
            changed = rule(case)
            if changed is not None and changed != case:
                case, fired = changed, (*fired, name)
    return Adjusted(case, fired, original if fired else None)


def veto(case: Case) -> str | None:
    """Return the name of the first rule that forbids CORRECT for this pair, or `None`."""
    for name, rule in VETOES.items():
        if name in case.options.question_rules and rule(case):
            return name
    return None


def asking(question: str) -> str:
    """Return the sentences of a question that ask for something."""
    return " ".join(_ASKING.findall(question))


def _percent(case: Case) -> Case | None:
    """A question for percent takes 28 for 28% and 28% for 28; a question for a fraction takes neither."""
    if not (_PERCENT.search(case.reference) or _PERCENT.search(case.answer)):
        return None
    if _ASKS_PERCENT.search(asking(case.question)):
        return case._replace(options=replace(case.options, percent=Percent.EITHER))
    if _ASKS_FRACTION.search(case.question) and not _PERCENT.search(case.question):
        return case._replace(options=replace(case.options, percent=Percent.EXACT))
    return None


def _constant(case: Case) -> Case | None:
    """An answer to an indefinite integral may add a constant that the reference lacks.

    There and in the solution of a differential equation, the constants may have any names.
    """
    if _INDEFINITE.search(case.question):
        return case._replace(options=replace(case.options, added_constant=True, any_constant=True))
    if _DIFFERENTIAL.search(case.question):
        return case._replace(options=replace(case.options, any_constant=True))
    return None


def asked_places(question: str) -> int | None:
    """Return how many decimal places a question asks for; negative for tens and hundreds."""
    match = _PLACES.search(question)
    if match is not None:
        count = match["count"].lower()
        return _COUNTS.get(count) or int(count) if count in _COUNTS or count.isdigit() else None
    match = _NEAREST.search(question)
    if match is None:
        return None
    number = match["number"]
    if number is not None:
        return len(number.split(".")[1]) if "." in number else 1 - len(number)
    return _PLACE_NAMES.get(match["name"].lower().removesuffix("s"))


def _rounding(case: Case) -> Case | None:
    """An answer with more places than were asked for is CORRECT if it rounds to the reference."""
    places = asked_places(case.question)
    if places is None and _APPROXIMATE.search(asking(case.question)):
        return _approximate(case)
    wanted, given = quick_decimal(case.reference), quick_decimal(case.answer)
    if wanted is None or given is None or wanted[0] == given[0]:
        return None
    if places is None or places > 5 or given[1] <= max(places, 0) or wanted[1] > max(places, 0):
        return None
    step = 10 ** (6 - places)
    value, half = abs(given[0]), step // 2
    rounded = (value + half) // step * step
    if (rounded if given[0] >= 0 else -rounded) != wanted[0]:
        return None
    return case._replace(answer=case.reference)


def _approximate(case: Case) -> Case | None:
    """Asked for an approximate value, the reference rounded to three digits or more is CORRECT."""
    nodes = read(case.reference).node, read(case.answer).node
    if nodes[0] is None or nodes[1] is None:
        return None
    p, q = quantities.split(nodes[0]), quantities.split(nodes[1])
    wanted = quantities.written(p.value)
    given = quantities.written(q.value) or quantities.whole(q.value)
    if wanted is None or given is None or p.percent is not q.percent or p.degrees is not q.degrees:
        return None
    if q.unit not in (None, p.unit) or given.digits < 3 or given.place <= wanted.place:
        return None
    if abs(wanted.value - given.value) > given.place / 2:
        return None
    return case._replace(answer=case.reference)


def _ends(case: Case) -> Case | None:
    """The ends of an interval on which a function rises or falls may belong to it or not."""
    if not ("[" in case.reference + case.answer and _MONOTONIC.search(case.question)):
        return None
    if not all(_is_intervals(read(text).node) for text in (case.reference, case.answer)):
        return None
    reference, answer = (text.translate(_OPEN_ENDS) for text in (case.reference, case.answer))
    return case._replace(reference=reference, answer=answer)


def _is_intervals(node: Node | None) -> bool:
    if not isinstance(node, tuple):
        return False
    if node[0] in ("cup", "list", "where"):
        parts = node[1:2] if node[0] == "where" else node[2] if node[0] == "list" else node[1:]
        return all(_is_intervals(part) for part in parts)
    return node[0] == "group" and len(node[3]) == 2


def _sentence(case: Case) -> Case | None:
    """`Petya will win` is `Petya` if the question is who will win."""
    if len(case.reference.split()) < 3:
        return None
    name = _subject(case.reference, case.question)
    if name is None:
        return None
    answer = case.answer if len(case.answer.split()) < 3 else _subject(case.answer, case.question)
    return case._replace(reference=name, answer=answer or case.answer)


def _subject(statement: str, question: str) -> str | None:
    """Return what a sentence puts in the place of `who`, of `which`, or of the choice in a given form `[odd/even]`."""
    said = _plain_words(statement)
    for form in _FORM.finditer(question):
        before, after = _plain_words(form["before"]), _plain_words(form["after"])
        for chosen in form["choices"].split("/"):
            if said == [*before, *_plain_words(chosen), *after]:
                return chosen.strip()
    for asked in _WHO.finditer(question):
        rest = _plain_words(asked["rest"])
        if 2 <= len(rest) < len(said) <= len(rest) + 4 and said[-len(rest) :] == rest:
            return " ".join(word for word in said[: -len(rest)] if word not in _ARTICLES) or None
    return None


def _plain_words(text: str) -> list[str]:
    return [word for word in _WORDS.findall(unwrap(text).lower()) if word]


def _expression(case: Case) -> Case | None:
    """`x + y = 4027` says 4027 if the question asks for `x + y`; so does a chain of equalities that begins with it."""
    first, *others = case.answer.split("=")
    if not others or "=" in case.reference or not _HAS_OPERATION.search(first):
        return None
    asked = {_squash(found[1]) for found in _ASKED_EXPRESSION.finditer(case.question)}
    if _squash(first) not in asked:
        return None
    between = [read(side).node for side in others[:-1]]
    has_letters = any(node is None or symbols(node) for node in between)
    return case._replace(answer=others[-1] if has_letters else "=".join(others))


def _order(case: Case) -> Case | None:
    """A list keeps its order if the question asks for one; a list of names in order is a chain of inequalities."""
    if case.options.order_matters:
        return None
    match = _ORDER.search(case.question)
    if match is None or _ANY_ORDER.search(case.question):
        return None
    rises, falls = match["up"] or match["least"], match["down"] or match["most"]
    wanted = read(case.reference).node
    if isinstance(wanted, tuple) and wanted[0] == "rel" and (rises or falls):
        if set(wanted[1]) in ({"<"}, {">"}) and case.answer.count(",") == len(wanted[1]):
            return case._replace(answer=case.answer.replace(",", "<" if rises else ">"))
        return None
    if "," not in case.reference or not _is_in_order(wanted, bool(rises), bool(falls)):
        return None
    return case._replace(options=replace(case.options, order_matters=True))


def _is_in_order(node: Node | None, rises: bool, falls: bool) -> bool:
    """Whether a reference can be the list whose order was asked for: it has that order, and its items are no tuples."""
    if not (isinstance(node, tuple) and node[0] == "list"):
        return True
    if any(isinstance(item, tuple) and item[0] == "group" for item in node[2]):
        return False
    try:
        values = [exact(item) for item in node[2]]
    except NotRational:
        in_order = lists.by_size(node[2]) if rises or falls else None
        return in_order is None or list(node[2]) == (in_order[::-1] if falls else in_order)
    return not ((rises and values != sorted(values)) or (falls and values != sorted(values)[::-1]))


def _form(case: Case) -> Case | None:
    """`In simplest form` takes no answer that can be reduced or worked out."""
    if case.options.simplified or not _SIMPLEST.search(case.question):
        return None
    if _FACTORED.search(case.question):
        return None
    return case._replace(options=replace(case.options, simplified=True))


def choices(question: str) -> dict[str, str]:
    """Return the choices that a question lists, by letter; empty if it lists none from A on."""
    labels = [(m.group(1) or m.group(2), m) for m in _LABEL.finditer(question)]
    for start in range(len(labels) - 1, -1, -1):
        if labels[start][0] != "A":
            continue
        run = [labels[start]]
        for letter, match in islice(labels, start + 1, None):
            if letter == "A":
                break
            if ord(letter) == ord(run[-1][0]) + 1:
                run.append((letter, match))
        if len(run) >= 2:
            ends = [m.start() for _, m in run[1:]] + [_end_of_choices(question, run[-1][1].end())]
            return {
                letter: _SEPARATOR.sub("", question[m.end() : end]).strip(" $\\\n")
                for (letter, m), end in zip(run, ends)
            }
    return {}


def _end_of_choices(question: str, start: int) -> int:
    newline = question.find("\n", start)
    return len(question) if newline < 0 else newline


def _choices(case: Case) -> Case | None:
    """A letter stands for the choice with that letter, and a choice's content for its letter."""
    reference_is_letter = is_plain_choice(case.reference)
    letter = choice(case.answer)
    if reference_is_letter is (letter is not None) and letter == unwrap(case.answer).strip("(). "):
        return None
    listed = choices(case.question)
    if not listed:
        return None
    if not reference_is_letter:
        content = listed.get(letter or "")
        return case._replace(answer=content) if content and is_plain_choice(case.answer) else None
    wanted = listed.get(choice(case.reference) or "")
    if not wanted:
        return None
    if letter is not None:
        said = _LABEL.sub("", case.answer, count=1)
        contradicts = (
            said.strip(" $.") and letter in listed and _names_another(said, letter, listed)
        )
        return case._replace(answer="\\text{two different choices}") if contradicts else None
    same = [name for name, content in listed.items() if _squash(content) == _squash(case.answer)]
    if len(same) == 1:
        return case._replace(answer=same[0])
    if len(set(map(_squash, listed.values()))) < len(listed):
        return None
    return case._replace(reference=wanted)


def _names_another(said: str, letter: str, listed: Mapping[str, str]) -> bool:
    """Return whether words after a letter are the content of another choice."""
    squashed = _squash(said)
    return any(
        name != letter and squashed == _squash(content) for name, content in listed.items()
    ) and squashed != _squash(listed[letter])


def _unit(case: Case) -> Case | None:
    """A reference without a unit has the unit that the question asks for."""
    if quick_decimal(case.reference) is None or quick_decimal(case.answer) is not None:
        return None
    asked = {
        next(group for group in match.groups() if group).lower()
        for match in _UNIT_ASKED.finditer(asking(case.question))
    }
    known = [phrase for phrase in asked if is_unit(phrase.split()[-1])]
    if len(known) != 1 or "percent" in known[0]:
        return None
    number = case.reference.strip().strip("$")
    return case._replace(reference=f"{number}\\text{{ {known[0]}}}")


def asked_variable(question: str) -> str | None:
    """Return the one variable that a question asks for, or `None`."""
    found = list(_VARIABLE.finditer(question))
    names = {match["name"] for match in found}
    if any(question[match.end() :].lstrip(" ,").startswith("and") for match in found):
        return None  # `find x and y`
    return names.pop() if len(names) == 1 else None


def _variable(case: Case) -> Case | None:
    """Of several named values, the one that was asked for is the answer."""
    if "=" not in case.answer or "=" in case.reference or "," in case.reference:
        return None
    found = _SEVERAL_NAMED.findall(case.answer)
    if len(found) < 2 or len({name for name, _ in found}) < len(found):
        return None
    asked = asked_variable(case.question)
    values = dict(found)
    return case._replace(answer=values[asked]) if asked in values else None


def _wrong_variable(case: Case) -> bool:
    """The answer names another variable of the question than the one that was asked for."""
    match = _NAMED.match(case.answer)
    if match is None:
        return False
    asked = asked_variable(case.question)
    if asked is None or match.group(1) == asked:
        return False
    named = _NAMED.match(case.reference)
    if named is not None and named.group(1) == match.group(1):
        return False
    return re.search(rf"(?<![A-Za-z\\]){match.group(1)}(?![A-Za-z])", case.question) is not None


def _wrong_constant(case: Case) -> bool:
    """One side has a constant of integration that the other lacks, and the question settles which is right."""
    wanted = _PLUS_CONSTANT.search(case.reference) is not None
    given = _PLUS_CONSTANT.search(case.answer) is not None
    if wanted == given:
        return False
    if wanted and _GENERAL.search(case.question):
        return True
    return not _INTEGRATION.search(case.question)


def _restated(case: Case) -> bool:
    """The answer is an unevaluated piece of the question, and the reference is shorter."""
    answer = _squash(case.answer)
    if quick_number(case.answer) is None and isinstance(read(case.answer).node, int):
        return False  # `12^{\mathrm{th}}`
    if len(answer) < 3 or not _HAS_OPERATION.search(case.answer.strip("-$ ")):
        return False
    reference = _squash(case.reference)
    if answer == reference:
        return False
    is_number = quick_number(case.answer) is not None
    if not _can_be_reduced(case.answer) if is_number else len(answer) <= len(reference):
        return False
    if "=" in reference and not _NAMED.match(case.reference):
        return False
    if "=" in answer:  # `m = 4` is not restated by `3x - 2m = 4`
        whole = r"\s*".join(map(re.escape, answer))
        return re.search(rf"(?<![\w)}}+*/^=-]){whole}(?![\w({{+*/^=-])", case.question) is not None
    return answer in _squash(case.question)


def _can_be_reduced(text: str) -> bool:
    numbers = [int(n) for n in re.findall(r"\d+", text)[:3]]
    return len(numbers) == 2 and gcd(*numbers) > 1


def _squash(text: str) -> str:
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    return _SPACE.sub("", text).strip(".,;:?!")


BEFORE: Mapping[str, Callable[[Case], Case | None]] = {
    "choices": _choices,
    "variable": _variable,
    "percent": _percent,
    "constant": _constant,
    "rounding": _rounding,
    "order": _order,
    "form": _form,
    "unit": _unit,
    "ends": _ends,
    "sentence": _sentence,
    "expression": _expression,
}
VETOES: Mapping[str, Callable[[Case], bool]] = {
    "variable": _wrong_variable,
    "constant": _wrong_constant,
    "restated": _restated,
}
VETO_REASONS = {
    "variable": "the question asks for another variable",
    "constant": "one side lacks the constant of integration",
    "restated": "the answer only restates the question",
}
assert {*BEFORE, *VETOES} == set(QUESTION_RULES)
