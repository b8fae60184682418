"""Tasks in JavaScript and C++: answers as models write them, what cannot be judged, and cheap forgeries."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from stepgym.envs.coding import grade
from stepgym.envs.coding.extraction import solution_source
from stepgym.envs.coding.same_program import renamed_main
from stepgym.envs.coding.verifier import CodingVerifier
from stepgym.envs.registry import load_env
from stepgym.envs.rows import DataFileError
from stepgym.envs.types import Problem, Status
from stepgym.sandbox.scripted import ScriptedSandbox
from stepgym.sandbox.types import ExecutionResult, MissingToolError, Program, Sandbox

JAVASCRIPT = {
    "task_id": "JavaScript/0",
    "prompt": "/* Double x. */\nconst half = (x) => x / 2;\nconst double = (x) => {\n",
    "declaration": "\nconst double = (x) => {\n",
    "canonical_solution": "  return 4 * half(x);\n}\n\n",
    "test": "const testDouble = () => {\n  console.assert(double(2) === 4)\n"
    "  console.assert(JSON.stringify([double(0)]) === JSON.stringify([0]))\n}\ntestDouble()\n",
    "example_test": "",
}
CPP = {
    "task_id": "CPP/0",
    "prompt": "#include<vector>\nusing namespace std;\nint one(){\n    return 1;\n}\n"
    "// Double all.\nvector<int> twice(vector<int> xs){\n",
    "declaration": "#include<vector>\nusing namespace std;\nvector<int> twice(vector<int> xs){\n",
    "canonical_solution": "    for (int& x : xs) x *= 1 + one();\n    return xs;\n}\n",
    "test": "#undef NDEBUG\n#include<assert.h>\nint main(){\n    char c = '}'; // }\n    assert (twice({1, 2})[1] == 4 && \"}\");\n"
    "    if (c) { assert (twice({}).empty()); }\n}\n",
    "example_test": "",
}
ROWS = {"javascript": JAVASCRIPT, "cpp": CPP}
TOOLS = {"javascript": "node", "cpp": "g++"}
WHOLE_JS = "const double = (x) => x + x;\n"
WHOLE_CPP = (
    "vector<int> twice(vector<int> xs) {\n    for (int &x : xs) x *= 2;\n    return xs;\n}\n"
)


def problem(tmp_path: Path, language: str, **changed: Any) -> Problem:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**ROWS[language], **changed}))
    return load_env("HumanEval-v0", file=path, sandbox="local").problems[0]


def needs(language: str) -> None:
    if shutil.which(TOOLS[language]) is None:
        pytest.skip(f"needs {TOOLS[language]}")


ANSWERS = {
    "javascript": [
        JAVASCRIPT["canonical_solution"],
        f"Here:\n```javascript\n{WHOLE_JS}```\nIt adds.",
        "```js\nfunction double(x) { return x * 2 }\nmodule.exports = { double }\nconsole.log(double(1))\n```",
        "```\nconst half = (x) => x / 2\nconst double = (x) => half(x) * 4\n```",
        f"{JAVASCRIPT['prompt']}  return 4 * half(x);\n}}\n",
    ],
    "cpp": [
        CPP["canonical_solution"],
        f"```cpp\n{WHOLE_CPP}```",
        f"```c++\n#include <iostream>\n#include <vector>\nusing namespace std;\nint one() {{ return 1; }}\n{WHOLE_CPP}"
        "int main() {\n    cout << twice({1})[0];\n}\n```\nRun it.",
    ],
}


@pytest.mark.parametrize("language", ROWS)
def test_answers_as_models_write_them_are_right(
    local_sandbox: Sandbox, tmp_path: Path, language: str
) -> None:
    needs(language)
    asked = problem(tmp_path, language)
    answers = [*ANSWERS[language], ""]
    *right, empty = CodingVerifier(local_sandbox).verify([asked] * len(answers), answers)
    assert [verdict.reason for verdict in right if not verdict.correct] == []
    assert all(verdict.details["forgeable"] for verdict in right)
    assert empty.status is Status.INCORRECT


BODY = "return 1\n}\n"
FORGERIES = {
    "javascript": [
        "process.exit(0)\n}\n",
        BODY + "this.constructor.constructor('return process')().exit(0)",
        "console.assert = () => {};\nreturn 1\n}\n",
        BODY + "console.assert = () => {};\n",
        BODY + "var console = { assert() {} };\n",
        BODY + "const console = { assert() {} };\n",
        BODY + "function console() {}\n",
        BODY + "globalThis.console = { assert() {} };\n",
        BODY + "Object.defineProperty(globalThis, 'console', { value: { assert() {} } });\n",
        BODY + "JSON.stringify = () => '1';\nNumber.prototype.valueOf = () => 4\n",
        BODY + "Object.prototype.toJSON = () => 1;\n",
        "JSON.stringify = () => 1; return 4\n}\n",
        "Array.prototype.toJSON = () => 1; return 4\n}\n",
        "throw new Error('x')\n}\n",
        "const fs = require('fs'); return 4\n}\n",
        BODY + "import('fs').then((fs) => fs.writeSync(1, 'x'))\n",
        "return Promise.resolve(4)\n}\n",
        BODY
        + "Error.prepareStackTrace = (e, s) => { for (const c of s) c.getThis()?.process?.exit(0) }\n",
    ],
    "cpp": [
        "exit(0);\n}\n",
        "return xs;\n}\n#define assert(x)\n",
        "return xs;\n}\nint main() { exit(0); }\n",
        "return xs;\n}\n#include <signal.h>\nstruct A { A() { signal(SIGABRT, [](int) { _exit(0); }); } } a;\n",
    ],
}


@pytest.mark.parametrize("language", FORGERIES)
def test_cheap_forgeries_are_incorrect(
    local_sandbox: Sandbox, tmp_path: Path, language: str
) -> None:
    needs(language)
    asked, texts = problem(tmp_path, language), FORGERIES[language]
    verdicts = CodingVerifier(local_sandbox).verify([asked] * len(texts), texts)
    assert [t for t, v in zip(texts, verdicts) if v.status is not Status.INCORRECT] == []


@pytest.mark.parametrize(
    ("language", "changed", "says"),
    [
        (
            "javascript",
            {"prompt": "const m = require('no-such-module')\n" + JAVASCRIPT["prompt"]},
            "'no-such-module'",
        ),
        ("javascript", {"canonical_solution": "  return require('js-md5')(x);\n}\n"}, "'js-md5'"),
        ("javascript", {"test": "double(2)\n"}, "nothing was asserted"),
        ("cpp", {"prompt": "#include <no/such.hpp>\n" + CPP["prompt"]}, "'no/such.hpp'"),
    ],
)
def test_what_the_task_needs_and_the_sandbox_lacks_is_undecided(
    local_sandbox: Sandbox, tmp_path: Path, language: str, changed: dict[str, str], says: str
) -> None:
    needs(language)
    asked = problem(tmp_path, language, **changed)
    [verdict] = CodingVerifier(local_sandbox).verify([asked], [asked.reference])
    assert verdict.status is Status.UNDECIDED and says in verdict.reason, verdict


def test_a_sandbox_without_the_interpreter_is_undecided_and_python_goes_on() -> None:
    def script(program: Program) -> ExecutionResult:
        if program.language != "python":
            raise MissingToolError("not here", "node")
        raise AssertionError("no Python program runs here")

    tests: list[Any] = [
        {"style": "same_program", "language": "javascript", "source": "console.assert(f())"},
        {"cases": [{"stdin": "", "stdout": "1"}], "language": "javascript"},
    ]
    verdicts = grade(
        ["const f = () => 1"] * 2,
        tests=tests,
        entry_points=[None] * 2,
        sandbox=ScriptedSandbox(script),
    )
    for verdict in verdicts:
        assert verdict.status is Status.UNDECIDED and "no 'node'" in verdict.reason, verdict


def test_languages_that_are_not_known_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="line 1: the language 'Go' is none of"):
        problem(tmp_path, "cpp", task_id="Go/0")


def test_the_tests_main_returns_and_ends_where_it_ends() -> None:
    text = renamed_main(CPP["test"] + "void after() {}\n")
    assert "\nreturn 0;\n}\nvoid after() {}" in text and "main_of_tests() {" in text


def test_the_python_form_has_the_columns_of_the_others(
    local_sandbox: Sandbox, tmp_path: Path
) -> None:
    asked = problem(
        tmp_path,
        "cpp",
        task_id="Python/0",
        prompt="def f(x):\n",
        declaration="def f(x):\n",
        canonical_solution="    return x\n",
        test="def check(f):\n    assert f(1) == 1\n\ncheck(f)",
    )
    answers = [asked.reference, "    return 2\n"]
    right, wrong = CodingVerifier(local_sandbox).verify([asked] * 2, answers)
    assert right.correct and wrong.status is Status.INCORRECT
    assert solution_source("```python\ndef f(x):\n    return x\n```", asked).count("def f") == 1


BROKEN = {"js": {"112", "155"}, "cpp": set[str](), "python": set[str]()}
"""Canonical solutions that fail their own tests: the set's own harness does not notice failed `console.assert`."""


@pytest.mark.slow
@pytest.mark.parametrize("language", BROKEN)
def test_published_references_are_correct(local_sandbox: Sandbox, language: str) -> None:
    path = Path(os.environ.get("STEPGYM_DATA", "/nowhere"), f"humaneval_{language}.jsonl.gz")
    if not path.is_file():
        pytest.skip("STEPGYM_DATA names no folder with the published files")
    env = load_env("HumanEval-v0", file=path, sandbox=local_sandbox)
    problems = [env.problems[i] for i in range(len(env.problems))]
    verdicts = env.verifier.verify(problems, [p.reference for p in problems])
    wrong = {
        p.id.rpartition("/")[2] for p, v in zip(problems, verdicts) if v.status is Status.INCORRECT
    }
    assert len(problems) == 164 and wrong == BROKEN[language]
