"""What crosses between candidate and tester, first as laws of the codec, then over a real socket and a fork."""

from __future__ import annotations

import collections
import contextlib
import json
import math
import os
import socket
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.sandbox.runner import candidate, tester
from stepgym.sandbox.runner.codec import Malformed, Packer, Unpacker, Unsendable, dumps

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)
HASHABLE = st.recursive(
    SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=8
)
VALUES = st.recursive(
    HASHABLE | st.builds(bytearray, st.binary()),
    lambda inner: st.lists(inner) | st.dictionaries(HASHABLE, inner) | st.tuples(inner),
    max_leaves=20,
)


def refuse(value: Any) -> Any:
    raise AssertionError(f"{value!r} is plain data")


def through(value: Any) -> Any:
    frame = dumps(Packer(refuse).pack(value))
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    return Unpacker(refuse).unpack(json.loads(frame[4:]))


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) and same(a[x], b[y]) for x, y in zip(a, b))
    if isinstance(a, set | frozenset):
        return a == b and {(type(x), x) for x in a} == {(type(x), x) for x in b}
    return bool(a == b)


@given(VALUES)
def test_plain_data_crosses_with_its_types(value: Any) -> None:
    assert same(through(value), value)


@given(
    st.recursive(
        st.integers() | st.text(),
        lambda t: st.lists(t) | st.dictionaries(st.text(), t),
        max_leaves=12,
    )
)
def test_any_tree_unpacks_or_raises(tree: Any) -> None:
    # Whatever is in a frame, reading it gives a value or an ordinary error, which the link turns into a fault.
    with contextlib.suppress(
        Malformed, TypeError, ValueError, IndexError, KeyError, AttributeError, AssertionError
    ):
        Unpacker(refuse).unpack(tree)


@pytest.mark.parametrize(
    "value",
    [
        10**6000,  # beyond the 4,300 digits that Python reads in decimal
        -0.0,
        math.inf,
        range(3, 9, 2),
        collections.Counter("aab"),
        collections.deque([1, 2], maxlen=3),
        collections.OrderedDict(b=1, a=2),
        Decimal("1.10"),
        Fraction(1, 3),
        ValueError,
        "\ud800",  # half a surrogate pair
    ],
    ids=lambda value: type(value).__name__,
)
def test_rarer_values_cross(value: Any) -> None:
    assert same(through(value), value)


def test_nan_crosses() -> None:
    assert math.isnan(through(math.nan))


def test_one_list_seen_twice_stays_one() -> None:
    row = [0]
    grid = through([row, row])
    assert grid[0] is grid[1]


def test_what_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(Unsendable):
        Packer(refuse).pack(loop)


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(Unsendable):
        Packer(refuse).pack(deep)


def converse(source: str, tests: str) -> Any:
    """Run a candidate in a forked process and tests here; return the report."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        candidate.serve(theirs, source, candidate.CandidateLink())
        os._exit(0)
    theirs.close()
    try:
        report = tester.run(ours, tests).last_report
    finally:
        os.waitpid(child, 0)
    return None if report is None else json.loads(report)


CANDIDATE = """
import collections

def clear(xs): xs.clear(); return []
def compact(xs):
    kept = sorted(set(xs)); xs[:len(kept)] = kept; return len(kept)
def sort(xs): xs.sort()
def sorted_self(xs): xs.sort(); return xs
def identity(x): return x
def twice(f): return lambda x: f(f(x))
def count(n): yield from range(n)
def fail(x): raise ValueError("bad", x)
class Oops(KeyError):
    code = 5
def oops(): raise Oops("lost")
class Vector:
    def __init__(self, x, y): self.x, self.y = x, y
    def __add__(self, other): return Vector(self.x + other.x, self.y + other.y)
    def __mul__(self, k): return Vector(self.x * k, self.y * k)
    def __eq__(self, other): return (self.x, self.y) == (other.x, other.y)
    def __hash__(self): return hash((self.x, self.y))
    def __repr__(self): return f"Vector({self.x}, {self.y})"
    def __len__(self): return 2
    def grow(self): self.x += 1; return self
