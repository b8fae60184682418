"""Grading: the laws over HumanEval, then one table of styles and faults with the verdict each must get."""

from __future__ import annotations

from typing import Any

import pytest

from stepgym.envs.coding import TestsError, grade
from stepgym.envs.coding.problems import humaneval_problems
from stepgym.envs.coding.property import PropertyTests, grade_by_property
from stepgym.envs.coding.verifier import CodingVerifier
from stepgym.envs.types import Status
from stepgym.sandbox.types import Limits, Sandbox

ADD = "def add(a, b):\n    return a + b\n"
BAD = "def add(a, b):\n    return a - b\n"
CHECK = "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(0, 0) == 0\n"
QUICK = Limits(wall_s=1.0)


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    found: Sandbox = request.getfixturevalue(f"{request.param}_sandbox")
    return found


def verdict(
    sandbox: Sandbox, solution: str, tests: Any, entry_point: str | None = "add", **options: Any
) -> Any:
    return grade([solution], tests=[tests], entry_points=[entry_point], sandbox=sandbox, **options)[
        0
    ]


def test_canonical_humaneval_solutions_are_correct_and_none_bodies_are_not(
    sandbox: Sandbox,
) -> None:
    problems = list(humaneval_problems().problems)
    verifier = CodingVerifier(sandbox)
    right = verifier.verify(problems, [problem.reference for problem in problems])
    assert [p.id for p, v in zip(problems, right) if not v.correct] == []
    nothing = verifier.verify(problems, ["    return None"] * len(problems))
    assert [p.id for p, v in zip(problems, nothing) if v.status is not Status.INCORRECT] == []


UNITTEST = """
import unittest
from solution import add
class T(unittest.TestCase):
    def setUp(self): self.one = 1
    def test_small(self): self.assertEqual(add(self.one, 2), 3)
    def test_parts(self):
        for n in (1, 2):
            with self.subTest(n=n): self.assertEqual(add(n, n), 2 * n)
    def test_error(self):
        with self.assertRaises(TypeError): add("a", 1)
"""
PYTEST = """
import pytest
import solution
@pytest.fixture
def one():
    yield 1
@pytest.mark.parametrize("a, b, c", [(1, 2, 3), (2, 2, 4)])
def test_add(a, b, c): assert solution.add(a, b) == c
def test_fixture(one): assert solution.add(one, one) == 2
class TestMore:
    def test_close(self): assert solution.add(0.1, 0.2) == pytest.approx(0.3)
    def test_error(self):
        with pytest.raises(TypeError, match="unsupported|concatenate"): solution.add(1, "a")
"""
STDIO = {
    "cases": [{"stdin": "1 2\n", "stdout": ["3", "three"]}, {"stdin": "2 2\n", "stdout": "4.0"}],
    "checker": "float",
}
TABLE = {"calls": [[[[1, 2], {}], 3], [[[0.5], {"b": 0.25}], 0.75]]}
READ_ADD = "a, b = map(int, input().split())\nprint(a + b)\n"
STYLES = [  # name, tests, entry point, right, wrong, number of tests
    ("check", CHECK, "add", ADD, BAD, 2),
    ("asserts", "assert add(1, 2) == 3\nassert add(2, 2) == 4\n", "add", ADD, BAD, 2),
    ("unittest", UNITTEST, "add", ADD, BAD, 3),
    ("pytest", PYTEST, "add", ADD, BAD, 5),
    ("calls", TABLE, "add", ADD, BAD, 2),
    ("calls in JSON", "[[[1, 2], 3], [[[[1], [2]], {}], [1, 2]]]", "add", ADD, BAD, 2),
    ("stdio", STDIO, None, READ_ADD, READ_ADD.replace("+", "-"), 2),
    (
        "stdio, own checker",
        {
            **STDIO,
            "checker": "def check(stdin, got, accepted):\n    return sum(map(int, stdin.split())) == int(got)\n",
        },
        None,
        READ_ADD,
        "print(3)",
        2,
    ),
]


@pytest.mark.parametrize(
    ("tests", "entry_point", "right", "wrong", "count"),
    [row[1:] for row in STYLES],
    ids=[row[0] for row in STYLES],
)
def test_styles(
    sandbox: Sandbox, tests: Any, entry_point: str | None, right: str, wrong: str, count: int
) -> None:
    good = verdict(sandbox, right, tests, entry_point)
    assert good.status is Status.CORRECT, good
    assert [row[1] for row in good.details["tests"]] == ["passed"] * count
    assert all(0 < row[3] < 60 for row in good.details["tests"]), "each test that ran has its time"
    bad = verdict(sandbox, wrong, tests, entry_point)
    assert bad.status is Status.INCORRECT, bad
    assert 0 <= bad.score < 1


SLOW = "import time\ndef add(a, b):\n    time.sleep(0.5 * (a == 3))\n    return a + b if b else 1 / 0\n"


