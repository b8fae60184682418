"""Recognise the format of a file of code problems by its columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from stepgym.envs.benchmarks import (
    apps,
    bigcodebench,
    code_contests,
    cruxeval,
    ds1000,
    evalplus,
    humaneval_x,
    leetcode,
    livecodebench,
    mbpp,
    quixbugs,
)
from stepgym.envs.rows import Row
from stepgym.envs.types import Problem


class Format(NamedTuple):
    """A format of rows."""

    matches: Callable[[Row], bool]
    problem: Callable[[Row, int, str], Problem]
    """Takes a row, its index and the name of the set."""


FORMATS: dict[str, Format] = {
    "EvalPlus": Format(evalplus.matches, evalplus.plus_problem),
    "HumanEval-X": Format(humaneval_x.matches, humaneval_x.humaneval_x_problem),
    "LeetCode": Format(leetcode.matches, leetcode.leetcode_problem),
    "LiveCodeBench": Format(livecodebench.matches, livecodebench.livecodebench_problem),
    "APPS": Format(apps.matches, apps.apps_problem),
    "CodeContests": Format(code_contests.matches, code_contests.code_contests_problem),
    "BigCodeBench": Format(bigcodebench.matches, bigcodebench.bigcodebench_problem),
    "DS-1000": Format(ds1000.matches, ds1000.ds1000_problem),
    "QuixBugs": Format(quixbugs.matches, quixbugs.quixbugs_problem),
    "MBPP": Format(mbpp.matches, mbpp.mbpp_problem),
    "CRUXEval": Format(cruxeval.matches, cruxeval.cruxeval_problem),
}
"""More special formats first."""


def format_of(row: Row) -> Format | None:
    """Return the format of a row, `None` if it is of no published data set."""
    return next((each for each in FORMATS.values() if each.matches(row)), None)
