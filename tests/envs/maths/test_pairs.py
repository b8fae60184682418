"""A table of realistic pairs, one line each in `pairs.txt`, and the traps that other verifiers fell into, with why."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepgym.envs.maths import verify_answer, verify_answers
from stepgym.envs.types import Status

STATUSES = {"=": Status.CORRECT, "!": Status.INCORRECT, "?": Status.UNDECIDED}
PAIRS = [
    (STATUSES[line[0]], *line[2:].split(" | ", 1))
    for line in Path(__file__).with_name("pairs.txt").read_text(encoding="utf-8").splitlines()
    if line[:1] in STATUSES
]


@pytest.mark.parametrize(("status", "reference", "answer"), PAIRS, ids=lambda v: str(v)[:40])
def test_a_pair_is_decided_as_the_table_says(status: Status, reference: str, answer: str) -> None:
    verdict = verify_answer(answer, reference=reference)
    assert verdict.status is status, verdict


TRAPS = [
    ("3h", "3", False, "a trailing letter is a factor, not a unit to drop"),
    ("3", "3h", False, "the same the other way round"),
    ("12c", "12", False, "c is no unit here"),
    ("5\\text{ cm}", "5\\text{ km}", False, "units differ by a factor"),
    ("5\\text{ m}", "500\\text{ cm}", True, "units are converted"),
    ("3\\text{ apples}", "3\\text{ oranges}", False, "words after a number are units of their own"),
    ("\\frac{1}{2^{99}}", "\\frac{1}{2^{98}}", False, "no absolute rounding: both are tiny"),
    ("10^{-20}", "0", False, "tiny is not zero"),
    ("x^2+1=0", "x^2+2=0", False, "equations without real solutions are not all equal"),
    ("\\sqrt{2}/0", "\\sqrt{3}/0", False, "what has no value equals nothing but its own form"),
    ("1+1=2", "1+1=3", False, "a false equality is not a true one"),
    ("7", "3+4=8=7", False, "every equality of a computation must hold"),
    ("x \\equiv 1 \\pmod 3", "x \\equiv 1 \\pmod 5", False, "the modulus counts"),
    ("x \\equiv 1 \\pmod 3", "x \\equiv 2 \\pmod 3", False, "and so does the residue"),
    ("x \\equiv 1 \\pmod 3", "x \\equiv 4 \\pmod 3", True, "residues are classes"),
    ("listen", "silent", False, "anagrams are no products"),
    ("1011_2", "1011_3", False, "base subscripts count"),
    ("1011_2", "11", True, "and have a value"),
    ("x<3", "x>3", False, "the direction of an inequality counts"),
    ("x<1", "-x>-1", True, "multiplied by minus one the direction turns"),
    ("0.\\overline{3}", "\\frac13", True, "repeating decimals are exact"),
    ("0.(3)", "1/3", True, "in this notation too"),
    ("3/2", "1 1/2", True, "a spaced mixed number is a sum"),
    ("-7/2", "-3 1/2", True, "whose sign goes for all of it"),
    ("[0,1]", "\\{x \\mid 0\\le x\\le 1\\}", True, "set-builder notation"),
    ("\\sqrt{x^2}", "x", False, "sampling positive points only would say yes"),
    ("\\sqrt{x^2}", "|x|", True, "at all real points"),
    ("\\sqrt[3]{-8}", "-2", True, "odd roots of negatives are real"),
    (
        "\\sqrt[3]{7+5\\sqrt{2}}",
        "1+\\sqrt{2}",
        True,
        "a radical that simplification does not reach",
    ),
    ("\\sqrt{10^{40}+1}", "10^{20}", False, "twenty equal digits are not equality"),
    ("x+10^{-100}", "x", False, "exact residues see what floating point does not"),
    ("\\sin x + 10^{-100}", "\\sin x", False, "and so do balls of enough bits"),
    ("0", "0 \\cdot \\infty", False, "an undefined product is no zero"),
    ("5", "\\frac{5}{0}", False, "nothing equals a division by zero"),
    ("1", "1\\%", False, "one percent is not one"),
    ("0.5", "50", False, "fifty is not a half"),
    ("1,200", "1.2", False, "a thousands separator is no decimal point"),
    ("3,4", "3.4", False, "a list is no decimal"),
    ("B", "\\textbf{(B)}", True, "decorated choices"),
    ("3.14", "\\pi", True, "an exact answer rounds to a decimal reference of three digits"),
    ("\\pi", "3.14", False, "a rounded answer is not exact"),
    ("152.92", "152.93", False, "two decimals are compared as they are"),
    ("(1,2)", "\\{1,2\\}", False, "a point is no set"),
    ("(1,2)", "x=1, y=2", True, "named coordinates in order"),
    ("f(x)=2x", "g(x)=2x", False, "another function"),
    ("f(x)=x^2", "f(t)=t^2", True, "the parameter's letter is free"),
    ("n \\mid 12", "12", False, "a divisibility is no number"),
]


@pytest.mark.parametrize(("reference", "answer", "equal", "why"), TRAPS, ids=lambda v: str(v)[:40])
def test_a_trap_is_not_stepped_into(reference: str, answer: str, equal: bool, why: str) -> None:
    assert verify_answer(answer, reference=reference).correct is equal, why


def test_the_verdict_names_its_rung_and_the_span() -> None:
    rungs = {
        ("Monday", "monday"): "text",
        ("1/2", "2/4"): "rational",
        ("x=5", "x=5.0"): "rational",
        ("\\sqrt8", "2\\sqrt2"): "radical",
        ("x^2-1", "(x-1)(x+1)"): "modular",
        ("\\ln 6", "\\ln 2+\\ln 3"): "numeric",
    }
    for (reference, answer), rung in rungs.items():
        assert verify_answer(answer, reference=reference).decided_by == rung
    verdict = verify_answer("So it is \\boxed{7}.", reference="7")
    start, end = verdict.details["span"]
    assert "So it is \\boxed{7}."[start:end] == "7"
    assert verdict.details["how"] == "boxed"


def test_what_cannot_be_read_is_undecided_as_reference_and_incorrect_as_answer() -> None:
    assert verify_answer("5", reference="\\frac{").status is Status.UNDECIDED
    assert verify_answer("\\frac{", reference="5").status is Status.INCORRECT
    assert verify_answer("\\qqq ?{", reference="\\qqq ?{").status is Status.CORRECT


def test_order_is_kept_and_lengths_must_agree() -> None:
    verdicts = verify_answers(["1", "2", "3"], references=["1", "1", "3"])
    assert [v.correct for v in verdicts] == [True, False, True]
    with pytest.raises(ValueError, match="2 answers for 1 references"):
        verify_answers(["1", "2"], references=["1"])
