"""Write tests for a function: asserts that hold for it and fail for every mutant of it.

Only asserts of the form `assert f(literals) == literal` count. They are read as data and compared in the sandbox: nothing
that a model wrote is run, so that a test cannot look at the code that it tests. The score is the share of the mutants
that are killed, and CORRECT is all of them. Levels raise the length of the function and lower the number of asserts that
may be spared. Mutants that no input tried tells from the function are taken for equivalent and left out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from stepgym.envs.coding.extraction import extract_code
from stepgym.envs.families.code_family import code_family, signature
from stepgym.envs.families.code_tasks import Drawn, call, drawn_task
from stepgym.envs.families.mutation import equal, mutants, outcomes
from stepgym.envs.families.text import scaled, worded
from stepgym.envs.problem_sets import Draft
from stepgym.envs.types import Fault, Problem, Status, Verdict
from stepgym.sandbox import open_sandbox
from stepgym.sandbox.types import Limits, Outcome, Program, Sandbox

NAME = "stepgym/WriteTests-v0"
INSTRUCTIONS = "Write the asserts. Give all of them in one ```python block."
LIMITS = Limits(cpu_s=6.0, wall_s=12.0, memory_mib=512)
CHECKER = """\
import ast, copy, json, sys
given = json.loads(sys.stdin.read())
name = given['entry_point']

def fail(reason):
    print(json.dumps({'fault': reason}))
    sys.exit()

def literal(node):
    try:
        return ast.literal_eval(node)
    except Exception:
        fail('not a literal: ' + ast.unparse(node)[:60])

def read(text):
    try:
        statements = ast.parse(text).body
    except Exception as error:
        fail('no Python: %s' % type(error).__name__)
    rows = []
    for each in statements:
        test = each.test if isinstance(each, ast.Assert) else None
        plain = (
            isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq)
            and isinstance(test.left, ast.Call) and isinstance(test.left.func, ast.Name)
            and test.left.func.id == name and not test.left.keywords
        )
        if not plain:
            fail('not of the form `assert %s(...) == ...`: %s' % (name, ast.unparse(each)[:60]))
        rows.append(([literal(arg) for arg in test.left.args], literal(test.comparators[0])))
    return rows

def passes(source, rows):
    names = {}
    exec(source, names)
    for args, expected in rows:
        try:
            if names[name](*copy.deepcopy(args)) != expected:
                return False
        except Exception:
            return False
    return True

rows = read(given['text'])
if not rows:
    fail('no asserts')
if len(rows) > given['most']:
    fail('%d asserts; at most %d may be written' % (len(rows), given['most']))
for row in rows:
    if not passes(given['source'], [row]):
        fail('does not hold: assert %s(%s) == %r' % (name, ', '.join(map(repr, row[0]))[:60], row[1]))
print(json.dumps({'killed': [not passes(mutant, rows) for mutant in given['mutants']]}))
"""


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a function; some of the inputs drawn with it kill all of its mutants."""
    while True:
        drawn = drawn_task(rng, level)
        task = drawn.task
        killers = _killers(drawn)
        if len(killers) >= 3:
            break
    chosen = covering(list(killers.values()))
    most = len(chosen) + scaled(level, 5, 1)
    question = worded(
        rng,
        "Write at most {most} asserts for {signature} that hold for the function below and fail for wrong versions of it, in "
        "which one operator, constant, condition or built-in function is changed. Each is of the form `assert {name}(...) == ...` with literals."
        "\n\n```\n{source}\n```",
        "Test this function with no more than {most} lines `assert {name}(<literals>) == <literal>`. They must be true of it, "
        "and every version with one changed operator, constant, condition or built-in function must fail one.\n\n```\n{source}\n```",
        most=most,
        name=task.entry_point,
        signature=signature(task),
        source=task.source.rstrip(),
    )
    lines = [f"assert {call(task, drawn.inputs[i])} == {drawn.expected[i]}" for i in chosen]
    hidden = {
        "entry_point": task.entry_point,
        "source": task.source,
        "mutants": list(killers),
        "most": most,
    }
    plan = [
        f"{len(killers[m])} of the inputs tried tell version {k} apart."
        for k, m in enumerate(killers, 1)
    ]
    answer = "\n".join(lines)
    return Draft(
        f"{INSTRUCTIONS}\n\n{question}",
        answer,
        task=hidden,
        solution=("\n".join(plan), f"```python\n{answer}\n```"),
    )


def _killers(drawn: Drawn) -> dict[str, set[int]]:
    """Return mutant -> the inputs on which it differs, without those that never do."""
    found = {}
    for mutant in mutants(drawn.task.source):
        got = outcomes(mutant, drawn.task.entry_point, drawn.inputs)
        kills = {i for i, (a, b) in enumerate(zip(got, drawn.expected)) if not equal(a, b)}
        if kills:
            found[mutant] = kills
    return found


def covering(sets: Sequence[set[int]]) -> list[int]:
    """Return few numbers of which each set has one: always the one that most of the sets left have."""
    left, chosen = list(sets), []
    while left:
        numbers = sorted(set[int]().union(*left))
        best = max(numbers, key=lambda number: sum(number in each for each in left))
        chosen.append(best)
        left = [each for each in left if best not in each]
    return chosen


class TestsVerifier:
    """Runs the asserts of an answer against the function and its mutants, in a sandbox that it opens when needed."""

    __test__ = False

    def __init__(self, sandbox: str | Sandbox = "auto") -> None:
        self.sandbox = sandbox
        self._opened: Sandbox | None = None

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        """Check all answers in one batch."""
        if not problems:
            return []
        programs = [
            Program(CHECKER, stdin=_input(problem, answer), limits=LIMITS)
            for problem, answer in zip(problems, answers, strict=True)
        ]
        results = self._open().run(programs)
        return [_verdict(result.outcome, result.stdout) for result in results]

    def close(self) -> None:
        """Close the sandbox if it was opened here; the next answer opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _open(self) -> Sandbox:
        if not isinstance(self.sandbox, str):
            return self.sandbox
        if self._opened is None:
            self._opened = open_sandbox(self.sandbox)
        return self._opened


def _input(problem: Problem, answer: str) -> str:
    text = extract_code(answer).encode("utf-8", "replace").decode("utf-8")
    return json.dumps({**problem.task, "text": text})


def _verdict(outcome: Outcome, printed: str) -> Verdict:
    if outcome is Outcome.WALL_TIME:
        reason = "the check ran out of time on a busy machine"
        return Verdict(Status.UNDECIDED, 0.0, reason, "mutants", fault=Fault.OURS)
    try:
        found = json.loads(printed.strip().splitlines()[-1])
    except (ValueError, IndexError):
        reason = f"the function stopped on these inputs: {outcome.value}"
        return Verdict(Status.INCORRECT, 0.0, reason, "mutants")
    if "fault" in found:
        return Verdict(Status.INCORRECT, 0.0, str(found["fault"]), "mutants")
    killed, total = sum(found["killed"]), len(found["killed"])
    reason = f"{killed} of {total} mutants are killed"
    if killed == total:
        return Verdict(Status.CORRECT, 1.0, reason, "mutants")
    return Verdict(Status.INCORRECT, min(killed / total, 0.999), reason, "mutants")


make = code_family(NAME, generate, TestsVerifier)