@pytest.mark.parametrize("one_process", [False, True])
@pytest.mark.parametrize(
    "tests",
    [
        "assert add(1, 2) == 3\nx = add(3, 4)\nassert x == 7\nassert add(2, 0) == 2\nassert add(5, 5) == 10",
        "def check(f):\n    assert f(1, 2) == 3\n    assert f(3,\n        4) == 7\n    assert f(2, 0) == 2\n    assert f(1, 1)",
        "def test_a():\n    assert add(1, 2) == 3\ndef test_b():\n    assert add(3, 4) == 7\ndef test_c():\n    assert add(2, 0) == 2\n",
    ],
    ids=["asserts", "check", "files"],
)
def test_each_test_has_its_own_time(local_sandbox: Sandbox, tests: str, one_process: bool) -> None:
    rows = verdict(local_sandbox, SLOW, tests, one_process=one_process).details["tests"]
    first, slow, failed, *not_reached = rows
    # The tests' clock may start a moment after the solution's sleep, and a loaded machine may hold up any test.
    assert failed[1] == "failed" and slow[3] > max(0.4, first[3], failed[3])
    assert all(row[2] == "not reached" and len(row) == 3 for row in not_reached)


FAULTS = [  # why, solution, tests, entry point, verdict, a word of the reason
    (
        "tests that do not compile are the task's fault",
        ADD,
        "def check(candidate):\n    assert (",
        "add",
        Status.UNDECIDED,
        "compile",
    ),
    (
        "so are tests without end",
        ADD,
        "def check(candidate):\n    while True: pass\n",
        "add",
        Status.UNDECIDED,
        "time",
    ),
    (
        "and tests that kill themselves",
        ADD,
        "import os\ndef check(candidate):\n    os._exit(0)\n",
        "add",
        Status.UNDECIDED,
        "report",
    ),
    ("and a file without tests", ADD, "x = 1\n", "add", Status.UNDECIDED, "no test"),
    (
        "and tests that are all skipped",
        ADD,
        "import pytest\n@pytest.mark.skip\ndef test_a(): pass\n",
        "add",
        Status.UNDECIDED,
        "skipped",
    ),
    (
        "a candidate without end is the candidate's",
        "def add(a, b):\n    while True: pass\n",
        CHECK,
        "add",
        Status.INCORRECT,
        "time",
    ),
    ("so is one that does not compile", "def add(a, b:\n", CHECK, "add", Status.INCORRECT, "load"),
    ("or has another name", "def sub(a, b): return a\n", CHECK, "add", Status.INCORRECT, "add"),
    (
        "or lacks what a test file imports",
        "def sub(a, b): return a\n",
        "from solution import add\ndef test_a(): assert add(1, 2) == 3\n",
        "add",
        Status.INCORRECT,
        "cannot import name 'add'",
    ),
    (
        "or raises while a test file loads",
        "def add(a, b): raise ValueError(a)\n",
        "import solution\nx = solution.add(1, 2)\ndef test_a(): assert x == 3\n",
        "add",
        Status.INCORRECT,
        "ValueError",
    ),
    (
        "but not what the tests import from elsewhere",
        "def sub(a, b): return a\n",
        "from helpers import same\nfrom solution import add\ndef test_a(): same(add(1, 2), 3)\n",
        "add",
        Status.UNDECIDED,
        "'helpers'",
    ),
    (
        "a test that looks inside is undecided, if that statement fails",
        "def add(a, b):\n    try: 1 / 0\n    except ArithmeticError as e: raise ValueError(a) from e\n",
        "def check(candidate):\n    try:\n        candidate(1, 2)\n    except ValueError as e:\n"
        "        assert e.__cause__ is not None\n",
        "add",
        Status.UNDECIDED,
        "__cause__",
    ),
    (
        "and incorrect, if another one fails",
        "def add(a, b): return 0\n",
        "import inspect\ndef check(candidate):\n    assert candidate(1, 2) == 3\n    assert inspect.getsource(candidate)\n",
        "add",
        Status.INCORRECT,
        "AssertionError",
    ),
    (
        "a class derived from the solution's is undecided",
        "class A:\n    pass\n",
        "import solution\nclass B(solution.A): pass\ndef test_a(): assert B()\n",
        "A",
        Status.UNDECIDED,
        "derive a class",
    ),
    ("or dies", "import os\ndef add(a, b): os.abort()\n", CHECK, "add", Status.INCORRECT, "killed"),
    (
        "or fills the memory",
        "def add(a, b):\n    x = []\n    while True: x.append(bytes(1 << 22))\n",
        CHECK,
        "add",
        Status.INCORRECT,
        "MemoryError",
    ),
    (
        "half a surrogate pair is no source",
        "x = '\ud800'",
        CHECK,
        "add",
        Status.INCORRECT,
        "Unicode",
    ),
    ("nor is a null byte", "x = 1\0", CHECK, "add", Status.INCORRECT, "null"),
    ("ten megabytes are refused", "#" * (10 << 20), CHECK, "add", Status.INCORRECT, "bytes"),
    (
        "half a megabyte of output is no fault",
        "def add(a, b):\n    print('x' * 250_000)\n    return a + b\n",
        CHECK,
        "add",
        Status.CORRECT,
        "passed",
    ),
    (
        "a helper that nobody declares is not taken from the solution",
        ADD + "def one(): return 1\n",
        "def check(candidate):\n    assert candidate(one(), 2) == 3\n",
        "add",
        Status.UNDECIDED,
        "'one'",
    ),
    (
        "a helper that the task declares is",
        ADD + "def one(): return 1\n",
        {
            "source": "def check(candidate):\n    assert candidate(one(), 2) == 3\n",
            "names": ["one"],
        },
        "add",
        Status.CORRECT,
        "passed",
    ),
    (
        "a program may print nothing, if that is asked for",
        "pass",
        {"cases": [{"stdin": "", "stdout": ""}]},
        None,
        Status.CORRECT,
        "passed",
    ),
    (
        "a checker may answer as numpy does",
        "print(1)",
        {
            "cases": [{"stdin": "", "stdout": "1"}],
            "checker": "import numpy\ndef check(stdin, got, accepted):\n    return numpy.array(1) == 1\n",
        },
        None,
        Status.CORRECT,
        "passed",
    ),
    (
        "a tuple is not the list that was asked for",
        "def add(a, b): return (3,)\n",
        [[[1, 2], [3]]],
        "add",
        Status.INCORRECT,
        "expected",
    ),
    (
        "True is not 1 in a call table",
        "def add(a, b): return True\n",
        [[[1, 0], 1]],
        "add",
        Status.INCORRECT,
        "expected",
    ),
]


