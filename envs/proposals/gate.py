"""The gate: which proposals count as problems.

Each rule is a function that returns why a proposal breaks it, or an empty text. The rules are applied in order, and the
first one that is broken gives the verdict; `Verdict.decided_by` is its name. What the gate does not cover: whether a problem
is interesting, and near-duplicates such as the same sum with other numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from stepgym.envs.coding.verifier import CodingVerifier
from stepgym.envs.families.countdown import CountdownVerifier
from stepgym.envs.maths.verify import MathVerifier
from stepgym.envs.proposals.programs import ProposedProgram, run_programs
from stepgym.envs.proposals.reading import (
    FORMATS,
    MAX_LINE,
    MAX_TEXT,
    MORE_FORMATS,
    Parts,
    read_statement,
    split_proposal,
)
from stepgym.envs.proposals.seen import Seen
from stepgym.envs.proposals.statement import Statement
from stepgym.envs.types import Fault, Problem, Status, Verdict, Verifier
from stepgym.sandbox import open_sandbox
from stepgym.sandbox.types import Sandbox

Rule = Callable[[Statement], str]


class Judged(NamedTuple):
    """What the gate found: its verdict, and as much of the problem as could be read."""

    verdict: Verdict
    statement: Statement | None
    stated_solution: str | None
    """The solution in the proposal's own words; `None` if it gives none."""
    solution: str | None
    """The computed solution; `None` if there is none."""


def is_small_text(text: str) -> str:
    """The text has at most `MAX_TEXT` characters."""
    return "" if len(text) <= MAX_TEXT else f"{len(text)} characters; at most {MAX_TEXT}"


def is_small(statement: Statement) -> str:
    """Numbers, operations and lines are few."""
    return statement.too_large()


def is_unambiguous(statement: Statement) -> str:
    """It can be read in one way only."""
    return statement.ambiguous()


def is_decidable(statement: Statement) -> str:
    """A verifier of this package can decide every answer."""
    return statement.undecidable()


def is_deterministic(statement: Statement) -> str:
    """A program gives the same result in each run, and everywhere."""
    return statement.not_deterministic() if isinstance(statement, ProposedProgram) else ""


def is_solvable(statement: Statement) -> str:
    """A solution exists, and was constructed."""
    return statement.unsolvable()


def is_not_trivial(statement: Statement) -> str:
    """It takes at least two operations, and the problem does not contain the solution."""
    return statement.trivial()


BEFORE_RUNNING: tuple[Rule, ...] = (is_unambiguous, is_small, is_decidable, is_deterministic)
AFTER_RUNNING: tuple[Rule, ...] = (is_deterministic, is_solvable, is_not_trivial)


