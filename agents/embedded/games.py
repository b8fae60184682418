"""How the embedded transformers read a state and write a step: one small vocabulary of numbers and moves, no words.

A state becomes a handful of number tokens, a step one to three tokens. Only legal steps are ever written: each
output is normalised over what the game allows next, as in constrained decoding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from functools import lru_cache
from itertools import combinations, groupby
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from stepgym.envs.families import countdown, countdown_rules, countdown_solver, modular_sums
from stepgym.envs.types import End, State

PAD, NONE, BIG = range(3)
FIRST_NUMBER = 3
MAX_NUMBER = 199
"""Larger numbers share the token `BIG`."""
MAX_NUMBERS = 7
"""Numbers on a Countdown position, at most."""
FIRST_MOVE = FIRST_NUMBER + MAX_NUMBER + 1
MOVE_TOKEN = {
    (i, j, op): FIRST_MOVE + k
    for k, (i, j, op) in enumerate(
        (i, j, op)
        for i, j in combinations(range(MAX_NUMBERS), 2)
        for op in countdown_solver.OPERATORS
    )
}
"""One token per Countdown step: which two of the ascending numbers, and the operation."""
VOCABULARY_SIZE = FIRST_MOVE + len(MOVE_TOKEN)
MOST_TOKENS = 3
"""Tokens of a step, at most."""


class Move(NamedTuple):
    """A legal step: the text the domain reads and the tokens the model writes."""

    text: str
    tokens: tuple[int, ...]


class Game(Protocol):
    """What a model must know of an environment to play it, as functions of `State.public`."""

    @property
    def distinct(self) -> bool:
        """Whether a policy draws without replacement by default."""
        ...

    def plays(self, public: Hashable) -> bool: ...

    def prompt(self, public: Hashable) -> tuple[int, ...]: ...

    def moves(self, public: Hashable) -> tuple[Move, ...]: ...

    def following(self, public: Hashable, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """Return the tokens that may follow the first ones of a step, ascending; none if the step is complete."""
        ...

    def text(self, public: Hashable, tokens: tuple[int, ...]) -> str:
        """Return the step that complete tokens write."""
        ...

    def positions(self, state: State) -> list[Hashable | None]:
        """Return the public data after each step of a state; `None` for a step that was refused."""
        ...

    def readings(self, state: State) -> list[Hashable | None]:
        """Return what a reward model reads to judge each step of a state; `None` for a step that was refused."""
        ...

    def reading_tokens(self, reading: Hashable) -> tuple[int, ...]: ...


def number_token(number: int) -> int:
    """Return the token of a number; all large ones share `BIG`."""
    return FIRST_NUMBER + number if 0 <= number <= MAX_NUMBER else BIG


class Countdown:
    """Public data: `(numbers left, ascending; target)`. A step is one token."""

    distinct = True

    def plays(self, public: Hashable) -> bool:
        return (
            isinstance(public, tuple)
            and len(public) == 2
            and isinstance(public[0], tuple)
            and len(public[0]) <= MAX_NUMBERS
        )

    def prompt(self, public: Hashable) -> tuple[int, ...]:
        numbers, target = cast(countdown.Position, public)
        return number_token(target), *map(number_token, numbers)

    def moves(self, public: Hashable) -> tuple[Move, ...]:
        numbers, _ = cast(countdown.Position, public)
        return tuple(
            Move(move.text, (self._token(numbers, move.text),))
            for move in countdown_solver.moves(numbers)
        )

    def following(self, public: Hashable, tokens: tuple[int, ...]) -> tuple[int, ...]:
        return () if tokens else tuple(sorted({move.tokens[0] for move in self.moves(public)}))

    def text(self, public: Hashable, tokens: tuple[int, ...]) -> str:
        return next(move.text for move in self.moves(public) if move.tokens == tokens)

    def positions(self, state: State) -> list[Hashable | None]:
        left, target = cast(countdown.Position, state.public)
        texts, refused = _legal_texts(state)
        left = countdown_rules.originals(left, texts)
        found: list[Hashable | None] = []
        for text in texts:
            after = countdown_rules.play(left, text)
            left = left if isinstance(after, str) else after
            found.append((left, target))
        return found + [None] * refused

    def readings(self, state: State) -> list[Hashable | None]:
        """The position after the step: the numbers left say whether the target is in reach."""
        return self.positions(state)

    def reading_tokens(self, reading: Hashable) -> tuple[int, ...]:
        return self.prompt(reading)

    def _token(self, numbers: tuple[int, ...], text: str) -> int:
        first, op, second = text.split()
        low, high = sorted((int(first), int(second)))
        i = numbers.index(low)
        return MOVE_TOKEN[i, numbers.index(high, i + 1), op]


class ModularSums:
    """Public data: `(remaining, ascending; running sum or None; modulus)`. A step is three tokens, a, b and the
    result, which the model must know: the domain goes on from what it wrote."""

    distinct = False

    def plays(self, public: Hashable) -> bool:
        return (
            isinstance(public, tuple)
            and len(public) == 3
            and isinstance(public[0], tuple)
            and public[2] <= MAX_NUMBER
        )

    def prompt(self, public: Hashable) -> tuple[int, ...]:
        remaining, running, _ = cast(modular_sums.Sum, public)
        return NONE if running is None else number_token(running), *map(number_token, remaining)

    def moves(self, public: Hashable) -> tuple[Move, ...]:
        remaining, running, modulus = cast(modular_sums.Sum, public)
        if running is None:
            pairs = {(a, b) for i, a in enumerate(remaining) for b in remaining[i + 1 :]}
        else:
            pairs = {(running, b) for b in remaining}
        return tuple(move for a, b in sorted(pairs) for move in _results(a, b, modulus))

    def following(self, public: Hashable, tokens: tuple[int, ...]) -> tuple[int, ...]:
        remaining, running, modulus = cast(modular_sums.Sum, public)
        if not remaining or len(tokens) == 3:
            return ()
        if len(tokens) == 2:
            return tuple(range(FIRST_NUMBER, FIRST_NUMBER + modulus))
        if running is not None:
            numbers = remaining if tokens else (running,)
        elif tokens:
            numbers = remaining[remaining.index(tokens[0] - FIRST_NUMBER) + 1 :]
        else:
            numbers = remaining[:-1]
        return tuple(sorted(set(map(number_token, numbers))))

    def text(self, public: Hashable, tokens: tuple[int, ...]) -> str:
        a, b, c = (token - FIRST_NUMBER for token in tokens)
        return f"{a} + {b} = {c}"

    def positions(self, state: State) -> list[Hashable | None]:
        remaining, _, modulus = cast(modular_sums.Sum, state.public)
        texts, refused = _legal_texts(state)
        used: list[int] = []
        total: int | None = None
        for text in texts:
            a, b, c = _addition(text)
            used += [a, b] if total is None else [b if a == total else a]
            total = c
        position: modular_sums.Sum = (tuple(sorted((*remaining, *used))), None, modulus)
        found: list[Hashable | None] = []
        for text in texts:
            after = modular_sums.play(position, text)
            position = position if isinstance(after, str) else after
            found.append(position)
        return found + [None] * refused

    def readings(self, state: State) -> list[Hashable | None]:
        """The addition alone: the position after it does not show whether it was right, and what is left says nothing of it."""
        texts, refused = _legal_texts(state)
        return [*map(_addition, texts), *[None] * refused]

    def reading_tokens(self, reading: Hashable) -> tuple[int, ...]:
        a, b, c = cast(tuple[int, int, int], reading)
        return tuple(map(number_token, (min(a, b), max(a, b), c)))


def reading_of(state: State) -> Hashable:
    """Return what a reward model reads to judge the last step of a state that a game plays, else its public data."""
    game = next((game for game in GAMES.values() if game.plays(state.public)), None)
    return game.readings(state)[-1] if game and state.steps else state.public


@lru_cache(maxsize=4096)
def _results(a: int, b: int, modulus: int) -> tuple[Move, ...]:
    """Return the steps that add two numbers, one for each result; positions share them."""
    return tuple(
        Move(f"{a} + {b} = {c}", (number_token(a), number_token(b), number_token(c)))
        for c in range(modulus)
    )


def _addition(text: str) -> tuple[int, int, int]:
    a, b, c = (int(word) for word in text.replace("+", " ").replace("=", " ").split())
    return a, b, c


def _legal_texts(state: State) -> tuple[list[str], int]:
    """Return the texts of the steps that moved the position, and how many at the end did not (0 or 1)."""
    texts = [step.text for step in state.steps]
    refused = bool(texts) and (state.end is End.STUCK or "<answer>" in texts[-1])
    return (texts[:-1], 1) if refused else (texts, 0)


def describe_vocabulary(game: str) -> dict[str, str]:
    """Return name and hash of a game's vocabulary, as records name a tokenizer."""
    content = repr((game, FIRST_NUMBER, MAX_NUMBER, MAX_NUMBERS, sorted(MOVE_TOKEN.items())))
    digest = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
    return {"name": f"embedded:{game}", "hash": digest}


