"""Proposals from templates: sound ones of each kind, drawn at random, as references and for proposers without a model."""

from __future__ import annotations

import random

from stepgym.envs.families.countdown_solver import moves
from stepgym.envs.proposals.gate import refusal_without_running
from stepgym.envs.proposals.reading import Parts, read_statement, split_proposal

_PROGRAM = """\
program:
def f(xs, k):
    total = {a}
    for x in xs:
        if x % {m} {comparison} k:
            total += {b} * x
        else:
            total -= x
    return total
input: {xs}, {k}"""


def draw_proposal(kind: str, rng: random.Random, *, num_operations: int | None = None) -> str:
    """Draw a proposal that keeps all rules of the gate but, perhaps, that of being new.

    `num_operations` is about how many operations it has (countdown: exactly); by default two to five.
    """
    size = rng.randint(2, 5) if num_operations is None else num_operations
    draw = {
        "expression": _expression,
        "equation": _equation,
        "countdown": _countdown,
        "program": _program,
    }[kind]
    while True:
        text = draw(rng, size)
        parts = split_proposal(text)
        assert isinstance(parts, Parts), text
        statement = read_statement(parts)
        assert not isinstance(statement, str), f"{text}: {statement}"
        if not refusal_without_running(statement):
            return text


def _expression(rng: random.Random, size: int) -> str:
    text = str(rng.randint(2, 30))
    for _ in range(size):
        other, sign = rng.randint(2, 30), rng.choice("+-*")
        if rng.random() < 0.3:
            text = f"({text}) {sign} {other}" if sign == "*" else f"{other} {sign} ({text})"
        else:
            text = f"{text} {sign} {other}"
    return f"expression: {text}"


def _equation(rng: random.Random, size: int) -> str:
    left, right = f"{rng.randint(2, 12)}x", str(rng.randint(-40, 40))
    for k in range(size - 1):
        term = f" {rng.choice('+-')} {rng.randint(1, 20)}{rng.choice(['', 'x'])}"
        left, right = (left + term, right) if k % 2 == 0 else (left, right + term)
    return f"equation: {left} = {right}"


def _countdown(rng: random.Random, size: int) -> str:
    numbers = tuple(sorted(rng.randint(1, 25) for _ in range(size + 1)))
    left = numbers
    while len(left) > 1:
        left = rng.choice(moves(left)).left
    return f"countdown: {', '.join(map(str, numbers))} -> {left[0]}"


def _program(rng: random.Random, size: int) -> str:
    modulus = rng.randint(2, 5)
    return _PROGRAM.format(
        a=rng.randint(0, 50),
        b=rng.randint(2, 5),
        m=modulus,
        comparison=rng.choice(("==", "<", ">")),
        k=rng.randrange(modulus),
        xs=[rng.randint(1, 40) for _ in range(size + 1)],
    )
