"""Lexing takes time linear in the text: twice the length takes at most about twice as long, for any repeated piece."""

from __future__ import annotations

import contextlib
import time

import pytest

from stepgym.envs.maths import extract_answer
from stepgym.envs.maths.ladder import decide
from stepgym.envs.maths.lexer import MAX_CHARS, Unreadable, lex
from stepgym.envs.maths.options import DEFAULT

PIECES = [
    *"1 0. a \n $ $$ { } ( ) [ ] ]1, \\{ \\} | _ ^ ! ' % & , ; : . ... + - * / = < ~ @ é ½ x² ①".split(
        " "
    ),
    *(
        "\\ \\\\ \\[ \\( \\frac \\sqrt \\left( \\text \\text{ \\text{a} \\text{and} \\begin{ \\boxed{ \\underbrace{ \\dot \\over "
        "\\not \\hspace{ \\, \\; 0.12 0.1212 12... 1e1 1,234 1{,}234 1\\,000 1\\overline FF_ ff_{ 0x1 C_ ^5C_2 ]1,2[ [1,2["
    ).split(" "),
    " ",
    "1 ",
    "1 000 ",
    "1 2/3 ",
    "1 / ",
    "word ",
    "answer is ",
    "and ",
    "#### ",
    "m ",
    "5 m ",
    "1 in ",
    "\\text  ",
    "<tool_call>",
    "</think>",
    "**",
    "`",
]


def seconds(text: str) -> float:
    """The CPU time of one reading."""
    start = time.thread_time()
    with contextlib.suppress(Unreadable):
        lex(text)
    return time.thread_time() - start


@pytest.mark.parametrize("piece", PIECES, ids=repr)
def test_lexing_is_linear(piece: str) -> None:
    for end in ("", "x", "\\"):
        longest = piece * (MAX_CHARS // len(piece) - 1) + end
        half = longest[len(longest) // 2 :]
        assert any(seconds(longest) < 3 * seconds(half) + 0.02 for _ in range(4)), end


@pytest.mark.parametrize("piece", PIECES, ids=repr)
def test_a_hundred_thousand_characters_take_little(piece: str) -> None:
    text = piece * (100_000 // len(piece))

    def took_s() -> float:
        start = time.thread_time()
        decide("5", extract_answer(text).text, DEFAULT)
        return time.thread_time() - start

    assert any(took_s() < 0.1 for _ in range(4))  # 50 ms on an idle machine