class Gate:
    """Applies the rules to many proposals at once; opens its sandbox with the first program and pickles closed."""

    def __init__(self, *, sandbox: str | Sandbox = "auto", seen: Seen | None = None) -> None:
        self.sandbox = sandbox
        self.seen = seen or Seen(always=example_keys())
        self._opened: Sandbox | None = None

    def judge(self, texts: Sequence[str], asked: Sequence[Problem]) -> list[Judged]:
        """Judge each text as a proposal for the problem that asked for it. Raises only `SandboxError`."""
        read = [_read(text, problem) for text, problem in zip(texts, asked, strict=True)]
        programs = {
            i: each.statement
            for i, each in enumerate(read)
            if each.verdict.correct and isinstance(each.statement, ProposedProgram)
        }
        if programs:
            ran = run_programs(list(programs.values()), self._open())
            read = list(read)
            for i, statement in zip(programs, ran):
                read[i] = read[i]._replace(statement=statement)
        return [
            self._judge_statement(each, problem, text) if each.verdict.correct else each
            for each, problem, text in zip(read, asked, texts)
        ]

    def close(self) -> None:
        """Close the sandbox if it was opened here; the next program opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _judge_statement(self, read: Judged, asked: Problem, text: str) -> Judged:
        statement = read.statement
        assert statement is not None
        if isinstance(statement, ProposedProgram) and (why := statement.not_run()):
            return read._replace(
                verdict=Verdict(Status.UNDECIDED, 0.0, why, "sandbox", fault=Fault.OURS)
            )
        for rule in AFTER_RUNNING:
            if why := rule(statement):
                solved = None if statement.unsolvable() else statement.solution()
                return read._replace(verdict=refused(rule.__name__, why), solution=solved)
        found = read._replace(solution=statement.solution())
        if (verdict := self.states_right_solution(found)) is not None:
            return found._replace(verdict=verdict)
        if not self.seen.is_new(statement.key, asked.id, text.strip()):
            return found._replace(verdict=refused("is_new", "it was proposed before"))
        return found

    def states_right_solution(self, found: Judged) -> Verdict | None:
        """Return the verdict on a stated solution that is not right; `None` if it is, or none is stated."""
        statement, stated = found.statement, found.stated_solution
        if stated is None or statement is None or found.solution is None:
            return None
        problem = statement.problem(found.solution)
        [verdict] = self.verifier_of(statement).verify([problem], [stated])
        if verdict.correct:
            return None
        if verdict.status is Status.UNDECIDED and verdict.fault is not Fault.ANSWER:
            return verdict
        return refused("states_right_solution", f"the stated solution is wrong: {verdict.reason}")

    def verifier_of(self, statement: Statement) -> Verifier:
        """Return the verifier of a problem's answers."""
        if statement.kind == "program":
            return CodingVerifier(self._open())
        return CountdownVerifier() if statement.kind == "countdown" else MathVerifier()

    def _open(self) -> Sandbox:
        if not isinstance(self.sandbox, str):
            return self.sandbox
        if self._opened is None:
            self._opened = open_sandbox(self.sandbox)
        return self._opened


def refused(rule: str, reason: str) -> Verdict:
    """Return the verdict on a proposal that breaks a rule."""
    return Verdict(Status.INCORRECT, 0.0, reason, rule)


def refusal_without_running(statement: Statement) -> str:
    """Return why a problem breaks a rule; of a program, only the rules that need no run are applied."""
    is_program = isinstance(statement, ProposedProgram)
    rules = BEFORE_RUNNING if is_program else (*BEFORE_RUNNING, *AFTER_RUNNING)
    return next((why for rule in rules if (why := rule(statement))), "")


def example_keys() -> list[str]:
    """Return the keys of the examples in the prompts."""
    keys = []
    for text in (*FORMATS.values(), *MORE_FORMATS.values()):
        parts = split_proposal(text)
        assert isinstance(parts, Parts)
        statement = read_statement(parts)
        assert not isinstance(statement, str)
        keys.append(statement.key)
    return keys


def _read(text: str, asked: Problem) -> Judged:
    """Apply all rules that need no run."""

    def fails(rule: str, reason: str, statement: Statement | None = None) -> Judged:
        return Judged(refused(rule, reason), statement, solution, None)

    solution: str | None = None
    if why := is_small_text(text):
        return fails("is_small_text", why)
    parts = split_proposal(text)
    if isinstance(parts, str):
        return fails("states_one_problem", parts)
    solution = None if parts.solution is None else parts.solution.strip()
    if parts.kind != asked.public:
        return fails("is_asked_kind", f"a problem of the kind {asked.public} was asked for")
    if parts.kind != "program" and len(parts.body) > MAX_LINE:
        return fails("is_small_text", f"{len(parts.body)} characters; at most {MAX_LINE}")
    statement = read_statement(parts)
    if isinstance(statement, str):
        return fails("is_readable", statement)
    for rule in BEFORE_RUNNING:
        if why := rule(statement):
            return fails(rule.__name__, why, statement)
    return Judged(Verdict(Status.CORRECT, 1.0, "admitted", "gate"), statement, solution, None)
