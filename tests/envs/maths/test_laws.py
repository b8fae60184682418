"""Laws over generated expressions: reflexive, symmetric, blind to notation, and never fooled by a mutation."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stepgym.envs.maths import extract_answer, same_answer, verify_answer
from stepgym.envs.maths.effort import TooMuchWork, num_nodes
from stepgym.envs.maths.modular import degree
from stepgym.envs.maths.reading import read
from stepgym.envs.maths.tree import label
from stepgym.envs.types import Status

NUMBERS = st.integers(2, 10**6)


@given(NUMBERS, st.sampled_from(["%", "\\%", " percent", " per cent", " Per-cent", " Prozent"]))
def test_a_percentage_is_no_bare_number(n: int, sign: str) -> None:
    assert not verify_answer(f"{n}{sign}", reference=str(n)).correct
    assert not verify_answer(f"It is {n}{sign}.", reference=str(n)).correct
    assert verify_answer(f"{n}{sign}", reference=f"{n}\\%").correct


@given(NUMBERS, st.sampled_from(["+", "-", "\\cdot", "/", "^"]), st.integers(2, 9))
def test_a_box_with_an_operator_behind_it_is_no_answer_alone(n: int, sign: str, k: int) -> None:
    for text in ("\\boxed{{{}}} {} {}", "It is $\\boxed{{{}}}{}{}$.", "$x = \\boxed{{{}}}{}{}$"):
        assert not verify_answer(
            text.format(n, sign, k).replace(" ^ ", "^"), reference=str(n)
        ).correct


@given(st.sampled_from(["x^2", "x^3-x", "\\sin x", "e^x"]), st.sampled_from(["C", "c", "K", "C_1"]))
def test_a_constant_is_added_only_to_an_indefinite_integral(f: str, c: str) -> None:
    added = f"{f} + {c}"
    assert not verify_answer(added, reference=f).correct
    assert not verify_answer(added, reference=f, question="Simplify the sum.").correct
    assert verify_answer(added, reference=f, question="Find an antiderivative.").correct


Tree = tuple[object, ...] | int | str
LATEX, PYTHON, UNICODE = "latex", "python", "unicode"

leaves = st.one_of(st.integers(0, 30), st.sampled_from(["x", "y", "n"]))
trees: st.SearchStrategy[Tree] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["+", "-", "*", "/"]), inner, inner),
        st.tuples(st.just("^"), inner, st.integers(2, 4)),
        st.tuples(st.just("sqrt"), inner),
    ),
    max_leaves=6,
)


def show(tree: Tree, notation: str) -> str:
    """Write a tree in one of three notations, brackets everywhere they may be needed."""
    if not isinstance(tree, tuple):
        return str(tree)
    operator, *parts = tree
    left = show(parts[0], notation)  # type: ignore[arg-type]
    if operator == "sqrt":
        return {LATEX: f"\\sqrt{{{left}}}", PYTHON: f"sqrt({left})", UNICODE: f"√({left})"}[
            notation
        ]
    right = show(parts[1], notation)  # type: ignore[arg-type]
    if operator == "/" and notation == LATEX:
        return f"\\frac{{{left}}}{{{right}}}"
    if operator == "^":
        return {
            LATEX: f"({left})^{{{right}}}",
            PYTHON: f"({left})**{right}",
            UNICODE: f"({left})" + "⁰¹²³⁴"[int(right)],
        }[notation]
    sign = {"*": {LATEX: " \\cdot ", PYTHON: "*", UNICODE: "·"}[notation]}.get(
        str(operator), str(operator)
    )
    return f"({left}){sign}({right})"


def value(tree: Tree) -> Fraction:
    """The value at x = 5/7, y = -11/3, n = 13; raises where it has none or is irrational."""
    if isinstance(tree, int):
        return Fraction(tree)
    if isinstance(tree, str):
        return {"x": Fraction(5, 7), "y": Fraction(-11, 3), "n": Fraction(13)}[tree]
    operator, *parts = tree
    if operator == "sqrt":
        raise ZeroDivisionError
    a, b = (value(part) for part in parts)  # type: ignore[arg-type]
    if operator == "^":
        return a ** int(b)
    return {"+": a + b, "-": a - b, "*": a * b}[str(operator)] if operator != "/" else a / b


@given(trees)
def test_an_expression_equals_itself_in_every_notation(tree: Tree) -> None:
    texts = [show(tree, notation) for notation in (LATEX, PYTHON, UNICODE)]
    for text in texts:
        assert verify_answer(text, reference=text).correct
    verdicts = {
        verify_answer(texts[i], reference=texts[j]).status for i in range(3) for j in range(3)
    }
    assert Status.INCORRECT not in verdicts or "/" in texts[0] or "frac" in texts[0]


@given(trees, st.integers(1, 9))
def test_a_mutated_expression_is_never_correct(tree: Tree, by: int) -> None:
    reference = show(tree, LATEX)
    wrong = show(("+", tree, by), PYTHON)
    assert not verify_answer(wrong, reference=reference).correct
    try:
        scaled = value(tree) != 0
    except (ZeroDivisionError, ValueError):
        return
    if scaled:
        assert not verify_answer(show(("*", tree, by + 1), UNICODE), reference=reference).correct


@given(trees, trees)
def test_swapping_answer_and_reference_changes_nothing(a: Tree, b: Tree) -> None:
    left, right = show(a, LATEX), show(b, PYTHON)
    assert (
        verify_answer(left, reference=right).status is verify_answer(right, reference=left).status
    )


@given(trees, trees)
def test_different_values_are_never_correct(a: Tree, b: Tree) -> None:
    try:
        differ = value(a) != value(b)
    except (ZeroDivisionError, ValueError):
        return
    if differ:
        assert not verify_answer(show(a, LATEX), reference=show(b, UNICODE)).correct


@given(trees)
def test_the_size_of_a_tree_counts_each_operation_and_stops_at_its_limit(tree: Tree) -> None:
    count = str(tree).count("(")
    assert num_nodes(tree) == num_nodes(tree, count) == count
    if count:
        with pytest.raises(TooMuchWork):
            num_nodes(tree, count - 1)


@given(trees)
def test_spacing_and_sizing_change_nothing(tree: Tree) -> None:
    text = show(tree, LATEX)
    sized = text.replace("(", "\\left( ").replace(")", " \\right)").replace("+", " + ")
    assert verify_answer(f"  ${sized}$ ", reference=text).correct


ORDERINGS = {"<": "\\ge", ">": "\\le", "\\le": ">", "\\ge": "<", "=": "\\ne"}


@given(
    st.sampled_from(sorted(ORDERINGS)),
    st.sampled_from([*sorted(ORDERINGS), "\\ne"]),
    st.integers(-3, 3),
    st.integers(-3, 3),
    st.sampled_from(["\\text{otherwise}", "\\text{else}", "\\mbox{elsewhere}", ""]),
)
def test_otherwise_is_where_no_other_condition_holds(
    first: str, second: str, n: int, m: int, rest: str
) -> None:
    short = f"\\begin{{cases}} 1 & x {first} {n} \\\\ 0 & {rest} \\end{{cases}}"
    full = f"\\begin{{cases}} 0 & x {second} {m} \\\\ 1 & x {first} {n} \\end{{cases}}"
    complement = n == m and second == ORDERINGS[first]
    assert verify_answer(full, reference=short).correct is complement
    assert verify_answer(short, reference=full).correct is complement


def _cases(condition: str, rest: str) -> str:
    return f"\\begin{{cases}} 1 & {condition} \\\\ 0 & {rest} \\end{{cases}}"


@given(
    st.sampled_from(sorted(ORDERINGS)), st.sampled_from([*sorted(ORDERINGS), "\\ne"]), st.booleans()
)
def test_otherwise_is_the_complement_of_a_bound_with_letters(
    first: str, second: str, is_turned: bool
) -> None:
    turned = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
    stated = f"a {turned.get(second, second)} x" if is_turned else f"x {second} a"
    short, full = _cases(f"x {first} a", "\\text{otherwise}"), _cases(f"x {first} a", stated)
    for reference, answer in ((short, full), (full, short)):
        assert verify_answer(answer, reference=reference).correct is (second == ORDERINGS[first])


INTEGER_CONDITIONS = {
    "n \\equiv {r} \\pmod{{{m}}}": lambda n, m, r: (n - r) % m == 0,
    "n \\not\\equiv {r} \\pmod {m}": lambda n, m, r: (n - r) % m != 0,
    "\\text{{if }} {m} \\text{{ divides }} n - {r}": lambda n, m, r: (n - r) % m == 0,
    "{m} \\nmid n + {r}": lambda n, m, r: (n + r) % m != 0,
    "\\text{{if $n$ is not divisible by {m}}}": lambda n, m, r: n % m != 0,
    "n \\text{{ is a multiple of }} {m}": lambda n, m, r: n % m == 0,
    "{m} | n": lambda n, m, r: n % m == 0,
    "\\text{{when n is odd}}": lambda n, m, r: n % 2 == 1,
    "n \\text{{ is even}}": lambda n, m, r: n % 2 == 0,
    "n \\text{{ is even and }} n > {r}": lambda n, m, r: n % 2 == 0 and n > r,
    "n \\text{{ odd or }} n \\le {r}": lambda n, m, r: n % 2 == 1 or n <= r,
}


@given(
    st.sampled_from(sorted(INTEGER_CONDITIONS)),
    st.sampled_from(sorted(INTEGER_CONDITIONS)),
    st.tuples(st.integers(2, 4), st.integers(0, 4)),
    st.tuples(st.integers(2, 4), st.integers(0, 4)),
)
@settings(max_examples=300)
def test_conditions_of_divisibility_are_compared_as_sets_of_integers(
    first: str, second: str, p: tuple[int, int], q: tuple[int, int]
) -> None:
    one, other = (text.format(m=m, r=r) for text, (m, r) in ((first, p), (second, q)))
    holds, its = INTEGER_CONDITIONS[first], INTEGER_CONDITIONS[second]
    same = all(holds(n, *p) == its(n, *q) for n in range(-20, 30))
    complement = all(holds(n, *p) != its(n, *q) for n in range(-20, 30))
    short, full = _cases(one, "\\text{otherwise}"), _cases(one, other)
    for reference, answer in ((short, full), (full, short)):
        assert verify_answer(answer, reference=reference).correct is complement
    written = _cases(other, "\\text{otherwise}")
    assert verify_answer(written, reference=short).correct is same
    swapped = verify_answer(_cases(other, one), reference=full)
    assert swapped.correct is same


@pytest.mark.parametrize(
    ("condition", "rest", "status"),
    [
        ("a < x < b", "x \\le a \\text{ or } x \\ge b", Status.CORRECT),
        ("m > n", "n \\ge m", Status.CORRECT),
        ("x \\in A", "x \\notin A", Status.CORRECT),
        ("x > 0, y > 1", "x \\le 0 \\text{ or } y \\le 1", Status.CORRECT),
        ("x > 0, y > 1", "x \\le 1 \\text{ or } y \\le 0", Status.UNDECIDED),
        ("n \\text{ even}", "\\text{if } n \\text{ is odd}", Status.CORRECT),
        ("p \\mid n", "p \\nmid n", Status.CORRECT),
        ("p \\mid n", "n \\not\\equiv 0 \\pmod p", Status.CORRECT),
        ("p \\mid n", "n \\nmid p", Status.UNDECIDED),
        ("p \\mid n", "\\text{if } p \\text{ divides } n", Status.INCORRECT),
        ("p = 2, p \\equiv 1 \\pmod 4", "p \\equiv 3 \\pmod 4", Status.UNDECIDED),  # primes
        ("3 \\mid n", "n \\text{ is even}", Status.INCORRECT),  # they share 6
        ("n \\text{ is prime}", "n \\text{ is not prime}", Status.CORRECT),
        ("n \\text{ is prime}", "n \\text{ is composite}", Status.UNDECIDED),
        ("x \\in \\mathbb{Q}", "x \\text{ is irrational}", Status.CORRECT),
        ("x \\text{ is positive}", "x \\le 0", Status.CORRECT),
        ("\\text{if the sky is blue}", "\\text{if it rains}", Status.UNDECIDED),
        ("n = 0", "n \\ge 1", Status.UNDECIDED),  # so it is if n counts something
        ("n = 0", "n \\ne 0", Status.CORRECT),
        ("x = 0", "x \\ge 1", Status.INCORRECT),
        ("x > 0", "y \\le 0", Status.INCORRECT),
    ],
)
def test_otherwise_is_undecided_where_no_complement_can_be_built(
    condition: str, rest: str, status: Status
) -> None:
    short, full = _cases(condition, "\\text{otherwise}"), _cases(condition, rest)
    for reference, answer in ((short, full), (full, short)):
        assert verify_answer(answer, reference=reference).status is status


sets = st.recursive(
    st.sampled_from("ABC"),
    lambda inner: st.tuples(st.sampled_from(["\\cup", "\\cap", "\\setminus", "^c"]), inner, inner),
    max_leaves=4,
)


def _set(tree: object, place: dict[str, bool]) -> tuple[str, bool]:
    """A set as text, and whether an element is in it that is in the named sets."""
    if isinstance(tree, str):
        return tree, place[tree]
    operator, left, right = tree  # type: ignore[misc]
    (a, x), (b, y) = _set(left, place), _set(right, place)
    if operator == "^c":
        return f"({a})^c", not x
    inside = x or y if operator == "\\cup" else x and (y if operator == "\\cap" else not y)
    return f"({a} {operator} {b})", inside


@given(sets, sets)
@settings(max_examples=200)
def test_set_operations_obey_the_laws_of_boolean_algebra(a: object, b: object) -> None:
    places = [dict(zip("ABC", p)) for p in product((False, True), repeat=3)]
    same = all(_set(a, place)[1] == _set(b, place)[1] for place in places)
    one, other = (_set(tree, places[0])[0] for tree in (a, b))
    assume("cup" in one + other or "cap" in one + other or "setminus" in one + other)
    assert (
        verify_answer(f"{other} \\cup C \\cup A", reference=f"A \\cup {one} \\cup C").correct
        or not same
    )
    assert verify_answer(other, reference=one).correct is same


@given(st.sampled_from(["<", "\\le", ">", "\\ge"]), st.integers(-5, 5), st.integers(-5, 5))
def test_a_distance_is_its_two_bounds(sign: str, centre: int, shift: int) -> None:
    turned = sign.translate(str.maketrans("<>", "><")).replace("le", "ge")
    turned = sign.replace("ge", "le") if sign == "\\ge" else turned
    word = "or" if sign in (">", "\\ge") else "and"
    bounds = f"x {sign} {shift} + a \\text{{ {word} }} x {turned} {shift} - a"
    distance = f"|x - ({centre})| {sign} a"
    assert verify_answer(bounds, reference=distance).correct is (centre == shift)
    assert verify_answer(distance, reference=bounds).correct is (centre == shift)


@given(
    st.integers(-6, 6),
    st.integers(-6, 6),
    st.sets(st.integers(-6, 6), min_size=1),
    st.sampled_from(["\\mathbb{Z} \\cap [%d, %d]", "\\{n \\in \\mathbb{Z} : %d \\le n \\le %d\\}"]),
)
def test_a_described_set_of_integers_equals_its_list(
    low: int, high: int, others: set[int], form: str
) -> None:
    members = set(range(low, high + 1))
    assume(members)
    described = form % (low, high)
    for listed in (members, others):
        text = "\\{" + ", ".join(map(str, sorted(listed))) + "\\}"
        assert verify_answer(text, reference=described).correct is (listed == members)
        assert verify_answer(described, reference=text).correct is (listed == members)


@given(st.integers(0, 10**9))
def test_blanks_between_bold_digits_change_nothing(n: int) -> None:
    spaced = "\\mathbf{" + " ".join(str(n)) + "}"
    assert verify_answer(spaced, reference=str(n)).correct
    assert not verify_answer(spaced, reference=str(n + 1)).correct


@given(
    st.permutations(["(a,b)", "[c,d)", "(-\\infty,e]"]),
    st.permutations(["(a,b)", "[c,d)", "(-\\infty,e]"]),
    st.sampled_from(["\\cup", "\\cap"]),
    st.sampled_from(["\\cup", "\\cap"]),
)
def test_intervals_with_letters_have_no_order(
    a: list[str], b: list[str], one: str, other: str
) -> None:
    verdict = verify_answer(f" {other} ".join(b), reference=f" {one} ".join(a))
    assert verdict.correct is (one == other)


@given(
    st.lists(st.fractions(max_denominator=50), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_sets_have_no_order(items: list[Fraction], random: object) -> None:
    shuffled = sorted(items, key=lambda _: random.random())  # type: ignore[attr-defined]
    written = "\\{" + ", ".join(map(str, items)) + "\\}"
    assert verify_answer("{" + ", ".join(map(str, shuffled)) + "}", reference=written).correct
    assert not verify_answer(
        "\\{" + ", ".join(map(str, [*items, 51])) + "\\}", reference=written
    ).correct


@given(st.integers(-(10**60), 10**60), st.integers(-9, 9))
def test_integers_are_compared_to_the_last_digit(n: int, by: int) -> None:
    assert verify_answer(f"{n + by:,}", reference=str(n)).correct is (by == 0)


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=300)
def test_no_text_raises_and_every_text_is_itself(a: str, b: str) -> None:
    verify_answer(a, reference=b)
    extraction = extract_answer(a)
    assert 0 <= extraction.span[0] <= extraction.span[1] <= len(a)
    if extract_answer(b).text.strip(" .$\n\t") and same_answer(a, b):
        assert same_answer(b, a)


@given(st.text(alphabet="\\{}()[]|^_!,;:.0123456789xeifracsqrtboxdn+-*/=<> $&%", max_size=50))
@settings(max_examples=300)
def test_no_mangled_latex_raises(text: str) -> None:
    verify_answer(text, reference="5")
    verify_answer("5", reference=text)


@given(st.integers(4_500, 5_000), st.sampled_from(["+", "*"]))
@settings(max_examples=5)
def test_a_label_tells_trees_apart_whatever_the_size_of_their_integers(
    size: int, kind: str
) -> None:
    large = 10**size
    assert label((kind, large, 1)) == label((kind, large, 1))
    assert (
        len({label((kind, large + k, Fraction(1, large - j))) for k in (0, 1) for j in (0, 1)}) == 4
    )


@pytest.mark.parametrize(
    ("text", "least"), [(r"\sin x", 3), (r"\tan x", 3), (r"\cos x", 4), (r"x \cos x", 5)]
)
def test_the_bound_of_a_degree_is_that_of_the_half_angle_formulas_or_above(
    text: str, least: int
) -> None:
    """With `t = tan(x/2)`, `cos x = (1 - t^2) / (1 + t^2)` and `sin x = 2t / (1 + t^2)`."""
    node = read(text).node
    assert node is not None and degree(node) >= least
