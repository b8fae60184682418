"""References of the families by a second path: read from the question's words alone, solved by another method.

Nothing of the generators is imported. SymPy, brute force and Python's own evaluator take the place of the formulas. If
many answers are right, the reference is played by rules written here.
STEPGYM_FAMILY_ITEMS=1000 checks a thousand items of each level instead of a few, and prints how many (`pytest -s`). The
functions of the code families have their second path in `test_code_families.py`, which takes the same variable.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import combinations, permutations, product
from math import gcd
from typing import Any

import numpy as np
import pytest
import sympy

from stepgym.envs.registry import FAMILIES, load_env

NUM_ITEMS = int(os.environ.get("STEPGYM_FAMILY_ITEMS", "4"))
pytestmark = pytest.mark.timeout(300 + NUM_ITEMS)
X = sympy.Symbol("x")


def python(text: str) -> str:
    """Return plain maths as Python: `2x^2(x - 1)` as `2*x**2*(x - 1)`."""
    text = re.sub(r"(\d)\s*(x|\(|sin|cos)", r"\1*\2", text.replace("^", "**"))
    return re.sub(r"(x|\))\(", r"\1*(", text)


def symbolic(text: str) -> sympy.Expr:
    """Read plain maths: `2x^2(x - 1)`, `log_8(4)`, `3 sin(30°)`."""
    text = re.sub(r"log_(\d+)\(([^)]*)\)", r"log(\2, \1)", text)
    text = re.sub(r"(sin|cos)\((-?\d+)°\)", r"\1(\2*pi/180)", text)
    return sympy.sympify(python(text), locals={"x": X}, rational=True)


def question_of(prompt: str) -> str:
    return prompt.split("\n\nReason step by step")[0]


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"(?<![\w.])-?\d+", text)]


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.DOTALL)
    assert match is not None, (pattern, text)
    return next(group for group in match.groups() if group is not None)


def arithmetic(q: str) -> object:
    text = found(
        r"(?:What is|Calculate|value of|Evaluate|Compute) (.*?)(?:\?|\.(?: Give| |$)|; log|$)", q
    )
    return symbolic(text)


def fractions(q: str) -> object:
    text = found(r"(?:What is|Calculate|value of) (.*?)(?:\?|\.)", q)
    return eval(re.sub(r"\d+", lambda m: f"F({m.group()})", text), {"F": Fraction})


def quadratics(q: str) -> object:
    left, right = found(r"(?:Solve|for which) (.*?)\.", q).split(" = ")
    roots = sympy.solve(sympy.Eq(symbolic(left), symbolic(right)), X)
    return ", ".join(str(root) for root in sorted(roots))


def polynomials(q: str) -> object:
    text = found(r"(?:Expand|Write) (\(.*\)) (?:and|as)", q)
    return sympy.expand(symbolic(text))


def sequences(q: str) -> object:
    a, b, c, d = (
        int(n) for n in found(r"(?:begins|terms are) ([-\d, ]+)", q).strip(", ").split(",")
    )
    index = int(found(r"(?:term number|with number) (\d+)", q))
    terms = [a, b, c, d]
    while len(terms) < index:
        if "differs from" in q:
            terms.append(terms[-1] + (b - a))
        elif "times the same" in q:
            terms.append(terms[-1] * b // a)
        elif "differences" in q:
            terms.append(3 * terms[-1] - 3 * terms[-2] + terms[-3])
        else:
            terms.append(terms[-1] + terms[-2])
    return terms[index - 1]


def divisors(q: str) -> object:
    given = numbers(q)
    if "greatest" in q:
        return max(k for k in range(1, min(given) + 1) if all(n % k == 0 for n in given))
    multiple = max(given)
    while any(multiple % n for n in given):
        multiple += max(given)
    return multiple


def modular_powers(q: str) -> object:
    base, exponent = (int(n) for n in re.findall(r"(\d+)\^(\d+)", q)[0])
    modulus = int(found(r"(?:divided by|modulo) (\d+)", q))
    value = 1
    for _ in range(exponent):
        value = value * base % modulus
    return value


def diophantine(q: str) -> object:
    if "divisible" in q:
        c, a, b = (
            int(n) for n in re.findall(r"such that (-?\d+) - (\d+)x is divisible by (\d+)", q)[0]
        )
    else:
        a, b, c = (int(n) for n in re.findall(r"(\d+)x \+ (\d+)y = (-?\d+)", q)[0])
    return next(x for x in range(1, b + 1) if (c - a * x) % b == 0)


def primes(q: str) -> object:
    n = max(numbers(q))
    if "common factor" in q:
        return sympy.totient(n)
    if "How many positive" in q:
        return sympy.divisor_count(n)
    return sympy.divisor_sigma(n) if "sum" in q else max(sympy.primefactors(n))


def combinatorics(q: str) -> object:
    if "committee" in q:
        women, men = (int(found(rf"(\d+) {who}", q)) for who in ("women", "men"))
        size, least = (
            int(found(r"of (\d+) people|committee of (\d+)", q)),
            int(found(r"least (\d+)|with (\d+) or more", q)),
        )
        # One person after the other: (members, women among them) -> number of committees.
        committees = Counter({(0, 0): 1})
        for is_woman in [1] * women + [0] * men:
            for (members, chosen), number in list(committees.items()):
                committees[members + 1, chosen + is_woman] += number
        return sum(committees[size, chosen] for chosen in range(least, size + 1))
    if "letters of" in q:
        left = Counter(found(r"letters of ([A-Z]+)", q))

        def orders(counts: tuple[int, ...]) -> int:
            if not any(counts):
                return 1
            key = tuple(sorted(counts))
            if key not in seen:
                seen[key] = sum(
                    orders((*key[:k], key[k] - 1, *key[k + 1 :])) for k in range(len(key)) if key[k]
                )
            return seen[key]

        seen: dict[tuple[int, ...], int] = {}
        return orders(tuple(left.values()))
    if "unit right" in q:
        right, up = (int(n) for n in re.findall(r"to \((\d+), (\d+)\)", q)[0])
        hole = re.findall(r"point \((\d+), (\d+)\)", q)
        blocked = tuple(map(int, hole[0])) if hole else None
        ways = {}
        for x in range(right + 1):
            for y in range(up + 1):
                total = 1 if (x, y) == (0, 0) else ways.get((x - 1, y), 0) + ways.get((x, y - 1), 0)
                ways[x, y] = 0 if (x, y) == blocked else total
        return ways[right, up]
    sweets, children = int(found(r"(\d+) equal", q)), int(found(r"(\d+) children", q))
    least = int(found(r"least (\d+)", q))
    counts = {0: 1}
    for _ in range(children):
        after: Counter[int] = Counter()
        for total, number in counts.items():
            for share in range(least, sweets - total + 1):
                after[total + share] += number
        counts = dict(after)
    return counts[sweets]


def probability(q: str) -> object:
    if "blue" in q:
        red, blue = int(found(r"(\d+) red and", q)), int(found(r"(\d+) blue", q))
        drawn = int(found(r"(\d+) are drawn|(\d+) balls are taken", q))
        wanted = int(found(r"exactly (\d+)", q))
        # One ball after the other, with the probability of each state.
        states = {0: Fraction(1)}
        for number in range(drawn):
            after: dict[int, Fraction] = {}
            for taken, share in states.items():
                left = red + blue - number
                after[taken + 1] = after.get(taken + 1, Fraction(0)) + share * Fraction(
                    red - taken, left
                )
                after[taken] = after.get(taken, Fraction(0)) + share * Fraction(
                    blue - number + taken, left
                )
            states = after
        return states[wanted]
    count = int(found(r"(\d+) dice|(\d+) fair dice", q))
    sides = int(found(r"1 to (\d+)|of (\d+) sides", q))
    target = int(found(r"sum is (\d+)|sum of (\d+)", q))
    rolls = [sum(roll) for roll in product(range(1, sides + 1), repeat=count)]
    good = sum(roll >= target if "or more" in q else roll == target for roll in rolls)
    return Fraction(good, len(rolls))


def derivatives(q: str) -> object:
    text = found(r"f\(x\) = (.*?)\. What|y = (.*?) at x|derivative of (.*?) with", q)
    point = int(found(r"f'\((-?\d+)\)|at x = (-?\d+)", q))
    return sympy.diff(symbolic(text), X).subs(X, point)


def integrals(q: str) -> object:
    text = found(r"integral of (.*?) (?:from|with)", q)
    low, high = numbers(found(r"(x = .*)\?|between (.*?)\.", q))
    return sympy.integrate(symbolic(text), (X, low, high))


def limits(q: str) -> object:
    """Exact values very near the point, on both sides; a limit with a short denominator is the only one so near."""
    text = found(r"limit of (.*?) (?:as|for) x", q)
    point = int(found(r"(?:approaches|x to) (-?\d+)", q))
    code = compile(python(text), "limit", "eval")
    near = [eval(code, {"x": point + side * Fraction(1, 10**30)}) for side in (-1, 1)]
    (limit,) = {value.limit_denominator(10**9) for value in near}
    return limit


def extrema(q: str) -> object:
    text = found(r"value of (.*?) for x|value that (.*?) takes", q)
    low, high = numbers(found(r"for x from (.*), ends|interval \[(.*?)\]", q))
    f = symbolic(text)
    inner = [x for x in sympy.solve(sympy.diff(f, X), X) if x.is_real and low < x < high]
    values = [f.subs(X, x) for x in (low, high, *inner)]
    return max(values) if "largest" in q else min(values)


def determinants(q: str) -> object:
    rows = found(r"rows are (.*)\.|rows (.*)\?", q)
    matrix = [[int(n) for n in row.split(",")] for row in rows.split(";")]
    total = 0
    for order in permutations(range(len(matrix))):
        sign = (-1) ** sum(a > b for a, b in combinations(order, 2))
        for row, column in enumerate(order):
            sign *= matrix[row][column]
        total += sign
    return total


def lattice_polygons(q: str) -> object:
    """Pick's theorem: count the lattice points inside and on the border."""
    corners = [(int(x), int(y)) for x, y in re.findall(r"\((-?\d+), (-?\d+)\)", q)]
    sides = list(zip(corners, [*corners[1:], corners[0]]))
    border = sum(gcd(u - x, v - y) for (x, y), (u, v) in sides)
    inside = 0
    for x in range(min(x for x, _ in corners), max(x for x, _ in corners) + 1):
        for y in range(min(y for _, y in corners), max(y for _, y in corners) + 1):
            if any(
                (u - a) * (y - b) == (v - b) * (x - a)
                and min(a, u) <= x <= max(a, u)
                and min(b, v) <= y <= max(b, v)
                for (a, b), (u, v) in sides
            ):
                continue
            crossings = sum(
                (b > y) != (v > y) and x < a + Fraction((u - a) * (y - b), v - b)
                for (a, b), (u, v) in sides
            )
            inside += crossings % 2
    return Fraction(2 * inside + border - 2, 2)


