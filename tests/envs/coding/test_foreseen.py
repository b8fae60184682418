"""Calls that are sent ahead: which ones are certain, and that sending them ahead changes no verdict."""

from __future__ import annotations

import time

import pytest

from stepgym.envs.coding import grade
from stepgym.envs.coding.harness.foreseen_calls import certain_calls
from stepgym.envs.types import Status
from stepgym.sandbox.types import Limits, Sandbox

ASSERTS = [
    ("assert f(1) == 2", [([1], {})], "an assert of a call"),
    (
        "'''doc'''\nimport math\nassert abs(f(1.5, k=[2]) - 3) < 1e-6",
        [([1.5], {"k": [2]})],
        "inside other calls",
    ),
    ("assert f(1) == f(2)", [([1], {}), ([2], {})], "two, in the order of evaluation"),
    ("assert not -f(1)[0], f(9)", [([1], {})], "the message is evaluated only on failure"),
    ("assert f(1)\nx = 3\nassert f(2)", [([1], {})], "only what comes before another statement"),
    (
        "assert f(1)\nassert f(1) or f(2)\nassert f(3)",
        [([1], {})],
        "what may not be evaluated ends it",
    ),
    ("assert 0 < f(1) < f(2)", [], "a chain stops at its first failure"),
    ("assert f(n)", [], "arguments that are no literals"),
    ("assert f(*[1])", [], "unpacked arguments"),
    ("assert map(f, [1])", [], "the function handed to another"),
    ("assert [f(1) for _ in range(3)]", [], "a loop"),
    ("for i in range(3): assert f(1)", [], "another"),
]


@pytest.mark.parametrize(("source", "calls", "reason"), ASSERTS, ids=[row[2] for row in ASSERTS])
def test_certain_calls(source: str, calls: list[object], reason: str) -> None:
    assert certain_calls(source, None, "f") == calls, reason


COUNTS = "calls = []\ndef f(x):\n    calls.append(x)\n"
CASES = [
    ("def f(x): return x + 1", "assert f(1) == 2\nassert f(2) == 3", True, "plain answers"),
    (
        COUNTS + "    return calls",
        "assert f(1) == [1]\nassert f(2) == [1, 2]",
        True,
        "answers in the order of the calls",
    ),
    (
        COUNTS + "    return (len(calls) for _ in range(1))",
        "assert list(f(1)) == [1]\nassert list(f(2)) == [2]",
        True,
        "a generator is used up before the next call is made",
    ),
    (
        COUNTS + "    return iter([len(calls)]) if x == 2 else len(calls)",
        "assert f(1) == 1\nassert next(f(2)) == 2\nassert f(3) == 3\nassert f(4) == 4",
        True,
        "an object in the middle",
    ),
    (
        "def f(x): x.sort()",
        "assert f([2, 1]) is None\nassert f([3]) is None",
        True,
        "arguments changed in place",
    ),
    (
        "def f(x): return x",
        "assert f([1]) == [1]\nassert f([2]) is not None\nassert f({'a': (1,)}) == {'a': (1,)}",
        True,
        "arguments returned",
    ),
    (
        "def f(x): return 10 ** 5000 if x else 'y' * 100_000",
        "assert f(1) == 10 ** 5000\nassert f(0) == 'y' * 100_000",
        True,
        "large answers",
    ),
    ("def f(x): raise ValueError(x)", "assert f(1)\nassert f(2)", False, "exceptions"),
    (
        "import os\ndef f(x): return os._exit(0) if x == 2 else x",
        "assert f(1) == 1\nassert f(2) == 2",
        False,
        "an end in between",
    ),
    (
        "def f(x): return 1",
        "def g(x): return f(x)\nassert g(1) == 1\nassert f(2) == 1",
        True,
        "a helper of the tests calls it too",
    ),
]

TWO_CHECKS = """
def check(candidate):
    assert candidate(1) == [1]
if True:
    def check(candidate):
        assert candidate(5) == [5]
"""
WRAPPED = """
def check(candidate):
    assert candidate(7) == [7]
inner = check
def wrapper(candidate):
    assert candidate(5) == [5]
check = wrapper
"""


