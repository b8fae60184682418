"""Honest programs of every kind are graded right: what the two-process bridge must not get wrong."""

from __future__ import annotations

import pytest

from stepgym.envs.coding import grade
from stepgym.sandbox.types import Sandbox

NUMBER = """\
import functools
@functools.total_ordering
class N:
    def __init__(self, x): self.x = x
    def __add__(self, other): return N(self.x + getattr(other, 'x', other))
    __radd__ = __add__
    def __eq__(self, other): return self.x == getattr(other, 'x', other)
    def __lt__(self, other): return self.x < getattr(other, 'x', other)
    def __hash__(self): return hash(self.x)
    def __contains__(self, digit): return digit in str(self.x)
class Plain: pass
"""
CASES = {  # what is used: solution, tests, entry point
    "fixtures of a class, indirect parameters, a factory of folders": (
        "def f(x): return x\n",
        "import os, sys, pytest\nsys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))\nfrom solution import f\n"
        "class TestX:\n    @pytest.fixture(autouse=True)\n    def made(self): self.v = 1\n"
        "    def test_a(self): assert f(self.v) == 1\n"
        "@pytest.fixture\ndef twice(request): return 2 * request.param\n"
        "@pytest.mark.parametrize('x, twice', [(1, 2)], indirect=['twice'])\n"
        "def test_b(x, twice): assert f(twice) == 4 and f(x) == 1\n"
        "def test_c(tmp_path_factory): assert f(tmp_path_factory.mktemp('a')).exists()\n",
        "f",
    ),
    "another current folder": (
        "import os\ndef f(): return os.getcwd(), open('x').read()\n",
        "def test_a(tmp_path, monkeypatch):\n    (tmp_path / 'x').write_text('1')\n    monkeypatch.chdir(tmp_path)\n"
        "    assert f() == (str(tmp_path), '1')\n",
        "f",
    ),
    "what is printed on standard error": (
        "import sys\ndef f(): print('oops', file=sys.stderr)\n",
        "import io, contextlib\ndef test_a(capsys):\n    f()\n    assert capsys.readouterr().err == 'oops\\n'\n"
        "def test_b():\n    s = io.StringIO()\n    with contextlib.redirect_stderr(s): f()\n    assert s.getvalue() == 'oops\\n'\n",
        "f",
    ),
    "a class and a random generator of the tests": (
        "def f(x, kind, rng): return isinstance(x, kind), rng.random() < 1, issubclass(kind, kind)\n",
        "import random\nclass K: pass\ndef check(candidate):\n"
        "    assert candidate(K(), K, random.Random(0)) == (True, True, True)\n"
        "    assert candidate(3, K, random.Random(0)) == (False, True, True)\n",
        "f",
    ),
    "comparisons of the tests' objects": (
        "def f(a, b): return [a == b, a != b, a in [b], a is b, len({a, b})]\n",
        f"{NUMBER}def check(candidate):\n    a, b = Plain(), Plain()\n"
        "    assert candidate(a, a) == [True, False, True, True, 1]\n"
        "    assert candidate(a, b) == [False, True, False, False, 2]\n"
        "    assert candidate(N(1), N(1)) == [True, False, True, False, 1]\n",
        "f",
    ),
    "operators of the tests' objects, with plain operands too": (
        "def f(xs): return max(xs).x, sum(xs).x, (xs[0] + 5).x, xs[0] < 7, xs[0] == 12, '2' in xs[0], 3 in xs\n",
        f"{NUMBER}def check(candidate):\n"
        "    assert candidate([N(12), N(3)]) == (12, 15, 17, False, True, True, True)\n",
        "f",
    ),
    "asynchronous unittest classes": (
        "def add(a,b): return a+b",
        "import unittest\nfrom solution import add\nclass T(unittest.IsolatedAsyncioTestCase):\n    async def test_a(self): self.assertEqual(add(1,2),3)\n",
        "add",
    ),
    "a class reached by a star import": (
        "class Stack:\n    def __init__(self): self.items=[]\n    def push(self,x): self.items.append(x)\n    def pop(self): return self.items.pop()\n    def __len__(self): return len(self.items)\n    def __iter__(self): return iter(self.items)\n    def __contains__(self,x): return x in self.items\n    def __bool__(self): return bool(self.items)\n",
        "from solution import *\ndef test():\n    s=Stack(); s.push(1); s.push([2])\n    assert len(s)==2 and list(s)==[1,[2]] and 1 in s and 5 not in s and s\n    assert s.pop()==[2] and s.items==[1]\n",
        "Stack",
    ),
    "mock.patch on the module": (
        "import random\ndef roll(): return random.randint(1,6)\n",
        "from unittest.mock import patch\nimport solution\ndef test():\n    with patch('solution.roll', return_value=4): assert solution.roll()==4\n    assert 1<=solution.roll()<=6\n",
        "roll",
    ),
    "a file with a main guard": (
        "def add(a,b): return a+b",
        "import unittest\nfrom solution import add\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(add(1,2),3)\nif __name__=='__main__': unittest.main()\n",
        "add",
    ),
    "TestCases that name the function bare": (
        "import collections\ndef task_func(xs): return collections.Counter(xs)\n",
        "import unittest\nfrom collections import Counter\nclass TestCases(unittest.TestCase):\n    def test_a(self):\n        r=task_func('aab'); self.assertIsInstance(r, Counter); self.assertEqual(r['a'],2)\n",
        "task_func",
    ),
    "ordered data classes": (
        "from dataclasses import dataclass\n@dataclass(order=True)\nclass P:\n    x:int\n    y:int=0\ndef mk(x): return P(x)\n",
        "from solution import P, mk\ndef test():\n    assert mk(1)==P(1) and mk(1)<P(2) and P(1,2).y==2 and repr(P(1))=='P(x=1, y=0)'\n    assert sorted([P(2),P(1)])[0].x==1\n",
        "mk",
    ),
    "enumerations, of ints too": (
        "import enum\nclass C(enum.Enum):\n    RED=1\n    BLUE=2\nclass I(enum.IntEnum):\n    A=1\ndef f(): return C.RED\ndef g(): return I.A\n",
        "from solution import *\ndef test():\n    assert f() is C.RED and f()==C.RED and f()!=C.BLUE and f().value==1 and f().name=='RED'\n    assert g()==1 and len(list(C))==2\n",
        "f",
    ),
    "context managers that swallow an error": (
        "class R:\n    def __enter__(self): return 5\n    def __exit__(self,*a): return True\n",
        "from solution import R\ndef test():\n    with R() as r:\n        assert r==5\n        raise ValueError\n",
        "R",
    ),
    "a decorator around a function of the tests": (
        "import functools\ndef memo(f):\n    c={}\n    @functools.wraps(f)\n    def w(n):\n        if n not in c: c[n]=f(n)\n        return c[n]\n    return w\n",
        "from solution import memo\ndef test():\n    calls=[]\n    @memo\n    def sq(n):\n        calls.append(n)\n        return n*n\n    assert sq(3)==9 and sq(3)==9 and calls==[3]\n",
        "memo",
    ),
    "built-in functions as keys": (
        "def by(xs,key): return sorted(xs,key=key)\n",
        "def check(candidate):\n    assert candidate([3,-1,2],abs)==[-1,2,3]\n    assert candidate(['b','A'],str.lower)==['A','b']\n    assert candidate([(1,2),(0,5)],lambda t:t[1])==[(1,2),(0,5)]\n",
        "by",
    ),
    "rows changed in place stay the same rows": (
        "def rot(m):\n    n=[list(r)[::-1] for r in zip(*m)]\n    for i,r in enumerate(n): m[i][:]=r\n",
        "def check(candidate):\n    m=[[1,2],[3,4]]\n    candidate(m)\n    assert m==[[3,1],[4,2]]\n    row=m[0]; candidate(m); assert row is m[0] and row==[4,3]\n",
        "rot",
    ),
    "trees of the tests, read": (
        "class TreeNode:\n    def __init__(self,val=0,left=None,right=None): self.val=val;self.left=left;self.right=right\ndef depth(t): return 0 if not t else 1+max(depth(t.left),depth(t.right))\ndef invert(t):\n    if t: t.left,t.right=invert(t.right),invert(t.left)\n    return t\n",
        "def check(candidate):\n    class TreeNode:\n        def __init__(self,val=0,left=None,right=None): self.val=val;self.left=left;self.right=right\n    t=TreeNode(1,TreeNode(2),TreeNode(3,TreeNode(4)))\n    assert candidate(t)==3\n    assert candidate(None)==0\n",
        "depth",
    ),
    "trees of the tests, changed": (
        "def invert(t):\n    if t: t.left,t.right=invert(t.right),invert(t.left)\n    return t\n",
        "class TreeNode:\n    def __init__(self,val=0,left=None,right=None): self.val=val;self.left=left;self.right=right\ndef check(candidate):\n    t=TreeNode(1,TreeNode(2),TreeNode(3,TreeNode(4)))\n    r=candidate(t)\n    assert r is t and t.left.val==3 and t.left.right.val==4\n",
        "invert",
    ),
    "a coroutine": (
        "async def f(x): return x+1\n",
        "import asyncio\ndef check(candidate):\n    assert asyncio.run(candidate(1))==2\n",
        "f",
    ),
    "an exception with attributes of its own": (
        "class E(Exception):\n    def __init__(self,c): self.c=c\ndef f(): raise E(7)\n",
        "import pytest\nfrom solution import E,f\ndef test():\n    with pytest.raises(E) as e: f()\n    assert e.value.c==7 and isinstance(e.value, Exception)\n",
        "f",
    ),
    "a large answer": (
        "def f(n): return list(range(n))\n",
        "def check(candidate):\n    assert len(candidate(200000))==200000\n",
        "f",
    ),
    "constants": (
        "PI=3.14\nNAMES=('a','b')\ndef f(): return PI\n",
        "from solution import PI, NAMES, f\ndef test(): assert PI==3.14 and NAMES==('a','b') and f()==PI\n",
        "f",
    ),
    "a method that calls another": (
        "class Base:\n    def hello(self): return 'base '+self.name()\n    def name(self): return 'x'\n",
        "from solution import Base\ndef test(): assert Base().hello()=='base x'\n",
        "Base",
    ),
    "printing into a replaced stdout": (
        "def f(): print('hi')\n",
        "import io, sys\ndef check(candidate):\n    old=sys.stdout; sys.stdout=io.StringIO()\n    try: candidate(); out=sys.stdout.getvalue()\n    finally: sys.stdout=old\n    assert out=='hi\\n'\n",
        "f",
    ),
    "a cached recursive function": (
        "import functools\n@functools.lru_cache(None)\ndef fib(n): return n if n<2 else fib(n-1)+fib(n-2)\n",
        "def check(candidate):\n    assert candidate(50)==12586269025\n    assert [candidate(i) for i in range(5)]==[0,1,1,2,3]\n",
        "fib",
    ),
    "keyword-only and extra arguments": (
        "def f(a,*,b=2,**k): return (a,b,k)\n",
        "def check(candidate):\n    assert candidate(1)==(1,2,{})\n    assert candidate(1,b=3,c=4)==(1,3,{'c':4})\n    try: candidate(1,2)\n    except TypeError: pass\n    else: assert False\n",
        "f",
    ),
    "name and docstring": (
        "def f(a,b):\n    'doc'\n    return a\n",
        "def check(candidate):\n    assert candidate.__name__=='f' and candidate.__doc__=='doc'\n",
        "f",
    ),
    "a zip object": (
        "def pairs(a,b): return zip(a,b)\n",
        "def check(candidate):\n    assert list(candidate([1,2],'ab'))==[(1,'a'),(2,'b')]\n    assert dict(candidate([1],[2]))=={1:2}\n",
        "pairs",
    ),
    "views of a dict": (
        "def ks(d): return d.keys()\n",
        "def check(candidate):\n    assert list(candidate({'a':1}))==['a']\n    assert set(candidate({'a':1}))=={'a'}\n    assert 'a' in candidate({'a':1})\n",
        "ks",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_honest_programs_are_correct(local_sandbox: Sandbox, name: str) -> None:
    solution, tests, entry_point = CASES[name]
    verdict = grade([solution], tests=[tests], entry_points=[entry_point], sandbox=local_sandbox)[0]
    assert verdict.correct, verdict.reason
