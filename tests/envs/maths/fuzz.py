"""A grammar of answers, right, wrong, malformed and hostile, and what must hold for every one of them.

    python tests/envs/maths/fuzz.py SECONDS

runs it for that long. Each input is written to a file before it is tried, so that an input which ends the process
(an abort in C code) is known too.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stepgym.envs.maths.extract import echoes, extract_answer
from stepgym.envs.maths.ladder import Decision, decide
from stepgym.envs.maths.options import DEFAULT
from stepgym.envs.maths.question import Case, adjust, veto

CPU_LIMIT_S = 1.5
"""What one pair may cost the calling process; `effort.STEPS` aims at a tenth of it."""

NUMBERS = st.one_of(
    st.integers(0, 12).map(str),
    st.sampled_from(
        "0 1 2 10 100 0.5 .5 5. 0.3 1,000 1{,}000 2^{64} 10^{20} 10^{-400} 0.3^{2^{64}} 2^{2^{64}} 1e400 1e-400 "
        "10^{10^{10}} 1F_{16} 101_2 0.\\overline{3} 0.(3) 0.333... 0.1\\dot{6} 1\\frac12 3\\dot4 99999999999999999999 "
        "1/3 -1 -0.5 7% 30^\\circ".split()
    ),
    st.sampled_from(["1 1/2", "1 000", "9" * 400]),
)
LETTERS = st.sampled_from(
    "x y n k a b C c i e f t z N \\pi \\theta \\infty x_1 x_{n+1} x' D".split()
)
FUNCTIONS = st.sampled_from(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp max min gcd lcm arg det Re Im cis "
    "foo nCr".split()
)
UNITS = st.sampled_from(
    "cm m/s \\text{ apples} \\% ^\\circ dollars km^2 \\text{ ft }3\\text{ in} hours".split(" ")
)
JUNK = st.sampled_from(
    "{ } ( ) [ ] | \\{ \\} \\left \\right \\frac \\sqrt \\boxed{ $ $$ \\[ \\text{ \\begin{cases} \\end{cases} & \\\\ _ ^ ! ' , ; : "
    '. ... < = \\le \\in \\cup \\pm \\mp \\mod \\pmod \\lfloor \\rfloor \\sum \\int \\lim \\over \\not \\circ # @ ~ \\ " ` **'.split()
)


def _wrap(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    three = st.tuples(inner, inner, inner)
    many = st.lists(inner, max_size=4)
    return st.one_of(
        two.map(lambda t: f"{t[0]}+{t[1]}"),
        two.map(lambda t: f"{t[0]}-{t[1]}"),
        two.map(lambda t: f"{t[0]}\\cdot {t[1]}"),
        two.map(lambda t: f"{t[0]} {t[1]}"),
        two.map(lambda t: f"{t[0]}/{t[1]}"),
        two.map(lambda t: f"\\frac{{{t[0]}}}{{{t[1]}}}"),
        two.map(lambda t: f"({t[0]})^{{{t[1]}}}"),
        two.map(lambda t: f"{t[0]}^{t[1]}"),
        two.map(lambda t: f"\\sqrt[{t[0]}]{{{t[1]}}}"),
        two.map(lambda t: f"\\binom{{{t[0]}}}{{{t[1]}}}"),
        two.map(lambda t: f"\\log_{{{t[0]}}}({t[1]})"),
        two.map(lambda t: f"{t[0]} \\bmod {t[1]}"),
        two.map(lambda t: f"x \\equiv {t[0]} \\pmod{{{t[1]}}}"),
        two.map(lambda t: f"{t[0]} \\pm {t[1]}"),
        two.map(lambda t: f"\\{{ {t[0]} \\mid {t[1]} \\}}"),
        three.map(lambda t: f"\\sum_{{k={t[0]}}}^{{{t[1]}}} {t[2]}"),
        three.map(lambda t: f"\\prod_{{k={t[0]}}}^{{{t[1]}}} ({t[2]})"),
        three.map(lambda t: f"\\int_{{{t[0]}}}^{{{t[1]}}} {t[2]} \\,dx"),
        two.map(lambda t: f"\\lim_{{x \\to {t[0]}}} {t[1]}"),
        two.map(lambda t: f"\\frac{{d}}{{dx}} {t[0]}({t[1]})"),
        st.tuples(FUNCTIONS, inner).map(lambda t: f"\\{t[0]}({t[1]})"),
        st.tuples(FUNCTIONS, inner).map(lambda t: f"{t[0]} {t[1]}"),
        st.tuples(FUNCTIONS, many).map(lambda t: f"{t[0]}({', '.join(t[1])})"),
        st.tuples(inner, UNITS).map(lambda t: f"{t[0]} {t[1]}"),
        inner.map(lambda t: f"|{t}|"),
        inner.map(lambda t: f"({t})!"),
        inner.map(lambda t: f"\\lfloor {t} \\rfloor"),
        inner.map(lambda t: f"\\sqrt{{{t}}}"),
        inner.map(lambda t: f"-({t})"),
        inner.map(lambda t: f"f({t})"),
        many.map(lambda t: ", ".join(t)),
        many.map(lambda t: " = ".join(t)),
        many.map(lambda t: " \\le ".join(t)),
        many.map(lambda t: " \\text{ or } ".join(t)),
        many.map(lambda t: f"\\{{{', '.join(t)}\\}}"),
        many.map(lambda t: f"({', '.join(t)}]"),
        many.map(lambda t: f"]{', '.join(t)}["),
        many.map(
            lambda t: f"\\begin{{pmatrix}} {' & '.join(t)} \\\\ {' & '.join(t)} \\end{{pmatrix}}"
        ),
        many.map(
            lambda t: f"\\begin{{vmatrix}} {' & '.join(t)} \\\\ {' & '.join(t)} \\end{{vmatrix}}"
        ),
        st.tuples(many, many).map(
            lambda t: "\\begin{cases} " + " \\\\ ".join(map(" & ".join, zip(*t))) + " \\end{cases}"
        ),
        two.map(lambda t: f"Maximum = {t[0]}, Minimum: {t[1]}"),
        two.map(lambda t: f"{t[0]}, {t[1]} (grams of sugar)"),
        two.map(lambda t: f"a_1 {t[0]} + a_2 {t[0]} + \\cdots + a_{{n}} {t[1]}"),
        st.tuples(inner, JUNK, inner).map("".join),
        st.tuples(inner, st.integers(2, 60)).map(lambda t: t[0] * t[1]),
    )


FORMULAS = st.recursive(st.one_of(NUMBERS, LETTERS), _wrap, max_leaves=7)
ANSWERS = st.one_of(
    FORMULAS,
    st.lists(st.one_of(JUNK, NUMBERS, LETTERS, FUNCTIONS.map("\\".__add__)), max_size=12).map(
        "".join
    ),
    st.tuples(
        st.sampled_from(("So the answer is $", "\\boxed{", "$$", "x = ", "#### ", "\\text{")),
        FORMULAS,
    ).map("".join),
)
QUESTIONS = st.sampled_from(
    [
        "",
        "Solve the differential equation y' = y for y.",
        "Find approximately, in increasing order, from least to greatest, the values.",
        "On which interval is f increasing? (A) 1 (B) $[1, 2]$",
        "Who is the tallest, to two decimal places, in percent? Find $x$ in simplest form, in cm.",
    ]
)
PAIRS = st.one_of(st.tuples(ANSWERS, ANSWERS), ANSWERS.map(lambda text: (text, text)))


def check(reference: str, answer: str, question: str = "") -> Decision:
    """Decide one pair in this process. Raises if the verifier does, or if it takes too long."""
    start = time.thread_time()
    echoes(answer, reference)
    case = Case(question, extract_answer(reference).text, extract_answer(answer).text, DEFAULT)
    if question:
        case = adjust(case).case
        veto(case)
    decision = decide(*case[1:])
    took_s = time.thread_time() - start
    assert took_s < CPU_LIMIT_S, f"{took_s:.1f} s of CPU"
    return decision


def run(seconds: float, diary: Path) -> None:
    """Try inputs until the time is up."""
    until = time.monotonic() + seconds
    count = 0

    @settings(
        max_examples=500,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(PAIRS, QUESTIONS)
    def round_of_pairs(pair: tuple[str, str], question: str) -> None:
        nonlocal count
        count += 1
        diary.write_text(repr((*pair, question)), encoding="utf-8")
        if time.monotonic() < until:
            check(*pair, question)

    while time.monotonic() < until:
        round_of_pairs()
    print(f"{count} pairs, none raised, ended the process or took {CPU_LIMIT_S:g} s")


def main() -> int:
    """Run in a child process, so that an abort is reported with its input."""
    logging.disable()
    if len(sys.argv) == 3:
        run(float(sys.argv[1]), Path(sys.argv[2]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        diary = Path(folder, "last_pair")
        ran = subprocess.run([sys.executable, __file__, sys.argv[1], str(diary)], check=False)
        if ran.returncode:
            print(f"exit status {ran.returncode}; the last pair was {diary.read_text()}")
    return ran.returncode


if __name__ == "__main__":
    sys.exit(main())
