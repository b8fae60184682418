"""From an answer to a program, and from a file to problems."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.coding import extract_code, grade
from stepgym.envs.coding.extraction import solution_source
from stepgym.envs.coding.problems import code_problems, make_code
from stepgym.envs.coding.verifier import CodingVerifier
from stepgym.envs.rows import DataFileError
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
    ("a fence at the end of the last line of code", f"```python\n{WHOLE.rstrip()}```"),
    ("a quoted block", "".join(f"> {line}\n" for line in f"```python\n{WHOLE}```".split("\n"))),
    ("HTML", f'<pre><code class="language-python">{WHOLE}</code></pre>'),
    ("no-break spaces as margin", WHOLE.replace("    ", "\u00a0" * 4)),
    ("a heading before bare code and one after", f"**Code**\n\n{WHOLE}\n**Why**: Archimedes."),
    ("marks around bare code", f"BEGIN CODE\n{WHOLE}END CODE"),
    (
        "a future import behind what the prompt imports",
        f"```python\nfrom __future__ import annotations\n{WHOLE}```",
    ),
    ("a lambda", "area = lambda r: math.pi * r * r\n"),
    ("a fence of tildes", f"~~~python\n{WHOLE}~~~\n"),
    ("tags", f"[PYTHON]\n{WHOLE}[/PYTHON]\n[TESTS]\nassert area(0) == 0\n[/TESTS]"),
    (
        "a summary that is longer than the code",
        f"```python\n{WHOLE}```\n\n```\n{'The area grows with the square of the radius. ' * 20}\n```",
    ),
    (
        "a helper in a block of its own",
        "```python\ndef square(x):\n    return x * x\n```\nThen:\n```python\ndef area(r):\n    return math.pi * square(r)\n```",
    ),
    (
        "a fence inside a docstring",
        '```python\ndef area(r):\n  """Doc.\n  ```\n  area(1)\n  ```\n  """\n  return math.pi * r * r\n```',
    ),
    (
        "an indented fence inside a docstring",
        "```python\ndef area(r):\n    '''Doc.\n    ```\n    area(1)\n    ```\n    '''\n    return math.pi * r * r\n```",
    ),
    ("a body with two blanks", "  if r:\n    return math.pi * r * r\n  return 0\n"),
    ("a body with tabs", "\tif r:\n\t\treturn math.pi * r * r\n\treturn 0\n"),
    ("a program that ends itself", f"```python\n{WHOLE}import sys\nsys.exit(0)\n```"),
    ("a byte order mark", f"\ufeff{WHOLE}"),
    ("lines that end as on Windows", f"```python\n{WHOLE}```".replace("\n", "\r\n")),
    (
        "an interactive session beside it",
        f"```python\n{WHOLE}```\n```\n>>> area(1)\n3.141592653589793\n{'>>> area(0)' * 30}\n```",
    ),
    (
        "an interactive session",
        "```\n>>> def area(r):\n...     return math.pi * r * r\n>>> area(0)\n0.0\n```",
    ),
    ("a block without end before another", f"```text\nfirst a plan\n```python\n{WHOLE}```"),
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
    with pytest.warns(UserWarning, match="1 of 2 rows are left out"):
        (skipped,) = code_problems(path).skipped
    assert "tasks.jsonl, line 2" in skipped and re.search(word, skipped), skipped
    path.write_text("\n" + line + "\n")
    with pytest.raises(DataFileError, match=r"tasks\.jsonl, line 2"):
        code_problems(path)


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


@given(st.text(alphabet="`~ab \n\t'\"[]", max_size=200))
def test_extraction_takes_any_text(answer: str) -> None:
    assert isinstance(extract_code(answer, "a"), str)


@given(st.sampled_from(["```", "````", "~~~"]), st.sampled_from(["python", "py", "Python3", ""]))
def test_code_in_any_fence_is_the_code(fence: str, language: str) -> None:
    assert extract_code(f"Here:\n\n{fence}{language}\n{WHOLE}{fence}\nDone.", "area") == WHOLE


def test_extraction_takes_time_in_proportion() -> None:
    for piece in ("```\n", "[PYTHON]\n", '"""\n```\n', "def area(r):\n", "~~~x\n"):
        assert isinstance(extract_code(piece * 100_000, "area"), str)


def test_without_an_entry_point_the_program_is_taken() -> None:
    program = "n = int(input())\nprint(n * 2)\n"
    words = "```\nInput: 3\nOutput: 6\nA long explanation of the example follows here.\n```"
    assert extract_code(f"{words}\n```python\n{program}```\n{words}") == program


def test_grade_takes_answers_too(local_sandbox: Sandbox) -> None:
    fenced = "def f():\n    '''\n```\nf()\n```\n'''\n    return 1\n"
    found = grade(
        [f"Here:\n```python\n{fenced}```", fenced],
        tests=["assert f() == 1"] * 2,
        entry_points=["f"] * 2,
        sandbox=local_sandbox,
    )
    assert [verdict.correct for verdict in found] == [True, True], found
