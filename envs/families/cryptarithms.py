"""Cryptarithms: sums in which letters stand for digits, SEND + MORE = MONEY. Levels raise digits, letters and addends.

A puzzle is drawn as a sum of numbers, its digits become letters, and it is kept if no other assignment fits, which is
decided by trying every assignment that fits the column of units.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import permutations
from string import ascii_uppercase

import numpy as np
from numpy.typing import NDArray

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Cryptarithms-v0"
MAX_TABLE_LETTERS = 6
"""Digits of so many letters are tried at once; those of the letters left are tried one after the other."""


def generate(rng: random.Random, level: int) -> Draft:
    """Draw sums until one has a single solution."""
    num_letters, num_digits = scaled(level, 4, 8), scaled(level, 3, 6)
    num_addends = 2 + (level >= 8)
    while True:
        alphabet = rng.sample("0123456789", num_letters)
        values = [int("".join(rng.choices(alphabet, k=num_digits))) for _ in range(num_addends)]
        digits = "".join(map(str, [*values, sum(values)]))
        if min(values) < 10 ** (num_digits - 1) or len(set(digits)) != num_letters:
            continue
        letters = dict(zip(sorted(set(digits)), rng.sample(ascii_uppercase, len(set(digits)))))
        *addends, total = (
            "".join(letters[digit] for digit in str(value)) for value in (*values, sum(values))
        )
        if is_single(addends, total):
            break
    question = worded(
        rng,
        "Each letter stands for one digit, different letters for different digits, and no number begins with 0: "
        "{addends} = {total}. What number is {total}?",
        "In the sum {addends} = {total} every letter is a digit. Different letters are different digits, and a first "
        "letter is never 0. Which number does {total} stand for?",
        addends=" + ".join(addends),
        total=total,
    )
    of = {letter: int(digit) for digit, letter in letters.items()}
    return draft(
        question, sum(values), [*_columns(addends, total, of), f"{total} is {sum(values)}."]
    )


def _columns(addends: Sequence[str], total: str, of: Mapping[str, int]) -> Iterator[str]:
    """Yield one line per column, from right to left."""
    carry = 0
    for place in range(1, len(total) + 1):
        digits = [of[word[-place]] for word in addends if place <= len(word)]
        parts = [*digits, carry] if carry else digits
        value = sum(parts)
        shown = " + ".join(map(str, parts))
        named = " + ".join(word[-place] for word in addends if place <= len(word)) or "the carry"
        carry, digit = divmod(value, 10)
        kept = f", carry {carry}" if carry else ""
        yield f"Column {place}, {named}: {shown} = {value}, so {total[-place]} is {digit}{kept}."


def is_single(addends: Sequence[str], total: str) -> bool:
    """Say whether exactly one assignment of digits to letters makes the sum true."""
    found = solutions(addends, total)
    return next(found, None) is not None and next(found, None) is None


def solutions(addends: Sequence[str], total: str) -> Iterator[dict[str, int]]:
    """Yield every assignment that makes the sum true."""
    weights: dict[str, int] = {}
    for sign, words in ((1, addends), (-1, (total,))):
        for word in words:
            size = sign
            for letter in reversed(word):
                weights[letter] = weights.get(letter, 0) + size
                size *= 10
    units = [word[-1] for word in (*addends, total)]
    letters = list(dict.fromkeys([*units, *weights]))
    table = _fitting_units(tuple(map(letters.index, units)), min(len(letters), MAX_TABLE_LETTERS))
    sums = np.array([weights[letter] for letter in letters[: len(table)]], float) @ table
    others = letters[len(table) :]
    first = {word[0] for word in (*addends, total) if len(word) > 1}
    for rest in permutations(range(10), len(others)):
        wanted = -sum(digit * weights[letter] for letter, digit in zip(others, rest))
        for fit in (sums == wanted).nonzero()[0]:
            digits = (*map(int, table[:, fit]), *rest)
            of = dict(zip(letters, digits))
            if len(set(digits)) == len(digits) and all(of[letter] for letter in first):
                yield of


@cache
def _fitting_units(units: tuple[int, ...], num_letters: int) -> NDArray[np.float64]:
    """Return every way to give letters different digits such that the column of units fits, one way per column.

    `units` are the numbers of the letters of the column, with that of the total last.
    """
    ways = np.array(list(permutations(range(10), num_letters)), float).T
    *addends, total = ways[list(units)]
    return np.ascontiguousarray(ways[:, (sum(addends) - total) % 10 == 0])


make = text_family(NAME, generate)
