"""24: write an expression that uses four numbers once each and has the value 24. Fractions may occur on the way.

Levels go by how many ways there are: at level 1 more than 34, at level 10 one. Every expression that obeys the rules is
right. There are 1,362 solvable sets of four numbers from 1 to 13 on all levels together, so problems of one level repeat
soon.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import chain, combinations, product
from typing import NamedTuple, Unpack

from stepgym.envs.families.countdown import CountdownVerifier
from stepgym.envs.families.text import draft, worded
from stepgym.envs.problem_sets import Draft, ProceduralSet
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.steps.verifier import FreeTextStepVerifier
from stepgym.envs.text_domain import TextDomain, ToolKind
from stepgym.sandbox.types import Sandbox

NAME = "stepgym/TwentyFour-v0"
TARGET, LARGEST = 24, 13
MOST_WAYS = (10**9, 34, 19, 12, 10, 7, 6, 5, 3, 1)
"""By level, the largest number of ways to reach 24: about the deciles over all solvable sets."""


class Term(NamedTuple):
    """A value with the expression and the sums that led to it."""

    value: Fraction
    text: str
    sums: tuple[tuple[Fraction, str, Fraction], ...] = ()


def generate(rng: random.Random, level: int) -> Draft:
    """Draw four numbers until they have as many ways to 24 as the level asks for."""
    fewest = MOST_WAYS[level] if level < len(MOST_WAYS) else 0
    while True:
        numbers = [rng.randint(1, LARGEST) for _ in range(4)]
        found = ways(tuple(sorted(numbers)))
        if fewest < len(found) <= MOST_WAYS[level - 1]:
            break
    chosen = found[0]
    question = worded(
        rng,
        "Use each of the numbers {numbers} exactly once, with + - * / and parentheses, to make 24. Give the expression.",
        "Make 24 from {numbers}: each number once, any of + - * /, any parentheses. What is the expression?",
        "Write an expression with the value 24. It has the numbers {numbers}, each once, and no other number.",
        numbers=", ".join(map(str, numbers)),
    )
    drawn = draft(question, chosen.text, [_line(*each) for each in chosen.sums])
    return drawn._replace(public=(tuple(sorted(numbers)), TARGET))


@lru_cache(maxsize=2_000)
def ways(numbers: tuple[int, ...]) -> tuple[Term, ...]:
    """Return every expression with the value 24 once; operands of + and * are not swapped."""
    singles = [{Fraction(n): [Term(Fraction(n), str(n))]} for n in numbers]
    pairs = {(i, j): _joined([(singles[i], singles[j])]) for i, j in combinations(range(4), 2)}
    splits = [(pairs[0, k], pairs[_others(0, k)]) for k in (1, 2, 3)]
    for k in range(4):
        a, b, c = (i for i in range(4) if i != k)
        grouped = [(a, (b, c)), (b, (a, c)), (c, (a, b))]
        splits.append((singles[k], _joined([(singles[i], pairs[pair]) for i, pair in grouped])))
    found: dict[str, Term] = {}
    for left, right in splits:
        for x, terms in left.items():
            for y in _partners(x):
                for a_term, b_term in product(terms, right.get(y, ())):
                    for term in _combined(a_term, b_term):
                        if term.value == TARGET:
                            text = term.text[1:-1]
                            found.setdefault(text, term._replace(text=text))
    return tuple(found.values())


_Values = dict[Fraction, list[Term]]
"""Value -> the expressions that have it."""


def _others(i: int, j: int) -> tuple[int, int]:
    k, m = (n for n in range(4) if n not in (i, j))
    return k, m


def _joined(splits: Sequence[tuple[_Values, _Values]]) -> _Values:
    """Return what one operation makes of a term on the left and one on the right of any split."""
    found: dict[str, Term] = {}
    for left, right in splits:
        for a, b in product(chain(*left.values()), chain(*right.values())):
            found.update((term.text, term) for term in _combined(a, b))
    values: _Values = {}
    for term in found.values():
        values.setdefault(term.value, []).append(term)
    return values


def _partners(x: Fraction) -> set[Fraction]:
    """Return every number that one operation with `x`, on either side, turns into 24."""
    found = {TARGET - x, TARGET + x, x - TARGET, TARGET * x}
    return found | {TARGET / x, x / TARGET} if x else found


def _combined(a: Term, b: Term) -> Iterator[Term]:
    x, y = a.value, b.value
    yield _term(a, "+", b, x + y)
    yield _term(a, "*", b, x * y)
    yield _term(a, "-", b, x - y)
    if x != y:
        yield _term(b, "-", a, y - x)
    if y:
        yield _term(a, "/", b, x / y)
    if x and x != y:
        yield _term(b, "/", a, y / x)


def _term(a: Term, operator: str, b: Term, value: Fraction) -> Term:
    return Term(
        value, f"({a.text} {operator} {b.text})", (*a.sums, *b.sums, (a.value, operator, b.value))
    )


def _line(left: Fraction, operator: str, right: Fraction) -> str:
    value = {"+": left + right, "-": left - right, "*": left * right}.get(operator)
    value = left / right if value is None else value
    return f"{_shown(left)} {operator} {_shown(right)} = {value}"


def _shown(value: Fraction) -> str:
    return str(value) if value.denominator == 1 and value >= 0 else f"({value})"


def make(
    *,
    level: int = 1,
    seed: int = 0,
    sandbox: str | Sandbox | None = "auto",
    tools: ToolKind = "python",
    **common: Unpack[CommonOptions],
) -> ReasoningEnv:
    """Make `stepgym/TwentyFour-v0`; levels run from 1 to 10."""
    max_steps = common.pop("max_steps", 32)
    return ReasoningEnv(
        ProceduralSet(NAME, generate, level, seed),
        domain=TextDomain(max_steps=max_steps, sandbox=sandbox, tools=tools),
        verifier=CountdownVerifier(),
        step_verifier=FreeTextStepVerifier(),
        **common,
    )
