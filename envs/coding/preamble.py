"""Source that is put before a solution: imports that a task grants, such as those of LeetCode's editor."""

from __future__ import annotations

import re

LEETCODE = """\
import bisect, collections, functools, heapq, itertools, math, operator, random, re, string
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *
from builtins import *
inf = float("inf")
"""
"""Stands before a class `Solution`, unless the task brings a preamble of its own."""
NODES = {
    "ListNode": """\
class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next
""",
    "TreeNode": """\
class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right
""",
}
"""Node classes of LeetCode; tests that define one of these names define it for the solution too."""
FUTURE = re.compile(r"^from __future__ import [^\n]*\n?", re.MULTILINE)


def with_preamble(
    solution: str, preamble: str | None, *, entry_point: str | None, tests: str
) -> str:
    """Return a solution with its preamble; `from __future__` imports stay in front.

    Without a preamble of the task's own, a class `Solution` gets LeetCode's imports and node classes.
    """
    if preamble is None:
        in_class = entry_point is not None and entry_point.partition("(")[0] == "Solution"
        preamble = leetcode(tests) if in_class else ""
    if not preamble:
        return solution
    first = "".join(FUTURE.findall(solution))
    return f"{first}{preamble}\n{FUTURE.sub('', solution) if first else solution}"


def leetcode(tests: str) -> str:
    """Return what LeetCode's editor puts before a solution."""
    return LEETCODE + _nodes(tests)


def _nodes(tests: str) -> str:
    """Return the node classes, as the tests define them if they do."""
    found = []
    for name in (*NODES, "Node"):
        own = re.search(rf"^class {name}\b[^\n]*\n(?:(?:[ \t][^\n]*)?\n)*", tests, re.MULTILINE)
        found.append(own[0] if own else NODES.get(name, ""))
    return "".join(found)