class Text(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def text(): return Text("x")
Point = collections.namedtuple("Point", "x y")
def point(): return Point(1, 2)
def show(x): print("seen", x)
def total(node):
    s = 0
    while node is not None: s, node = s + node.value, node.next
    return s
"""
CASES = {  # tests that must pass: what they say about the bridge is their name
    "an argument changed in place is written back": "xs = [3, 1]\nremote.get('sort')(xs)\nassert xs == [1, 3]",
    "a change shows from the next statement on": "xs = [3, 1, 1]\nk = remote.get('compact')(xs)\nassert xs[:k] == [1, 3]",
    "but not within the statement": "xs = [3, 1]\nassert remote.get('clear')(xs) != sorted(xs)\nassert xs == []",
    "nor on its other lines": "xs = [3, 1]\nassert (remote.get('clear')(xs)\n    != sorted(xs))",
    "a changed argument that is returned shows its new contents": "assert remote.get('sorted_self')([2, 1]) == [1, 2]",
    "an argument that is returned is itself": "x = [1]\nassert remote.get('identity')(x) is x",
    "functions go there and come back": "assert remote.get('twice')(lambda v: v * 2)(5) == 20",
    "a generator is lazy": "g = remote.get('count')(10 ** 12)\nassert (next(g), next(g)) == (0, 1)",
    "a loop over a generator ends": "assert list(remote.get('count')(3)) == [0, 1, 2]",
    "built-in exceptions keep type and arguments": "try: remote.get('fail')(2)\nexcept ValueError as e: assert e.args == ('bad', 2)",
    "own exceptions keep their base and attributes": "try: remote.get('oops')()\nexcept KeyError as e: assert type(e).__name__ == 'Oops' and e.code == 5",
    "own exception classes can be caught by name": "Oops = remote.get('Oops')\ntry: remote.get('oops')()\nexcept Oops: pass",
    "objects have state, operators, length and a face": "remote.declare_classes(['Vector'])\nV = remote.get('Vector')\nv = V(1, 2)\nv.x = 5\nassert v.grow().x == 6 and len(v) == 2 and repr(v * 2 + V(0, 1)) == 'Vector(12, 5)'",
    "objects of one class compare by their own rule": "remote.declare_classes(['Vector'])\nV = remote.get('Vector')\nassert V(1, 2) == V(1, 2) and V(1, 2) != V(2, 1) and {V(1, 2)} == {V(1, 2)}",
    "isinstance knows the candidate's classes": "remote.declare_classes(['Vector'])\nV = remote.get('Vector')\nassert isinstance(V(1, 2), V) and not isinstance(3, V)",
    "a subclass of str is that, with the contents of a str": "t = remote.get('text')()\nassert t == 'x' and t != 'y' and type(t) is not str and isinstance(t, str)",
    "a named tuple is a tuple with names": "p = remote.get('point')()\nassert p == (1, 2) and p.x == 1",
    "objects of the tests can be read there": "class Node:\n    def __init__(self, value, next=None): self.value, self.next = value, next\nassert remote.get('total')(Node(1, Node(2))) == 3",
    "what is printed there can be captured here": "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as out: remote.get('show')(7)\nassert out.getvalue() == 'seen 7\\n'",
    "a missing name is an AttributeError": "try: remote.get('nothing')\nexcept AttributeError: pass\nelse: raise AssertionError",
}


@pytest.mark.parametrize("name", CASES)
def test_bridge(name: str) -> None:
    tests = (
        f"names = {{'remote': remote, '__name__': 'tests'}}\nsource = {CASES[name]!r}\n"
        "import traceback\ntry:\n    exec(remote.compile(source, '<tests>'), names)\n    remote.report('passed')\n"
        "except BaseException:\n    remote.report(traceback.format_exc())\n"
    )
    assert converse(CANDIDATE, tests) == "passed"


@pytest.mark.parametrize(
    ("candidate", "kind"),
    [
        ("import os; os._exit(0)", "closed"),  # gone before it was asked
        ("x = (", "load"),
        ("raise SystemExit(1)", "load"),
        ("import time\ntime.sleep(1)", "timeout"),
    ],
)
def test_what_breaks_the_conversation_is_named(candidate: str, kind: str) -> None:
    tests = "remote.budget_s = 0.5\ntry:\n    remote.get('x')\nexcept Broken as error:\n    remote.report(error.kind)\n"
    assert converse(candidate + "\n", tests) == kind
