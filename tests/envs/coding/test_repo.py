"""Tasks over a folder: tools, forks, hidden tests, records, and attacks through the folder."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents import solve
from stepgym.agents.policies.scripted import ScriptedPolicy, ScriptedRewardModel
from stepgym.envs.coding.repo.domain import call_source
from stepgym.envs.coding.repo.folder import FolderError, answer_of, folder_of, read_answer
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import load_env
from stepgym.envs.rows import DataFileError
from stepgym.envs.session import EnvSession
from stepgym.envs.types import End, Fault, Problem, State, Status, Step
from stepgym.envs.validation import validate
from stepgym.plugins.settings import SettingError
from stepgym.sandbox.types import Sandbox

TASK: dict[str, Any] = {
    "id": "double",
    "prompt": "Make double() right.",
    "files": {
        "pkg/__init__.py": "",
        "pkg/core.py": "def double(x):\n    return x\n",
        "data.bin": {"base64": "AP8Q"},
        "tests/test_core.py": "from pkg.core import double\ndef test_one():\n    assert double(1) == 2\n",
        "tests/judge.py": "def same(a, b):\n    assert a == b, (a, b)\n",
    },
    "protected": ["tests"],
    "tests": "from pkg import core\nfrom tests.judge import same\n"
    "def test_two():\n    same(core.double(2), 4)\n    same(core.double('a'), 'aa')\n"
    "def test_data():\n    with open('data.bin', 'rb') as s: assert s.read() == b'\\x00\\xff\\x10'\n",
    "solution": {"pkg/core.py": "def double(x):\n    return x * 2\n"},
}


def environment(tmp_path: Path, sandbox: Sandbox, **changed: Any) -> ReasoningEnv:
    path = tmp_path / "repo.jsonl"
    path.write_text(json.dumps({**TASK, **changed}))
    return load_env("Repo-v0", file=path, sandbox=sandbox)


@pytest.fixture
def env(tmp_path: Path, local_sandbox: Sandbox) -> Iterator[ReasoningEnv]:
    made = environment(tmp_path, local_sandbox)
    yield made
    made.close()


def play(env: ReasoningEnv, *texts: str, start: State | None = None) -> State:
    state = start or env.domain.initial(env.problems[0])
    for text in texts:
        [state] = env.domain.advance([state], [Step(text)])
    return state


def call(source: str) -> str:
    return f"<tool_call>{source}</tool_call>"


def verdict_of(env: ReasoningEnv, *texts: str) -> Any:
    answer = play(env, *texts, "<answer>done</answer>").answer
    assert answer is not None
    return env.verifier.verify([env.problems[0]], [answer])[0]


def test_the_shipped_tasks_and_a_file_are_valid(env: ReasoningEnv, local_sandbox: Sandbox) -> None:
    for made in (load_env("Repo-v0", sandbox=local_sandbox), env):
        found = validate(made, repeats=2)
        assert found.reference_correct == found.problems == len(made.problems), found
        assert found.empty_correct == found.constant_correct == found.unstable == 0, found
        assert found.leave_out == []


def test_a_folder_without_files_may_be_an_empty_list(
    tmp_path: Path, local_sandbox: Sandbox
) -> None:
    """Some tables hold an empty object so."""
    changed = {"tests": "import new\n", "solution": {"new.py": ""}}
    one, other = (
        environment(tmp_path, local_sandbox, files=files, **changed).problems[0]
        for files in ([], {})
    )
    assert one == other


def test_the_tools_work_on_the_folder(env: ReasoningEnv) -> None:
    state = play(
        env,
        call("files()"),
        call('{"name": "read", "arguments": {"path": "pkg/core.py"}}'),
        call('replace("pkg/core.py", "return x", "return x * 2")'),
        call("test()"),
        call('write("main.py", "import sys; print(sys.argv[1:], input())")'),
        call('run("main.py", "a", stdin="b")'),
        call('replace("pkg/core.py", "nothing", "")'),
        call("import os; os.remove('data.bin')"),
    )
    replies = [step.reply for step in state.steps]
    assert "data.bin 3" in replies[0] and "return x" in replies[1]
    assert "1 tests, 0 failed, 0 skipped" in replies[3]
    assert "['a'] b" in replies[5]
    assert "0 times; it must be there once" in replies[6]
    done = play(env, "<answer>done</answer>", start=state)
    changes = read_answer(done.answer or "")
    assert changes["data.bin"] is None and set(changes) == {"pkg/core.py", "main.py", "data.bin"}


def test_calls_beside_the_answer_count_and_the_step_limit_ends_with_the_folder(
    tmp_path: Path, local_sandbox: Sandbox
) -> None:
    env = environment(tmp_path, local_sandbox)
    fix = call('replace("pkg/core.py", "return x", "return x * 2")')
    assert env.verifier.verify(
        [env.problems[0]], [play(env, f"{fix}<answer>ok</answer>").answer or ""]
    )[0].correct
    short = load_env("Repo-v0", file=tmp_path / "repo.jsonl", sandbox=local_sandbox, max_steps=1)
    state = play(short, fix)
    assert state.end is End.ANSWERED and "x * 2" in (state.answer or "")
    assert play(env, "I do nothing.<answer>done</answer>").answer == answer_of({})


def test_branches_have_folders_of_their_own(env: ReasoningEnv) -> None:
    trunk = play(env, call("write('a.txt', 'trunk')"))
    left = play(env, call("write('a.txt', 'left')"), start=trunk)
    right = play(env, call("write('b.txt', 'right')"), start=trunk)
    ends = [play(env, "<answer>done</answer>", start=s).answer or "" for s in (left, right, trunk)]
    assert [read_answer(end) for end in ends] == [
        {"a.txt": b"left"},
        {"a.txt": b"trunk", "b.txt": b"right"},
        {"a.txt": b"trunk"},
    ]


def test_tree_search_finds_the_branch_that_passes(env: ReasoningEnv) -> None:
    wrong, right = (
        call(f'replace("pkg/core.py", "return x", "return {text}")')
        for text in ("x + x + x", "x * 2")
    )
    script = {
        (): [wrong, right],
        (wrong,): ["<answer>done</answer>"],
        (right,): [call("test()")],
        (right, call("test()")): ["<answer>done</answer>"],
    }
    visible = ScriptedRewardModel(
        lambda state: float("0 failed" in "".join(s.reply for s in state.steps))
    )
    [record] = solve(
        env, agent="mcts", policy=ScriptedPolicy(script), reward_model=visible, episodes=1
    )
    assert record.verdict == "correct"
    again = EnvSession(env, 0)
    for text in (right, call("test()")):
        again.say(text)
    reply = again.say("<answer>done</answer>")
    assert reply.done and reply.reward == 1.0
    assert again.state.answer == record.answer, "the same calls leave the same folder"
    problem = pickle.loads(pickle.dumps(env.problems[0]))
    assert env.verifier.verify([problem], [record.answer or ""])[0].correct


ATTACKS = {
    "a protected test is edited": "write('tests/judge.py', 'def same(a, b): pass')",
    "a protected test is removed": "import os; os.remove('tests/judge.py')",
    "conftest skips all": "write('conftest.py', 'collect_ignore_glob = [\"*\"]')",
    "conftest in a package": "write('pkg/conftest.py', 'import pytest; pytest.skip(allow_module_level=True)')",
    "sitecustomize ends the process": "write('sitecustomize.py', 'import os; os._exit(0)')",
    "a module of the tests is shadowed": "write('judge.py', 'def same(a, b): pass'); write('pytest.py', 'raise SystemExit(0)')",
    "the standard library is shadowed": "write('unittest.py', 'import os; os._exit(0)'); write('pathlib.py', '')",
    "the module patches the judge": "write('pkg/core.py', 'import sys\\nimport tests.judge\\ntests.judge.same = lambda a, b: None\\ndef double(x): return x')",
    "the module ends the process": "write('pkg/core.py', 'import os\\nos._exit(0)')",
    "the module exits at import": "write('pkg/core.py', 'raise SystemExit(0)')",
    "an answer that equals everything": "write('pkg/core.py', 'class E:\\n    def __eq__(self, o): return True\\ndef double(x): return E()')",
    "the package becomes a module": "import shutil; shutil.rmtree('pkg'); write('pkg.py', 'class core:\\n    double = lambda x: x')",
    "a compiled file": "write('pkg/core.pyc', b'1'); write('tests/__pycache__/judge.cpython-311.pyc', b'1')",
    "a .pth file": "write('x.pth', 'import os; os._exit(0)')",
    "a link out of the folder": "import os; os.remove('pkg/core.py'); os.symlink('/etc/passwd', 'pkg/core.py')",
    "a link to a protected folder": "import os, shutil; shutil.rmtree('tests'); os.symlink('pkg', 'tests')",
    "a path outside": "write('../core.py', 'x')",
    "the tools lie": "import folder_tools; folder_tools.look = lambda *a: print('x')",
    "the tools say CORRECT": "import folder_tools; folder_tools.look = lambda *a: print('{\"changes\": {}}')",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_through_the_folder_wins(env: ReasoningEnv, name: str) -> None:
    assert not verdict_of(env, call(ATTACKS[name])).correct
    assert verdict_of(env, call('replace("pkg/core.py", "return x", "return x * 2")')).correct


def test_what_protected_files_hold_does_not_spoil_a_right_answer(env: ReasoningEnv) -> None:
    fix = 'replace("pkg/core.py", "return x", "return x * 2")'
    assert verdict_of(
        env, call(f"{fix}; write('tests/judge.py', '1/0'); write('conftest.py', '1/0')")
    ).correct


@pytest.mark.parametrize(
    "source",
    [
        "for i in range(5): open(f'big{i}', 'wb').write(b'x' * (3 << 20))",
        "import os\nfor i in range(1100): open(f'f{i}', 'w').close()",
        "open('n\\nl', 'w').close()",
    ],
    ids=["bytes", "files", "a name"],
)
def test_a_folder_that_cannot_be_handed_over_is_undecided(env: ReasoningEnv, source: str) -> None:
    verdict = verdict_of(env, call(source))
    assert verdict.status is Status.UNDECIDED and verdict.fault is Fault.ANSWER, verdict


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"files": {"../x": ""}}, "relative path"),
        ({"files": {"a": "", "a/b": ""}}, "a file and a folder"),
        ({"files": {"a": {"base64": "?"}}}, "broken base64"),
        ({"files": {"a": 3}}, "must be text"),
        ({"tests": {"sauce": ""}}, "must be an object"),
        ({"tests": {"programs": [{"program": "a.py"}]}}, "without program or stdout"),
        ({"solution": {"tests/test_core.py": ""}}, "which is protected"),
    ],
)
def test_faults_name_the_line(
    tmp_path: Path, local_sandbox: Sandbox, changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataFileError, match=f"line 1: .*{says}"):
        environment(tmp_path, local_sandbox, **changed)


def test_packages_and_short_results_are_options_here_too(
    tmp_path: Path, local_sandbox: Sandbox
) -> None:
    env = environment(tmp_path, local_sandbox, packages=["no-such-thing"])
    [verdict] = env.verifier.verify([env.problems[0]], [env.problems[0].reference])
    assert verdict.status is Status.UNDECIDED and "'no-such-thing'" in verdict.reason
    short = load_env("Repo-v0", sandbox=local_sandbox, tool_results="short")
    [state] = short.domain.advance(
        [short.domain.initial(short.problems[0])], [Step(call("print('x' * 2000)"))]
    )
    assert len(state.steps[0].reply) < 1000


def test_the_tools_cannot_be_turned_off(local_sandbox: Sandbox) -> None:
    with pytest.raises(SettingError, match="needs its tools"):
        load_env("Repo-v0", tools=False, sandbox=local_sandbox)


PATHS = st.text("ab/.", min_size=1, max_size=6)


@given(st.dictionaries(PATHS, st.binary(max_size=4)), st.dictionaries(PATHS, st.binary(max_size=4)))
def test_changes_lead_from_one_folder_to_the_other(
    first: dict[str, bytes], second: dict[str, bytes]
) -> None:
    try:
        before, after = folder_of(first), folder_of(second)
        changes = read_answer(answer_of(before.changed_to(after.contents)))
    except FolderError:
        return
    assert before.with_changes(changes) == after


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("1 + 1", "1 + 1"),
        ('{"name": "test", "arguments": {}}', "__import__('folder_tools').test(**{})"),
        ('{"name": "system", "arguments": {"x": 1}}', '{"name": "system", "arguments": {"x": 1}}'),
        ('{"a": 1}', '{"a": 1}'),
    ],
)
def test_calls_in_json(text: str, source: str) -> None:
    assert call_source(text) == source


def test_any_text_is_an_answer_that_is_judged(env: ReasoningEnv) -> None:
    texts: Sequence[str] = ["", "{", "[]", '{"changes": 3}', '{"changes": {"../a": "x"}}', "1"]
    problem: Problem = env.problems[0]
    for text, verdict in zip(texts, env.verifier.verify([problem] * len(texts), texts)):
        assert verdict.status is Status.INCORRECT, (text, verdict)
