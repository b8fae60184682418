"""The verifier of tasks over a folder: hidden tests against the folder that an episode left.

Protected files are restored first. Tests of the kind `source` run in a process of their own, which asks the folder's modules
through a channel, so that no file in the folder can change, skip or replace a test. Tests of the kind `programs` run files
of the folder as programs and compare what they print. Not covered: a task's data file that a program changes in place is
not seen anew by the tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stepgym.envs.coding.grading import grade
from stepgym.envs.coding.repo.domain import UNREADABLE
from stepgym.envs.coding.repo.folder import Folder, FolderError, protects, read_answer, read_files
from stepgym.envs.coding.styles import Tests
from stepgym.envs.coding.usage import share
from stepgym.envs.coding.verifier import CodingVerifier
from stepgym.envs.types import Fault, Problem, Status, Verdict

LOADER = """\
import importlib, os, sys, types
sys.path.insert(0, os.getcwd())
def find(name):
    module, colon, attribute = name.partition(":")
    if not colon:
        raise AttributeError(name)
    return importlib.import_module(module), attribute
class Folder(types.ModuleType):
    def __getattr__(self, name):
        return getattr(*find(name))
    def __setattr__(self, name, value):
        setattr(*find(name), value)
    def __delattr__(self, name):
        delattr(*find(name))
sys.modules[__name__].__class__ = Folder
"""
"""The candidate's program: `module:name` is what the folder's module has under this name."""
PROGRAM = """\
import runpy, sys
sys.argv[0] = {path!r}
runpy.run_path({path!r}, run_name="__main__")
"""
EMPTY = "the answer is empty"


class RepoVerifier(CodingVerifier):
    """Ground truth for problems whose `task` has `files`, `protected` and `tests`."""

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        """Grade all folders in one batch."""
        verdicts = self._lacking_packages(problems)
        jobs: list[tuple[int, str, Tests]] = []
        for i, (problem, answer) in enumerate(zip(problems, answers, strict=True)):
            if i in verdicts:
                continue
            try:
                left = folder_left(problem.task, answer)
            except FolderError as error:
                verdicts[i] = unreadable(answer, str(error))
                continue
            jobs += [(i, *job) for job in parts_of(problem.task, left)]
        graded = self._grade_jobs(problems, jobs)
        for i in dict.fromkeys(i for i, *_ in jobs):
            own = [verdict for (owner, *_), verdict in zip(jobs, graded) if owner == i]
            verdicts[i] = joined(own)
        return [verdicts[i] for i in range(len(problems))]

    def _grade_jobs(
        self, problems: Sequence[Problem], jobs: Sequence[tuple[int, str, Tests]]
    ) -> list[Verdict]:
        if not jobs:
            return []
        limits = [
            replace(self.limits, **dict(problems[i].task.get("limits") or {})) for i, *_ in jobs
        ]
        return grade(
            [source for _, source, _ in jobs],
            tests=[tests for _, _, tests in jobs],
            entry_points=[None] * len(jobs),
            strict=self.strict,
            sandbox=self._open(),
            limits=limits,
        )


def folder_left(task: Mapping[str, Any], answer: str) -> Folder:
    """Return the folder that an answer leaves, with the protected files as the task has them. Raises `FolderError`."""
    own = Folder(tuple((path, data or b"") for path, data in read_files(task["files"]).items()))
    protected = tuple(task.get("protected") or ())
    changes = read_answer(answer)
    return own.with_changes(
        {path: data for path, data in changes.items() if not protects(protected, path)}
    )


def parts_of(task: Mapping[str, Any], left: Folder) -> list[tuple[str, dict[str, Any]]]:
    """Return what is to be graded: each time a program and its tests."""
    tests = task["tests"]
    shared = {"folder": left.contents, "data_files": dict(tests.get("data_files") or {})}
    parts: list[tuple[str, dict[str, Any]]] = []
    if tests.get("source"):
        named = {"style": "files", "source": tests["source"]}
        named |= {key: task[key] for key in ("modules", "support")}
        parts.append((LOADER, named | shared))
    by_program: dict[str, list[Any]] = {}
    for case in tests.get("programs") or ():
        by_program.setdefault(case["program"], []).append(case)
    for path, cases in by_program.items():
        checker = {key: tests[key] for key in ("checker", "tolerance") if key in tests}
        parts.append((PROGRAM.format(path=path), {"cases": cases} | checker | shared))
    return parts


def joined(verdicts: Sequence[Verdict]) -> Verdict:
    """Return one verdict for all parts of a task's tests: a failed part decides, then an undecided one."""
    rows = [row for verdict in verdicts for row in verdict.details["tests"]]
    uses = [verdict.details["used"] for verdict in verdicts if "used" in verdict.details]
    details = {**verdicts[0].details, "tests": rows}
    if uses:
        details["used"] = max(uses, key=share)
    for status in (Status.INCORRECT, Status.UNDECIDED):
        for verdict in verdicts:
            if verdict.status is status:
                passed = sum(each.score for each in verdicts) / len(verdicts)
                score = min(passed, 0.999) if status is Status.INCORRECT else 0.0
                return replace(verdict, score=score, details=details)
    return replace(verdicts[0], reason=f"{len(rows)} tests passed", details=details)


def unreadable(answer: str, why: str) -> Verdict:
    """Return the verdict on an answer that is no folder: the domain's own word why, or text of another kind."""
    if not answer.strip():
        return Verdict(Status.INCORRECT, reason=EMPTY, decided_by="source")
    try:
        said = json.loads(answer)
        if isinstance(said, dict) and isinstance(said.get(UNREADABLE), str):
            return Verdict(
                Status.UNDECIDED, reason=said[UNREADABLE], decided_by="source", fault=Fault.ANSWER
            )
    except (ValueError, RecursionError):
        pass
    return Verdict(Status.INCORRECT, reason=why, decided_by="source")
