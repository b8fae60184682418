"""What the question settles: each rule by examples with it and without, and no rule where none is needed."""

from __future__ import annotations

import json
import os
import time
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.maths import MathOptions, MathVerifier, verify_answer, verify_answers
from stepgym.envs.maths.options import QUESTION_RULES
from stepgym.envs.maths.question import Case, adjust, asked_places, asked_variable, choices, veto
from stepgym.envs.types import Problem

FILE = Path(__file__).parents[3] / "benchmarks" / "data" / "maths_questions.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in FILE.open(encoding="utf-8")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['rule']}-{row['answer'][:20]}")
def test_a_rule_decides_and_is_named_and_can_be_switched_off(row: dict[str, Any]) -> None:
    pair = {"reference": row["reference"], "question": row["question"]}
    others = tuple(name for name in QUESTION_RULES if name != row["rule"])
    with_rule = verify_answer(row["answer"], **pair)
    without = verify_answer(row["answer"], **pair, options=MathOptions(question_rules=others))
    assert with_rule.correct is row["expected"], with_rule
    assert without.correct is row["without"], without
    named = with_rule.decided_by == f"question: {row['rule']}"
    assert named is (row["expected"] != row["without"])


def test_every_rule_has_examples_of_both_kinds() -> None:
    for name in QUESTION_RULES:
        changes = {row["expected"] != row["without"] for row in ROWS if row["rule"] == name}
        assert changes == {True, False}, name


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(ValueError, match="unknown question rule 'percnt'; did you mean 'percent'"):
        MathOptions(question_rules=("percnt",))


def test_a_problem_can_switch_rules_off() -> None:
    prompt = "List the roots in increasing order."
    strict = Problem("a", prompt, "1, 2")
    loose = Problem("b", prompt, "1, 2", task={"options": {"question_rules": []}})
    verdicts = MathVerifier().verify([strict, loose], ["2, 1", "2, 1"])
    assert [verdict.correct for verdict in verdicts] == [False, True]


@given(st.integers(-999, 999), st.integers(-999, 999), st.text("abc .,?$%()", max_size=40))
def test_a_question_never_changes_whole_numbers(wanted: int, given: int, question: str) -> None:
    asked = verify_answer(str(given), reference=str(wanted), question=question)
    assert asked.correct is (wanted == given)


@given(st.integers(0, 3), st.integers(-(10**6), 10**6), st.integers(-99, 99))
def test_rounding_takes_what_rounds_to_the_reference(places: int, whole: int, apart: int) -> None:
    """The reference is `whole` at the last place asked for; the answer has two more digits.

    What rounds to the reference (halves away from zero) is right, and nothing beyond half a unit is. A half may also be
    rounded the other way, as in rounding half to even.
    """
    reference = Decimal(whole).scaleb(-places)
    answer = Decimal(100 * whole + apart).scaleb(-places - 2)
    verdict = verify_answer(
        str(answer), reference=str(reference), question=f"Give it to {places} decimal places."
    )
    nearest = answer.quantize(reference, rounding=ROUND_HALF_UP)
    if nearest == reference:
        assert verdict.correct
    if abs(apart) > 50:
        assert not verdict.correct


def test_what_questions_ask_for() -> None:
    assert asked_places("to the nearest hundredth") == 2
    assert asked_places("correct to three decimal places") == 3
    assert asked_places("to the nearest 0.1") == 1
    assert asked_places("to the nearest 100") == -2
    assert asked_places("the nearest town") is None
    assert asked_variable("If $x+y=3$, find $x$.") == "x"
    assert asked_variable("Find $x$ and find $y$.") is None
    assert choices("Which? (A) one (B) two (C) three") == {"A": "one", "B": "two", "C": "three"}
    assert choices("A. Smith has 3 apples.") == {}


def test_right_answers_of_a_benchmark_stay_right() -> None:
    path = Path(os.environ.get("STEPGYM_DATA", "/nonexistent"), "math500.jsonl")
    if not path.exists():
        pytest.skip("set STEPGYM_DATA to a folder with math500.jsonl")
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    verdicts = verify_answers(
        [row["solution"] for row in rows],
        references=[row["answer"] for row in rows],
        questions=[row["problem"] for row in rows],
    )
    assert [r["answer"] for r, verdict in zip(rows, verdicts) if not verdict.correct] == []


PIECES = [
    "a",
    " ",
    "\n",
    "\t",
    "A. ",
    "(A) ",
    "(B) ",
    "$",
    "\\",
    "find x ",
    "what percent ",
    "solve ",
    "for ",
]
PIECES += [
    "nearest 0.",
    "x=1, ",
    "\\quad",
    "how many feet ",
    "from ",
    "increasing order ",
    "?",
    "{",
    "+ C ",
]


@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4), st.sampled_from(["A", "5", "28\\%"])
)
def test_a_long_question_takes_no_time(pieces: list[str], reference: str) -> None:
    unit = "".join(pieces)
    text = unit * (20_000 // len(unit))
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        asked = adjust(Case(text, reference, "x=5, y=3", MathOptions()))
        veto(asked.case)
        best = min(best, time.process_time() - start)
    assert best < 0.1, unit
