"""How the embedded transformers read a state and write a step: one small vocabulary of numbers and moves, no words.

A state becomes a handful of number tokens, a step one to three tokens. Only legal steps are ever written: each
output is normalised over what the game allows next, as in constrained decoding.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
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
MOST_MARKERS = 8
"""Tokens that the game of mixtures has besides: one in front of each position says of which game it is."""


class Move(NamedTuple):
    """A legal step: the text the domain reads and the tokens the model writes."""

    text: str
    tokens: tuple[int, ...]


class Game(Protocol):
    """What a model must know of an environment to play it, as functions of `State.public`."""

    @property
    def title(self) -> str:
        """The environments that a model of this game plays, as messages name them."""
        ...

    @property
    def distinct(self) -> bool:
        """Whether a policy draws without replacement by default."""
        ...

    @property
    def most_tokens(self) -> int:
        """The most tokens of a step."""
        ...

    def plays(self, public: Hashable) -> bool: ...

    def prompt(self, public: Hashable) -> tuple[int, ...]: ...

    def is_listed(self, public: Hashable) -> bool:
        """Return whether `moves` lists the legal steps; otherwise there are too many, and they are only written token by token."""
        ...

    def moves(self, public: Hashable) -> tuple[Move, ...]: ...

    def read(self, public: Hashable, text: str) -> tuple[int, ...] | None:
        """Return the tokens of a step, the opposite of `text`; `None` if it is no legal step."""
        ...

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


class Listed:
    """A game that lists its legal steps."""

    def is_listed(self, public: Hashable) -> bool:
        return True

    def moves(self, public: Hashable) -> tuple[Move, ...]:
        raise NotImplementedError

    def read(self, public: Hashable, text: str) -> tuple[int, ...] | None:
        return next((move.tokens for move in self.moves(public) if move.text == text), None)


class Countdown(Listed):
    """Public data: `(numbers left, ascending; target)`. A step is one token."""

    title = "Countdown"
    distinct = True
    most_tokens = 3

    def plays(self, public: Hashable) -> bool:
        return (
            isinstance(public, tuple)
            and len(public) == 2
            and _are_numbers(public[0])
            and isinstance(public[1], int)
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


class ModularSums(Listed):
    """Public data: `(remaining, ascending; running sum or None; modulus)`. A step is three tokens, a, b and the
    result, which the model must know: the domain goes on from what it wrote."""

    title = "ModularSums"
    distinct = False
    most_tokens = 3

    def plays(self, public: Hashable) -> bool:
        return (
            isinstance(public, tuple)
            and len(public) == 3
            and _are_numbers(public[0])
            and isinstance(public[1], int | None)
            and isinstance(public[2], int)
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


class Proposals:
    """Public data: the kind `countdown`. A step is a whole proposal, written in up to 7 tokens: how many numbers, the numbers
    in ascending order, the target. Whether the target can be reached is for the gate to find."""

    title = "ProposeSolve with kinds=countdown"
    distinct = False
    most_tokens = 7
    sizes = range(3, 6)
    numbers = range(1, 26)
    targets = range(1, 101)

    def plays(self, public: Hashable) -> bool:
        return public == "countdown"

    def prompt(self, public: Hashable) -> tuple[int, ...]:
        return (NONE,)

    def is_listed(self, public: Hashable) -> bool:
        return False

    def moves(self, public: Hashable) -> tuple[Move, ...]:
        raise NotImplementedError("there are too many proposals to list them")

    def following(self, public: Hashable, tokens: tuple[int, ...]) -> tuple[int, ...]:
        if not tokens:
            return tuple(map(number_token, self.sizes))
        size, written = tokens[0] - FIRST_NUMBER, len(tokens) - 1
        if written < size:
            lowest = tokens[-1] - FIRST_NUMBER if written else self.numbers.start
            return tuple(map(number_token, range(lowest, self.numbers.stop)))
        return tuple(map(number_token, self.targets)) if written == size else ()

    def text(self, public: Hashable, tokens: tuple[int, ...]) -> str:
        *numbers, target = (token - FIRST_NUMBER for token in tokens[1:])
        return f"<answer>countdown: {', '.join(map(str, numbers))} -> {target}</answer>"

    def read(self, public: Hashable, text: str) -> tuple[int, ...] | None:
        *numbers, target = [int(digits) for digits in re.findall("[0-9]{1,3}", text)] or [0]
        tokens = tuple(map(number_token, (len(numbers), *numbers, target)))
        legal = all(
            token in self.following(public, tokens[:place]) for place, token in enumerate(tokens)
        )
        return tokens if legal and self.text(public, tokens) == text else None

    def positions(self, state: State) -> list[Hashable | None]:
        return [None] * len(state.steps)

    def readings(self, state: State) -> list[Hashable | None]:
        """No step: a proposal has only one, and its gate and solver judge it."""
        return [None] * len(state.steps)

    def reading_tokens(self, reading: Hashable) -> tuple[int, ...]:
        raise NotImplementedError("no reward model reads proposals")


class Mixed:
    """Several games for one model. Public data: that of a game, alone or with the number of a mixture's member before it.

    The model reads a token for the game, and then the position as the game lays it out.
    """

    title = "Countdown, ModularSums, ProposeSolve with kinds=countdown, and mixtures of these"
    distinct = False

    def __init__(self, games: Sequence[Game]) -> None:
        self.games = games
        self.most_tokens = max(game.most_tokens for game in games)

    def plays(self, public: Hashable) -> bool:
        return self._find(public) is not None

    def prompt(self, public: Hashable) -> tuple[int, ...]:
        game, position = self._of(public)
        return (self._marker(game), *game.prompt(position))

    def is_listed(self, public: Hashable) -> bool:
        game, position = self._of(public)
        return game.is_listed(position)

    def moves(self, public: Hashable) -> tuple[Move, ...]:
        game, position = self._of(public)
        return game.moves(position)

    def following(self, public: Hashable, tokens: tuple[int, ...]) -> tuple[int, ...]:
        game, position = self._of(public)
        return game.following(position, tokens)

    def text(self, public: Hashable, tokens: tuple[int, ...]) -> str:
        game, position = self._of(public)
        return game.text(position, tokens)

    def read(self, public: Hashable, text: str) -> tuple[int, ...] | None:
        game, position = self._of(public)
        return game.read(position, text)

    def positions(self, state: State) -> list[Hashable | None]:
        game, position = self._of(state.public)
        found = game.positions(replace(state, public=position))
        if position is state.public:
            return found
        member = cast(tuple[int, Hashable], state.public)[0]
        return [None if each is None else (member, each) for each in found]

    def readings(self, state: State) -> list[Hashable | None]:
        game, position = self._of(state.public)
        found = game.readings(replace(state, public=position))
        return [None if each is None else (self.games.index(game), each) for each in found]

    def reading_tokens(self, reading: Hashable) -> tuple[int, ...]:
        number, plain = cast(tuple[int, Hashable], reading)
        game = self.games[number]
        return (self._marker(game), *game.reading_tokens(plain))

    def _marker(self, game: Game) -> int:
        return VOCABULARY_SIZE + self.games.index(game)

    def _of(self, public: Hashable) -> tuple[Game, Hashable]:
        found = self._find(public)
        assert found is not None, f"no position of these games: {public!r}"
        return found

    def _find(self, public: Hashable) -> tuple[Game, Hashable] | None:
        """Return the game of a position, and the position without the number of a mixture's member."""
        if isinstance(public, tuple) and len(public) == 2 and isinstance(public[0], int):
            public = public[1]
        game = next((game for game in self.games if game.plays(public)), None)
        return None if game is None else (game, public)