@pytest.mark.parametrize(
    ("solution", "tests", "entry_point", "status", "word"),
    [row[1:] for row in FAULTS],
    ids=[row[0] for row in FAULTS],
)
def test_faults_go_to_whom_they_belong(
    local_sandbox: Sandbox, solution: str, tests: Any, entry_point: str, status: Status, word: str
) -> None:
    found = verdict(local_sandbox, solution, tests, entry_point, limits=QUICK)
    assert found.status is status, found
    assert word in found.reason


def test_order_is_kept_and_styles_mix(local_sandbox: Sandbox) -> None:
    solutions = [ADD, BAD, READ_ADD, "x = '\ud800'", ADD]
    tests: list[Any] = [CHECK, UNITTEST, STDIO, CHECK, TABLE]
    found = grade(
        solutions,
        tests=tests,
        entry_points=["add", "add", None, "add", "add"],
        sandbox=local_sandbox,
    )
    assert [v.correct for v in found] == [True, False, True, False, True]


def test_wrong_use_is_told(local_sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="as long as solutions"):
        grade([ADD], tests=[], entry_points=["add"], sandbox=local_sandbox)
    with pytest.raises(TestsError, match="no known style"):
        verdict(local_sandbox, ADD, {"unknown": 1})
    with pytest.raises(ValueError, match="did you mean 'check'"):
        verdict(local_sandbox, ADD, CHECK, styles=["chek"])
    with pytest.raises(ValueError, match="did you mean 'tokens'"):
        verdict(local_sandbox, READ_ADD, {**STDIO, "checker": "token"})


POSITIVE = PropertyTests(
    strategies="(st.lists(st.integers()),)",
    reference="def total(xs):\n    return sum(x for x in xs if x > 0)\n",
)


def test_property_tests_find_and_shrink(sandbox: Sandbox) -> None:
    solutions = {
        "right": "def total(xs):\n    return sum(filter(lambda x: x > 0, xs))\n",
        "hard-coded": "def total(xs):\n    return {(1, 2): 3, (): 0}.get(tuple(xs), 0)\n",
        "wrong below zero": "def total(xs):\n    return sum(map(abs, xs))\n",
        "changes its argument": "def total(xs):\n    t = sum(x for x in xs if x > 0)\n    xs.clear()\n    return t\n",
    }
    found = grade_by_property(
        list(solutions.values()),
        properties=[POSITIVE] * 4,
        entry_points=["total"] * 4,
        sandbox=sandbox,
    )
    assert [v.correct for v in found] == [True, False, False, False], found
    assert [v.details["counterexample"] and v.details["counterexample"]["args"] for v in found] == [
        None,
        "[1]",
        "[-1]",
        "[0]",
    ]


def test_property_tests_repeat_by_seed_and_keep_their_time(local_sandbox: Sandbox) -> None:
    slow = PropertyTests(
        strategies="(st.integers(),)",
        reference="import time\ndef total(x):\n    time.sleep(0.05)\n    return x\n",
        num_examples=10_000,
        seconds=0.5,
    )
    found = grade_by_property(
        ["def total(x):\n    return x\n"],
        properties=[slow],
        entry_points=["total"],
        sandbox=local_sandbox,
    )[0]
    assert found.correct
    assert 1 <= found.details["examples"] < 20
