"""Code families: each drawn function does what its description says, and cheap answers do not pass."""

from __future__ import annotations

import copy
import os
import random
import re
from collections.abc import Callable
from functools import cache
from itertools import combinations, groupby, pairwise, product
from typing import Any

import pytest

from stepgym.envs.families.code_tasks import NODES, CodeTask, draw_task
from stepgym.envs.families.mutation import differing, equal, mutants, outcomes
from stepgym.envs.families.write_tests import covering
from stepgym.envs.registry import load_env
from stepgym.envs.types import Problem
from stepgym.sandbox.types import Sandbox

Function = Callable[[Any], Any]


def value(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    assert match is not None, (pattern, text)
    return int(match.group(1))


STAGES: dict[str, Callable[[list[int], int], list[int]]] = {
    r"keep only the numbers that (\d+) divides": lambda xs, k: [x for x in xs if not x % k],
    r"keep only the numbers above (-?\d+)": lambda xs, k: list(filter(lambda x: x > k, xs)),
    r"keep only the numbers of at most (-?\d+)": lambda xs, k: list(filter(lambda x: x <= k, xs)),
    r"add (\d+) to each number": lambda xs, k: [k + x for x in xs],
    r"multiply each number by (\d+)": lambda xs, k: [sum([x] * k) for x in xs],
    r"replace each number by its remainder modulo (\d+)": lambda xs, k: [
        x - x // k * k for x in xs
    ],
    r"replace each number by its absolute value()": lambda xs, _: [max(x, -x) for x in xs],
    r"leave out the first (\d+) numbers": lambda xs, k: [x for i, x in enumerate(xs) if i >= k],
    r"keep every second number()": lambda xs, _: [x for i, x in enumerate(xs) if not i % 2],
    r"reverse the order()": lambda xs, _: list(reversed(xs)),
    r"replace each number by the sum of it()": lambda xs, _: [
        sum(xs[j] for j in range(i + 1)) for i in range(len(xs))
    ],
    r"multiply each number by its position()": lambda xs, _: [
        x * (i + 1) for i, x in enumerate(xs)
    ],
}
ENDINGS: dict[str, Function] = {
    "return their sum": lambda xs: sum(xs),
    "return the largest": lambda xs: sorted(xs)[-1] if xs else 0,
    "return how many different": lambda xs: len({*xs}),
    "return the list": lambda xs: xs,
    "return the sum of the first": lambda xs: xs[0] + xs[-1] if len(xs) >= 2 else -1,
}


def pipeline(words: str) -> Function:
    *stages, ending = words.partition("in order: ")[2].rstrip(".").split("; ")

    def run(xs: list[int]) -> Any:
        for stage in stages:
            xs = staged(stage, xs)
        [end] = [f for begin, f in ENDINGS.items() if ending.startswith(begin)]
        return end(xs)

    return run


def string(words: str) -> Function:
    letter = re.search("`([abcd])`", words)
    assert letter is not None
    special = letter.group(1)
    runs = lambda text: ["".join(group) for _, group in groupby(text)]  # noqa: E731
    if "longest run" in words:
        allowed = re.search(r"only the letters (\w+) count", words)
        more = value(r"counts (\d+) more", words)
        assert allowed is not None
        return lambda text: max(
            (len(r) + more * (r[0] == special) for r in runs(text) if r[0] in allowed.group(1)),
            default=0,
        )
    if "pairs" in words:
        apart = value(r"at most (\d+) apart", words)
        return lambda text: sum(
            1 + (text[i] == special)
            for i, j in combinations(range(len(text)), 2)
            if text[i] == text[j] and j - i <= apart
        )
    least = value(r"run of (\d+) or more", words)
    return lambda text: "".join(
        f"{r[0]}{len(r)}" if len(r) >= least or r[0] == special else r for r in runs(text)
    )


def graph(words: str) -> Function:
    """Walk by powers of the adjacency matrix."""
    both = "both directions" in words

    def powers(edges: Any, count: int) -> list[list[list[int]]]:
        pairs = {(a, b) for a, b in edges} | ({(b, a) for a, b in edges} if both else set())
        one = [[int((a, b) in pairs) for b in range(NODES)] for a in range(NODES)]
        found = [[[int(a == b) for b in range(NODES)] for a in range(NODES)]]
        for _ in range(count):
            last = found[-1]
            found.append(
                [
                    [sum(last[a][k] * one[k][b] for k in range(NODES)) for b in range(NODES)]
                    for a in range(NODES)
                ]
            )
        return found

    if "at most" in words:
        start, steps = value(r"node (\d)", words), value(r"at most (\d)", words)
        return lambda edges: sum(
            any(power[start][b] for power in powers(edges, steps)) for b in range(NODES)
        )
    if "connected parts" in words:
        least = value(r"at least (\d) nodes", words)

        def parts(edges: Any) -> int:
            walks = powers(edges, NODES)
            reached = {
                frozenset(b for b in range(NODES) if any(power[a][b] for power in walks))
                for a in range(NODES)
            }
            return sum(len(part) >= least for part in reached)

        return parts
    start, goal = value(r"from node (\d) to", words), value(r"to node (\d)", words)
    if "exactly" in words:
        steps = value(r"exactly (\d) steps", words)
        return lambda edges: powers(edges, steps)[steps][start][goal]
    return lambda edges: next(
        (n for n, power in enumerate(powers(edges, NODES)) if power[start][goal]), -1
    )


def dynamic(words: str) -> Function:
    """Recursion and trying everything."""
    if "`total`" in words:
        listed = re.search(r"(?:numbers|values) ([\d, ]+?),? (?:where|whose)", words)
        assert listed is not None
        parts = [int(part) for part in listed.group(1).split(",")]
        if "number of ways" in words:
            modulus = value(r"modulo (\d+)", words)

            @cache
            def ways(total: int) -> int:
                return 1 if not total else sum(ways(total - p) for p in parts if p <= total)

            return lambda total: ways(total) % modulus

        @cache
        def reached(coins: int) -> frozenset[int]:
            return (
                frozenset({0})
                if not coins
                else frozenset(amount + part for amount in reached(coins - 1) for part in parts)
            )

        return lambda total: next((n for n in range(total + 1) if total in reached(n)), -1)
    subsets = lambda xs: (  # noqa: E731
        [i for i, here in enumerate(chosen) if here] for chosen in product((0, 1), repeat=len(xs))
    )
    if "others stand" in words:
        gap = value(r"at least (\d+) others", words)
        return lambda xs: max(
            sum(xs[i] for i in chosen)
            for chosen in subsets(xs)
            if all(b - a > gap for a, b in pairwise(chosen))
        )
    if "subsequence" in words:
        rise = value(r"at least (\d+) larger", words)
        return lambda xs: max(
            len(chosen)
            for chosen in subsets(xs)
            if all(xs[b] - xs[a] >= rise for a, b in pairwise(chosen))
        )
    longest = value(r"1 to (\d+) numbers", words)
    return lambda xs: max(
        (sum(xs[i : i + n]) for n in range(1, longest + 1) for i in range(len(xs) - n + 1)),
        default=0,
    )


PREPARATIONS: dict[str, Callable[[Any, list[Any]], Any]] = {
    r"reverse `text`": lambda x, _: "".join(reversed(x)),
    r"replace every `(\w)` in `text` by `(\w)`": lambda x, g: "".join(
        g[1] if letter == g[0] else letter for letter in x
    ),
    r"leave out the first (\d) letters": lambda x, g: "".join(
        letter for i, letter in enumerate(x) if i >= int(g[0])
    ),
    r"write `text` twice": lambda x, _: 2 * x,
    r"leave out the pairs \(a, b\) for which (\d+) divides": lambda x, g: [
        pair for pair in x if sum(pair) % int(g[0])
    ],
    r"leave out the pairs with a > b \+ (\d+)": lambda x, g: [
        (a, b) for a, b in x if not a > b + int(g[0])
    ],
    r"add to each pair \(a, b\) the pair of the remainders of a \+ (\d)": lambda x, g: [
        *x,
        *(tuple((node + int(g[0])) % 7 for node in pair) for pair in x),
    ],
    r"leave out the last (\d+) pairs": lambda x, g: list(reversed(list(reversed(x))[int(g[0]) :])),
    r"add (\d+) to `total`": lambda x, g: x + int(g[0]),
    r"double `total`": lambda x, _: x + x,
    r"replace `total` by its remainder modulo (\d+)": lambda x, g: divmod(x, int(g[0]))[1],
}


def prepared(words: str) -> Function:
    """Read the changes that come first."""
    first, then, _ = words.partition(" Then: ")
    stages = first.removeprefix("First, in this order: ").rstrip(".").split("; ") if then else []

    def run(value: Any) -> Any:
        for stage in stages:
            if (isinstance(value, list) and "number" in stage) or "reverse the order" in stage:
                value = staged(stage, value)
                continue
            [(does, match)] = [(f, m) for p, f in PREPARATIONS.items() if (m := re.match(p, stage))]
            value = does(value, list(match.groups()))
        return value

    return run


def staged(stage: str, xs: list[int]) -> list[int]:
    [(does, match)] = [(f, m) for p, f in STAGES.items() if (m := re.match(p, stage))]
    return does(xs, int(match.group(1) or 0))


FROM_WORDS = {"list": pipeline, "string": string, "graph": graph, "dynamic": dynamic}
NUM_TASKS = int(os.environ.get("STEPGYM_FAMILY_ITEMS", "6"))
"""Functions drawn of each level; each is called with 12 inputs."""
pytestmark = pytest.mark.timeout(300 + NUM_TASKS)


@pytest.mark.parametrize("level", range(1, 11))
def test_a_function_does_what_its_description_says(level: int) -> None:
    rng = random.Random(level)
    for _ in range(NUM_TASKS):
        task: CodeTask = draw_task(rng, level)
        inputs = [task.draw(rng) for _ in range(12)]
        prepare = prepared(task.statement)
        described = FROM_WORDS[task.kind](task.statement.partition(" Then: ")[2] or task.statement)
        expected = [repr(described(prepare(*copy.deepcopy(args)))) for args in inputs]
        got = list(outcomes(task.source, task.entry_point, inputs))
        assert got == expected, task


def test_mutants_are_other_functions_and_equivalent_ones_are_found_out() -> None:
    source = "def f(n):\n    return n + 1 if n > 0 else n + 1\n"
    found = mutants(source)
    assert source not in found and len(found) == len(set(found)) > 5
    inputs = [(n,) for n in range(-3, 4)]
    expected = list(outcomes(source, "f", inputs))
    same = [m for m in found if differing(m, "f", inputs, expected) is None]
    assert "def f(n):\n    return n + 1 if n >= 0 else n + 1" in same
    assert len(same) < len(found)
    assert covering([{1, 2}, {2, 3}, {4}]) == [2, 4]


def test_values_that_no_assert_tells_apart_are_equal() -> None:
    for a, b in [("True", "1"), ("[0, 2]", "[False, 2]"), ("TypeError", "TypeError")]:
        assert equal(a, b)
    for a, b in [("True", "2"), ("True", "ValueError"), ("'True'", "1"), ("[1]", "1")]:
        assert not equal(a, b)


def test_a_reference_fails_mutants_that_return_truth_values(local_sandbox: Sandbox) -> None:
    """`max` in place of `sum` over conditions gives True instead of 1."""
    env = load_env("WriteTests-v0", level=8, seed=8, sandbox=local_sandbox)
    problem = env.problems[24]
    assert any("return max((" in mutant for mutant in problem.task["mutants"])
    assert env.verifier.verify([problem], [problem.reference])[0].correct


@pytest.fixture
def tests_problem(local_sandbox: Sandbox) -> tuple[Any, Problem]:
    env = load_env("WriteTests-v0", level=3, sandbox=local_sandbox)
    return env.verifier, env.problems[0]


def test_only_asserts_that_hold_and_kill_every_mutant_count(
    tests_problem: tuple[Any, Problem],
) -> None:
    verifier, problem = tests_problem
    first = problem.reference.split("\n")[0]
    answers = {
        problem.reference: "of",
        first.partition(" == ")[0] + " == 'x'": "does not hold",
        "assert True": "not of the form",
        "import os": "not of the form",
        "assert process(open('/etc/passwd').read()) == 1": "not a literal",
        "": "no asserts",
        "\n".join([first] * 40): "at most",
        first: "mutants are killed",
        f"assert {problem.task['entry_point']}({'9' * 5000}) == 1": "does not hold",
    }
    verdicts = verifier.verify([problem] * len(answers), list(answers))
    assert [verdict.correct for verdict in verdicts] == [True] + [False] * 8
    for verdict, words in zip(verdicts, answers.values()):
        assert words in verdict.reason


def test_an_answer_fitted_to_the_unit_tests_fails_the_hypothesis_test(
    local_sandbox: Sandbox,
) -> None:
    env = load_env("WriteFunction-v0", level=5, sandbox=local_sandbox)
    problem = env.problems[0]
    name = problem.task["entry_point"]
    table = {repr(args): expected for [args, _], expected in problem.task["tests"]["calls"]}
    fitted = f"def {name}(x):\n    return {table!r}.get(repr([x]), 0)\n"
    [verdict] = env.verifier.verify([problem], [fitted])
    assert not verdict.correct and verdict.details["counterexample"] is not None


def test_a_repaired_function_is_not_the_broken_one(local_sandbox: Sandbox) -> None:
    for level in (2, 9):
        env = load_env("RepairCode-v0", level=level, sandbox=local_sandbox)
        problems = [env.problems[i] for i in range(3)]
        broken = [p.prompt.split("```\n")[1] for p in problems]
        assert not any(verdict.correct for verdict in env.verifier.verify(problems, broken))


def test_any_input_with_the_asked_output_is_right(local_sandbox: Sandbox) -> None:
    env = load_env("PredictInput-v0", level=2, sandbox=local_sandbox)
    problem = env.problems[0]
    same = f"<answer>{problem.reference}</answer>"
    verdicts = env.verifier.verify([problem] * 3, [problem.reference, "[1000]", "f("])
    assert [verdict.correct for verdict in verdicts] == [True, False, False]
    env.reset(options={"index": 0})
    assert env.step(same)[1] == 1.0