def vocabulary_size(game: str) -> int:
    """Return how many tokens a new model of a game has."""
    return VOCABULARY_SIZE + (MOST_MARKERS if game == MIXED else 0)


def _are_numbers(public: Hashable) -> bool:
    return isinstance(public, tuple) and all(isinstance(number, int) for number in public)


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


MIXED = "mixed"
_ALONE: dict[str, Game] = {
    "countdown": Countdown(),
    "modular_sums": ModularSums(),
    "proposals": Proposals(),
}
GAMES: dict[str, Game] = {**_ALONE, MIXED: Mixed(tuple(_ALONE.values()))}
"""A new game is added at the end of `_ALONE`: models of mixtures keep the tokens of the games before."""


class MoveTree(NamedTuple):
    """Legal moves of a state, all of them if they can be listed, laid out as rows for the model: each row is a prefix, each move a chain of choices."""

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


def step_tree(game: str, public: Hashable, texts: Iterable[str]) -> MoveTree:
    """Return `move_tree`, or a tree of these steps alone for a position whose legal steps are too many to list."""
    rules = GAMES[game]
    if rules.is_listed(public):
        return move_tree(game, public)
    read = ((text, rules.read(public, text)) for text in texts)
    return _tree_of(game, public, tuple(Move(text, tokens) for text, tokens in read if tokens))


@lru_cache(maxsize=32_768)  # one of eight numbers modulo 19 takes 28 KiB
def move_tree(game: str, public: Hashable) -> MoveTree:
    """Lay out the legal moves of a state as a prefix tree."""
    return _tree_of(game, public, GAMES[game].moves(public))


def _tree_of(game: str, public: Hashable, moves: tuple[Move, ...]) -> MoveTree:
    rules = GAMES[game]
    prompt, is_listed = rules.prompt(public), rules.is_listed(public)
    index: dict[tuple[int, ...], int] = {}
    options: list[dict[int, None]] = []

    def row_of(prefix: tuple[int, ...]) -> int:
        if prefix not in index:
            index[prefix] = len(options)
            options.append({} if is_listed else dict.fromkeys(rules.following(public, prefix)))
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