def logarithms(q: str) -> object:
    return sympy.nsimplify(
        sympy.N(arithmetic(q), 30), rational=True, tolerance=sympy.Rational(1, 10**20)
    )


def trigonometry(q: str) -> object:
    return symbolic(found(r"(?:What is|value of) (.*?)(?:\?|\.$)", q))


def complex_numbers(q: str) -> object:
    text = found(r"(?:Write|What is) (.*?)(?: in the form|\? Give)", q)
    text = (
        re.sub(r"(\d*)i", lambda m: f"{m.group(1) or 1}j", text)
        .replace("^", "**")
        .replace(")(", ")*(")
    )
    value = eval(text)
    return f"{round(value.real)} + ({round(value.imag)})i"


def number_bases(q: str) -> object:
    base = int(found(r"base (\d+)", q))
    if "base 10" in q or len(set(re.findall(r"base (\d+)", q))) == 2:
        value, target = (
            int(found(r"number (\d+)|^(\d+) is", q), base),
            int(re.findall(r"base (\d+)", q)[-1]),
        )
    else:
        a, operator, b = re.findall(r"(\d+) ([+*]) (\d+)", q)[0]
        value, target = eval(f"{int(a, base)} {operator} {int(b, base)}"), base
    return "".join(str(value // target**k % target) for k in range(40)).rstrip("0")[::-1]


def inequalities(q: str) -> object:
    text = found(r"satisfy (.*)\?|for which (.*)\.", q)
    code = compile(python(text), "inequality", "eval")
    return sum(bool(eval(code, {"x": x})) for x in range(-2000, 2001))


def word_problems(q: str) -> object:
    if "coins" in q:
        total = sum(Fraction(int(n) * int(p)) for n, p in re.findall(r"buys (\d+) \w+ at (\d+)", q))
        for percent in re.findall(r"takes (\d+) percent", q):
            total -= total * int(percent) / 100
        return int(found(r"pays with (\d+)", q)) - total
    if "fence" in q:
        return 1 / sum(Fraction(1, int(hours)) for hours in re.findall(r"fence in (\d+) hours", q))
    legs = [(int(h), int(s)) for h, s in re.findall(r"runs for (\d+) hours at (\d+)", q)]
    length = sum(hours * speed for hours, speed in legs)
    return Fraction(length, sum(hours for hours, _ in legs)) if "average" in q else length


def shortest_paths(q: str) -> object:
    """Floyd and Warshall: all distances at once."""
    distance = {}
    for a, b, size in re.findall(r"([A-Z])-([A-Z]) (\d+)", q):
        distance[a, b] = distance[b, a] = int(size)
    towns = {town for pair in distance for town in pair}
    for via in towns:
        for a in towns:
            for b in towns:
                if (a, via) in distance and (via, b) in distance:
                    through = distance[a, via] + distance[via, b]
                    distance[a, b] = min(distance.get((a, b), through), through)
    (pair,) = re.findall(r"from ([A-Z]) to ([A-Z])\?", q)
    return distance[pair]


def knapsack(q: str) -> object:
    things = [(int(w), int(v)) for w, v in re.findall(r"\((\d+), (\d+)\)", q)]
    limit = int(found(r"at most (\d+) kilograms|sum to (\d+)", q))
    best = 0
    for taken in product((0, 1), repeat=len(things)):
        weight = sum(w for (w, _), t in zip(things, taken) if t)
        if weight <= limit:
            best = max(best, sum(v for (_, v), t in zip(things, taken) if t))
    return best


def satisfiability(q: str) -> object:
    text = found(r"is this true: (.*)\?|formula (.*)\?", q)
    letters = sorted(
        set(re.findall(r"\b[A-F]\b", found(r"^Each of (.*?) is|false to (.*?) satisfy", q)))
    )
    code = compile(text, "formula", "eval")
    return sum(
        bool(eval(code, dict(zip(letters, v)))) for v in product((True, False), repeat=len(letters))
    )


def predict_output(q: str) -> object:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(found(r"```\n(.*?)\n```", q), {})
    return printed.getvalue().strip()


def scheduling(q: str) -> object:
    if "days" in q:
        lengths = {name: int(days) for name, days in re.findall(r"([A-L]) takes (\d+) days", q)}
        needs = {
            name: re.findall(r"[A-L]", needed)
            for name, needed in re.findall(r"([A-L]) takes \d+ days and needs ([A-L and]+) done", q)
        }
        # Day by day: a task runs from the day on which all that it needs are done.
        done: dict[str, int] = {}
        running: dict[str, int] = {}
        day = 0
        while len(done) < len(lengths):
            done |= {name: day for name, end in running.items() if end == day and name not in done}
            for name in lengths:
                if name not in running and all(need in done for need in needs.get(name, [])):
                    running[name] = day + lengths[name]
            day += 1
        return day - 1
    if "room" in q:
        meetings = [(int(a), int(b)) for a, b in re.findall(r"(\d+)-(\d+)", q)]
        # By hour: the most meetings that end by then.
        most = [0] * 30
        for hour in range(1, 30):
            most[hour] = max(
                [most[hour - 1], *(most[start] + 1 for start, end in meetings if end == hour)]
            )
        return most[-1]
    jobs = numbers(q)
    return min(
        max(first, sum(jobs) - first)
        for first in (
            sum(job for job, here in zip(jobs, chosen) if here)
            for chosen in product((0, 1), repeat=len(jobs))
        )
    )


@cache
def digit_choices(count: int) -> Any:
    """Return every choice of different digits for so many letters, one a column."""
    if not count:
        return np.zeros((0, 1), np.int8)
    fewer = digit_choices(count - 1)
    left = [(digit, fewer[:, (fewer != digit).all(axis=0)]) for digit in range(10)]
    return np.hstack([np.insert(chosen, count - 1, digit, axis=0) for digit, chosen in left])


def cryptarithms(q: str) -> object:
    """Try every assignment, all of them at once."""
    *addends, total = re.findall(r"[A-Z]{2,}", found(r"([A-Z]+ \+ .*? = [A-Z]+)", q))
    letters = sorted({*"".join(addends), *total})
    choices = digit_choices(len(letters))
    sums = np.zeros(choices.shape[1], np.int32)
    for letter, digits in zip(letters, choices):
        sums += digits * np.int32(
            sum(10**k * (x == letter) for word in addends for k, x in enumerate(reversed(word)))
            - sum(10**k * (x == letter) for k, x in enumerate(reversed(total)))
        )
    fits = choices[:, sums == 0].T
    first = [letters.index(word[0]) for word in (*addends, total)]
    (only,) = fits[fits[:, first].all(axis=1)]
    return int("".join(str(only[letters.index(letter)]) for letter in total))


def number_game(q: str, reference: str) -> bool:
    """Countdown and 24: each number once, and the value of Python's own evaluator."""
    target = re.search(r"Reach (\d+)", q)
    given = found(r"numbers ([\d, ]+\d)|from ([\d, ]+\d):", q)
    value = eval(re.sub(r"\d+", lambda m: f"F({m.group()})", reference), {"F": Fraction})
    return sorted(numbers(reference)) == sorted(numbers(given)) and value == (
        int(target.group(1)) if target else 24
    )


def modular_sums(q: str, reference: str) -> bool:
    *terms, modulus = numbers(found(r"Add the numbers (.*?), in any", q))
    return sum(terms) % modulus == int(reference)


def sudoku(q: str, reference: str) -> bool:
    size, height, width = (
        int(n) for n in re.findall(r"1 to (\d+):.* box of (\d+) rows and (\d+)", q)[0]
    )
    grid = [list(row) for row in found(r"for empty: (.*?)\. Each", q).split(" / ")]
    for row, column, value in re.findall(r"r(\d+)c(\d+) = (\d+)", reference):
        assert grid[int(row) - 1][int(column) - 1] == "_"
        grid[int(row) - 1][int(column) - 1] = value
    everything = {str(value) for value in range(1, size + 1)}
    boxes = [
        {grid[i + r][j + c] for r in range(height) for c in range(width)}
        for i in range(0, size, height)
        for j in range(0, size, width)
    ]
    return all(set(line) == everything for line in [*grid, *zip(*grid), *boxes])


def graph_colouring(q: str, reference: str) -> bool:
    colour = dict(re.findall(r"([A-Z]) = (red|green|blue)", reference))
    edges = re.findall(r"([A-Z])-([A-Z])", q)
    points = re.findall(r"[A-Z]", found(r"the points (.*?) with", q))
    return set(colour) == set(points) and all(colour[a] != colour[b] for a, b in edges)


def hanoi(q: str, reference: str) -> bool:
    start, goal = (
        {
            peg: [int(n) for n in re.findall(r"\d+", disks)]
            for peg, disks in re.findall(r"([abc]) has ([^;(]*)", part)
        }
        for part in (found(r"Start: (.*?)Goal", q), found(r"Goal: (.*)Only", q))
    )
    moves = reference.split(", ")
    for here, there in (move.split(" -> ") for move in moves):
        disk = start[here].pop()
        if start[there] and start[there][-1] < disk:
            return False
        start[there].append(disk)
    return start == goal and len(moves) <= int(found(r"at most (\d+) moves", q))


def sliding_tiles(q: str, reference: str) -> bool:
    board, goal = (
        [row.split() for row in part.split(" / ")]
        for part in (found(r"the gap: (.*?)\. Goal", q), found(r"Goal: (.*?)\. A tile", q))
    )
    where = lambda tile: next(  # noqa: E731
        (i, j) for i, row in enumerate(board) for j, each in enumerate(row) if each == tile
    )
    moves = reference.split(", ")
    for tile in moves:
        (i, j), (k, m) = where(tile), where("_")
        if abs(i - k) + abs(j - m) != 1:
            return False
        board[i][j], board[k][m] = "_", tile
    return board == goal and len(moves) <= int(found(r"at most (\d+) moves", q))


def predict_input(q: str, reference: str) -> bool:
    names: dict[str, Any] = {}
    exec(found(r"```\n(.*?)\n```", q), names)
    asked = found(r"returns (.*)\. Answer|f return (.*)\? Any|f\(x\) == (.*?)\.(?:\n|$)", q)
    return bool(repr(names["f"](eval(reference))) == asked)


def write_tests(q: str, reference: str) -> bool:
    asserts = reference.split("\n")
    exec(found(r"```\n(.*?)\n```", q) + "\n" + reference, {})
    return len(asserts) <= int(found(r"at most (\d+) asserts|more than (\d+) lines", q))


SECOND_PATHS: dict[str, Callable[[str], object]] = {
    "Fractions": fractions,
    "Powers": arithmetic,
    "Quadratics": quadratics,
    "Polynomials": polynomials,
    "Inequalities": inequalities,
    "Sequences": sequences,
    "Divisors": divisors,
    "ModularPowers": modular_powers,
    "Diophantine": diophantine,
    "Primes": primes,
    "Combinatorics": combinatorics,
    "Probability": probability,
    "Derivatives": derivatives,
    "Integrals": integrals,
    "Limits": limits,
    "Extrema": extrema,
    "Determinants": determinants,
    "Trigonometry": trigonometry,
    "LatticePolygons": lattice_polygons,
    "Logarithms": logarithms,
    "ComplexNumbers": complex_numbers,
    "NumberBases": number_bases,
    "WordProblems": word_problems,
    "ShortestPaths": shortest_paths,
    "Knapsack": knapsack,
    "Satisfiability": satisfiability,
    "PredictOutput": predict_output,
    "Scheduling": scheduling,
    "Cryptarithms": cryptarithms,
}
"""Family with one right answer -> question to answer."""


PLAYED: dict[str, Callable[[str, str], bool]] = {
    "Countdown": number_game,
    "TwentyFour": number_game,
    "ModularSums": modular_sums,
    "Sudoku": sudoku,
    "GraphColouring": graph_colouring,
    "Hanoi": hanoi,
    "SlidingTiles": sliding_tiles,
    "PredictInput": predict_input,
    "WriteTests": write_tests,
}
"""Family with many right answers -> question and reference to whether the reference obeys the question."""
FUNCTIONS = ("WriteFunction", "RepairCode")
"""The reference is a drawn function, whose second path is in `test_code_families.py`."""


def test_every_family_has_a_second_path() -> None:
    assert sorted([*SECOND_PATHS, *PLAYED, *FUNCTIONS]) == sorted(FAMILIES)


@pytest.mark.parametrize("name", PLAYED)
def test_references_obey_the_question_by_a_second_path(name: str) -> None:
    for level in range(1, 11):
        problems = load_env(f"{name}-v0", level=level, seed=level).problems
        for problem in map(problems.__getitem__, range(NUM_ITEMS)):
            assert PLAYED[name](question_of(problem.prompt), problem.reference), problem
    print(f"{name}: {10 * NUM_ITEMS} checked")


@pytest.mark.parametrize("name", SECOND_PATHS)
def test_references_are_right_by_a_second_path(name: str) -> None:
    for level in range(1, 11):
        env = load_env(f"{name}-v0", level=level, seed=level, sandbox=None)
        problems = [env.problems[i] for i in range(NUM_ITEMS)]
        answers = [str(SECOND_PATHS[name](question_of(p.prompt))) for p in problems]
        for problem, answer, verdict in zip(
            problems, answers, env.verifier.verify(problems, answers)
        ):
            assert verdict.correct, (problem.prompt, problem.reference, answer, verdict.reason)
    print(f"{name}: {10 * NUM_ITEMS} checked")
