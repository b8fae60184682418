"""A solver of the families with an answer in mathematics: it reads the question and calculates with pen and paper.

Each family has its textbook method, and every method calculates with `paper_arithmetic` alone: what makes a problem hard is
how many digit operations it needs. `solve` plays the answer, and the environment's verifier decides. Facts that are known by
heart cost nothing: small primes, sines of special angles, the rules themselves.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from functools import cmp_to_key
from typing import Any

from paper_arithmetic import GaveUpError, Number, Paper, square_root

from stepgym.envs.reasoning_env import ReasoningEnv

PRIMES = [p for p in range(2, 100) if all(p % q for q in range(2, p))]
SINES = {0: (0, 1), 30: (1, 1), 45: (1, 2), 60: (1, 3), 90: (2, 1)}
"""Degrees -> (c, n): the sine is c * sqrt(n) / 2."""


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, (pattern, text)
    return next(group for group in match.groups() if group is not None)


def whole(pattern: str, text: str) -> int:
    return int(found(pattern, text))


def pair(pattern: str, text: str) -> tuple[str, str]:
    [(first, second)] = re.findall(pattern, text)
    return first, second


def expression(text: str, paper: Paper) -> Any:
    """Evaluate plain maths of our own generators, such as `(2/3) * 4 - sqrt(9) + 2^3`, by Python's parser."""
    code = re.sub(r"\d+", lambda match: f"N({match.group()})", text.replace("^", "**"))
    return eval(code, {"N": paper.number, "sqrt": square_root})


def polynomial(text: str, paper: Paper) -> list[Number]:
    """Read `3x^2 - x + 4`; coefficients are ordered from the highest power down."""
    terms: dict[int, int] = {}
    for sign, size, letter, power in re.findall(r"([+-]?) ?(\d*)(x?)(?:\^(\d+))?", text):
        if size or letter:
            degree = int(power or 1) if letter else 0
            terms[degree] = int(size or 1) * (-1 if sign == "-" else 1)
    return [paper.number(terms.get(k, 0)) for k in range(max(terms, default=0), -1, -1)]


def written(coefficients: Sequence[Number]) -> str:
    degree = len(coefficients) - 1
    return " + ".join(f"({c})*x^{degree - k}" for k, c in enumerate(coefficients))


def product(left: Sequence[Number], right: Sequence[Number], paper: Paper) -> list[Number]:
    result = [paper.number(0)] * (len(left) + len(right) - 1)
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            result[i + j] = result[i + j] + a * b
    return result


def derivative(coefficients: Sequence[Number]) -> list[Number]:
    degree = len(coefficients) - 1
    return [c * (degree - k) for k, c in enumerate(coefficients[:-1])]


def at(coefficients: Sequence[Number], point: Number | int) -> Number:
    """Return a polynomial's value, by Horner's rule."""
    *_, value = horner(coefficients, point)
    return value


def horner(coefficients: Sequence[Number], point: Number | int) -> list[Number]:
    """Return the quotient by `x - point`, and the remainder, which is the value, at the end."""
    values = [coefficients[0]]
    for coefficient in coefficients[1:]:
        values.append(values[-1] * point + coefficient)
    return values


def roots(quadratic: Sequence[Number]) -> list[Number]:
    a, b, c = quadratic
    root = square_root(b * b - a * c * 4)
    return [(-b - root) / (a * 2), (-b + root) / (a * 2)]


def binomial(n: Number | int, k: int, paper: Paper) -> Number:
    result = paper.number(1)
    for i in range(1, k + 1):
        result = result * (int(n) - k + i) / i
    return result


def total(values: Sequence[Number], paper: Paper) -> Number:
    return sum(values, paper.number(0))


def chain(question: str, paper: Paper) -> object:
    pattern = r"(?:What is|Calculate|value of|Evaluate|Compute) (.*?)(?:\?|\.(?: |$))"
    return expression(found(pattern, question), paper)


def quadratics(question: str, paper: Paper) -> object:
    left, right = found(r"(?:Solve|for which) (.*?)\.", question).split(" = ")
    first, second = polynomial(left, paper), polynomial(right, paper)
    second = [paper.number(0)] * (3 - len(second)) + second
    return ", ".join(map(str, roots([a - b for a, b in zip(first, second)])))


