"""What importing the verifier loads: nothing heavy, so that a worker or a command starts at once."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("sympy", "numpy", "flint", "gymnasium", "multiprocessing", "torch", "math_verify")


def _loaded(program: str) -> list[str]:
    program += f"; import sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return ran.stdout.split()


def test_the_import_loads_nothing_heavy() -> None:
    assert _loaded("import stepgym.envs.maths") == []


def test_neither_do_the_cheap_rungs() -> None:
    assert (
        _loaded("from stepgym.envs.maths import verify_answer as v; v('1/2', reference='0.5')")
        == []
    )
    assert (
        _loaded(
            "from stepgym.envs.maths import verify_answer as v; v('(x+1)^2', reference='x^2+2x+1')"
        )
        == []
    )
