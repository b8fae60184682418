"""What tests do to their process does not reach the tests of another task."""

from __future__ import annotations

import pytest

from stepgym.envs.coding import grade
from stepgym.envs.coding.harness.traces import leaves_no_trace
from stepgym.sandbox.types import Sandbox

CHECK = "def check(candidate):\n    assert candidate(1) == 2\n"
CHANGES = {
    "an environment variable": "import os\nos.environ['LEFT'] = '1'\n",
    "an attribute of a module": "import math\nmath.pi = 3\n",
    "the decimal context": "import decimal\ndecimal.getcontext().prec = 2\n",
    "the working folder": "import os\nos.chdir('/')\n",
    "a warnings filter": "import warnings\nwarnings.simplefilter('error')\n",
    "a signal handler": "import signal\nsignal.signal(signal.SIGUSR1, signal.SIG_IGN)\n",
    "a built-in function": "import builtins\nbuiltins.abs = lambda x: x\n",
    "a class": "from fractions import Fraction\nFraction.left = 1\n",
    "a module of its own": "import sys, types\nsys.modules['left'] = types.ModuleType('left')\n",
}
LOOK = """
import builtins, decimal, math, os, signal, sys, warnings
from fractions import Fraction
def check(candidate):
    assert "LEFT" not in os.environ and math.pi > 3.14 and decimal.getcontext().prec == 28
    assert os.getcwd() != "/" and signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert abs(-1) == 1 and not hasattr(Fraction, "left") and "left" not in sys.modules
    warnings.warn("harmless")
    assert candidate(1) == 2
"""


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_no_change_reaches_the_next_tests(local_sandbox: Sandbox, change: str) -> None:
    assert not leaves_no_trace(change)
    workers = 4  # more than the fixture has, so that some worker has run the change before
    tests = [change + CHECK] * workers + [LOOK] * workers
    found = grade(
        ["def f(x): return x + 1"] * len(tests),
        tests=tests,
        entry_points=["f"] * len(tests),
        sandbox=local_sandbox,
    )
    assert all(verdict.correct for verdict in found), found


@pytest.mark.parametrize(
    "source",
    [
        "import math\nassert math.sqrt(f(4)) == 2",
        "import random\nrandom.seed(1)\nassert f(random.random()) < 1",
        "class Point:\n    def __init__(self):\n        self.x = 1\nassert f(Point()) == 1",
        "from decimal import Decimal\nassert f(1) == Decimal(1)",
    ],
)
def test_usual_tests_leave_no_trace(source: str) -> None:
    assert leaves_no_trace(source)
