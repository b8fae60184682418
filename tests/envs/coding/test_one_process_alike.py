"""Two processes decide as one would: values, files, patches and failures of every kind, by name."""

from __future__ import annotations

from typing import Any

import pytest

from stepgym.envs.coding import grade
from stepgym.envs.types import Fault, Status, Verdict
from stepgym.sandbox.types import Sandbox

Case = tuple[str, Any, str | None]


def graded(sandbox: Sandbox, case: Case, **options: Any) -> Verdict:
    solution, tests, entry_point = case
    return grade([solution], tests=[tests], entry_points=[entry_point], sandbox=sandbox, **options)[
        0
    ]


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    found: Sandbox = request.getfixturevalue(f"{request.param}_sandbox")
    return found


RIGHT: dict[str, Case] = {
    "a standard exception of json": (
        "import json\ndef f(s): return json.loads(s)\n",
        "import json\ndef check(candidate):\n    try:\n        candidate('{')\n        assert False\n    except json.JSONDecodeError:\n        pass\n",
        "f",
    ),
    "an exception of decimal": (
        "from decimal import Decimal\ndef f(s): return Decimal(s)\n",
        "from decimal import InvalidOperation\ndef check(candidate):\n    try:\n        candidate('x')\n        assert False\n    except InvalidOperation:\n        pass\n",
        "f",
    ),
    "a file in tmp_path": (
        "def f(p): return open(p).read()\n",
        "def test_a(tmp_path):\n    p = tmp_path / 'a.txt'\n    p.write_text('hi')\n    assert f(str(p)) == 'hi'\n",
        "f",
    ),
    "a file in a temporary folder": (
        "def f(p):\n    open(p,'w').write('z')\n",
        "import tempfile, os\ndef check(candidate):\n    p = os.path.join(tempfile.mkdtemp(), 'a')\n    candidate(p)\n    assert open(p).read() == 'z'\n",
        "f",
    ),
    "a path": (
        "from pathlib import Path\ndef f(p): return Path(p)\n",
        "from pathlib import Path\ndef check(candidate):\n    assert candidate('/a/b') == Path('/a/b')\n",
        "f",
    ),
    "an open file of the tests": (
        "def f(fh): return fh.read()\n",
        "import io\ndef check(candidate):\n    assert candidate(io.StringIO('ab')) == 'ab'\n",
        "f",
    ),
    "an aware datetime": (
        "import datetime as d\ndef f(): return d.datetime(2020,1,1,tzinfo=d.timezone.utc)\n",
        "import datetime as d\ndef check(candidate):\n    assert candidate() == d.datetime(2020,1,1,tzinfo=d.timezone.utc)\n",
        "f",
    ),
    "a view of a dict": (
        "def f(d): return d.keys()\n",
        "def check(candidate):\n    assert candidate({1:2}) == {1}\n",
        "f",
    ),
    "a changed deque": (
        "def f(q): q.append(3)\n",
        "from collections import deque\ndef check(candidate):\n    q = deque([1])\n    candidate(q)\n    assert list(q) == [1, 3]\n",
        "f",
    ),
    "a changed Counter": (
        "def f(c): c['a'] += 1\n",
        "from collections import Counter\ndef check(candidate):\n    c = Counter()\n    candidate(c)\n    assert c['a'] == 1\n",
        "f",
    ),
    "the name of a wrapped function": (
        "import functools\ndef f(g):\n    @functools.wraps(g)\n    def w(*a): return g(*a)\n    return w\n",
        "def check(candidate):\n    @candidate\n    def h(x): return x\n    assert h.__name__ == 'h'\n",
        "f",
    ),
    "a seed": (
        "import random\ndef f(): return random.random()\n",
        "import random\ndef check(candidate):\n    random.seed(0); a = candidate()\n    random.seed(0)\n    assert candidate() == a\n",
        "f",
    ),
    "an environment variable": (
        "import os\ndef f(): return os.environ.get('A')\n",
        "import os\ndef check(candidate):\n    os.environ['A'] = '1'\n    assert candidate() == '1'\n",
        "f",
    ),
    "a patched input": (
        "def f(): return input()\n",
        "from unittest.mock import patch\ndef check(candidate):\n    with patch('builtins.input', return_value='7'):\n        assert candidate() == '7'\n",
        "f",
    ),
    "a replaced standard input": (
        "import sys\ndef f(): return sys.stdin.readline().strip()\n",
        "import io, sys\ndef check(candidate):\n    sys.stdin = io.StringIO('5\\n')\n    assert candidate() == '5'\n",
        "f",
    ),
    "a warning": (
        "import warnings\ndef f(): warnings.warn('x', DeprecationWarning)\n",
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        with self.assertWarns(DeprecationWarning): f()\n",
        "f",
    ),
    "a node class of the tests": (
        "class Solution:\n    def one(self, x): return ListNode(x)\n",
        "class ListNode:\n    def __init__(self, v): self.v = v\ndef check(candidate):\n    assert candidate().one(3).v == 3\n",
        "Solution",
    ),
    "a deep copy of an object": (
        "class A:\n    x = 1\ndef f(): return A()\n",
        "import copy\ndef check(candidate):\n    assert copy.deepcopy(candidate()).x == 1\n",
        "f",
    ),
    "a large text": (
        "def f(n): return 'x'*n\n",
        "def check(candidate):\n    assert len(candidate(9000000)) == 9000000\n",
        "f",
    ),
    "a list that contains itself": (
        "def f():\n    a = []\n    a.append(a)\n    return a\n",
        "def check(candidate):\n    r = candidate()\n    assert r[0] is r\n",
        "f",
    ),
    "a changed OrderedDict": (
        "def f(d): d.move_to_end('a')\n",
        "from collections import OrderedDict\ndef check(candidate):\n    d = OrderedDict(a=1, b=2)\n    candidate(d)\n    assert list(d) == ['b', 'a']\n",
        "f",
    ),
    "a changed array": (
        "def f(a): a.append(3)\n",
        "from array import array\ndef check(candidate):\n    a = array('i', [1])\n    candidate(a)\n    assert a == array('i', [1, 3])\n",
        "f",
    ),
    "a defaultdict with a factory of the tests": (
        "def f(d): return d['x']\n",
        "from collections import defaultdict\ndef check(candidate):\n    assert candidate(defaultdict(lambda: 7)) == 7\n",
        "f",
    ),
    "one list put twice into an argument": (
        "def f(xs):\n    row = [0]\n    xs += [row, row]\n",
        "def check(candidate):\n    xs = []\n    candidate(xs)\n    assert xs == [[0], [0]] and xs[0] is xs[1]\n",
        "f",
    ),
    "an exception with attributes": (
        "import json\ndef f(s): return json.loads(s)\n",
        "import json\ndef check(candidate):\n    try: candidate('[1,')\n    except json.JSONDecodeError as e: assert e.pos == 3 and e.doc == '[1,'\n    else: assert False\n",
        "f",
    ),
    "an exception of the operating system": (
        "def f(p): open(p)\n",
        "import errno\ndef check(candidate):\n    try: candidate('/nowhere/x')\n    except FileNotFoundError as e: assert e.errno == errno.ENOENT and e.filename == '/nowhere/x'\n    else: assert False\n",
        "f",
    ),
    "a file that the candidate writes in the working folder": (
        "def f():\n    with open('out.txt', 'w') as s: s.write('done')\n",
        "import os\ndef check(candidate):\n    candidate()\n    assert open('out.txt').read() == 'done'\n    os.remove('out.txt')\n",
        "f",
    ),
    "a folder that the candidate makes": (
        "import os\ndef f(p):\n    os.makedirs(os.path.join(p, 'a', 'b'))\n    return os.path.join(p, 'a')\n",
        "import os\ndef test_a(tmp_path):\n    assert f(str(tmp_path)) == str(tmp_path / 'a') and (tmp_path / 'a' / 'b').is_dir()\n",
        "f",
    ),
    "a patched function of a module": (
        "import time\ndef f(): return time.time()\n",
        "from unittest.mock import patch\ndef check(candidate):\n    with patch('time.time', return_value=5) as t:\n        assert candidate() == 5\n        t.assert_called_once_with()\n",
        "f",
    ),
    "monkeypatch": (
        "import os\ndef f(): return os.getlogin()\n",
        "import os\ndef test_a(monkeypatch):\n    monkeypatch.setattr(os, 'getlogin', lambda: 'me')\n    assert f() == 'me'\n",
        "f",
    ),
    "two lines of standard input": (
        "def f(): return input()\n",
        "import io, sys\ndef check(candidate):\n    sys.stdin = io.StringIO('a\\nb\\n')\n    assert [candidate(), candidate()] == ['a', 'b']\n",
        "f",
    ),
    "fixtures with parameters": (
        "def f(x): return x\n",
        "import pytest\n@pytest.fixture(params=[1, 2])\ndef v(request): return request.param\ndef test_a(v): assert f(v) == v\n",
        "f",
    ),
    "tmpdir": (
        "def f(p): return open(p).read()\n",
        "def test_a(tmpdir):\n    p = tmpdir.join('a.txt')\n    p.write('hi')\n    assert f(str(p)) == 'hi' and f(p) == 'hi'\n",
        "f",
    ),
    "pytest that was not imported": (
        "def f(x): raise ValueError(x)\n",
        "def test_a():\n    with pytest.raises(ValueError): f(1)\n",
        "f",
    ),
    "asserts in a loop": (
        "def f(x): return x * 2\n",
        "for i, e in [(1, 2), (2, 4)]:\n    assert f(i) == e\n",
        "f",
    ),
    "a function with a built-in's name": (
        "def sum(a, b): return a + b\n",
        "assert sum(10, 15) == 25\n",
        None,
    ),
    "a table with infinity": ("def f(): return float('inf')\n", [[[], float("inf")]], "f"),
    "a long integer": (
        "def f(n): return 10 ** n\n",
        "def check(candidate):\n    assert candidate(5000) == 10 ** 5000 and str(candidate(4500))[:2] == '10'\n",
        "f",
    ),
    "a table written in Python": (
        "def f(x): return (x, None)\n",
        "[[[1], (1, None)], [[float('-inf')], (float('-inf'), None)]]",
        "f",
    ),
    "a class with operators": (
        "class Vector:\n    def __init__(s, x): s.x = x\n    def __mul__(s, k): return Vector(s.x * k)\n    def __eq__(s, o): return isinstance(o, Vector) and s.x == o.x\n",
        "def check(candidate):\n    v = candidate(2) * 3\n    assert v == candidate(6) and v.x == 6\n",
        "Vector",
    ),
}
WITH_NUMPY: dict[str, Case] = {
    "numpy scalars": (
        "import numpy as np\ndef f(x): return np.all(x)\n",
        "def check(candidate):\n    assert candidate([1, 1]) == True and candidate([0, 1]) == False\n",
        "f",
    ),
    "lists of numpy scalars": (
        "import numpy as np\ndef f(x): return sorted(np.unique(x))\n",
        "def check(candidate):\n    assert candidate([2, 1, 2]) == [1, 2]\n",
        "f",
    ),
    "numpy arrays": (
        "import numpy as np\ndef f(x): return x * 2\n",
        "import numpy as np\ndef test_a():\n    np.testing.assert_array_equal(f(np.array([[1, 2]])), [[2, 4]])\n    assert f(np.array([1.5])).dtype == float\n",
        "f",
    ),
    "an array changed in place": (
        "def f(a): a[0] = 9\n",
        "import numpy as np\ndef check(candidate):\n    a = np.zeros(3)\n    candidate(a)\n    assert a[0] == 9\n",
        "f",
    ),
    "numpy's seed": (
        "import numpy as np\ndef f(): return np.random.rand()\n",
        "import numpy as np\ndef check(candidate):\n    np.random.seed(3); a = candidate()\n    np.random.seed(3)\n    assert candidate() == a\n",
        "f",
    ),
    "an exception of numpy": (
        "import numpy as np\ndef f(m): return np.linalg.inv(m)\n",
        "import numpy as np\ndef check(candidate):\n    try: candidate(np.zeros((2, 2)))\n    except np.linalg.LinAlgError: pass\n    else: assert False\n",
        "f",
    ),
}
WRONG: dict[str, Case] = {
    "a wrong answer of shared parts": (
        "def f(x):\n    y = [1]\n    for _ in range(150): y = [y, y]\n    return y\n",
        "def check(candidate):\n    assert candidate(1) == [1]\n",
        "f",
    ),
    "a wrong integer of nine million digits": (
        "def f(x): return 1 << 30_000_000\n",
        [[[1], 1]],
        "f",
    ),
    "SystemExit in a property test": (
        "def f(x): raise SystemExit(0)\n",
        {
            "style": "property",
            "strategies": "(st.integers(),)",
            "reference": "def f(x): return x\n",
        },
        "f",
    ),
    "KeyboardInterrupt in a generator": (
        "def f(n):\n    yield 0\n    raise KeyboardInterrupt\n",
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(list(f(2)), [0, 1])\n",
        "f",
    ),
    "a patched input that is not used": (
        "def f(): return '8'\n",
        "from unittest.mock import patch\ndef check(candidate):\n    with patch('builtins.input', return_value='7'):\n        assert candidate() == '7'\n",
        "f",
    ),
    "a first failure before tests without end": (
        "def f(x): return 0\n",
        "def test_a():\n    assert f(1) == 1\ndef test_b():\n    while True: pass\n",
        "f",
    ),
    "a missing file": (
        "def f(p): pass\n",
        "def test_a(tmp_path):\n    f(str(tmp_path / 'a'))\n    assert (tmp_path / 'a').exists()\n",
        "f",
    ),
}
UNDECIDED: dict[str, tuple[Case, str]] = {
    "a helper module that is missing": (
        (
            "def same(*a): return True\ndef f(x): return 0\n",
            "from checker_utils import same\ndef test_a():\n    assert same(f(3), 9)\n",
            "f",
        ),
        "checker_utils",
    ),
    "logs": (
        (
            "import logging\ndef f(): logging.getLogger().warning('x')\n",
            "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        with self.assertLogs(level='WARNING'): f()\n",
            "f",
        ),
        "logs",
    ),
    "a class that only the tests define": (
        (
            "def f(x): return Node(x)\n",
            "class Node:\n    def __init__(self, v): self.v = v\ndef check(candidate):\n    assert candidate(3).v == 3\n",
            "f",
        ),
        "'Node'",
    ),
    "an argument of the tests that is too large": (
        (
            "def f(x): return len(x)\n",
            "def check(candidate):\n    assert candidate(['x' * 100] * 1_000_000) == 1_000_000\n",
            "f",
        ),
        "hand over",
    ),
    "a package that is not installed": (
        (
            "import tensorflow\ndef f(x): return 0\n",
            "def check(candidate):\n    assert candidate(1) == 0\n",
            "f",
        ),
        "tensorflow",
    ),
    "tests that never call the solution": (
        ("def f(x): return 0\n", "for x in []:\n    assert f(x)\n", "f"),
        "never call",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_stays_correct(sandbox: Sandbox, name: str) -> None:
    verdict = graded(sandbox, RIGHT[name])
    assert verdict.correct, verdict


@pytest.mark.parametrize("name", WITH_NUMPY)
def test_numpy_crosses_by_value(sandbox: Sandbox, name: str) -> None:
    verdict = graded(sandbox, WITH_NUMPY[name])
    assert verdict.correct, verdict


@pytest.mark.parametrize("name", WRONG)
def test_wrong_stays_incorrect(local_sandbox: Sandbox, name: str) -> None:
    verdict = graded(local_sandbox, WRONG[name])
    assert verdict.status is Status.INCORRECT, verdict


@pytest.mark.parametrize("name", UNDECIDED)
def test_what_cannot_be_told_is_undecided_with_the_reason(
    local_sandbox: Sandbox, name: str
) -> None:
    case, word = UNDECIDED[name]
    verdict = graded(local_sandbox, case)
    assert verdict.status is Status.UNDECIDED and verdict.fault is Fault.OURS, verdict
    assert word in verdict.reason


VECTOR = (
    "class Vector:\n    def __init__(s, x): s.x = x\n    def __eq__(s, o): return type(o) is Vector\n",
    "def check(candidate):\n    assert candidate(1) == candidate(1)\n",
    "Vector",
)


def test_a_comparison_of_the_candidate_is_mentioned_and_refused_if_asked(
    local_sandbox: Sandbox,
) -> None:
    verdict = graded(local_sandbox, VECTOR)
    assert verdict.correct and "own class decided" in verdict.reason
    strict = graded(local_sandbox, VECTOR, strict=True)
    assert strict.status is Status.UNDECIDED and strict.fault is Fault.ANSWER


def test_one_process_serves_what_two_cannot_and_says_that_it_is_forgeable(
    local_sandbox: Sandbox,
) -> None:
    case, _ = UNDECIDED["logs"]
    verdict = graded(local_sandbox, case, one_process=True)
    assert verdict.correct and verdict.details["forgeable"], verdict
    wrong = ("def f(x): return 0", "def check(candidate):\n    assert candidate(1) == 1\n", "f")
    assert graded(local_sandbox, wrong, one_process=True).status is Status.INCORRECT


def test_a_large_answer_that_may_be_right_is_the_answers_fault(local_sandbox: Sandbox) -> None:
    case = (
        "def f(n): return 'x' * n",
        "def check(candidate):\n    assert isinstance(candidate(40_000_000), str)\n",
        "f",
    )
    verdict = graded(local_sandbox, case)
    assert verdict.status is Status.UNDECIDED and verdict.fault is Fault.ANSWER, verdict
