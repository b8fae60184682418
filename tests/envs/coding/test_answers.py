"""From an answer to a program, and from a file to problems."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.coding.problems import code_problems, make_code
from stepgym.envs.coding.verifier import CodingVerifier, solution_source
from stepgym.envs.files import DataFileError
from stepgym.envs.types import Problem, Status
from stepgym.sandbox.types import Sandbox

PROMPT = 'import math\n\ndef area(r):\n    """Area of a circle."""\n'
PROBLEM = Problem(
    "p",
    PROMPT,
    "",
    task={
        "prompt": PROMPT,
        "entry_point": "area",
        "tests": "def check(candidate):\n    assert round(candidate(1), 2) == 3.14\n",
    },
)
WHOLE = "def area(r):\n    return math.pi * r * r\n"
ANSWERS = [  # how models answer, all of them the same program
    ("a whole function", WHOLE),
    ("a fenced block among words", f"Here it is:\n\n```python\n{WHOLE}```\nIt uses pi."),
    ("a fence that was never closed", f"```python\n{WHOLE}"),
    (
        "the last block that defines it",
        f"```python\ndef area(r):\n    return 0\n```\nBetter:\n```py\n{WHOLE}```\n```\narea(1)\n```",
    ),
    (
        "a block inside a list",
        "1. So:\n   ```python\n   def area(r):\n       return math.pi * r * r\n   ```",
    ),
    (
        "words around bare code",
        f"Sure, here is the code.\n{WHOLE}\nThis works because of Archimedes.",
    ),
    ("a body with its margin", "    return math.pi * r * r\n"),
    ("a body without margin", "return math.pi * r * r"),
    ("a body of several lines whose first lost its margin", "x = r * r\n    return math.pi * x\n"),
    ("a body of a block without margin", "if r:\n    return math.pi * r * r\nreturn 0\n"),
    ("a body and then words", "    return math.pi * r * r\n\nThat is all.\n"),
    ("a body in a fence", "```python\n    return math.pi * r * r\n```"),
    ("a lambda", "area = lambda r: math.pi * r * r\n"),
]


@pytest.mark.parametrize("answer", [row[1] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_forms_of_an_answer(local_sandbox: Sandbox, answer: str) -> None:
    found = CodingVerifier(local_sandbox).verify([PROBLEM], [answer])[0]
    assert found.correct, (found, solution_source(answer, PROBLEM))


@given(st.text())
def test_any_answer_becomes_some_program(answer: str) -> None:
    assert isinstance(solution_source(answer, PROBLEM), str)


@pytest.mark.parametrize(
    "answer", ["", "I do not know.", "```\n```", "x" * 1_000_000, "\0", "\ud800"]
)
def test_rubbish_is_incorrect(local_sandbox: Sandbox, answer: str) -> None:
    assert CodingVerifier(local_sandbox).verify([PROBLEM], [answer])[0].status is Status.INCORRECT


def test_a_verifier_pickles_without_its_sandbox() -> None:
    with CodingVerifier("local") as verifier:
        assert verifier.verify([PROBLEM], [WHOLE])[0].correct
        copied = pickle.loads(pickle.dumps(verifier))
    assert copied.verify([PROBLEM], [WHOLE])[0].correct
    copied.close()


GOOD = {
    "prompt": "Write f.",
    "tests": "def check(candidate):\n    assert candidate() == 1\n",
    "entry_point": "f",
}
FILES = [  # what is wrong, the second line of the file, what the error must say
    ("broken JSON", '{"prompt": ', "line 2"),
    ("no tests", json.dumps({"prompt": "p", "entry_point": "f"}), "'tests'"),
    ("no entry point", json.dumps({**GOOD, "entry_point": None}), "entry_point"),
    ("a bad entry point", json.dumps({**GOOD, "entry_point": "f()"}), "'f\\(\\)'"),
    ("an unknown style", json.dumps({**GOOD, "style": "unitest"}), "unknown test style"),
    ("tests of no form", json.dumps({**GOOD, "tests": {"x": 1}}), "no known style"),
]


@pytest.mark.parametrize(
    ("line", "word"), [row[1:] for row in FILES], ids=[row[0] for row in FILES]
)
def test_bad_files_name_file_line_and_column(tmp_path: Path, line: str, word: str) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(DataFileError, match=word) as raised:
        code_problems(path)
    assert "tasks.jsonl, line 2" in str(raised.value)


def test_a_file_plays(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(GOOD) + "\n")
    env = make_code(file=path, sandbox="local")
    try:
        env.reset(seed=1)
        _, reward, ended, _, _ = env.step("<answer>def f():\n    return 1</answer>")
        assert (reward, ended) == (1.0, True)
    finally:
        env.close()
