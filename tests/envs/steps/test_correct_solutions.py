"""Correct solutions in which no step may be called INCORRECT: what looks like a contradiction is another statement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.steps.verifier import check_steps
from stepgym.envs.types import Status

ROOTS = "Find $x$: $x^2-5x+6=0$."
CORRECT = {
    "cases in steps of their own": [
        ("Solve $|x-3|=5$.", "$x-3=5$", "$x-3=-5$"),
        ("Solve $|x-3|=5$.", r"\[x-3=5\]", r"\[x-3=-5\]"),
        (
            "Solve $(x-1)(x-2)=0$.",
            "Setting each factor to zero:",
            "$x-1=0$",
            "$x-2=0$",
            "$x=1$ or $x=2$",
        ),
        ("Solve $x^2-5x+6=0$.", r"$x=\frac{5+1}{2}$", r"$x=\frac{5-1}{2}$"),
        ("Solve $x^2=4$.", r"$x=\sqrt4$", r"$x=-\sqrt4$"),
        ("Solve $|x|>3$.", "$x > 3$", "$x < -3$"),
        ("Solve $|x-2|>1$.", "$x-2>1$", "$x-2<-1$"),
    ],
    "cases on rows of one step": [
        ("Solve $x^2-5x+6=0$.", "We have \\[x=\\frac{5+1}{2}\\]\n\\[x=\\frac{5-1}{2}\\]"),
        ("Solve $|x-3|=5$.", "We have \\[x-3=5\\]\n\\[x-3=-5\\]"),
        ("Solve $|x-2|>1$.", "We have \\[x-2>1\\]\n\\[x-2<-1\\]"),
        ("Solve $(x-1)(x-2)=0$.", "We have \\[x-1=0\\]\n\\[x-2=0\\]"),
        ("Solve $|x-3|=5$.", "We have \\[x-3=5\\]\n\\[-(x-3)=5\\]"),
        ("Solve $x(x-1)=0$.", "We have \\[x-1=0\\]\n\\[x=0\\]"),
        ("Solve $x^2=4$.", r"\begin{align*} x &= \sqrt4 \\ x &= -\sqrt4 \end{align*}"),
    ],
    "cases in plain text": [
        ("Solve it.", "x = (5 + 1)/2 = 3", "x = (5 - 1)/2 = 2"),
        ("Solve it.", "x = (5 + 1)/2 = 3\nx = (5 - 1)/2 = 2"),
        ("Find both areas.", "A = 2 * 3 = 6", "A = 4 * 5 = 20"),
        ("Solve it.", "x - 3 = 5", "x - 3 = -5"),
        ("Solve it.", "x - 3 = 5\nx - 3 = -5"),
        ("Solve it.", "x - 3 = 5\nx = 8\nx - 3 = -5\nx = -2"),
        ("Solve it.", "x - 1 = 0\nx - 2 = 0"),
    ],
    "a value at which something is evaluated": [
        (ROOTS, "At $x=0$ the left side is $6$."),
        (ROOTS, "Plugging in $x=1$ gives $1-5+6=2$."),
        (ROOTS, r"The vertex is at $x=\frac52$. The roots are $x=2$ and $x=3$."),
        (ROOTS, r"The sum of the roots is 5, so their mean is $x=\frac52$."),
        (ROOTS, r"The parabola is symmetric about $x=\frac52$. So $x=2$ or $x=3$."),
        ("Find $x$ such that $x^3-3x-2=0$.", "Substituting $x=1$, we get $-4$."),
        ("How many real $x$ with $x^3-3x+1=0$?", "The critical points are $x=1$ and $x=-1$."),
        (
            "How many real $x$ with $x^3-3x+1=0$?",
            "Setting the slope $3x^2-3=0$, we obtain $(x-1)(x+1)=0$.",
            "So $x=1$ or $x=-1$.",
        ),
        ("How many real $x$ with $x^3-3x+1=0$?", "So the critical points are $x=1$ and $x=-1$."),
        ("Solve $2x+5=3x-1$.", "Right side at $x=5$ is $14$."),
    ],
    "a letter after the situation changed": [
        ("A number $n$ satisfies $n+5=12$. Next integer?", "$n = 7$. The next is $n = 8$."),
        ("A number $n$ satisfies $n+5=12$. Next integer?", "So $n = 7$.", "So $n = 8$."),
        ("A number $n$ satisfies $n+5=12$. Then 3 are sold.", "After the sale, $n=4$."),
        ("Now $x+5=14$. How old is he in 4 years?", "In 4 years $x=13$."),
        ("Now $x+5=14$. How old is he in 4 years?", "So in 4 years $x=13$."),
    ],
    "pairs that are listed": [
        (
            "Find positive integers $a$ and $b$ with $a+b=10$, $ab=21$.",
            "The pairs with sum 10 are: $a=1,b=9$; $a=2,b=8$; $a=3,b=7$.",
        ),
        (
            "Find positive integers $a$ and $b$ with $a+b=10$, $ab=21$.",
            "So the pairs with sum 10 are: $a=1,b=9$; $a=2,b=8$; $a=3,b=7$.",
        ),
    ],
    "digits side by side": [
        ("Given $AB + BA = 121$ where $AB$ is a two-digit number, find A and B.", "$A=5$, $B=6$."),
        ("Given $AB + BA = 121$, find A and B.", "So $A=5$ and $B=6$."),
        ("The digits $a$ and $b$ satisfy $ab + ba = 121$.", "So $a=5$ and $b=6$."),
    ],
    "forms that are equal under a condition in words": [
        (r"Simplify $\sqrt{x^6}$, assuming $x$ is positive.", r"$\sqrt{x^6} = x^3$"),
        (r"Simplify $\sqrt{50x^2}$ for nonnegative $x$.", r"$\sqrt{50x^2} = 5x\sqrt2$"),
        (
            r"Simplify $\frac{\sqrt{x^2y}}{x}$. Assume all variables are positive.",
            r"$\frac{\sqrt{x^2y}}{x} = \sqrt{y}$",
        ),
        ("Simplify $|x-1|$ for negative $x$.", "$|x-1| = 1-x$"),
        (r"Simplify $\sqrt{1-\sin^2x}$ for acute angles $x$.", r"$\sqrt{1-\sin^2x} = \cos x$"),
        (
            r"Simplify $\sqrt{1-\sin^2 x}$ for acute $x$.",
            r"$\sqrt{1-\sin^2 x} = \sqrt{\cos^2 x} = \cos x$",
        ),
        (r"Simplify $\sqrt{x^2}$ for negative $x$.", r"$\sqrt{x^2} = |x| = -x$"),
        (
            r"Simplify $\lfloor x\rfloor + \lfloor -x\rfloor$ for non-integers $x$.",
            r"$\lfloor x\rfloor + \lfloor -x\rfloor = -1$",
        ),
        (
            r"Simplify $\lfloor x + \frac12\rfloor - \lfloor x\rfloor$ for integers $x$.",
            r"$\lfloor x + \frac12\rfloor - \lfloor x\rfloor = 0$",
        ),
        (r"Simplify $\sqrt{(-1)^{2n}}$ for integers $n$.", r"$(-1)^{2n} = 1$"),
    ],
    "an expression that words before it take a part or a multiple of": [
        ("", "The perimeter is twice the sum of 3 + 4 = 14 meters."),
        ("", "She gets half of the total of $10 + $4 = $7."),
        ("", "The tax is 10% of the total cost of $20 + $30 = $5."),
        ("", "He saves 50% of his weekly amount of 30 + 10 = 20 dollars."),
        ("", "One third of the total of 3 + 6 = 3 is left."),
        ("", "Each friend's share of a total of 10 + 20 = 15 dollars."),
        ("", "Her tip on a total of 10 + 20 = 3 dollars."),
        ("", "The remaining amount of 20 + 30 = 10."),
        ("", "Splitting a total of 10 + 20 = 15 dollars."),
        ("", "Two fifths of the sum of 2 + 3 = 2 dollars."),
        ("", "The average is 1/2 of the sum of 3 + 5 = 4."),
    ],
    "units under a power, two of them, or a mixed number": [
        ("", r"$1 \text{ m}^2 = 10000 \text{ cm}^2$"),
        ("", r"$3 \text{ ft}^2 = 432 \text{ in}^2$"),
        ("", r"$5 \text{ feet } 4 \text{ inches} = 64 \text{ inches}$"),
        ("", r"$2 \text{ hours } 30 \text{ minutes} = 150 \text{ minutes}$"),
        ("", r"$2 \text{ hours} + 30 \text{ minutes} = 150 \text{ minutes}$"),
        ("", "75 + 25 = $1"),
        ("", r"$\frac{1}{2} \times 3 \frac45 = \frac{1}{2} \times \frac{19}{5}$"),
        ("", "There are 2 * 3 reams = 3000 sheets."),
    ],
    "a quantity that changed between two steps": [
        ("", "Remaining = 20 - 5", "Remaining = 10"),
        ("", "Remaining = 20 - 5", "Then he eats 5 more. Remaining = 10"),
    ],
    "a mistake that is named": [
        (
            "Solve $3x+5=20$.",
            "From $3x+5=20$, subtracting 5 from both sides and dividing yields $x=5$.",
            "A common mistake gives $x=25/3$.",
        ),
        ("Solve $3x+5=20$.", "$3x+5=20$ so $x=5$. A common mistake gives $x=25/3$."),
    ],
}


@pytest.mark.parametrize(
    "solution", [pytest.param(row, id=kind) for kind, rows in CORRECT.items() for row in rows]
)
def test_no_step_of_a_correct_solution_is_incorrect(solution: tuple[str, ...]) -> None:
    problem, *steps = solution
    for step, report in zip(steps, check_steps(problem, steps), strict=True):
        assert report.status is not Status.INCORRECT, (step, report.reason)


REMARK_WORDS = """since|because|as|where|by|using|so|hence|and|or|if|with|for|from|when|thus|let|note|recalling|assuming|given
|i.e.|because of|for all|it follows that|we get""".replace("\n", "").split("|")
REMARKS = [
    "b = 1 + 1",
    "1 + 1 = 2",
    "x + 1 = 4",
    "2b = 4",
    "3 < 4",
    "n \\text{ must be positive}",
    "",
]
ROWS = [
    ["a &= 3 + 4", "&= 7"],
    ["x^2 + 2x &= x(x + 2)", "&= x(2 + x)"],
    ["2^3 + 1 &= 8 + 1", "&= 9"],
    ["3x + 2 &= 11", "3x &= 9", "x &= 3"],
    ["2y - 1 &= 5", "y &= 3"],
]
ALIGNED = ["align*", "aligned", "gather*", "eqnarray*"]


@given(
    st.sampled_from(ROWS),
    st.integers(0, 3),
    st.sampled_from(REMARK_WORDS),
    st.sampled_from(REMARKS),
    st.sampled_from(["", "&", "&&", "& &", "\\quad", "& & ("]),
    st.sampled_from(["", "&", "&&"]),
    st.sampled_from(
        [r"\text{ %s }", r"\mbox{%s }", r"\hbox{ %s}", r"\text{(%s)}", r"\textit{%s }"]
    ),
    st.sampled_from([*ALIGNED, ""]),
)
def test_remarks_beside_alignment_marks_belong_to_no_equation(
    rows: list[str], at: int, word: str, remark: str, before: str, after: str, frame: str, name: str
) -> None:
    closing = ")" if before.endswith("(") else ""
    said = f" {before} {frame % word} {after} {remark}{closing} "
    own_row = at >= len(rows)
    lines = [*rows, said] if own_row else [*rows[:at], rows[at] + said, *rows[at + 1 :]]
    text = " \\\\ ".join(lines)
    step = f"\\begin{{{name}}}{text}\\end{{{name}}}" if name else text
    for report in check_steps("", [step]):
        assert report.status is not Status.INCORRECT, (step, report.reason)


def test_rows_after_a_row_without_a_remark_still_continue_its_chain() -> None:
    step = r"\begin{align*} a &= 3 \cdot 4 + x \\ &= 12 + x && \text{(by hand)} \\ b &= 2^3 + 1 \\ &= 10 \end{align*}"
    (report,) = check_steps("", [step])
    assert report.status is Status.INCORRECT


whole = st.integers(-9, 9)
FRAMES = st.sampled_from(["${}$", "\\[{}\\]", "Case: ${}$.", "\\({}\\)"])


@given(whole, st.integers(1, 9), FRAMES, st.sampled_from(["=", "<"]))
def test_both_cases_of_an_absolute_value(a: int, b: int, frame: str, sign: str) -> None:
    turned = sign.replace("<", ">")
    cases = [f"x-({a}) {turned} {b}", f"x-({a}) {sign} -{b}"]
    problem = f"Solve $|x-({a})| {turned} {b}$."
    for steps in ([*map(frame.format, cases)], ["\n".join(map(frame.format, cases))]):
        for report in check_steps(problem, steps):
            assert report.status is not Status.INCORRECT, report.reason


@given(st.integers(1, 5), st.integers(1, 12), st.sampled_from(["", "-"]))
def test_an_even_root_of_a_power_has_either_sign(k: int, c: int, sign: str) -> None:
    form = f"\\sqrt{{{c * c}x^{{{2 * k}}}}}"
    problem = f"Simplify ${form}$ under a condition in words."
    (report,) = check_steps(problem, [f"${form} = {sign}{c}x^{{{k}}}$"])
    assert report.status is not Status.INCORRECT


@given(
    whole, whole, whole, st.sampled_from(["At $x={}$ the value is $3$.", "The next one is $x={}$."])
)
def test_a_value_that_is_only_named_is_no_solution(p: int, q: int, at: int, frame: str) -> None:
    problem = f"Find $x$: $x^2+({-p - q})x+({p * q})=0$."
    assert check_steps(problem, [frame.format(at)])[0].status is not Status.INCORRECT