@pytest.mark.parametrize("tests", [TWO_CHECKS, WRAPPED], ids=["a second check", "a wrapper"])
def test_only_the_check_that_runs_is_looked_at(local_sandbox: Sandbox, tests: str) -> None:
    solution = COUNTS + "    return calls"
    [verdict] = grade([solution], tests=[tests], entry_points=["f"], sandbox=local_sandbox)
    assert verdict.correct, verdict


def test_an_object_that_ends_one_batch_does_not_end_the_next(local_sandbox: Sandbox) -> None:
    solution = "class Int(int): pass\ndef f(x): return Int(x) if x == 15 else x\n"
    table = [([[i], {}], i) for i in range(40)]
    [verdict] = grade([solution], tests=[table], entry_points=["f"], sandbox=local_sandbox)
    assert verdict.correct, verdict


FORGERS = [
    (
        "import os\nos.write(3, (3).to_bytes(4, 'big') + b'[1]')\ndef f(x): return x",
        "a message that is too short",
    ),
    ("def __getattr__(name): raise ValueError(name)", "a module whose names cannot be read"),
    ("def f(x): return [object(), 'y' * (9 << 20)]", "an answer that cannot cross"),
]


@pytest.mark.parametrize(("solution", "reason"), FORGERS, ids=[row[1] for row in FORGERS])
@pytest.mark.parametrize(
    "tests",
    ["assert f(1) == 2", "def check(candidate):\n    assert candidate(1) == 2", [([[1], {}], 2)]],
)
def test_nobody_makes_the_tests_look_at_fault(
    local_sandbox: Sandbox, solution: str, reason: str, tests: object
) -> None:
    begin = time.monotonic()
    [verdict] = grade(
        [solution],
        tests=[tests],
        entry_points=["f"],
        sandbox=local_sandbox,
        limits=Limits(wall_s=120.0),
    )
    assert verdict.status is Status.INCORRECT, (reason, verdict)
    assert time.monotonic() - begin < 60, f"{reason}: the tests waited for the limit"


def test_text_of_a_subclass_of_str_is_text(local_sandbox: Sandbox) -> None:
    class Text(str):
        __slots__ = ()

    [verdict] = grade(
        [Text("def f(x): return x")],
        tests=["assert f(1) == 1"],
        entry_points=["f"],
        sandbox=local_sandbox,
    )
    assert verdict.correct, verdict


@pytest.mark.parametrize(
    ("solution", "tests", "correct", "reason"), CASES, ids=[case[3] for case in CASES]
)
@pytest.mark.parametrize("style", ["asserts", "check"])
def test_verdicts(
    local_sandbox: Sandbox, solution: str, tests: str, correct: bool, reason: str, style: str
) -> None:
    if style == "check":
        body = tests.replace("f(", "candidate(") if "def g" not in tests else tests
        tests = "def check(candidate):\n    " + body.replace("\n", "\n    ")
    [verdict] = grade([solution], tests=[tests], entry_points=["f"], sandbox=local_sandbox)
    assert verdict.correct == correct, (reason, verdict)


def test_a_wrong_answer_does_not_wait_for_a_later_call_that_hangs(local_sandbox: Sandbox) -> None:
    solution = "def f(x):\n    while x > 1: pass\n    return 0\n"
    begin = time.monotonic()
    [verdict] = grade(
        [solution],
        tests=["assert f(1) == 1\nassert f(2) == 2"],
        entry_points=["f"],
        sandbox=local_sandbox,
        limits=Limits(wall_s=120.0),
    )
    assert not verdict.correct
    assert "AssertionError" in verdict.reason
    assert time.monotonic() - begin < 60, "it waited for the hanging call"


def test_a_table_of_calls_is_graded_row_by_row(local_sandbox: Sandbox) -> None:
    table = [([[i], {}], i * i) for i in range(40)]
    [verdict] = grade(
        ["def f(x): return x * x if x != 20 else 0"],
        tests=[table],
        entry_points=["f"],
        sandbox=local_sandbox,
    )
    assert [row[1] for row in verdict.details["tests"]].count("failed") == 1
    assert verdict.score == 39 / 40
