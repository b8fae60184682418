"""Proposed programs: a Python function `f` and an input for it; the solver predicts what it returns.

A function that ends well runs several times, each time with other objects in memory before it. If the results differ, the program is
not deterministic. Sets are decided without a run (`stepgym.envs.proposals.python_rules`), because a sandbox gives every
program the same hash seed.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stepgym.envs.benchmarks.cruxeval import cruxeval_problem
from stepgym.envs.proposals.python_rules import BUILTINS, order_refusal, refusal
from stepgym.envs.rows import Row
from stepgym.envs.types import Problem
from stepgym.sandbox.types import ExecutionResult, Limits, Outcome, Program, Sandbox

NUM_RUNS = 3
LIMITS = Limits(cpu_s=1.0, wall_s=20.0, memory_mib=256, output_bytes=64 << 10)
MAX_LINES = 40
MAX_INPUT = 300
MAX_RESULT = 200
MIN_OPERATIONS = 2

_PADDING = """\
_padding = [[bytes(_n) for _ in range({size})] for _n in range(1, 480, 16)]
_padding.append([10**9 + _k for _k in range({size})])
for _objects in _padding:
    del _objects[::3]
"""
"""Stands before a run and leaves gaps of every small size, in other places in each run, for all later objects."""
_OPERATIONS = (
    ast.BinOp,
    ast.BoolOp,
    ast.UnaryOp,
    ast.AugAssign,
    ast.Compare,
    ast.Call,
    ast.For,
    ast.While,
    ast.If,
    ast.IfExp,
    ast.comprehension,
    ast.Subscript,
)


@dataclass(frozen=True)
class ProposedProgram:
    """A function and its input, and what its runs gave."""

    source: str
    given: str
    """The arguments as Python literals, separated by commas."""
    tree: ast.Module
    runs: tuple[ExecutionResult, ...] = ()

    kind = "program"

    @property
    def key(self) -> str:
        """The program without comments and with other names, and its input."""
        renamed = _Renamed().visit(ast.parse(self.source))
        return f"program {ast.unparse(renamed)} {ast.unparse(ast.parse(self.given, mode='eval'))}"

    @property
    def num_operations(self) -> int:
        return sum(isinstance(node, _OPERATIONS) for node in ast.walk(self.tree))

    @property
    def function(self) -> ast.FunctionDef | None:
        found = [n for n in self.tree.body if isinstance(n, ast.FunctionDef) and n.name == "f"]
        return found[0] if len(found) == 1 else None

    def too_large(self) -> str:
        lines = self.source.count("\n") + 1
        if lines > MAX_LINES:
            return f"{lines} lines; at most {MAX_LINES}"
        if len(self.given) > MAX_INPUT:
            return f"an input of {len(self.given)} characters; at most {MAX_INPUT}"
        return ""

    def ambiguous(self) -> str:
        if self.function is None:
            return "it defines not exactly one function called f"
        allowed = (ast.FunctionDef, ast.Import, ast.ImportFrom)
        if not all(isinstance(node, allowed) for node in self.tree.body):
            return "only imports and functions are allowed outside functions"
        return ""

    def undecidable(self) -> str:
        """Return why the result cannot be decided without running anything."""
        return refusal(self.tree)

    def not_deterministic(self) -> str:
        """Return why it may give other results elsewhere; before it has run, only its text is looked at."""
        results = {(run.outcome, run.exit_code, run.stdout) for run in self.runs}
        return "its runs gave different results" if len(results) > 1 else order_refusal(self.tree)

    def not_run(self) -> str:
        """Return why the runs decide nothing: the sandbox, and not the program, was the reason."""
        late = [run for run in self.runs if run.outcome in (Outcome.WALL_TIME, Outcome.KILLED)]
        return f"a run did not end: {late[0].reason or late[0].outcome.value}" if late else ""

    def unsolvable(self) -> str:
        run = self.runs[0]
        if run.outcome is not Outcome.OK:
            last = run.stderr.strip().rpartition("\n")[2]
            return f"f({self.given:.60}) returns nothing: {last or run.outcome.value}"
        result = run.stdout.strip()
        if len(result) > MAX_RESULT:
            return f"it returns {len(result)} characters; at most {MAX_RESULT}"
        try:
            value = ast.literal_eval(result)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return f"it returns {result:.60}, which is no literal"
        return "" if value == value else "it returns a value that does not equal itself"

    def trivial(self) -> str:
        if self.num_operations < MIN_OPERATIONS:
            return f"{self.num_operations} operations; at least {MIN_OPERATIONS}"
        assert self.function is not None
        read = {n.id for n in ast.walk(self.function) if isinstance(n, ast.Name)}
        arguments = self.function.args
        names = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        if not read & names:
            return "f does not use its input"
        if self.solution() in (self.given.strip(), f"({self.given.strip()},)"):
            return "f returns its input"
        return ""

    def solution(self) -> str:
        return self.runs[0].stdout.strip()

    def problem(self, reference: str) -> Problem:
        data = {"code": self.source, "input": self.given, "output": reference}
        found = cruxeval_problem(Row(Path(), 1, data), 0, "proposed")
        return replace(found, id=f"proposed/{self.key}")


def read_program(source: str, given: str | None) -> ProposedProgram | str:
    """Read a program and its input, or return why they are none."""
    lines = [line for line in source.splitlines() if not line.lstrip().startswith("```")]
    source = textwrap.dedent("\n".join(lines)).strip()
    if given is None:
        return "a program needs a line `input:` with the arguments of f"
    try:
        tree = ast.parse(source)
        ast.literal_eval(f"({given.strip()},)")
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        return f"not Python, or the input is no literal: {error}"
    return ProposedProgram(source, given.strip(), tree)


def run_programs(programs: Sequence[ProposedProgram], sandbox: Sandbox) -> list[ProposedProgram]:
    """Run each program, and those that end well `NUM_RUNS` times in all. Raises only `SandboxError`."""
    first = sandbox.run([_run(program, 0) for program in programs])
    well = [i for i, result in enumerate(first) if result.outcome is Outcome.OK]
    others = range(1, NUM_RUNS)
    again = iter(sandbox.run([_run(programs[i], k) for i in well for k in others]))
    runs: list[tuple[ExecutionResult, ...]] = [(result,) for result in first]
    for i in well:
        runs[i] = (first[i], *(next(again) for _ in others))
    return [replace(program, runs=found) for program, found in zip(programs, runs)]


def _run(program: ProposedProgram, number: int) -> Program:
    padding = _PADDING.format(size=211 + 311 * number)
    source = f"{padding}{program.source}\n\nprint(repr(f({program.given})))\n"
    return Program(source, limits=LIMITS)


class _Renamed(ast.NodeTransformer):
    """Gives the names of a program new ones, in the order of their first use."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._new(node.name)
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg, node.annotation = self._new(node.arg), None
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._new(node.id)
        return node

    def _new(self, name: str) -> str:
        return name if name in BUILTINS else self.names.setdefault(name, f"v{len(self.names)}")
