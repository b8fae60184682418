"""Where the answer is found, in the stated order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.maths import extract_answer, verify_answer
from stepgym.envs.maths.extract import CHOICE
from stepgym.envs.maths.formulas import find_formulas

CASES = [
    ("5", "5", "bare"),
    ("\\boxed{5}", "5", "boxed"),
    ("first \\boxed{4}, no: \\boxed{5}", "5", "boxed"),
    ("nested \\boxed{\\frac{1}{\\sqrt{2}}}.", "\\frac{1}{\\sqrt{2}}", "boxed"),
    ("\\boxed 7", "7", "boxed"),
    ("\\boxed{1} and \\boxed{2}", "1, 2", "several boxed"),
    ("\\boxed{20} percent", "20\\%", "boxed"),
    ("so it is \\boxed{5", "5", "boxed, cut off"),
    ("12 * 4 = 48\n#### 48", "48", "####"),
    ("The answer is 12.", "12", "answer is"),
    ("**Final Answer:** $x = 3$", "$x = 3$", "answer is"),
    ("Final Answer: The largest $n$ is 34.", "34", "answer is"),
    ("答案是17。", "17", "answer is"),
    ("<answer>9</answer>", "9", "answer tokens"),
    ("<answer>so \\boxed{9}</answer>", "9", "answer tokens"),
    ("<think>\\boxed{1}</think> It is \\boxed{2}.", "2", "boxed"),
    ("<think>\\boxed{1}</think>", "1", "boxed"),
    ("<tool_result>\\boxed{1}</tool_result> The answer is 3", "3", "answer is"),
    ("We find that $x < 3$.", "x < 3", "last formula"),
    ("The roots are $x=1$ and $x=2$.", "x=1, x=2", "last formula"),
    ("After all of this there are 28 ways.", "28", "last number"),
    ("\\text{no solution}", "\\text{no solution}", "bare"),
    ("He pays $30 + $12 = $42.", "$42", "last number"),
    ("He pays $30+$12=$42.", "$42", "last number"),
    (
        "It costs $5, and $x = 3$ of them cost \\$15 or so.",
        "It costs $5, and $x = 3$ of them cost \\$15 or so.",
        "a sentence that states no one answer",
    ),
    ("The angle is [90].", "[90]", "last number"),
    ("$1$ and $2$ are the roots.", "1, 2", "last formula"),
    ("-\\boxed{42}", "-42", "boxed"),
    ("$\\frac{\\boxed{1}}{\\boxed{2}}$", "\\frac{{1}}{{2}}", "boxed"),
    ("\\boxed{\\text{There are } 3 \\text{ ways}}", "3", "boxed"),
    ("work\n#### Step 2\nThe answer is 7.", "7", "answer is"),
    ("work\nA: $18.", "$18", "answer is"),
    ("She has 18 left, not 24.", "18", "last number"),
    ("The answer is 42. Wait, no, it is 43.", "43", "last number"),
    ("The answer is twice 21.", "twice 21", "a sentence that states no one answer"),
    ("The total is 12 + 30.", "12 + 30", "last number"),
    ("The total is 12 + 30 = 6 * 7 = 42.", "42", "last number"),
    ("The polynomial is 2x + 3.", "2x + 3", "last number"),
    ("There are forty-two of them.", "forty-two", "last number"),
    ("Yes, because 3 divides 9", "Yes", "yes or no"),
    ("((0)**2)**2", "((0)**2)**2", "bare"),
]


@pytest.mark.parametrize(("text", "answer", "how"), CASES, ids=[c[0][:30] for c in CASES])
def test_the_answer_is_found(text: str, answer: str, how: str) -> None:
    found = extract_answer(text)
    assert (found.text, found.how) == (answer, how)


COPULAS = ("です。", "である", "だ。", "입니다.", "이다.", " है।", "'dir.", "’tır", ".", "!")


@pytest.mark.parametrize("copula", COPULAS)
@pytest.mark.parametrize("answer", ["7", "42", "Ankara", "だ"])
def test_a_copula_ends_before_the_answer_does(answer: str, copula: str) -> None:
    assert extract_answer(f"The answer is {answer}{copula}").text == answer


@pytest.mark.parametrize("word", ["nadir", "a stir", "Tur", "Timur"])
def test_a_word_that_ends_like_a_copula_is_kept(word: str) -> None:
    assert verify_answer(f"The answer is {word}.", reference=word).correct


CHOICES = [
    ("I think it's (D).", "D"),
    ("The answer: D, it doesn't make sense for it to be A or B", "D"),
    ("B, since A is wrong", "B"),
    ("The correct option is **C**.", "C"),
    ("<think>A or B?</think>\n\n(B)", "B"),
]


@pytest.mark.parametrize(("text", "letter"), CHOICES)
def test_the_letter_of_a_choice_is_found(text: str, letter: str) -> None:
    assert extract_answer(text, kind=CHOICE).text == letter


@pytest.mark.parametrize("text", ["(A) or (B)", "It is not (A).", "A: or maybe B:", "A. Wrong; B."])
def test_two_letters_choose_nothing(text: str) -> None:
    for letter in "AB":
        assert not verify_answer(text, reference=letter).correct


MONEY = st.decimals(0, 10**6, places=2).map(lambda amount: f"${amount}")


@given(
    st.lists(MONEY, min_size=1, max_size=8),
    st.sampled_from([" + ", ", ", " and ", " is more than "]),
)
def test_amounts_of_money_are_no_formula(amounts: list[str], between: str) -> None:
    assert find_formulas(between.join(amounts) + " in all.") == []


@given(st.lists(st.sampled_from(["x", "2x+1", "\\frac{1}{2}", "\\{1, 2\\}"]), min_size=1), MONEY)
def test_formulas_beside_money_are_found(formulas: list[str], money: str) -> None:
    text = f"For {money} we get " + ", ".join(f"${formula}$" for formula in formulas) + "."
    found = find_formulas(text)
    assert [text[f.inner_start : f.inner_end] for f in found] == formulas
