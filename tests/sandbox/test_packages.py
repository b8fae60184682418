"""Packages in a sandbox: found with what they need, imported by programs, loaded ahead of them, and nothing else."""

from __future__ import annotations

import statistics
import time

import pytest

from stepgym.sandbox import Limits, Outcome, Pair, Program, Sandbox, SandboxError, open_sandbox
from stepgym.sandbox.packages import find, imported

pytest.importorskip("numpy")
BACKENDS = [pytest.param("docker", marks=pytest.mark.docker), "local"]
MODULES = frozenset({"numpy", "pandas"})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import numpy as np", {"numpy"}),
        ("import os, numpy as np, pandas", {"numpy", "pandas"}),
        ("from numpy.linalg import inv", {"numpy"}),
        ("def f():\n    import pandas\n", {"pandas"}),
        ("tests = 'x\\nimport numpy'", {"numpy"}),
        ("numpy = 3", set()),
        ("import collections", set()),
    ],
)
def test_imports_are_seen(source: str, expected: set[str]) -> None:
    assert imported([source], MODULES) == expected


def test_a_package_comes_with_what_it_needs_and_nothing_else() -> None:
    found = find(["sympy"])
    assert {"sympy", "mpmath"} <= found.modules
    assert not {"numpy", "stepgym", "pytest"} & found.modules


def test_a_package_that_is_nowhere_shows_the_way_out() -> None:
    with pytest.raises(SandboxError, match=r"'no-such-thing' .*sandbox build --packages"):
        find(["no_such_thing"])
    with pytest.raises(SandboxError, match=r"no-such-thing"):
        open_sandbox("local", packages=["no_such_thing"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_numpy_is_there_by_default_and_other_packages_are_not(
    backend: str, request: pytest.FixtureRequest
) -> None:
    sandbox: Sandbox = request.getfixturevalue(f"{backend}_sandbox")
    results = sandbox.run(
        [
            Program("import numpy as np\nprint(np.linalg.solve(np.eye(300), np.ones(300)).sum())"),
            Program("import sympy"),
            Program("import stepgym.envs"),
        ]
    )
    assert results[0].stdout == "300.0\n", results[0]
    assert ["ModuleNotFoundError" in result.stderr for result in results[1:]] == [True, True]


def test_candidate_and_tester_both_have_packages(local_sandbox: Sandbox) -> None:
    candidate = Program("import numpy as np\ndef f(x): return int(np.array(x).sum())")
    tester = Program("import numpy as np\nremote.report(remote.get('f')(np.arange(3).tolist()))")
    assert local_sandbox.run_pairs([Pair(candidate, tester)])[0].report == "3"


def test_a_sandbox_without_packages_says_which_module_is_missing() -> None:
    with open_sandbox("local", workers=1, packages=[]) as sandbox:
        [result] = sandbox.run([Program("import numpy")])
    assert result.outcome is Outcome.ERROR and "No module named 'numpy'" in result.stderr


def test_numpy_starts_no_thread_and_fits_into_little_memory(local_sandbox: Sandbox) -> None:
    source = "import numpy as np\nprint(np.ones((200, 200)) @ np.ones((200, 200)) is not None)"
    limits = Limits(max_processes=1, memory_mib=256)
    [result] = local_sandbox.run([Program(source, limits=limits)])
    assert (result.outcome, result.stdout) == (Outcome.OK, "True\n"), result


def test_a_package_is_loaded_once_and_not_by_each_program() -> None:
    times: dict[str, float] = {}
    with open_sandbox("local", workers=1) as sandbox:
        for source in ("import numpy\nprint(1)", "print(1)"):
            program = Program(source)
            sandbox.run([program] * 3)
            seconds = []
            for _ in range(9):
                begin = time.process_time()
                [result] = sandbox.run([program])
                seconds.append(result.cpu_s)
                assert time.process_time() - begin < 1
            times[source] = statistics.median(seconds)
    plain = times.pop("print(1)")
    assert next(iter(times.values())) - plain < 0.03, "importing numpy afresh takes 0.1 s"
