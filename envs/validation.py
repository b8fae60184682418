"""Validation of problems: references pass, empty and constant answers fail.

Verdicts must also repeat.

A problem whose reference is not CORRECT teaches that right answers are wrong; one that an empty or constant answer
passes teaches nothing. Both are listed to be left out of a run. What each reference used of its limits is listed too: one
that is near a limit will fail on a slower machine. Not covered: whether a reference is right, and whether
its tests notice a wrong answer that is not constant.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stepgym.envs.coding.usage import share
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.types import Problem, Status, Verdict

BATCH = 64
REPEATS = 3
"""How often a reference is verified; its verdicts must agree."""
PROCEDURAL = 200
"""So many problems of a set without end are validated if no number is given."""
NEAR = 0.5
"""The part of a limit from which on a reference is near it."""
MISSING = re.compile(r"(?:package|module|header|library) '([\w./+-]+)'")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one problem."""

    id: str
    """`Problem.id`."""
    fault: str
    """What is wrong, in a few words."""
    reason: str
    """The verifier's reason."""


@dataclass(frozen=True, slots=True)
class Use:
    """The most that a reference used over its verifications, and its limits (`None`: no limit)."""

    id: str
    """`Problem.id`."""
    cpu_s: float
    """CPU seconds."""
    memory_mib: float
    """Peak memory."""
    limit_cpu_s: float | None
    """The limit of CPU seconds."""
    limit_memory_mib: int | None
    """The limit of memory, in MiB."""

    @property
    def share(self) -> float:
        """The part of the nearest limit that was used, in [0, 1]."""
        return share(asdict(self))


@dataclass
class Validation:
    """The result over all validated problems."""

    problems: int = 0
    """Problems validated."""
    rows_skipped: list[str] = field(default_factory=list)
    """Why rows of the data file are left out, one text for each."""
    reference_correct: int = 0
    """References that are CORRECT."""
    reference_undecided: int = 0
    """References that are UNDECIDED."""
    empty_correct: int = 0
    """Problems whose empty answer is CORRECT."""
    constant_correct: int = 0
    """Problems whose constant answer is CORRECT."""
    unstable: int = 0
    """Problems whose reference got different verdicts."""
    seconds: float = 0.0
    """Elapsed time."""
    missing_packages: list[str] = field(default_factory=list)
    """Packages that references import and the sandbox does not have."""
    leave_out: list[str] = field(default_factory=list)
    """Ids of problems that should not be played."""
    findings: list[Finding] = field(default_factory=list)
    """What is wrong, one entry for each fault."""
    near_limit: list[str] = field(default_factory=list)
    """Ids of problems whose reference used more than half of a limit; they are not left out."""
    uses: list[Use] = field(default_factory=list)
    """One for each reference that ran in a sandbox."""

    def row(self) -> dict[str, Any]:
        """Return the result as JSON-able data."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


def validate(env: ReasoningEnv, *, count: int | None = None, repeats: int = REPEATS) -> Validation:
    """Validate the first `count` problems of an environment.

    By default all problems of a data set and 200 of a procedural one. Each reference is verified `repeats` times.
    """
    begin = time.monotonic()
    size = len(env.problems)
    if count is None:
        count = size if size < 1 << 31 else PROCEDURAL
    found = Validation(rows_skipped=list(getattr(env.problems, "skipped", ())))
    last = min(count, size)
    for first in range(0, last, BATCH):
        problems = [env.problems[i] for i in range(first, min(first + BATCH, last))]
        _validate_batch(env, problems, repeats, found)
    found.seconds = time.monotonic() - begin
    return found


def constant_answer(problem: Problem) -> str:
    """Return an answer that ignores the question: `return None` for code, otherwise 0."""
    task = problem.task
    if "tests" not in task:
        return "0"
    if task.get("form"):
        return "None"
    names = [task.get("entry_point"), *_declared(task["tests"])]
    name = next((n for n in names if n), None)
    if name is None:
        return "print()"
    owner, _, method = name.partition("().")
    if method:
        return f"class {owner}:\n    def {method}(self, *args, **named):\n        return None\n"
    return f"def {name}(*args, **named):\n    return None\n"


def _declared(tests: Any) -> list[str]:
    if not isinstance(tests, dict):
        return []
    return [*tests.get("names", ()), *filter(None, [tests.get("fn_name")])]


def _validate_batch(
    env: ReasoningEnv, problems: Sequence[Problem], repeats: int, found: Validation
) -> None:
    references = [problem.reference for problem in problems]
    rounds = [env.verifier.verify(problems, references) for _ in range(max(1, repeats))]
    empty = env.verifier.verify(problems, [""] * len(problems))
    constant = env.verifier.verify(problems, [constant_answer(problem) for problem in problems])
    for i, problem in enumerate(problems):
        verdicts = [verdicts[i] for verdicts in rounds]
        found.problems += 1
        _note_use(problem, verdicts, found)
        found.reference_correct += verdicts[0].correct
        found.reference_undecided += verdicts[0].status is Status.UNDECIDED
        found.empty_correct += empty[i].correct
        found.constant_correct += constant[i].correct
        faults = _faults(problem, verdicts, empty[i], constant[i])
        found.unstable += any(fault == "unstable" for fault, _ in faults)
        found.findings += [Finding(problem.id, *fault) for fault in faults]
        if faults:
            found.leave_out.append(problem.id)
        for verdict in (*verdicts, empty[i]):
            for package in MISSING.findall(verdict.reason):
                if package not in found.missing_packages:
                    found.missing_packages.append(package)


def _note_use(problem: Problem, verdicts: Sequence[Verdict], found: Validation) -> None:
    uses = [verdict.details["used"] for verdict in verdicts if "used" in verdict.details]
    if not uses:
        return
    use = Use(problem.id, **max(uses, key=share))
    found.uses.append(use)
    if use.share > NEAR:
        found.near_limit.append(problem.id)


def _faults(
    problem: Problem, verdicts: Sequence[Verdict], empty: Verdict, constant: Verdict
) -> list[tuple[str, str]]:
    faults = []
    if len({verdict.status for verdict in verdicts}) > 1:
        faults.append(("unstable", ", ".join(verdict.status.value for verdict in verdicts)))
    elif not verdicts[0].correct:
        known = "reference" if problem.reference.strip() else "no reference"
        faults.append((f"{known} {verdicts[0].status.value}", verdicts[0].reason))
    if empty.correct:
        faults.append(("empty answer correct", empty.reason))
    if constant.correct and "tests" in problem.task:
        faults.append(("constant answer correct", constant.reason))
    return faults
