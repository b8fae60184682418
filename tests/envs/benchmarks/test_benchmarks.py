"""Named data sets: every shipped example verifies, published forms are read, and faults name their place."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.envs.benchmarks.livecodebench import decode_tests
from stepgym.envs.coding.problems import code_problems
from stepgym.envs.coding.verifier import CodingVerifier
from stepgym.envs.registry import load_env
from stepgym.envs.rows import DataFileError, read_rows
from stepgym.envs.types import Step
from stepgym.envs.validation import constant_answer, validate
from stepgym.plugins.errors import UserError
from stepgym.plugins.settings import SettingError
from stepgym.records.reverify import reverify
from stepgym.records.run_folder import read_episodes
from stepgym.sandbox.types import Sandbox, SandboxError
from stepgym.selfplay import selfplay

IDS = ["MBPP", "HumanEvalPlus", "MBPPPlus", "CRUXEval", "LiveCodeBench", "APPS"]


@pytest.mark.parametrize("name", IDS)
def test_examples_verify_and_constant_answers_do_not(local_sandbox: Sandbox, name: str) -> None:
    env = load_env(f"{name}-v0", sandbox=local_sandbox)
    found = validate(env, repeats=1)
    assert found.reference_correct == found.problems == len(env.problems), found
    assert found.empty_correct == found.constant_correct == 0, found


def test_cruxeval_predicts_inputs_too(local_sandbox: Sandbox) -> None:
    env = load_env("CRUXEval-v0", sandbox=local_sandbox, task="input")
    problem = env.problems[1]
    answers = ["3, 2", "f(3, 2) == {0: 0, 1: 2, 2: 4}", "3, 1 + 1", "__import__('os')", "3"]
    verdicts = env.verifier.verify([problem] * len(answers), answers)
    assert [verdict.correct for verdict in verdicts] == [True, True, False, False, False]


ROWS: dict[str, dict[str, Any]] = {
    "sanitized MBPP": {
        "prompt": "Write a function that rounds up.",
        "code": "import math\ndef up(x):\n    return math.ceil(x)",
        "test_imports": ["import math"],
        "test_list": ["assert up(1.5) == math.ceil(1.5)"],
        "task_id": 7,
    },
    "CodeContests": {
        "description": "Double the number.",
        "public_tests": {"input": ["1\n"], "output": ["2\n"]},
        "private_tests": {"input": ["4\n"], "output": ["8\n"]},
        "generated_tests": {"input": [], "output": []},
        "solutions": {"language": [2, 3], "solution": ["cout", "print(2 * int(input()))"]},
        "incorrect_solutions": {"language": [3], "solution": ["print(2)"]},
        "name": "1_A. Double",
        "source": 2,
        "difficulty": 7,
        "cf_tags": ["math"],
        "time_limit": {"seconds": 1, "nanos": 0},
        "memory_limit_bytes": 256000000,
        "input_file": "",
        "output_file": "",
    },
    "BigCodeBench": {
        "task_id": "BigCodeBench/0",
        "complete_prompt": "import json\ndef task_func(path):\n    '''Read a JSON file.'''\n",
        "canonical_solution": "    with open(path) as stream:\n        return json.load(stream)\n",
        "libs": "['json', 'os.path']",
        "test": "import json, os, tempfile, unittest\nclass TestCases(unittest.TestCase):\n"
        "    def test_a(self):\n        path = os.path.join(tempfile.mkdtemp(), 'a.json')\n"
        "        with open(path, 'w') as s: json.dump([1], s)\n"
        "        self.assertEqual(task_func(path), [1])\n",
        "entry_point": "task_func",
    },
    "LeetCode": {
        "task_id": "two",
        "query": "Return twice the sum.",
        "prompt": "from typing import *\n",
        "completion": "class Solution:\n    def two(self, xs: List[int]) -> int:\n        return 2 * sum(xs)\n",
        "entry_point": "Solution().two",
        "test": "def check(candidate):\n    assert candidate(xs=[1, 2]) == 6\n    assert candidate([]) == 0\n",
    },
    "QuixBugs": {
        "name": "bitcount",
        "buggy_program": "def bitcount(n):\n    return n",
        "fixed_program": "def bitcount(n):\n    return bin(n).count('1')",
        "tests": {"calls": [[[127], 7], [[128], 1]], "positional": True, "from_json": True},
    },
    "DS-1000": {
        "prompt": "Put the largest item of xs into result.",
        "code_context": "def test_execution(solution):\n    names = {'xs': [1, 3]}\n"
        "    exec(solution, names)\n    assert names['result'] == 3\n",
        "reference_code": "result = max(xs)",
        "metadata": {
            "problem_id": 0,
            "library_problem_id": 0,
            "library": "Numpy",
            "perturbation_type": "Origin",
        },
    },
    "TACO": {
        "question": "Print the larger.",
        "input_output": {"inputs": ["1 2"], "outputs": ["2"]},
        "solutions": ["print(max(map(int, input().split())))"],
    },
    "APPS with a function, keys that JSON made text, and an output in a list": {
        "problem_id": 3001,
        "question": "Count the values.",
        "solutions": json.dumps(
            ["class Solution:\n    def count(self, d, k):\n        return {v: k for v in d}"]
        ),
        "input_output": json.dumps(
            {
                "fn_name": "count",
                "inputs": [[{"1": 2}, 3], [{"-4": 0}, 1]],
                "outputs": [[{"1": 3}], {"-4": 1}],
            }
        ),
        "difficulty": "introductory",
        "url": "",
        "starter_code": "class Solution:\n    def count(self, d: dict, k: int) -> dict:\n",
    },
    "PRIME, as verl has it": {
        "data_source": "taco",
        "prompt": [
            {"role": "system", "content": "Think."},
            {"role": "user", "content": "Print the sum of a line."},
        ],
        "ability": "code",
        "reward_model": {
            "style": "rule",
            "ground_truth": json.dumps({"inputs": ["1 2\n", ["3 4"]], "outputs": ["3\n", ["7"]]}),
        },
        "extra_info": {"split": "train", "index": 0},
        "solution": "print(sum(map(int, input().split())))",
    },
    "LeetCodeDataset with trees": {
        "task_id": "invert-tree",
        "question_id": 226,
        "difficulty": "Easy",
        "tags": ["Tree"],
        "problem_description": "Invert a tree.",
        "starter_code": "class Solution:\n    def invert(self, root: Optional[TreeNode]) -> Optional[TreeNode]:\n",
        "estimated_date": "2015-01-01",
        "prompt": "from typing import *\nfrom collections import deque\n"
        "class TreeNode:\n    def __init__(self, val=0, left=None, right=None):\n"
        "        self.val, self.left, self.right = val, left, right\n"
        "def tree_node(values):\n    if not values: return None\n    root = TreeNode(values[0])\n    queue, i = deque([root]), 1\n"
        "    while queue:\n        node = queue.popleft()\n        for side in ('left', 'right'):\n"
        "            if i < len(values) and values[i] is not None:\n"
        "                setattr(node, side, TreeNode(values[i]))\n                queue.append(getattr(node, side))\n            i += 1\n    return root\n"
        "def is_same_tree(p, q):\n    if not p and not q: return True\n    if not p or not q: return False\n"
        "    return p.val == q.val and is_same_tree(p.left, q.left) and is_same_tree(p.right, q.right)\n",
        "completion": "class Solution:\n    def invert(self, root: Optional[TreeNode]) -> Optional[TreeNode]:\n"
        "        if root:\n            root.left, root.right = self.invert(root.right), self.invert(root.left)\n        return root\n",
        "entry_point": "Solution().invert",
        "test": "def check(candidate):\n    assert is_same_tree(candidate(root = tree_node([1, 2, 3])), tree_node([1, 3, 2]))\n"
        "    assert is_same_tree(candidate(root = tree_node([4, 2])), tree_node([4, None, 2]))\n"
        "    assert is_same_tree(candidate(root = tree_node([])), tree_node([]))\n",
        "input_output": [{"input": "root = [1, 2, 3]", "output": "[1, 3, 2]"}],
        "query": "You are an expert. Invert a tree.",
        "response": "```python\n...\n```",
    },
    "HumanEval+ of the hub": {
        "task_id": "HumanEval/0",
        "prompt": 'from typing import List\n\ndef top(xs: List[int]) -> int:\n    """Return the largest."""\n',
        "canonical_solution": "    return max(xs)\n",
        "entry_point": "top",
        "test": "import numpy as np\ndef is_floats(x):\n    return isinstance(x, float) or isinstance(x, np.ndarray)\n"
        "def assertion(out, exp, atol):\n    if atol == 0 and is_floats(exp):\n        atol = 1e-6\n"
        "    if out != exp and atol != 0:\n        assert np.allclose(out, exp, rtol=1e-07, atol=atol)\n    else:\n        assert out == exp\n"
        "def check(candidate):\n    inputs = [[[1, 2]], [[5]]]\n    results = [2, 5]\n"
        "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n        assertion(candidate(*inp), exp, 0)\n",
    },
    "MBPP+ of the hub": {
        "task_id": 2,
        "code": "def shared(a, b):\n  return tuple(set(a) & set(b))",
        "prompt": "Find the shared elements.",
        "source_file": "x.ipynb",
        "test_imports": ["import math"],
        "test_list": ["assert set(shared((3, 4), (4, 7))) == set((4,))"],
        "test": "import numpy as np\nfrom math import inf\ndef is_floats(x):\n    return isinstance(x, float)\n"
        "def assertion(out, exp, atol):\n    exact_match = out == exp\n    if atol == 0 and is_floats(exp):\n        atol = 1e-6\n"
        "    if not exact_match and atol != 0:\n        assert np.allclose(out, exp, rtol=1e-07, atol=atol)\n    else:\n        assert exact_match, f'out: {out}, exp: {exp}'\n"
        "inputs = [[(3, 4), (4, 7)], [(1,), (1, inf)]]\nresults = [(4,), (1,)]\n"
        "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(shared(*inp), exp, 0)\n",
    },
    "a JSON table with a tuple as answer": {
        "prompt": "Write f.",
        "tests": [[[[3]], [1, 3]]],
        "entry_point": "f",
        "solution": "def f(x): return (1, 3)",
    },
}


@pytest.mark.parametrize("form", ROWS)
def test_published_forms_are_read(local_sandbox: Sandbox, tmp_path: Path, form: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([ROWS[form]]))
    (problem,) = code_problems(path).problems
    right, wrong = CodingVerifier(local_sandbox).verify(
        [problem] * 2, [problem.reference, constant_answer(problem)]
    )
    assert right.correct, right
    assert not wrong.correct, wrong


QUIXBUGS = {
    "python_programs/depth.py": "def depth(node):\n    return 0\n",
    "correct_python_programs/depth.py": "def depth(node):\n    seen = {node}\n    while node.next:\n        node = node.next\n"
    "        seen.add(node)\n    return len(seen)\n",
    "python_testcases/node.py": "class Node:\n    def __init__(self, next=None):\n        self.next = next\n",
    "python_testcases/test_depth.py": "import pytest\nfrom node import Node\nif pytest.use_correct:\n"
    "    from correct_python_programs.depth import depth\nelse:\n    from python_programs.depth import depth\n"
    "def test1():\n    assert depth(Node(Node())) == 2\n",
    "python_programs/slow.py": "def slow(n):\n    yield n\n",
    "correct_python_programs/slow.py": "def slow(n):\n    while n > 5: pass\n    yield n + 1\n",
    "json_testcases/slow.json": "[[1], [2]]\n[[9], [10]]\n",
    "python_testcases/test_slow.py": "import pytest\nfrom load_testdata import load_json_testcases\n"
    "if pytest.use_correct:\n    from correct_python_programs.slow import slow\nelse:\n    from python_programs.slow import slow\n"
    "testdata = load_json_testcases(slow.__name__)\n"
    "@pytest.mark.parametrize('input_data,expected', testdata)\ndef test_slow(input_data, expected):\n"
    "    if not pytest.run_slow and input_data == [9]:\n        pytest.skip('slow')\n"
    "    assert list(slow(*input_data)) == expected\n",
}
"""Files of a checkout, with the ways in which its tests are written."""


@pytest.mark.parametrize("form", ROWS)
def test_published_forms_are_read_from_every_container(tmp_path: Path, form: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    row = ROWS[form]
    line = json.dumps(row).encode() + b"\n"
    for name, data in {
        "a.jsonl": line,
        "a.json": b"[" + line + b"]",
        "a.jsonl.gz": gzip.compress(line),
        "a.jsonl.zst": pyarrow.compress(line, "zstd", asbytes=True),
    }.items():
        (tmp_path / name).write_bytes(data)
    with contextlib.suppress(pyarrow.ArrowInvalid):  # lists of mixed types, which Parquet lacks
        parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "a.parquet")
    problems = []
    for path in sorted(tmp_path.iterdir()):
        (problem,) = code_problems(path).problems
        problems.append((problem.prompt, problem.reference, json.dumps(problem.task, default=repr)))
    assert len(problems) >= 4 and len(set(problems)) == 1, problems


def test_a_checkout_of_quixbugs_is_read(local_sandbox: Sandbox, tmp_path: Path) -> None:
    for folder, source in (
        ("python_programs", "def gcd(a, b):\n    return a\n"),
        ("correct_python_programs", "import math\ndef gcd(a, b):\n    return math.gcd(a, b)\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "gcd.py").write_text(source)
    (tmp_path / "json_testcases").mkdir()
    (tmp_path / "json_testcases" / "gcd.json").write_text("[[13, 13], 13]\n[[37, 600], 1]\n")
    (tmp_path / "python_testcases").mkdir()
    for name, source in QUIXBUGS.items():
        (tmp_path / name).write_text(source)
    problems = code_problems(tmp_path).problems
    assert [problem.id.rpartition("/")[2] for problem in problems] == ["depth", "gcd", "slow"]
    verifier = CodingVerifier(local_sandbox)
    verdicts = verifier.verify(problems, [problem.reference for problem in problems])
    assert [verdict.reason for verdict in verdicts if not verdict.correct] == []
    wrong = verifier.verify(problems, [constant_answer(problem) for problem in problems])
    assert not any(verdict.correct for verdict in wrong), wrong


FAULTS = [
    ("APPS-v0", {"question": "q", "input_output": "{"}, "input_output.*JSON"),
    ("APPS-v0", {"question": "q", "input_output": {"inputs": [1], "outputs": []}}, "one length"),
    (
        "LiveCodeBench-v0",
        {"question_content": "q", "private_test_cases": "?"},
        "private_test_cases",
    ),
    (
        "LiveCodeBench-v0",
        {
            "question_content": "q",
            "public_test_cases": [{"input": "1", "output": "1"}],
            "starter_code": "def f(self",
        },
        "testtype",
    ),
    ("MBPP-v0", {"text": "q", "code": "x = 1", "test_list": [1]}, "line 1"),
    (
        "MBPPPlus-v0",
        {
            "task_id": "Mbpp/106",
            "prompt": "p",
            "entry_point": "f",
            "canonical_solution": "x",
            "base_input": [[1]],
            "plus_input": [],
        },
        "Mbpp/106",
    ),
]


@pytest.mark.parametrize(("env_id", "row", "word"), FAULTS, ids=[row[2] for row in FAULTS])
def test_rows_that_are_not_understood_are_named(
    tmp_path: Path, env_id: str, row: dict[str, Any], word: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(DataFileError, match=word) as raised:
        load_env(env_id, file=path)
    assert "rows.jsonl, line 1" in str(raised.value)


def test_a_pickle_is_read_without_being_run() -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.abort, ()

    import base64
    import zlib

    def packed(value: Any) -> str:
        return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()

    assert decode_tests(packed('[{"input": "1"}]')) == [{"input": "1"}]
    with pytest.raises(ValueError, match="only one string"):
        decode_tests(packed(Attack()))


def test_rows_are_read_from_every_container(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": "y\u2028"}]
    lines = "\n".join(map(json.dumps, rows)).encode()
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "p")
    with pyarrow.CompressedOutputStream(str(tmp_path / "z"), "zstd") as stream:
        stream.write(lines)
    for name, data in {
        "l": lines,
        "g": gzip.compress(lines),
        "a": json.dumps(rows, indent=1).encode(),
        "u": json.dumps(rows, ensure_ascii=False).encode(),
        "o": json.dumps({"data": rows}, indent=2).encode(),
        "n": json.dumps({"x": rows[0], "y": rows[1]}).encode(),
    }.items():
        (tmp_path / name).write_bytes(data)
    for name in "plzgauo":
        assert [row.data for row in read_rows(tmp_path / name)] == rows, name
    assert [row.data["id"] for row in read_rows(tmp_path / "n")] == ["x", "y"]


def test_a_broken_array_names_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[\n {"a": 1},\n {"a": }\n]')
    good, bad = read_rows(path)
    assert good.fault is None and "line 3, column 8" in str(bad.fault)


def test_validation_lists_what_to_leave_out_and_the_run_leaves_it_out(
    local_sandbox: Sandbox, tmp_path: Path
) -> None:
    good = {
        "task_id": 1,
        "text": "q",
        "code": "def f(x):\n    return x",
        "test_list": ["assert f(1) == 1"],
    }
    bad = {**good, "task_id": 2, "test_list": ["assert f(1) == 2"]}
    weak = {
        **good,
        "task_id": 3,
        "test_list": ["assert f(1) is f(1)"],
        "code": "def f(x):\n    return None",
    }
    path, report = tmp_path / "rows.jsonl", tmp_path / "report.json"
    path.write_text("\n".join(map(json.dumps, [bad, good, weak])))
    found = validate(load_env("MBPP-v0", file=path, sandbox=local_sandbox))
    assert [use.id for use in found.uses] == [f"stepgym/MBPP-v0/{n}" for n in (2, 1, 3)]
    assert all(0 < use.share < 0.5 and use.memory_mib > 1 for use in found.uses), found.uses
    assert found.near_limit == []
    assert (found.problems, found.reference_correct, found.constant_correct) == (3, 2, 1)
    assert found.leave_out == ["stepgym/MBPP-v0/2", "stepgym/MBPP-v0/3"]
    report.write_text(json.dumps(found.row()))
    env = load_env("MBPP-v0", file=path, sandbox=local_sandbox, leave_out=str(report))
    assert [env.problems[i].id for i in range(len(env.problems))] == ["stepgym/MBPP-v0/1"]
    answers = ScriptedPolicy({(): ["```python\ndef f(x):\n    return x\n```"]})
    folder = tmp_path / "run"
    options = {"file": str(path), "sandbox": "local", "leave_out": str(report)}
    selfplay("MBPP-v0", out=folder, policy=answers, agent="greedy", episodes=1, env_options=options)
    assert [record.verdict for record in read_episodes(folder)] == ["correct"]
    assert reverify(folder).changed == {}, "the run finds its problem again"
    with pytest.raises(UserError, match="no problem 'x'"):
        load_env("MBPP-v0", file=path, leave_out=["x"])
    with pytest.raises(UserError, match="procedural"):
        load_env("Fractions-v0", leave_out=["x"])


def test_a_reference_near_its_limit_is_listed_and_kept(
    local_sandbox: Sandbox, tmp_path: Path
) -> None:
    code = "def f(x):\n    block = bytearray(b'1') * (300 << 20)\n    return x"
    path = tmp_path / "rows.jsonl"
    path.write_text(
        json.dumps({"task_id": 1, "text": "q", "code": code, "test_list": ["assert f(1) == 1"]})
    )
    found = validate(load_env("MBPP-v0", file=path, sandbox=local_sandbox), repeats=1)
    assert found.near_limit == ["stepgym/MBPP-v0/1"] and found.leave_out == []
    assert found.uses[0].memory_mib > 300


def test_mathematics_is_validated_too() -> None:
    found = validate(load_env("Math-v0", level=2), count=20)
    assert found.reference_correct == 20 and found.empty_correct == 0


@pytest.mark.parametrize("name", ["GSM8K", "MATH500", "AIME"])
def test_examples_of_maths_sets_verify(name: str) -> None:
    env = load_env(f"{name}-v0")
    found = validate(env, repeats=1)
    assert found.reference_correct == found.problems == 3 and found.empty_correct == 0, found
    assert env.reset(options={"index": 0})[0].endswith("within \\boxed{}.\n")
    assert env.step(f"It is \\boxed{{{env.problem.reference}}}.")[1] == 1.0


PUBLISHED_MATHS = {"gsm8k_test.jsonl": ("GSM8K-v0", 1319), "math500.jsonl": ("MATH500-v0", 500)}


@pytest.mark.parametrize("file", PUBLISHED_MATHS)
def test_published_maths_references_verify(file: str) -> None:
    path = Path(os.environ.get("STEPGYM_DATA", "/nowhere"), file)
    if not path.is_file():
        pytest.skip("STEPGYM_DATA names no folder with the published files")
    env_id, size = PUBLISHED_MATHS[file]
    found = validate(load_env(env_id, file=path), repeats=1)
    assert found.problems == found.reference_correct == size, found.findings[:5]
    assert found.empty_correct == 0


PUBLISHED = {
    "mbpp.jsonl": ("MBPP-v0", 972),
    "HumanEvalPlus.jsonl.gz": ("HumanEvalPlus-v0", 164),
    "MbppPlus.jsonl.gz": ("MBPPPlus-v0", 376),
    "cruxeval.jsonl": ("CRUXEval-v0", 800),
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("file", PUBLISHED)
def test_published_references_verify(local_sandbox: Sandbox, file: str) -> None:
    path = Path(os.environ.get("STEPGYM_DATA", "/nowhere"), file)
    if not path.is_file():
        pytest.skip("STEPGYM_DATA names no folder with the published files")
    env_id, least = PUBLISHED[file]
    found = validate(load_env(env_id, file=path, sandbox=local_sandbox), repeats=1)
    assert found.reference_correct >= least, found.findings[:5]
    assert found.empty_correct == found.constant_correct == 0


def test_packages_of_tasks_are_carried_and_missing_ones_are_named(tmp_path: Path) -> None:
    pytest.importorskip("sympy")
    row = {
        "prompt": "Write f(n), the n-th prime.",
        "entry_point": "f",
        "solution": "import sympy\ndef f(n): return int(sympy.prime(n))",
        "tests": "import sympy\ndef check(candidate):\n    assert candidate(5) == 11 and sympy.isprime(candidate(9))\n",
    }
    path = tmp_path / "rows.jsonl"
    rows = [{**row, "packages": packages} for packages in (["sympy>=1.0"], "no-such-thing,sympy")]
    path.write_text("\n".join(map(json.dumps, rows)))
    env = load_env("Code-v0", file=path, sandbox="local")
    try:
        found = validate(env, repeats=1)
        [state] = env.domain.advance(
            [env.domain.initial(env.problems[0])],
            [Step("<tool_call>import sympy; sympy.prime(3)</tool_call>")],
        )
    finally:
        env.close()
    assert (found.reference_correct, found.reference_undecided) == (1, 1), found
    assert found.missing_packages == ["no-such-thing"]
    assert "5" in state.steps[-1].reply


def test_packages_of_an_environment_are_asked_of_its_own_sandbox(local_sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="no-such-thing"):
        env = load_env("MBPP-v0", sandbox="local", packages="no-such-thing")
        env.verifier.verify([env.problems[0]], [env.problems[0].reference])
    with pytest.raises(SettingError, match="open yours with packages"):
        load_env("MBPP-v0", sandbox=local_sandbox, packages=["sympy"])
