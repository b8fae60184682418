"""How the embedded transformers read a state and write a step: one small vocabulary, no words.

A state becomes a handful of number tokens (`target n1 n2 n3 n4 SEP`), a step one to three tokens. Only legal
steps are written: every model output is normalised over what the game allows next, as in constrained decoding.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple, Protocol

PAD, SEP, NONE, BIG = range(4)
FIRST_NUMBER = 4
MAX_NUMBER = 199
"""Larger numbers share the token `BIG`."""
MAX_NUMBERS = 7
"""Numbers in play at once, at most."""
OPERATORS = "+-*/"
FIRST_MOVE = FIRST_NUMBER + MAX_NUMBER + 1
PAIRS = tuple(combinations(range(MAX_NUMBERS), 2))
MOVE_TOKEN = {
    (pair, op): FIRST_MOVE + i for i, (pair, op) in enumerate((pair, op) for pair in PAIRS for op in OPERATORS)
}
"""One token per Countdown step: which two of the sorted numbers, and the operation."""
VOCABULARY_SIZE = FIRST_MOVE + len(MOVE_TOKEN)


class Move(NamedTuple):
    """A legal step: the text the domain reads and the tokens the model writes."""

    text: str
    tokens: tuple[int, ...]


class Game(Protocol):
    """What a model must know of an environment to play it. Functions of `State.public` alone."""

    name: str

    def plays(self, public: Hashable) -> bool: ...

    def prompt(self, public: Hashable) -> tuple[int, ...]: ...

    def moves(self, public: Hashable) -> tuple[Move, ...]: ...

    def before(self, public: Hashable, step: str) -> Hashable | None:
        """Undo a step: the public data that led to `public`; `None` where `step` cannot have."""
        ...


def number_token(number: int) -> int:
    return FIRST_NUMBER + number if number <= MAX_NUMBER else BIG


def combine(low: int, high: int, op: str) -> int | None:
    """Return the result of one operation on two sorted numbers, `None` where it is not an exact integer."""
    if op == "+":
        return low + high
    if op == "-":
        return high - low
    if op == "*":
        return low * high
    return high // low if low and high % low == 0 else None


class Countdown:
    """Public data: `(numbers left, sorted; target)`. A step is one token."""

    name = "countdown"

    def plays(self, public: Hashable) -> bool:
        return isinstance(public, tuple) and len(public) == 2 and isinstance(public[0], tuple)

    def prompt(self, public: Hashable) -> tuple[int, ...]:
        numbers, target = public  # type: ignore[misc]
        return (number_token(target), *(number_token(n) for n in numbers[:MAX_NUMBERS]), SEP)

    def moves(self, public: Hashable) -> tuple[Move, ...]:
        """Return every legal step once; equal numbers give equal texts, of which the first stands."""
        numbers = public[0][:MAX_NUMBERS]  # type: ignore[index]
        found: dict[str, Move] = {}
        for i, j in combinations(range(len(numbers)), 2):
            low, high = numbers[i], numbers[j]
            for op in OPERATORS:
                if combine(low, high, op) is not None:
                    text = f"{low} {op} {high}" if op in "+*" else f"{high} {op} {low}"
                    found.setdefault(text, Move(text, (MOVE_TOKEN[(i, j), op],)))
        return tuple(found.values())

    def before(self, public: Hashable, step: str) -> Hashable | None:
        numbers, target = public  # type: ignore[misc]
        read = read_step(step)
        if read is None:
            return None
        left, op, right = read
        result = combine(min(left, right), max(left, right), op)
        if result is None or result not in numbers:
            return None
        rest = list(numbers)
        rest.remove(result)
        return tuple(sorted([*rest, left, right])), target


def read_step(text: str) -> tuple[int, str, int] | None:
    """Read `a op b` or `a op b = c`; `None` for any other text."""
    head = text.split("=")[0]
    for op in OPERATORS:
        left, found, right = head.partition(op)
        if found and left.strip().isascii() and left.strip().isdigit() and right.strip().isascii() and right.strip().isdigit():
            return int(left[:40]), op, int(right[:40])
    return None


class ModularSums:
    """Public data: `(remaining, sorted; running sum or None; modulus)`. A step is three tokens: a, b and the
    result, which the model must know: the domain goes on from what it wrote."""

    name = "modular_sums"

    def plays(self, public: Hashable) -> bool:
        return isinstance(public, tuple) and len(public) == 3 and isinstance(public[0], tuple)

    def prompt(self, public: Hashable) -> tuple[int, ...]:
        remaining, running, _ = public  # type: ignore[misc]
        first = NONE if running is None else number_token(running)
        return (first, *(number_token(n) for n in remaining), SEP)

    def moves(self, public: Hashable) -> tuple[Move, ...]:
        remaining, running, modulus = public  # type: ignore[misc]
        if running is None:
            pairs = {(a, b) for i, a in enumerate(remaining) for j, b in enumerate(remaining) if i != j}
        else:
            pairs = {(running, b) for b in remaining}
        return tuple(
            Move(f"{a} + {b} = {c}", (number_token(a), number_token(b), number_token(c)))
            for a, b in sorted(pairs)
            for c in range(modulus)
        )

    def before(self, public: Hashable, step: str) -> Hashable | None:
        remaining, running, modulus = public  # type: ignore[misc]
        read = read_step(step)
        if read is None or running is None:
            return None
        a, _, b = read
        return tuple(sorted([*remaining, b])), a, modulus


GAMES: dict[str, Game] = {game.name: game for game in (Countdown(), ModularSums())}


class Plan(NamedTuple):
    """All legal moves of a state as rows for the model: each row is a prefix, each move a chain of choices."""

    moves: tuple[Move, ...]
    rows: tuple[tuple[int, ...], ...]
    """Token sequences; the model's word after the last token of a row chooses among the row's options."""
    options: tuple[tuple[int, ...], ...]
    """Row -> the tokens that may follow."""
    choices: tuple[tuple[int, int, int], ...]
    """(move, row, token): the move's log-probability is the sum over its choices."""
    num_tokens: int


@lru_cache(maxsize=200_000)
def plan(game_name: str, public: Hashable) -> Plan:
    """Lay out the legal moves of a state as a prefix tree."""
    game = GAMES[game_name]
    prompt, moves = game.prompt(public), game.moves(public)
    index: dict[tuple[int, ...], int] = {}
    options: list[dict[int, None]] = []
    choices = []
    for m, move in enumerate(moves):
        for k, token in enumerate(move.tokens):
            row = index.setdefault(move.tokens[:k], len(index))
            if row == len(options):
                options.append({})
            options[row][token] = None
            choices.append((m, row, token))
    rows = tuple(prompt + prefix for prefix in index)
    return Plan(moves, rows, tuple(tuple(o) for o in options), tuple(choices), sum(map(len, rows)))
