"""False equations that hold in another reading prove nothing; those that hold in none do: units, bases, remainders."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stepgym.envs.steps.claims import Kind
from stepgym.envs.steps.values import FACTORS
from stepgym.envs.steps.verifier import check_steps
from stepgym.envs.types import Status

whole = st.integers(2, 40)


def status(step: str, problem: str = "") -> Status:
    (report,) = check_steps(problem, [step])
    return report.status


@given(whole, whole, st.integers(1, 9), st.sampled_from(["apples", "gallons", "gifts", "dollars"]))
def test_a_unit_excuses_nothing_but_its_own_conversions(a: int, b: int, d: int, unit: str) -> None:
    wrong = a * b + d
    factor = max(wrong / (a * b), 1)
    assume(all(abs(factor / f - 1) > 0.1 for f in FACTORS.get(unit.removesuffix("s"), ())))
    assert status(f"In total: {a} * {b} = {wrong} {unit}.") is Status.INCORRECT
    assert status(f"She pays a total of {a} * {b} = {wrong} {unit}.") is Status.INCORRECT
    assert status(f"So ${a}\\text{{ {unit}}} \\cdot {b} = {wrong}$.") is Status.INCORRECT


@given(st.integers(2, 20))
def test_a_conversion_between_named_units_is_no_error(n: int) -> None:
    assert status(f"It takes {60 * n} * 1 = {n} hours.") is not Status.INCORRECT
    assert status(f"So {n} / 4 = {25 * n} cents.") is not Status.INCORRECT


@given(st.integers(3, 16), st.integers(10, 300), st.integers(10, 300))
def test_sums_in_a_base_are_read_in_that_base(base: int, a: int, b: int) -> None:
    digits = "0123456789"
    assume(base <= 10)

    def written(n: int) -> str:
        return (written(n // base) if n >= base else "") + digits[n % base]

    problem = f"Add the numbers in base {base}."
    total = f"${written(a)} + {written(b)} = {written(a + b)}$"
    assert status(total, problem) is not Status.INCORRECT
    assert status(f"${a} + {b} = {a + b}$", problem) is not Status.INCORRECT


def test_a_sum_that_holds_in_no_base_is_wrong() -> None:
    assert status("$9 + 9 = 5$", "Write it in base 5.") is Status.INCORRECT
    assert status("$3 + 4 = 12$", "Add in base 5.") is Status.UNDECIDED


@given(whole, whole, st.integers(3, 30), st.integers(-5, 5))
def test_products_modulo_a_number(a: int, b: int, modulus: int, k: int) -> None:
    problem = f"What is the remainder when the product is divided by {modulus}?"
    assert status(f"${a} \\cdot {b} = {a * b + k * modulus}$", problem) is not Status.INCORRECT
    other = a * b + k * modulus + 1
    assert status(f"${a} \\cdot {b} = {other}$", problem) is Status.INCORRECT
    letter = "Find the remainder modulo $p$."
    assert status(f"${a} \\cdot {b} = {other}$", letter) is not Status.INCORRECT


@given(st.integers(2, 30), st.integers(2, 5), st.sampled_from(["$%s$", r"\(%s\)", r"\[%s\]"]))
def test_a_number_is_compared_with_its_factors(base: int, power: int, frame: str) -> None:
    text = "We note that " + frame
    right = f"{base**power} = {base}^{power}"
    assert status(text % right) is Status.CORRECT
    assert status(text % f"{base**power + 1} = {base}^{power}") is Status.INCORRECT


@given(st.integers(2, 50), st.integers(2, 9), st.integers(1, 20))
def test_degrees_are_compared_as_written(angle: int, times: int, gap: int) -> None:
    text = r"The sum is ${} \cdot {}^\circ = {}^\circ$."
    assert status(text.format(times, angle, times * angle)) is Status.CORRECT
    assert status(text.format(times, angle, times * angle + gap)) is Status.INCORRECT


@pytest.mark.parametrize(
    "step",
    [
        r"$\pi/3 = 60^\circ$",
        r"$2\frac{1}{2} = \frac{5}{2}$",
        r"$3 \frac{1}{3} = 1$",
        r"$\sin^2 30^\circ = \frac14$",
        r"If we try $5 \cdot 2 = 12$, no.",
        r"$5 \cdot 2 = 12$ does not hold.",
        r"$3/24 = \boxed{\frac{1}{8}}$ of 2 feet",
        "(8 / 2 = 4) + 3 = 7",
    ],
)
def test_no_proof(step: str) -> None:
    assert status(step) is not Status.INCORRECT


@pytest.mark.parametrize(
    "step",
    [
        r"$\sqrt{3^2 - 4^2} = 5$",
        r"$2\frac{1}{2} = \frac{7}{2}$",
        r"$\operatorname{lcm}(4, 6) = 24$",
        r"$\sin^2 30^\circ = \frac34$",
        r"($300\text{ USD} \div 2 = 149\text{ USD}$)",
        r"We need $3 \cdot 4 = 13$ of them.",
    ],
)
def test_proof(step: str) -> None:
    assert status(step) is Status.INCORRECT


@given(st.integers(1, 9), st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 5))
def test_a_derivation_goes_on_in_the_next_step(a: int, b: int, x: int, off: int) -> None:
    first = f"We solve \\[{a}x + ({b}) = {a * x + b}\\]"
    second = "Next, we subtract the constant from both sides: \\[{}x = {}\\]"
    _, report = check_steps("", [first, second.format(a, a * x)])
    assert report.status is Status.CORRECT
    _, report = check_steps("", [first, second.format(a, a * x + off)])
    assert report.status is Status.INCORRECT
    assert report.claims[0].kind is Kind.EQUATION
    other = "Now the second train: \\[{}x = {}\\]"
    _, report = check_steps("", [first, other.format(a, a * x + off)])
    assert report.status is not Status.INCORRECT


@given(st.lists(st.integers(-9, 9), min_size=3, max_size=3, unique=True))
def test_a_factorisation_keeps_the_roots(roots: list[int]) -> None:
    p, q, r = roots
    quadratic = f"\\[x^2 + ({-p - q})x + ({p * q}) = 0\\]"
    text = "\n".join([quadratic, "Factoring gives", "\\[(x - ({}))(x - ({})) = 0\\]"])
    assert status(text.format(p, q)) is Status.CORRECT
    assert status(text.format(p, r)) is Status.INCORRECT
    lost = f"{quadratic}\nDividing gives\n\\[x - ({p}) = 0\\]"
    assert status(lost) is not Status.INCORRECT


def test_values_on_rows_are_a_list() -> None:
    rows = "\\[ x = 6(-2) = -12 \\]\n\\[ x = 6(-1) = -6 \\]"
    assert status(rows) is Status.CORRECT
    chain = "\\[ S = 165 \\times \\frac{6}{11} \\] \\[ S = 9 \\times 6 \\]"
    assert status(chain) is not Status.INCORRECT  # the rows may be two cases
    assert status("$S = 165 \\cdot 2$, so $S = 340$") is Status.INCORRECT


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 4))
def test_values_satisfy_the_equations_that_the_problem_states(x: int, y: int, off: int) -> None:
    problem = f"If $x + y = {x + y}$ and $x - y = {x - y}$, find $xy$."
    step = "Subtracting, we find that $x = {}$ and $y = {}$."
    assert status(step.format(x, y), problem) is not Status.INCORRECT
    assert status(step.format(x, y + off), problem) is Status.INCORRECT
    assert status("Suppose that $x = 1$ and $y = 50$.", problem) is not Status.INCORRECT
    one = f"Solve $3z + {y} = {3 * x + y}$."
    assert status(f"So $z = {x + off}$.", one) is Status.INCORRECT
    assert status(f"At $z = {x + off}$ it is larger.", one) is not Status.INCORRECT
    assert status(f"If $z = {x + off}$, it fails.", one) is not Status.INCORRECT
    curve = f"The lines $z = {x}$ and $w = 2$ meet."
    assert status(f"Draw $z = {x + off}$.", curve) is not Status.INCORRECT


def test_a_named_quantity_may_change_between_steps() -> None:
    steps = ["Remaining = 50 - 30", "Remaining = 10"]
    assert check_steps("", steps)[1].status is not Status.INCORRECT
    assert status("Remaining = 50 - 30. Remaining = 10.") is Status.INCORRECT
