"""No *yes* from points alone: a difference far from the usual points, in a narrow window or at one residue is found."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.envs.maths import verify_answer

BASES = st.sampled_from(
    ["x", "x^2", "\\sin x", "e^x", "\\frac{1}{x^2+1}", "\\ln(x^2+1)", "\\sqrt{x^2+4}", "|x|"]
)
FAR = st.integers(100, 10**6)


def differs(answer: str, reference: str) -> None:
    assert not verify_answer(answer, reference=reference).correct
    assert not verify_answer(reference, reference=answer).correct


@given(BASES, FAR, st.sampled_from(["|x+{k}|-{k}-x", "|x-{k}|+x-{k}", "\\sqrt{{(x+{k})^2}}-x-{k}"]))
@settings(max_examples=40, deadline=None)
def test_a_kink_far_away_is_found(base: str, k: int, zero_nearby: str) -> None:
    differs(f"{base} + {zero_nearby.format(k=k)}", base)


@given(BASES, FAR, st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_a_bump_in_a_narrow_window_is_found(base: str, k: int, width: int) -> None:
    differs(f"{base} + \\max(0, {width}-|x-{k}|)", base)


@given(st.sampled_from(["n", "n^2", "2^n", "n!", "\\frac{n(n+1)}{2}"]), st.integers(61, 2_000))
@settings(max_examples=40, deadline=None)
def test_a_step_beyond_the_usual_whole_points_is_found(base: str, k: int) -> None:
    differs(f"{base} + \\lfloor n/{k} \\rfloor", base)
    differs(f"{base} + \\binom{{n}}{{{k % 60 + 61}}}", base)
    if base == "n":
        differs(f"n \\bmod {k}", base)
        differs(f"\\min(n, {k})", base)


@given(st.integers(2, 12), st.sampled_from([61, 67, 71, 101, 113]))
@settings(max_examples=10, deadline=None)
def test_a_common_divisor_is_compared_at_every_residue(k: int, prime: int) -> None:
    differs(f"\\gcd(n, {k * prime})", f"\\gcd(n, {k})")


@given(st.integers(13, 300), st.integers(13, 300), st.sampled_from(["n", "x"]))
@settings(max_examples=20, deadline=None)
def test_a_difference_at_one_residue_of_a_joint_period_is_no_equality(
    p: int, q: int, n: str
) -> None:
    together = f"({n} \\bmod {p})({n} \\bmod {q})"
    differs(f"{n} + \\lfloor {together}/{p - 1}/{q - 1} \\rfloor", n)


EQUAL = [
    ("|x-1|+|x+1|", "|1-x|+|1+x|"),
    ("\\max(x,y)", "\\frac{x+y+|x-y|}{2}"),
    ("\\sqrt{x}\\sqrt{y}", "\\sqrt{xy}"),
    ("\\ln(ab)", "\\ln a+\\ln b"),
    ("\\lfloor x+1\\rfloor", "\\lfloor x\\rfloor+1"),
    ("\\lfloor n/2\\rfloor", "\\frac{n-(n\\bmod 2)}{2}"),
    ("\\frac{1-(-1)^n}{2}", "n\\bmod 2"),
    ("\\sqrt{1-\\cos^2 x}", "|\\sin x|"),
    ("\\tan(x/2)", "\\frac{\\sin x}{1+\\cos x}"),
    ("\\ln|x-1|-\\ln|x+1|", "\\ln\\left|\\frac{x-1}{x+1}\\right|"),
]


def test_forms_of_one_piecewise_function_are_equal() -> None:
    for reference, answer in EQUAL:
        assert verify_answer(answer, reference=reference).correct, (reference, answer)


@given(st.sampled_from(["\\sqrt{2}^x", "\\pi^x", "(1+\\sqrt{2})^x"]), st.integers(3, 9), FAR)
@settings(max_examples=20, deadline=None)
def test_powers_of_an_irrational_base_are_compared(power: str, shift: int, k: int) -> None:
    reference = f"|{power}-{shift}|"
    assert verify_answer(f"|{power}-{shift - 1}-1|", reference=reference).correct
    differs(f"{reference} + \\max(0, 1-|x-{k}|)", reference)
