"""Sums and products with an ellipsis are equal however they are written, and to no other one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.envs.maths import verify_answer
from stepgym.envs.types import Status

TERMS = (
    "{i}",
    "{i}^2",
    "2^{i}",
    "a_{i}",
    "x^{i}",
    "a_{i}x^{i}",
    "\\frac{1}{i}",
    "2\\cdot {i}",
    "y^{i}z",
)
FACTORS = ("{i}", "{i}^2", "a_{i}", "\\frac{1}{i}")
LASTS = (("{n-1}", "n"), ("n", "{n+1}"), ("{n+1}", "{n+2}"), ("{2n-1}", "{2n}"))


def _joined(term: str, indices: list[str], operator: str) -> str:
    braced = [i if i.startswith("{") else f"{{{i}}}" for i in indices]
    terms = [term.replace("{i}", i) if term != "{i}" else f"({i[1:-1]})" for i in braced]
    return operator.join("\\cdots" if i == "dots" else t for t, i in zip(terms, indices))


@st.composite
def _sums(draw: st.DrawFn) -> tuple[str, str, str]:
    """One sum written in two ways, and another that ends elsewhere."""
    term, first = draw(st.sampled_from(TERMS)), draw(st.integers(1, 3))
    before, last = draw(st.sampled_from(LASTS if term[0] != "a" else LASTS[:3]))
    operator = draw(st.sampled_from(["+", "\\cdot"] if term in FACTORS else ["+"]))
    start = [str(first + k) for k in range(draw(st.integers(2, 3)))]
    other = [str(first + k) for k in range(2)]
    one = _joined(term, [*start, "dots", last], f" {operator} ")
    backward = draw(
        st.sampled_from(([last, before, "dots", str(first)], [last, "dots", *other[::-1]]))
    )
    two = _joined(term, draw(st.sampled_from((backward, [*other, "dots", last]))), f" {operator} ")
    return one, two, _joined(term, [*other, "dots", before], f" {operator} ")


@given(_sums())
@settings(max_examples=60)
def test_an_ellipsis_is_read_in_both_directions_and_with_more_terms(
    sums: tuple[str, str, str],
) -> None:
    one, same, shorter = sums
    assert verify_answer(one, reference=same).status is Status.CORRECT
    assert verify_answer(same, reference=one).status is Status.CORRECT
    assert verify_answer(one, reference=shorter).status is Status.INCORRECT
    assert verify_answer(same, reference=shorter).status is Status.INCORRECT


DIFFERENT = [
    ("a_1+a_2+\\cdots+a_n", "a_1+a_2+\\cdots+a_m"),
    ("1+x+\\cdots+x^n", "1+x+\\cdots+x^m"),
    ("1+2+\\cdots+n", "n+\\cdots+3+1"),
    ("2+4+\\cdots+2n", "2+4+\\cdots+n"),
    ("1+2+\\cdots+100", "99+98+\\cdots+1"),
    ("a_1+a_2+\\cdots+a_n", "a_n+\\cdots+a_1+a_0"),
    ("1+2+\\cdots+n", "1\\cdot 2\\cdots n"),
    ("-1-2-\\cdots-n", "-1-2-\\cdots-m"),
    ("1+2+4+\\cdots+n", "1+2+\\cdots+n"),
]


@pytest.mark.parametrize(("answer", "reference"), DIFFERENT)
def test_another_letter_end_or_step_is_another_sum(answer: str, reference: str) -> None:
    assert verify_answer(answer, reference=reference).status is Status.INCORRECT


EQUAL = [
    ("2+4+\\cdots+2n", "2(1+2+\\cdots+n)"),
    ("1+x+\\cdots+x^n", "1+x+x^2+\\cdots+x^n"),
    ("x+x^2+\\cdots+x^n", "x(1+x+\\cdots+x^{n-1})"),
    ("1+3+\\cdots+(2n-1)", "(2n-1)+(2n-3)+\\cdots+1"),
    ("1+2+\\cdots+100", "100+99+\\cdots+1"),
    ("n(n-1)\\cdots 1", "1\\cdot 2\\cdots n"),
    ("-1-2-\\cdots-n", "-(1+2+\\cdots+n)"),
    ("-a_1-a_2-\\cdots-a_n", "-a_n-\\cdots-a_2-a_1"),
    ("1-x-x^2-\\cdots-x^n", "1-x(1+x+\\cdots+x^{n-1})"),
]


@pytest.mark.parametrize(("answer", "reference"), EQUAL)
def test_one_sum_is_written_in_several_ways(answer: str, reference: str) -> None:
    assert verify_answer(answer, reference=reference).status is Status.CORRECT


UNREAD = [
    ("1\\cdot 2+2\\cdot 3+\\cdots+n(n+1)", "2+6+\\cdots+(n^2+n)"),
    ("1+2+\\cdots+n", "\\frac{n(n+1)}{2}"),
    ("(1+2+\\cdots+n)+f(a_1,\\ldots,a_n)", "(n+\\cdots+2+1)+f(a_1,a_2,\\ldots,a_n)"),
    ("1-x+x^2-\\cdots+x^{2n}", "x^{2n}-\\cdots+x^2-x+1"),
]


@pytest.mark.parametrize(("answer", "reference"), UNREAD)
def test_an_ellipsis_that_is_not_read_is_never_wrong(answer: str, reference: str) -> None:
    assert verify_answer(answer, reference=reference).status is Status.UNDECIDED


@given(st.data())
@settings(max_examples=40)
def test_the_terms_that_an_ellipsis_stands_for_are_never_wrong(data: st.DataObject) -> None:
    brackets = data.draw(st.sampled_from(["{}", "({})"]))
    whole = [f"x_{i}" for i in range(1, 8)] + ["x_n"]

    def shortened(items: list[str]) -> str:
        start, end = data.draw(st.integers(1, 4)), data.draw(st.integers(5, 7))
        return brackets.format(", ".join([*items[:start], "\\ldots", *items[end:]]))

    one, same = shortened(whole), shortened(whole)
    expected = Status.CORRECT if one == same else Status.UNDECIDED
    assert verify_answer(one, reference=same).status is expected
    for other in ([*whole[:-1], "x_m"], ["x_0", *whole[1:]]):
        assert verify_answer(shortened(other), reference=same).status is Status.INCORRECT