GAMES: dict[str, Game] = {"countdown": Countdown(), "modular_sums": ModularSums()}


class MoveTree(NamedTuple):
    """All legal moves of a state, laid out as rows for the model: each row is a prefix, each move a chain of choices."""

    moves: tuple[Move, ...]
    rows: tuple[tuple[int, ...], ...]
    """Token sequences; the model's output at a row's last token chooses among the row's options."""
    options: tuple[tuple[int, ...], ...]
    """Row -> the tokens that may follow."""
    choices: NDArray[np.int32]
    """`[choices, 3]`, move, row and token: a move's log-probability is the sum over its choices."""
    num_prompt_tokens: int
    """What a sampler reads before it writes: the position once. (All moves are scored here at once, so that no draw has
    to wait for the one before; a sampler reads nothing but the position and the steps it draws.)"""


@lru_cache(maxsize=32_768)  # one of eight numbers modulo 19 takes 28 KiB
def move_tree(game: str, public: Hashable) -> MoveTree:
    """Lay out the legal moves of a state as a prefix tree."""
    prompt, moves = GAMES[game].prompt(public), GAMES[game].moves(public)
    index: dict[tuple[int, ...], int] = {}
    options: list[dict[int, None]] = []

    def row_of(prefix: tuple[int, ...]) -> int:
        if prefix not in index:
            index[prefix] = len(options)
            options.append({})
        return index[prefix]

    choices: list[tuple[int, int, int]] = []
    # Moves that differ in their last token alone come one after the other, and share the way to it.
    for prefix, group in groupby(enumerate(moves), key=lambda item: item[1].tokens[:-1]):
        way = [(row_of(prefix[:k]), token) for k, token in enumerate(prefix)]
        for row, token in way:
            options[row][token] = None
        last = row_of(prefix)
        for m, move in group:
            choices += [(m, row, token) for row, token in way]
            choices.append((m, last, move.tokens[-1]))
            options[last][move.tokens[-1]] = None
    rows = tuple(prompt + prefix for prefix in index)
    return MoveTree(
        moves,
        rows,
        tuple(map(tuple, options)),
        np.array(choices, np.int32).reshape(-1, 3),
        len(prompt),
    )
