"""What the step verifier says of formulas: a table for each kind of claim, and laws over generated ones."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stepgym.envs.steps.claims import Kind
from stepgym.envs.steps.verifier import check_steps
from stepgym.envs.types import Status

F = r"Let $f(x) = x^2 + 1$."
LONG = "7" * 5000
"""A number that Python refuses to convert."""
TABLE = [
    (Kind.FUNCTION, F, r"$f(t) = t^2 + 1$, so $f(3) = 10$", r"$f(3) = 11 = 10$"),
    (Kind.FUNCTION, "Let $g(x) = -x$.", "$g(3) = -3$", "$g(3) = -4$"),
    (Kind.ARITHMETIC, "", r"$\frac{3 \pm 1}{2} = 1$", r"$3 \pm 2 = 7$"),
    (Kind.ARITHMETIC, "", r"$50 \cdot 20\% = 10$", r"$7^{3000} \cdot 7^{3000} = 9$"),
    (Kind.ARITHMETIC, "", r"$\arcsin(0.5) = 30$", r"$\arcsin(0.5) = 31$"),
    (Kind.EQUATION, "", r"$2x\text{ cm} = 6$, so $3 = x$", r"$2x\text{ cm} = 6$, so $4 = x$"),
    (
        Kind.EQUATION,
        "",
        r"$x^2 = 2$, so $x = \sqrt{2}$ or $-\sqrt{2}$",
        r"$x^2 = 2$, so $x = \sqrt{2}$ or $-\sqrt{3}$",
    ),
    (Kind.EQUATION, "", r"$x^2 = 0.0$, so $x = 0.0$", r"$x^2 = 2$, so $x = 1.9$"),
    (Kind.CONGRUENCE, "", r"$\frac{1}{2} \equiv 3 \pmod 5$", r"$x \equiv 13 \equiv 4 \pmod 5$"),
    (
        Kind.IDENTITY,
        r"Expand $(x + 1)^2$.",
        r"$(x + 1)^2 = x^2 + 2x + 1$",
        r"$(x + 1)^2 = x^2 + 1$",
    ),
    (
        Kind.IDENTITY,
        "",
        r"$(a + b)^2 = a^2 + 2ab + b^2 = a(a + 2b) + b^2$",
        r"$(a + b)^2 = a^2 + 2ab + b^2 = a^2 + b^2$",
    ),
    (
        Kind.IDENTITY,
        "",
        r"$\lfloor x \rfloor + 1 = 1 + \lfloor x \rfloor$",
        r"$\lfloor x \rfloor + 1 = \lfloor x \rfloor + 2$",
    ),
    (Kind.ARITHMETIC, "", r"$\sqrt{3^2 + 4^2} = 5$", r"$\sqrt{3^2 + 4^2} = 6$"),
    (Kind.ARITHMETIC, "", r"$\binom{5}{2} \cdot 3! = 60$", r"$\binom{5}{2} \cdot 3! = 61$"),
    (Kind.ARITHMETIC, "", r"$2\pi \cdot 3 \approx 18.85$", r"$2\pi \cdot 3 \approx 98.85$"),
    (
        Kind.ARITHMETIC,
        "",
        r"$\sin 30^\circ + 1 = \frac{3}{2}$",
        r"$\sin 30^\circ + 1 = \frac{5}{2}$",
    ),
    (Kind.ARITHMETIC, "", r"$x = 2^3 + 1 = 9$", r"$x = 2^3 + 1 = 10$"),
    (
        Kind.ARITHMETIC,
        "",
        r"$5 \cdot 3\text{ cm} = 15\text{ cm}$ and $y$",
        r"$5^{2} \cdot 3\text{ cm} = 16\text{ cm}$",
    ),
    (Kind.ARITHMETIC, "", r"$\sum_{k=1}^{4} k^2 = 30$", r"$\sum_{k=1}^{4} k^2 = 29$"),
    (Kind.ARITHMETIC, "", r"$1 + \prod_{k=2}^{4} k = 25$", r"$1 + \prod_{k=2}^{4} k = 24$"),
    (
        Kind.ARITHMETIC,
        "",
        r"$\prod_{k=1}^{3} \frac{k}{k+1} = \frac14$",
        r"$\prod_{k=1}^{3} \frac{k}{k+1} = \frac13$",
    ),
    (Kind.INEQUALITY, "", r"We see $3 < 5 \le 7$.", r"We see $3 < 5 \le 2$."),
    (Kind.INEQUALITY, "", r"$\sqrt{2} < \frac{3}{2}$", r"$\sqrt{2} > \frac{3}{2}$"),
    (Kind.IDENTITY, "", r"$(x+1)^2 = x^2 + 2x + 1$", r"$(x+1)^2 - x^2 = 2x + 2$"),
    (
        Kind.IDENTITY,
        "",
        r"$x(x+1) - x = x^2 + x - x = x^2$",
        r"$x(x+1) - x = x^2 + x - x = x^2 + x$",
    ),
    (
        Kind.EQUATION,
        "",
        r"$x^2 - 5x + 6 = 0$, so $x = 2$ or $x = 3$.",
        r"$x^2 - 5x + 6 = 0$, so $x = 2$ or $x = 4$.",
    ),
    (Kind.EQUATION, "", r"$x^2 = 2$, so $x = \pm\sqrt{2}$.", r"$x^2 = 2$, so $x = \pm\sqrt{3}$."),
    (
        Kind.EQUATION,
        "",
        r"$\frac{6}{x-1} = 3$, thus $x = 3$.",
        r"$\frac{6}{x-1} = 3$, thus $x = 2$.",
    ),
    (
        Kind.EQUATION,
        "",
        r"\begin{align*} 2x + 3 &= 11 \\ 2x &= 8 \\ x &= 4 \end{align*}",
        r"\begin{align*} 2x + 3 &= 11 \\ 2x &= 14 \\ x &= 7 \end{align*}",
    ),
    (Kind.EQUATION, "", r"$-2x > 6$, therefore $x < -3$.", r"$-2x > 6$, therefore $x > -3$."),
    (
        Kind.EQUATION,
        "",
        r"$x^2 < 4$, which means $-2 < x < 2$.",
        r"$x^2 < 4$, which means $x > 2$.",
    ),
    (Kind.CONGRUENCE, "", r"$7^2 \equiv 4 \pmod{5}$", r"$7^2 \equiv 3 \pmod{5}$"),
    (Kind.CONGRUENCE, "", r"$2^{1000} \equiv 1 \pmod{3}$", r"$2^{1000} \equiv 2 \pmod{3}$"),
    (Kind.CONGRUENCE, "", r"$4 \mid 12$", r"$5 \mid 12$"),
    (Kind.FUNCTION, F, r"$f(3) = 10$", r"$f(3) = 9$"),
    (Kind.FUNCTION, F, r"$f(2) + f(1) = 7$", r"$f(2) + f(1) = 8$"),
    (Kind.DERIVATIVE, F, r"$f'(x) = 2x$ and so on", r"$f'(x) = 3x$ and so on"),
    (
        Kind.DERIVATIVE,
        "",
        r"$\frac{d}{dx}(x^3 + x) = 3x^2 + 1$",
        r"$\frac{d}{dx}(x^3 + x) = 3x^2 + x$",
    ),
    (
        Kind.INTEGRAL,
        "",
        r"$\int_0^1 x^2 \, dx = \frac{1}{3}$",
        r"$\int_0^1 x^2 \, dx = \frac{1}{2}$",
    ),
    (Kind.INTEGRAL, "", r"$\int 2x \, dx = x^2 + C$", r"$\int 2x \, dx = x^3 + C$"),
    (
        Kind.MATRIX,
        "",
        r"$\begin{pmatrix}1&2\\3&4\end{pmatrix}\begin{pmatrix}1\\1\end{pmatrix} = \begin{pmatrix}3\\7\end{pmatrix}$",
        r"$\begin{pmatrix}1&2\\3&4\end{pmatrix}\begin{pmatrix}1\\1\end{pmatrix} = \begin{pmatrix}3\\8\end{pmatrix}$",
    ),
    (
        Kind.MATRIX,
        "",
        r"$\begin{pmatrix}1&2\\3&4\end{pmatrix} \to \begin{pmatrix}1&2\\0&-2\end{pmatrix}$",
        r"$\begin{pmatrix}1&2\\3&6\end{pmatrix} \to \begin{pmatrix}1&2\\0&-2\end{pmatrix}$",
    ),
    (
        Kind.ARITHMETIC,
        "",
        r"$\begin{vmatrix}1&2\\3&4\end{vmatrix} = -2$",
        r"$\begin{vmatrix}1&2\\3&4\end{vmatrix} = 2$",
    ),
]


@pytest.mark.parametrize(("kind", "problem", "right", "wrong"), TABLE)
def test_each_kind_of_claim_is_decided(kind: Kind, problem: str, right: str, wrong: str) -> None:
    (report,) = check_steps(problem, [right])
    assert report.status is Status.CORRECT, report
    assert kind in {claim.kind for claim in report.claims}
    (report,) = check_steps(problem, [wrong])
    assert report.status is Status.INCORRECT, report
    (claim, *_) = [c for c in report.claims if c.status is Status.INCORRECT]
    assert claim.kind is kind and claim.reason


NO_PROOF = [
    (F, r"$f(x + 1) = f(x) + 2x + 1$, so $f(3) = 11$", "a functional equation"),
    (F, r"$f(x) = x$, so $f(3) = 11$", "a function that is defined anew"),
    (r"Let $f(x) = |x|$.", r"$f'(3) = 5$", "no derivative"),
    ("", r"$5\% > 7\%$", "percentages, which may be points"),
    ("", r"$\frac{1}{2} \equiv 3 \pmod 4$ and $\sqrt{2} \equiv 3 \pmod 5$", "no residues"),
    ("", r"$0 \mid 5$", "no divisor"),
    (
        "",
        r"$\begin{pmatrix} 1 \\ 2 \end{pmatrix} = \begin{pmatrix} 1 & 2 \end{pmatrix}$",
        "a column or a row",
    ),
    (
        "",
        r"$\begin{pmatrix} 1 \\ 2 \end{pmatrix} + x = \begin{pmatrix} 1 \\ 3 \end{pmatrix}$",
        "a sum of two kinds",
    ),
    (
        "",
        r"$\begin{pmatrix} x \\ 2 \end{pmatrix} = \begin{pmatrix} x \\ 3 \end{pmatrix}$",
        "entries with letters",
    ),
    (
        "",
        r"$\begin{pmatrix} 1 & x \end{pmatrix} \to \begin{pmatrix} 0 & x \end{pmatrix}$",
        "a row with a letter",
    ),
    (
        "",
        r"$\begin{pmatrix} 1 & 2 \\ 3 \end{pmatrix} \to \begin{pmatrix} 1 & 2 \\ 0 \end{pmatrix}$",
        "rows of unequal length",
    ),
    (
        "",
        r"$\begin{pmatrix} 1 & 2 \end{pmatrix} \to \begin{pmatrix} 1 & 2 & 3 \end{pmatrix}$",
        "a column is added",
    ),
    ("", r"$\infty = \infty + 1$", "infinity"),
    ("", r"$\sqrt{x^2} = x + 1$ and $\sqrt{x^2 + 1} = \sqrt{x^2 + 1} + 3$", "roots"),
    (
        "",
        r"$\sqrt{abcd} + 1 = \sqrt{abcd} + 2$ and $\sqrt{-1 - x^2} = 2\sqrt{-1 - x^2}$",
        "too many letters, no real value",
    ),
    ("", r"$x(x + 1) = x^2 + x \approx x^2 = x^2 + 2x$", "an approximation within the chain"),
    (
        "",
        r"$\int x^2 dx = 5$ and $\int_0^\infty x dx = 1$ and $\int |x| dx = x|x|$",
        "no antiderivative",
    ),
    ("", r"$\int \sin x\,dx = \cos x \text{ cm}$", "a function with a unit"),
    (
        "",
        r"$\sum_{k=1}^{100} k = 5$ and $\frac{1}{0} + 1 = 5 + 2$ and $\pi^{3000} + 1 = 5$",
        "too long, undefined, too large",
    ),
    ("", r"$(-8)^{1/3} = 5$ and $e^2 + 1 = 3$ and $10_2 + 1 = 4$", "a branch, a letter, a base"),
    ("", r"$1.333 \cdot 3 = 2 \cdot 2$", "a rounded factor"),
    ("", r"$x = \frac{1}{0}$, so $x = 3$", "no value"),
    ("", r"$x^2 = 2$, so $x = 1.41$, so $x^2 = 2$", "a rounded root"),
    ("", r"$x = 2$ or $x = 3$, so $x = 3$ or $x = 2$ or $y = 4$", "values in another order"),
    ("", r"$x^2 = 4$, so $x = 2$ or $y = 3$", "another letter"),
    (
        "",
        r"$x > 3$, so $y < 3$ and $|x| < -3$, so $x > 5$",
        "intervals of two letters, an empty one",
    ),
    ("", r"$\sin x > 2$, so $x > 5$; $x^2 = 4$, so $x > 3$", "no interval"),
    ("", r"Try $2x = 6$, so $x = 4$.", "a trial"),
    (
        r"Solve $x^2 = 2$ and $2^y = 8$.",
        r"Therefore $x = 1.41$ and $y = 3.1$.",
        "rounded solutions",
    ),
    (r"Solve $x^3 - 3x = 0$.", r"Here $3x^2 - 3 = 0$, therefore $x = 1$.", "another equation"),
    (
        r"Add in base 8.",
        r"$1.5 + 1.4 = 3.1$ and $17 + 3\text{ cm} = 22$",
        "decimals in another base",
    ),
    (
        r"Add in base 8.",
        r"$10^{2} + 0 = 144$ and $17 + \sqrt{2} = 23$",
        "a power in another base, a root",
    ),
    (r"Find it modulo 7.", r"$3\pi + 1 = 5$", "no residue"),
    ("", r"Then $2 + 2 = 5$, which is a contradiction.", "denied"),
    ("", r"This would give $2 + 2 = 5$.", "hypothetical"),
    ("", r"It is not true that $2^2 = 5$.", "denied before"),
    ("", r"We get $1 = 2$.", "the end of a proof by contradiction"),
    ("Solve modulo 7.", r"$3 \cdot 5 = 1$", "arithmetic modulo something"),
    ("In base 6,", r"$3 + 5 = 12$", "another base"),
    (
        "Insert parentheses into $2 + 3 \\cdot 4 = 20$.",
        r"$2 + 3 \cdot 4 = 20$",
        "stated by the problem",
    ),
    ("", r"$1 + 2 + \cdots + 10 = 50$", "an ellipsis"),
    ("", r"$\log 100 + 1 = 5.6$", "a logarithm without a base"),
    ("", r"$2\frac{1}{2} \cdot 2 = 2$", "a mixed number or a product"),
    ("", r"$1 \text{ foot} + 0 = 12 \text{ inches}$", "a change of units"),
    ("", r"$3m = 2 + 2m$ and $3 m = 9$", "letters, not metres"),
    ("", r"$x^2 = 9$, so $x = 3$.", "a root is lost, perhaps on purpose"),
    ("", r"$x^2 = 9$. If $x = 4$, we are done.", "a case"),
    ("", r"Thus $x - 3 = 0$ or $x - 7 = 0$.", "alternatives"),
    ("", r"$2x = 4$ and $3x = 9$", "two facts"),
    (
        "",
        r"$2x = 4$ has the solution 2, and for another $x$ we have $x = 3$",
        "another letter of the name",
    ),
    ("", r"$y = 2x = x + 5$", "equations, not an identity"),
    ("Find $n$ such that $f(n) = n$.", r"$f(0) = -1$", "no definition"),
    ("", r"If $n = 51 + 18 = 69$ or $n = 51 + 33 = 84$", "cases"),
    (
        "",
        r"It is $13!(15 \cdot 14 - 1) = 13$! $\cdot 209$",
        "a formula that goes on behind its border",
    ),
    ("", r"$\sum_{k=1}^{4} k + 1 = 14$", "a sum that may hold the next term"),
    ("", r"$\sum_{k=1}^{4} k + 1 = 11$", "a sum that may not hold it"),
    ("", r"$\prod_{k=2}^{4} k \cdot 2 = 48$", "a product that may not hold the next factor"),
    ("", r"$\prod_{k=2}^{4} \frac{k}{2} = 12$", "the same with a quotient"),
    ("", r"$90^3 = 729,\!000$", "thousands"),
    ("", r"```" + "\nx = 2 + 2 == 5\n```", "a program"),
    (F, r"$f(3) = c$", "an unknown value"),
    ("", r"& = 7 + 2 \sqrt{35} + 5 = 12 + 2 \sqrt{35}, \\", "a line cut out of a formula"),
    ("", r"If $b = 2$, then $4a = 4(a-3)$.", "a case that ends in a contradiction"),
]


@pytest.mark.parametrize(("problem", "text", "why"), NO_PROOF)
def test_what_may_be_meant_otherwise_is_no_proof(problem: str, text: str, why: str) -> None:
    (report,) = check_steps(problem, [text])
    assert report.status is not Status.INCORRECT, why


whole = st.integers(-9, 9)
FRAMES = [
    "${a}$, so ${b}$.",
    "Since ${a}$ holds, we get ${b}$.".replace("Since ", "").replace(" holds", ""),
    r"\[{a}\]Therefore \[{b}\]",
    r"\begin{{align*}} {a} \\ {b} \end{{align*}}",
    r"${a} \implies {b}$",
    "We have \\({a}\\). Dividing, \\({b}\\).",
]


@given(whole.filter(bool), whole, whole, st.sampled_from(FRAMES))
def test_a_linear_equation_and_its_solution(a: int, b: int, x: int, frame: str) -> None:
    assume(x != -1)  # $x = 0$ may be another case
    equation = f"{a}x + ({b}) = {a * x + b}"
    (report,) = check_steps("", [frame.format(a=equation, b=f"x = {x}")])
    assert report.status is Status.CORRECT
    (report,) = check_steps("", [frame.format(a=equation, b=f"x = {x + 1}")])
    assert report.status is Status.INCORRECT


@given(whole, whole, st.sampled_from(FRAMES))
def test_a_quadratic_keeps_both_roots(p: int, q: int, frame: str) -> None:
    equation = f"x^2 + ({-p - q})x + ({p * q}) = 0"
    solved = frame.format(a=equation, b=f"(x - ({p}))(x - ({q})) = 0")
    assert check_steps("", [solved])[0].status is Status.CORRECT
    root = max(abs(p), abs(q)) + 1  # not 0, which may be another case: $x^2 = 4$ or $x = 0$
    (report,) = check_steps("", [frame.format(a=equation, b=f"x = {root}")])
    assert report.status is Status.INCORRECT


@given(whole, whole, whole, st.sampled_from(["${} = {}$", r"\({} = {}\)", r"\[{} = {}.\]"]))
def test_expansions(a: int, b: int, c: int, frame: str) -> None:
    product = f"(x + ({a}))(x + ({b})) + ({c})"
    expanded = f"x^2 + ({a + b})x + ({a * b + c})"
    (report,) = check_steps("", [frame.format(product, expanded)])
    assert report.status is Status.CORRECT
    (report,) = check_steps("", [frame.format(product, f"{expanded} + 1")])
    assert report.status is Status.INCORRECT
    assert report.claims[0].kind is Kind.IDENTITY


@given(whole, whole, st.integers(2, 30))
def test_congruences(a: int, k: int, m: int) -> None:
    text = r"Note that ${} \equiv {} \pmod{{{}}}$."
    assert check_steps("", [text.format(a, a + k * m, m)])[0].status is Status.CORRECT
    assert check_steps("", [text.format(a, a + k * m + 1, m)])[0].status is Status.INCORRECT


@given(st.integers(-20, 20), st.integers(-20, 20))
def test_closed_inequalities(a: int, b: int) -> None:
    signs = {r"\le": a <= b, "<": a < b, ">": a > b, r"\geq": a >= b}
    for sign, holds in signs.items():
        (report,) = check_steps("", [f"Here ${a} {sign} {b}$."])
        assert (report.status is Status.CORRECT) == holds
        assert (report.status is Status.INCORRECT) == (not holds)


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))
def test_values_and_derivatives_of_a_defined_function(a: int, b: int, at: int) -> None:
    problem = f"Let $f(x) = {a}x^2 + {b}x + 1$. Find $f({at})$."
    value = a * at * at + b * at + 1
    assert check_steps(problem, [f"$f({at}) = {value}$"])[0].status is Status.CORRECT
    assert check_steps(problem, [f"$f({at}) = {value + 1}$"])[0].status is Status.INCORRECT
    slope = f"$f'(x) = {2 * a}x + {b}$"
    assert check_steps(problem, [slope])[0].status is Status.CORRECT
    assert check_steps(problem, [slope.replace("x + ", "x^2 + ")])[0].status is Status.INCORRECT


@given(st.integers(-9, 9).filter(bool), whole, st.integers(-9, 9))
def test_linear_inequalities_turn_with_the_sign(a: int, b: int, bound: int) -> None:
    sign, turned = (">", "<") if a > 0 else ("<", ">")
    end = Fraction(bound - b, a)
    shown = f"{end.numerator}/{end.denominator}"
    text = r"${}x + ({}) > {}$, so $x {} {}$."
    right = check_steps("", [text.format(a, b, bound, sign, shown)])[0]
    wrong = check_steps("", [text.format(a, b, bound, turned, shown)])[0]
    assert right.status is Status.CORRECT
    assert wrong.status is Status.INCORRECT


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from(
            [
                *r"x = 1 2 + - ^ { } ( ) $ \ & , < n f ! '".split(" "),
                *r"\frac \\ \begin{align*} \end{align*} \int \equiv \pmod \to \sqrt \pm \[ \]".split(),
                *r"\begin{pmatrix} \end{pmatrix} \text{or}".split(),
                *(" so ", "^{3000}", LONG),
            ]
        ),
        max_size=40,
    )
)
def test_any_formula_is_read_and_spans_lie_in_it(parts: list[str]) -> None:
    step = "$" + "".join(parts) + "$"
    for report in check_steps(f"Modulo 7, in base 8: {step}", [step, step]):
        for claim in report.claims:
            assert 0 <= claim.start <= claim.end <= len(step)
            assert step[claim.start : claim.end] == claim.text
