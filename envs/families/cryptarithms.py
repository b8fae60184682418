"""Cryptarithms: sums in which letters stand for digits, SEND + MORE = MONEY. Levels raise digits, letters and addends.

A puzzle is drawn as a sum of numbers, its digits become letters, and it is kept if no other assignment fits, which is
decided by trying the columns from right to left.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from string import ascii_uppercase

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Cryptarithms-v0"


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
    """Yield every assignment that makes the sum true, column by column from the right."""
    first = {word[0] for word in (*addends, total) if len(word) > 1}
    columns = [
        ([word[-place] for word in addends if place <= len(word)], total[-place])
        for place in range(1, len(total) + 1)
    ]

    def fill(column: int, row: int, carry: int, of: dict[str, int]) -> Iterator[dict[str, int]]:
        if column == len(columns):
            if not carry:
                yield dict(of)
            return
        letters, below = columns[column]
        if row < len(letters):
            if letters[row] in of:
                yield from fill(column, row + 1, carry, of)
                return
            for digit in range(letters[row] in first, 10):
                if digit not in of.values():
                    yield from fill(column, row + 1, carry, {**of, letters[row]: digit})
            return
        value = sum(of[letter] for letter in letters) + carry
        digit = value % 10
        if of.get(below, digit) != digit or (digit == 0 and below in first):
            return
        if below not in of and digit in of.values():
            return
        yield from fill(column + 1, 0, value // 10, {**of, below: digit})

    return fill(0, 0, 0, {})


make = text_family(NAME, generate)
