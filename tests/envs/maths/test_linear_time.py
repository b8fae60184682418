"""Extraction is linear in the input's length, and fast for any text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.envs.maths.extract import ANSWER, CHOICE, REFERENCE, Kind, extract_answer

PIECES = r"""\boxed{ \boxed{5} \boxed box <tool_call> <tool_result> <think> </think> <answer> </answer> answer
answer_is The_answer_is_4. final_answer #### ####_1 ** **a** ` ``` { } {"answer":_ ( [ \( \[ \) \\ \ \text{ \text{a}_
._ . ?_ !\ 1, 1,_ 1_and_ 1_or_ 1= 1_+_ x x_ x= is_1_ it_is_1._ A:_ Q:_ not_ n't_ or_ Wait,_ (A)_ A._ - -_ <|im_end|>
<|im_start|>assistant </s> <| < 答案 答え 。 é İ % ^ _ == & Yes,_ 5_million_ is_one- \color{red} maybe_1_ 1_to_2_
$ $$ $$_a $1_ $1_$a$_""".split()
PIECES = [piece.replace("_", " ") for piece in PIECES] + ["\n", " ", "\t", "\nQ: ", "\r\n", "1\n"]


def repeated(piece: str, num_chars: int) -> str:
    return (piece * (num_chars // len(piece) + 1))[:num_chars]


def cpu_s(text: str, kind: Kind) -> float:
    """CPU seconds of one extraction: the best of up to four tries, because the machine may be busy."""
    best = float("inf")
    for _ in range(4):
        start = time.process_time()
        extract_answer(text, kind=kind)
        best = min(best, time.process_time() - start)
        if best < 0.02:
            break
    return best


@pytest.mark.parametrize("kind", [ANSWER, REFERENCE, CHOICE], ids=["answer", "reference", "choice"])
@pytest.mark.parametrize("piece", PIECES)
def test_a_repeated_piece_takes_linear_time(piece: str, kind: Kind) -> None:
    for frame in (
        "%s",
        "\\boxed{5}%s",
        "We get %s a",
        "%s The answer is 5.",
        "The answer is 5. %s",
    ):
        assert cpu_s(frame % repeated(piece, 100_000), kind) < 0.05, frame
        assert cpu_s(frame % repeated(piece, 200_000), kind) < 0.1, frame


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6))
def test_any_mixture_takes_linear_time(pieces: list[str]) -> None:
    assert cpu_s(repeated("".join(pieces), 100_000), ANSWER) < 0.05


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6)), max_size=12))
def test_any_text_has_a_span_inside_it(pieces: list[str]) -> None:
    text = "".join(pieces)
    for kind in (ANSWER, REFERENCE, CHOICE):
        start, end = extract_answer(text, kind=kind).span
        assert 0 <= start <= end <= len(text)