def polynomials(question: str, paper: Paper) -> object:
    first, *rest = (polynomial(factor, paper) for factor in re.findall(r"\((.*?)\)", question))
    for factor in rest:
        first = product(first, factor, paper)
    return written(first)


def inequalities(question: str, paper: Paper) -> object:
    first, *rest = found(r"satisfy (.*)\?|for which (.*)\.", question).split(" and ")
    parts = re.split(r" (<=?) ", first)
    if len(parts) == 5:
        a, b = polynomial(parts[2], paper)
        low, high = ((int(bound) - b) / a for bound in (parts[0], parts[4]))
    else:
        low, high = roots(polynomial(parts[0], paper))
    strict = "<" in parts
    smallest = low.above // low.below + 1 if strict else -(-low.above // low.below)
    largest = -(-high.above // high.below) - 1 if strict else high.above // high.below
    for condition in rest:
        left, right = condition.split(" < ")
        a, b = polynomial(left, paper)
        bound = (int(right) - b) / a  # a is negative
        smallest = max(smallest, bound.above // bound.below + 1)
    return max(0, int(paper.number(largest) - smallest + 1))


def sequences(question: str, paper: Paper) -> object:
    shown = found(r"(?:begins|terms are) ([-\d, ]*\d)", question).split(", ")
    a, b, c, d = (paper.number(int(term)) for term in shown)
    n = whole(r"(?:term number|with number) (\d+)", question) - 1
    if "differs from" in question:
        return a + (b - a) * n
    if "times the same" in question:
        return a * (b / a) ** n
    if "differences" in question:
        second = c - b - (b - a)
        return a + (b - a) * n + second * (paper.number(n) * (n - 1) / 2)
    for _ in range(n - 3):
        c, d = d, c + d
    return d


def divisors(question: str, paper: Paper) -> object:
    value, *rest = (int(number) for number in re.findall(r"\d+", question))
    for number in rest:
        common = paper.common_divisor(value, number)
        if "greatest" in question:
            value = common
        else:
            value = paper.multiply(value, paper.divide(number, common)[0])
    return value


def modular_powers(question: str, paper: Paper) -> object:
    base, exponent = (int(number) for number in pair(r"(\d+)\^(\d+)", question))
    modulus = whole(r"(?:divided by|modulo) (\d+)", question)
    value, power = paper.number(1), paper.number(base)
    while exponent:
        if exponent % 2:
            value = value * power % modulus
        exponent = paper.divide(exponent, 2)[0]
        if exponent:
            power = power * power % modulus
    return value


def diophantine(question: str, paper: Paper) -> object:
    """The extended algorithm of Euclid gives the inverse of a modulo b."""
    if "divisible" in question:
        [(c, a, b)] = re.findall(r"that (-?\d+) - (\d+)x is divisible by (\d+)", question)
    else:
        [(a, b, c)] = re.findall(r"(\d+)x \+ (\d+)y = (-?\d+)", question)
    large, small = paper.number(int(b)), paper.number(int(a)) % int(b)
    before, inverse = paper.number(0), paper.number(1)
    while small and int(small) != 1:
        quotient, rest = paper.divide(int(large), int(small))
        large, small = small, paper.number(rest)
        before, inverse = inverse, before - inverse * quotient
    return int(inverse * int(c) % int(b)) or int(b)


def primes(question: str, paper: Paper) -> object:
    number = max(int(found) for found in re.findall(r"\d+", question))
    powers: dict[int, int] = {}
    for prime in PRIMES:
        while number > 1:
            quotient, rest = paper.divide(number, prime)
            if rest:
                break
            number, powers[prime] = quotient, powers.get(prime, 0) + 1
    if number != 1:
        raise GaveUpError(f"{number} has no small prime factor")
    if "largest" in question:
        return max(powers)
    result = paper.number(1)
    for prime, power in powers.items():
        p = paper.number(prime)
        if "common factor" in question:
            result = result * p ** (power - 1) * (prime - 1)
        elif "sum" in question:
            result = result * at([paper.number(1)] * (power + 1), p)
        else:
            result = result * (power + 1)
    return result


def combinatorics(question: str, paper: Paper) -> object:
    if "committee" in question:
        women, men = (whole(rf"(\d+) {who}", question) for who in ("women", "men"))
        size = whole(r"of (\d+) people|committee of (\d+)", question)
        least = whole(r"least (\d+)|with (\d+) or more", question)
        counts = [
            binomial(women, k, paper) * binomial(men, size - k, paper)
            for k in range(least, size + 1)
        ]
        return total(counts, paper)
    if "letters of" in question:
        word, value = found(r"letters of ([A-Z]+)", question), paper.number(1)
        left = len(word)
        for letter in set(word):
            value = value * binomial(left, word.count(letter), paper)
            left -= word.count(letter)
        return value
    if "unit right" in question:
        right, up = (int(n) for n in pair(r"to \((\d+), (\d+)\)", question))
        value = binomial(right + up, up, paper)
        for x, y in re.findall(r"point \((\d+), (\d+)\)", question):
            through, beyond = int(x) + int(y), up - int(y)
            first = binomial(through, int(y), paper)
            value = value - first * binomial(right + up - through, beyond, paper)
        return value
    sweets, children = whole(r"(\d+) equal", question), whole(r"(\d+) children", question)
    free = paper.number(sweets) - paper.number(children) * whole(r"least (\d+)", question)
    return binomial(free + (children - 1), children - 1, paper)


def probability(question: str, paper: Paper) -> object:
    if "blue" in question:
        red, blue = whole(r"(\d+) red and", question), whole(r"(\d+) blue", question)
        drawn = whole(r"(\d+) are drawn|(\d+) balls are taken", question)
        wanted = whole(r"exactly (\d+)", question)
        ways = binomial(red, wanted, paper) * binomial(blue, drawn - wanted, paper)
        return ways / binomial(red + blue, drawn, paper)
    count = whole(r"(\d+) dice|(\d+) fair dice", question)
    sides, target = (
        whole(r"1 to (\d+)|of (\d+) sides", question),
        whole(r"sum is (\d+)|sum of (\d+)", question),
    )
    ways_to = {0: paper.number(1)}
    for number in range(1, count + 1):
        ways_to = {
            value: total(
                [ways_to[value - side] for side in range(1, sides + 1) if value - side in ways_to],
                paper,
            )
            for value in range(number, number * sides + 1)
        }
    good = [
        ways
        for value, ways in ways_to.items()
        if value == target or (value > target and "or more" in question)
    ]
    return total(good, paper) / paper.number(sides) ** count


def derivatives(question: str, paper: Paper) -> object:
    text = found(r"f\(x\) = (.*?)\. What|y = (.*?) at x|derivative of (.*?) with", question)
    point = whole(r"f'\((-?\d+)\)|at x = (-?\d+)", question)
    factors = [polynomial(factor, paper) for factor in re.findall(r"\((.*?)\)", text)]
    if not factors:
        return at(derivative(polynomial(text, paper)), point)
    f, power = factors[0], re.search(r"\)\^(\d+)", text)
    if power is not None:
        exponent = int(power.group(1))
        return at(f, point) ** (exponent - 1) * at(derivative(f), point) * exponent
    g = factors[1]
    return at(derivative(f), point) * at(g, point) + at(f, point) * at(derivative(g), point)


def integrals(question: str, paper: Paper) -> object:
    f = polynomial(found(r"integral of (.*?) (?:from|with)", question), paper)
    bounds = found(r"(x = .*)\?|between (.*?)\.", question)
    low, high = (int(bound) for bound in re.findall(r"-?\d+", bounds))
    antiderivative = [*(c / (len(f) - k) for k, c in enumerate(f)), paper.number(0)]
    return at(antiderivative, high) - at(antiderivative, low)


def limits(question: str, paper: Paper) -> object:
    """Divide by the common factor as long as there is one."""
    above, below = (polynomial(part, paper) for part in pair(r"\((.*)\) / \((.*)\)", question))
    point = whole(r"(?:approaches|x to) (-?\d+)", question)
    while above and below:
        *above, numerator = horner(above, point)
        *below, denominator = horner(below, point)
        if denominator:
            return numerator / denominator
        if numerator:
            raise GaveUpError("the limit is not finite")
    raise GaveUpError("0 / 0")


def extrema(question: str, paper: Paper) -> object:
    text = found(r"value of (.*?) for x|value that (.*?) takes", question)
    low, high = (
        paper.number(int(bound))
        for bound in re.findall(
            r"-?\d+", found(r"for x from (.*), ends|interval \[(.*?)\]", question)
        )
    )
    f = polynomial(text, paper)
    slope = derivative(f)
    critical = roots(slope) if len(slope) == 3 else [-slope[1] / slope[0]]
    inside = [x for x in critical if paper.is_less(low, x) and paper.is_less(x, high)]
    best, *others = (at(f, x) for x in (low, high, *inside))
    for value in others:
        if paper.is_less(best, value) == ("largest" in question):
            best = value
    return best


def determinants(question: str, paper: Paper) -> object:
    """Expansion along the first row."""

    def determinant(rows: list[list[Number]]) -> Number:
        first, *rest = rows
        if not rest:
            return first[0]
        parts = [
            entry * (-1) ** k * determinant([row[:k] + row[k + 1 :] for row in rest])
            for k, entry in enumerate(first)
            if entry
        ]
        return total(parts, paper)

    rows = found(r"rows are (.*)\.|rows (.*)\?", question).split(";")
    return determinant([[paper.number(int(n)) for n in row.split(",")] for row in rows])


def trigonometry(question: str, paper: Paper) -> object:
    halves = {1: paper.number(0), 2: paper.number(0), 3: paper.number(0)}
    terms = re.findall(r"(-?) ?(\d+) (sin|cos)\((-?\d+)°\)", question)
    for sign, times, name, degrees in terms:
        angle = paper.number(int(degrees)) + (90 if name == "cos" else 0)
        if not 0 <= int(angle) < 360:
            angle = angle % 360
        negative = int(angle) > 180
        if negative:
            angle = angle - 180
        if int(angle) > 90:
            angle = 180 - angle
        if int(angle) not in SINES:
            raise GaveUpError(f"no special angle: {angle}")
        c, n = SINES[int(angle)]
        value = paper.number(int(times)) * c
        halves[n] = halves[n] + (-value if negative != (sign == "-") else value)
    return " + ".join(f"({value / 2})*sqrt({n})" for n, value in halves.items())


def lattice_polygons(question: str, paper: Paper) -> object:
    """The shoelace formula."""
    corners = [
        (paper.number(int(x)), int(y)) for x, y in re.findall(r"\((-?\d+), (-?\d+)\)", question)
    ]
    sides = zip(corners, [*corners[1:], corners[0]])
    doubled = total([x * v - u * y for (x, y), (u, v) in sides], paper)
    return (-doubled if doubled.above < 0 else doubled) / 2


def logarithms(question: str, paper: Paper) -> object:
    """Count how often a prime divides argument and base."""

    def exponent(prime: int, number: int) -> int:
        count = 0
        while number > 1:
            number, rest = paper.divide(number, prime)
            if rest:
                raise GaveUpError("no power of the base's prime")
            count += 1
        return count

    value = paper.number(0)
    terms = re.findall(r"([+-]?) ?log_(\d+)\((1/)?(\d+)\)", question)
    for sign, base, inverted, argument in terms:
        prime = next(p for p in PRIMES if int(base) % p == 0)
        part = paper.number(exponent(prime, int(argument))) / exponent(prime, int(base))
        value = value + (-part if (sign == "-") != bool(inverted) else part)
    return value


def complex_numbers(question: str, paper: Paper) -> object:
    text = found(r"(?:Write|What is) (.*?)(?: in the form|\? Give)", question)
    *factors, added = (
        (_complex(number, paper), int(power or 1))
        for number, power in re.findall(r"\(([^)]*)\)(?:\^(\d+))?", text)
    )
    (a, b), *rest = (factor for factor, power in factors for _ in range(power))
    for c, d in rest:
        a, b = a * c - b * d, a * d + b * c
    (c, d), _ = added
    return f"{a + c} + ({b + d})i"


def _complex(text: str, paper: Paper) -> tuple[Number, Number]:
    imaginary, real = polynomial(text.replace("i", "x"), paper)
    return real, imaginary


def number_bases(question: str, paper: Paper) -> object:
    bases = [int(base) for base in re.findall(r"base (\d+)", question)]
    operation = re.search(r"(\d+) ([+*]) (\d+)", question)
    if operation is None:
        value = _read(found(r"number (\d+)|^(\d+) is", question), bases[0], paper)
    else:
        a, b = (_read(text, bases[0], paper) for text in operation.group(1, 3))
        value = a + b if operation.group(2) == "+" else a * b
    left, digits = int(value), ""
    while left > 0 or not digits:
        left, digit = paper.divide(left, bases[-1])
        digits = f"{digit}{digits}"
    return digits


def _read(text: str, base: int, paper: Paper) -> Number:
    return at([paper.number(int(digit)) for digit in text], base)


def word_problems(question: str, paper: Paper) -> object:
    number = lambda text: paper.number(int(text))  # noqa: E731
    if "coins" in question:
        bought = re.findall(r"buys (\d+) \w+ at (\d+)", question)
        bill = total([number(count) * int(price) for count, price in bought], paper)
        for percent in re.findall(r"takes (\d+) percent", question):
            bill = bill * (100 - number(percent)) / 100
        return number(found(r"pays with (\d+)", question)) - bill
    if "fence" in question:
        hours = re.findall(r"fence in (\d+) hours", question)
        return paper.number(1) / total([paper.number(1) / int(each) for each in hours], paper)
    legs = re.findall(r"runs for (\d+) hours at (\d+)", question)
    length = total([number(hours) * int(speed) for hours, speed in legs], paper)
    if "average" not in question:
        return length
    return length / total([number(hours) for hours, _ in legs], paper)


def scheduling(question: str, paper: Paper) -> object:
    by_size = cmp_to_key(lambda a, b: -1 if paper.is_less(a[0], b[0]) else 1)
    if "days" in question:
        days = dict(re.findall(r"([A-L]) takes (\d+) days", question))
        needs = dict(re.findall(r"([A-L]) takes \d+ days and needs ([A-L and]+) done", question))
        ends: dict[str, Number] = {}
        for task in sorted(days):  # a task needs earlier letters only
            start = paper.number(0)
            for need in re.findall(r"[A-L]", needs.get(task, "")):
                start = ends[need] if paper.is_less(start, ends[need]) else start
            ends[task] = start + int(days[task])
        last, *others = ends.values()
        for end in others:
            last = end if paper.is_less(last, end) else last
        return last
    if "room" in question:
        meetings = [(int(end), int(start)) for start, end in re.findall(r"(\d+)-(\d+)", question)]
        count, free = 0, 0
        for end, start in sorted(meetings, key=by_size):
            if not paper.is_less(start, free):
                count, free = count + 1, end
        return count
    jobs = [int(n) for n in re.findall(r"\d+", question)]
    minutes = total([paper.number(job) for job in jobs], paper)
    reached = {0}
    for job in jobs:
        reached |= {paper.add(time, job) for time in reached}
    half = max(time for time in reached if 2 * time <= int(minutes))
    return minutes - half


SOLVERS: dict[str, Callable[[str, Paper], object]] = {
    "Fractions": chain,
    "Powers": chain,
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
    "Scheduling": scheduling,
}


def solve(name: str, prompt: str, paper: Paper) -> str | None:
    """Return the answer to a problem of the family, or `None` if the solver gave up."""
    try:
        return str(SOLVERS[name](prompt.split("\n\n")[0], paper))
    except (GaveUpError, ValueError):  # a slip made an inverse, a root or a pattern impossible
        return None


def is_solved(env: ReasoningEnv, index: int, name: str, paper: Paper) -> bool:
    """Play the solver's answer to a problem in the environment; return whether it is rewarded."""
    prompt, _ = env.reset(options={"index": index})
    answer = solve(name, prompt, paper)
    if answer is None:
        return False
    _, reward, *_ = env.step(f"<answer>{answer}</answer>")
    return reward == 1.0


def num_operations(name: str, prompt: str) -> int:
    """Return the digit operations of a solution without a slip."""
    paper = Paper(random.Random(0))
    if solve(name, prompt, paper) is None:
        raise ValueError(f"{name}: the solver gave up without a slip: {prompt}")
    return paper.num_operations
