"""The gate on proposed problems: sound ones pass, each attack is refused by the rule that is meant for it."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.envs.proposals.gate import Gate, Judged
from stepgym.envs.proposals.problems import problems
from stepgym.envs.proposals.reading import FORMATS, KINDS
from stepgym.envs.proposals.seen import Seen
from stepgym.envs.proposals.templates import draw_proposal
from stepgym.envs.types import Problem, Status
from stepgym.plugins.errors import UserError
from stepgym.sandbox.types import Sandbox


def asked(kind: str, number: int = 0) -> Problem:
    return Problem(f"p{number}", "state a problem", "", public=kind)


def judge(text: str, kind: str, gate: Gate | None = None, number: int = 0) -> Judged:
    [found] = (gate or Gate()).judge([text], [asked(kind, number)])
    return found


def program(body: str, given: str = "[3, 1, 2]", before: str = "") -> str:
    lines = "\n".join(f"    {line}" for line in body.split("\n"))
    return f"program:\n{before}def f(xs):\n{lines}\ninput: {given}"


ATTACKS = [
    # A text that is no problem, or not one.
    ("", "expression", "states_one_problem"),
    ("What is 2 + 3 * 4?", "expression", "states_one_problem"),
    ("expression: 2 + 3 * 4\nexpression: 5 * 6 - 1", "expression", "states_one_problem"),
    ("expression: 2 + 3 * 4\nequation: 2x = 4", "expression", "states_one_problem"),
    ("expression: 2 + 3 * 4\nsolution: 14\nsolution: 20", "expression", "states_one_problem"),
    ("equation: 2x + 1 = 7", "expression", "is_asked_kind"),
    ("expression: 2 + 3 * 4 or 2 + 4 * 3", "expression", "is_readable"),
    ("expression: 2 ** 3 + 1", "expression", "is_readable"),
    ("expression: 7 // 2 + 1", "expression", "is_readable"),
    ("expression: 6/2(1+2)", "expression", "is_readable"),
    ("expression: __import__('time').time() + 1 + 2", "expression", "is_readable"),
    ("expression: " + "(" * 140 + "1" + ")" * 140, "expression", "is_not_trivial"),
    # Huge.
    ("expression: " + "+".join(["7"] * 2_000), "expression", "is_small_text"),
    ("expression: " + "+".join(["7"] * 100), "expression", "is_small"),
    ("expression: 1234567 + 2 * 3", "expression", "is_small"),
    ("expression: 99999 * 99999 * 99999", "expression", "is_small"),
    ("equation: 3x + " + "1 + " * 60 + "1 = 7", "equation", "is_small"),
    ("countdown: 1, 2, 3, 4, 5, 6, 7, 8 -> 20", "countdown", "is_small"),
    ("countdown: 123456789, 2, 3 -> 20", "countdown", "is_small"),
    (program("return sum(xs) + len(xs)", str(list(range(300)))), "program", "is_small"),
    # Not decidable, not solvable.
    ("expression: 4 / (3 - 3) + 2", "expression", "is_decidable"),
    ("equation: 2x + 1 = 2x + 3", "equation", "is_solvable"),
    ("equation: 2(x + 1) = 2x + 2", "equation", "is_solvable"),
    ("countdown: 2, 3, 4 -> 9999", "countdown", "is_solvable"),
    # Ambiguous.
    ("equation: 1/2x + 3 = 7", "equation", "is_unambiguous"),
    ("equation: 6/2(x + 1) = 7", "equation", "is_unambiguous"),
    ("equation: 2x + y = 7", "equation", "is_readable"),
    ("equation: 2x = 4 = 3x - 2", "equation", "is_readable"),
    ("equation: x * x = 4", "equation", "is_readable"),
    ("countdown: 2, 3, 4 -> 9 or 24", "countdown", "is_readable"),
    ("program:\ndef g(x):\n    return x * 2 + 1\ninput: 3", "program", "is_unambiguous"),
    (program("return sum(xs) + 1", before="k = 3\n"), "program", "is_unambiguous"),
    ("program:\ndef f(x):\n    return x * 2 + 1", "program", "is_readable"),
    ("program:\ndef f(x):\n    return x * 2 + 1\ninput: open('x')", "program", "is_readable"),
    # Trivial.
    ("expression: 42", "expression", "is_not_trivial"),
    ("expression: 40 + 2", "expression", "is_not_trivial"),
    ("expression: 40 + 2 + 0 + 0 + 0", "expression", "is_not_trivial"),
    ("expression: 40 * 1 / 1 * 1 - 0", "expression", "is_not_trivial"),
    ("expression: 0 * (37 * 41 - 12 + 6)", "expression", "is_not_trivial"),
    ("equation: x = 5", "equation", "is_not_trivial"),
    ("equation: 7 - 3 = x + 4 - 4", "equation", "is_not_trivial"),
    ("countdown: 2, 5 -> 10", "countdown", "is_not_trivial"),
    ("countdown: 1, 1, 7 -> 7", "countdown", "is_not_trivial"),
    # A stated solution that is wrong, and the example of the prompt.
    ("expression: 3 + 4 * 5\nsolution: 35", "expression", "states_right_solution"),
    ("countdown: 3, 5, 7 -> 22\nsolution: 3 * 5 + 8", "countdown", "states_right_solution"),
    (FORMATS["expression"], "expression", "is_new"),
    ("expression: 3*( 5 + 4)-6", "expression", "is_new"),
]


@pytest.mark.parametrize(("text", "kind", "rule"), ATTACKS)
def test_attacks_without_a_sandbox_are_refused(text: str, kind: str, rule: str) -> None:
    verdict = judge(text, kind).verdict
    assert (verdict.status, verdict.decided_by) == (Status.INCORRECT, rule), verdict
    assert verdict.reason


HIDDEN = [
    "import time\nreturn sum(xs) + time.time()",
    "import random\nreturn random.choice(xs) + 1",
    "from datetime import datetime\nreturn datetime.now().second + len(xs)",
    "import os\nreturn len(os.listdir('.')) + len(xs)",
    "import re\nreturn re.enum.sys.modules['time'].time() + len(xs)",
    "import re as r\nm = r\nreturn m.enum.sys.maxsize + len(xs)",
    "from re import enum\nreturn enum.sys.maxsize + len(xs)",
    "from math import *\nreturn sqrt(xs[0]) + 1",
    "return __import__('time').time() + len(xs)",
    "return eval('1 + 1') + len(xs)",
    "return open('/proc/uptime').read() + str(len(xs))",
    "return id(xs) % 7 + len(xs)",
    "return hash('a') % 7 + len(xs)",
    "return xs.__class__.__name__ + str(len(xs))",
    "return f.__globals__ and len(xs) + 1",
    "return '{0.__globals__}'.format(f)[5] + str(len(xs))",
    "class A: pass\nreturn str(A()) + str(len(xs))",
    "return input() + str(len(xs))",
]


@pytest.mark.parametrize("body", HIDDEN)
def test_programs_cannot_reach_clocks_random_numbers_or_files(body: str) -> None:
    found = judge(program(body), "program")
    assert found.verdict.decided_by == "is_decidable", found.verdict


RUN = [
    (program("return list({'a', 'b', 'cd'} - {'a'})[0] + str(len(xs))"), "is_deterministic"),
    (program("s = set('abc')\nreturn [x for x in s] + xs"), "is_deterministic"),
    (program("return list(map(set, ['abc']))[0].pop() + str(len(xs))"), "is_deterministic"),
    (program("return max(set('abc'), key=len) + str(len(xs))"), "is_deterministic"),
    (program("k = {'a': 1, 'b': 2}.items()\nreturn list(k & k) + xs"), "is_deterministic"),
    (program("return '%s' % (lambda: xs) + str(len(xs))"), "is_deterministic"),
    (program("return str(f)[-6:] + str(len(xs))"), "is_deterministic"),
    (program("return str(iter(xs))[-6:] + str(len(xs))"), "is_deterministic"),
    (program("return str(x for x in xs)[-6:] + str(len(xs))"), "is_deterministic"),
    (program("return f'{map(abs, xs)}'[-6:] + str(len(xs))"), "is_deterministic"),
    (program("return str(xs.sort)[-6:] + str(len(xs))"), "is_deterministic"),
    (program("return str(lambda: xs)[-6:] + str(len(xs))"), "is_deterministic"),
    (program("return xs[0] / (xs[1] - 1)"), "is_solvable"),
    (program("while len(xs) > 1:\n    xs = xs + xs[:0]\nreturn 1"), "is_solvable"),
    (program("return [sum(xs) + k for k in range(500)]"), "is_solvable"),
    (program("return f if len(xs) + 1 > 2 else 0"), "is_deterministic"),
    (program("return range(len(xs) + 1)"), "is_solvable"),
    (program("return float('nan') + len(xs)"), "is_solvable"),
    (program("return 2 + 3 * len('abc')"), "is_not_trivial"),
    (program("return xs"), "is_not_trivial"),
    (program("return list(map(int, xs))[:]"), "is_not_trivial"),
    (program("return sum(xs) + len(xs)") + "\nsolution: 8", "states_right_solution"),
]


def test_programs_that_must_be_run_are_judged_by_their_runs(local_sandbox: Sandbox) -> None:
    found = Gate(sandbox=local_sandbox).judge([t for t, _ in RUN], [asked("program")] * len(RUN))
    assert [each.verdict.decided_by for each in found] == [rule for _, rule in RUN]


def test_sets_whose_order_does_not_matter_are_allowed(local_sandbox: Sandbox) -> None:
    body = "d = {x: 1 for x in xs if x not in {7, 8}}\nreturn sorted(set(xs)) + [k + v for k, v in d.items()]"
    assert (
        judge(program(body), "program", Gate(sandbox=local_sandbox)).solution
        == "[1, 2, 3, 4, 2, 3]"
    )


def test_one_sound_program_passes_and_repeats_do_not(local_sandbox: Sandbox) -> None:
    gate = Gate(sandbox=local_sandbox)
    first = judge(program("return sum(xs) + len(xs)") + "\nsolution: 9", "program", gate)
    assert first.verdict.correct and first.solution == "9"
    other = "program:\n```python\ndef f(numbers):  # the same\n    return sum(numbers) + len(numbers)\n```\ninput: [3,1,2]"
    assert judge(other, "program", gate, 1).verdict.decided_by == "is_new"


REPEATS = [
    ("expression: 3 * 7 + 5 - 2", "expression: 5 + (07 × 3) − 2"),
    ("equation: 3x + 4 = 19", "equation: 38 = 8 + 2 * 3y"),
    ("countdown: 2, 9, 4 -> 17", "countdown: 9,4 , 2 -> 17"),
]


@pytest.mark.parametrize(("first", "second"), REPEATS)
def test_a_repeat_in_another_spelling_is_not_new_for_another_request(
    first: str, second: str
) -> None:
    gate, kind = Gate(), first.split(":")[0]
    assert judge(first, kind, gate, 0).verdict.correct
    assert judge(first, kind, gate, 0).verdict.correct, "the same request may ask again"
    assert judge(second, kind, gate, 1).verdict.decided_by == "is_new"


def test_seen_proposals_survive_in_a_file_and_a_broken_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "seen.jsonl"
    assert judge(REPEATS[0][0], "expression", Gate(seen=Seen(path)), 0).verdict.correct
    later = Gate(seen=Seen(path))
    assert judge(REPEATS[0][1], "expression", later, 1).verdict.decided_by == "is_new"
    assert judge(REPEATS[0][0], "expression", pickle.loads(pickle.dumps(later)), 0).verdict.correct
    path.write_text("[]\n")
    with pytest.raises(UserError, match=r"line 1: not a line"):
        Seen(path)


@given(data=st.data())
def test_a_file_of_seen_proposals_may_end_at_any_byte(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A killed writer costs the line that it was writing; what comes next is kept whole."""
    path = tmp_path_factory.mktemp("seen") / "seen.jsonl"
    keys = [f"countdown {number}" for number in range(3)]
    seen = Seen(path)
    assert all(seen.is_new(key, "first", "é") for key in keys)
    content = path.read_bytes()
    kept = content[: data.draw(st.integers(0, len(content)))]
    path.write_bytes(kept)
    known = keys[: kept.count(b"\n")]
    later = Seen(path)
    assert [key for key in keys if not later.is_new(key, "second")] == known
    assert list(Seen(path).owners) == keys


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from([k for k in KINDS if k != "program"]))
def test_templates_pass_the_gate_and_the_verifier_accepts_their_solution(
    seed: int, kind: str
) -> None:
    gate = Gate()
    found = judge(draw_proposal(kind, random.Random(seed)), kind, gate)
    assert found.verdict.correct, found.verdict
    assert found.statement is not None and found.solution is not None
    problem = found.statement.problem(found.solution)
    [verdict] = gate.verifier_of(found.statement).verify([problem], [found.solution])
    assert verdict.correct, (problem, verdict)


@settings(max_examples=50, deadline=None)
@given(
    text=st.one_of(st.text(), st.text("0123456789+-*/()=x,>: \n")), kind=st.sampled_from(KINDS[:3])
)
def test_no_text_makes_the_gate_raise(text: str, kind: str) -> None:
    for proposal in (text, f"{kind}: {text}"):
        verdict = judge(proposal, kind).verdict
        assert verdict.decided_by, verdict


def test_kinds_are_chosen_and_checked() -> None:
    assert {problems("equation", 0)[i].public for i in range(5)} == {"equation"}
    assert {problems(seed=1)[i].public for i in range(40)} == set(KINDS)
    with pytest.raises(UserError, match="equation"):
        problems(("equasion",))
