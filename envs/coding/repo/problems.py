"""`stepgym/Repo-v0`: tasks over a folder of files, out of a data file or three that ship with the package.

| column | content |
|---|---|
| `prompt` | what is to be done |
| `files` | `{path: text or {"base64": text}}` |
| `tests` | `{"source": a unittest or pytest file, "programs": [{"program", "args", "stdin", "stdout"}], "data_files": {...}}`, one of the first two at least; or the source alone. Hidden |
| `solution` | changes in the form of `files`; `null` removes a file |
| `protected` | patterns of paths that are restored before the tests run |
| `modules` | modules that the tests import from the folder; by default those of `files` and `solution` |
| `packages` | Python packages that the task needs |
| `limits` | fields of `Limits` that differ for this task |
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Unpack, cast

from stepgym.envs.coding.code_set import CodeOptions, code_set, sandbox_settings
from stepgym.envs.coding.problems import packages_of
from stepgym.envs.coding.repo.domain import REPO_LIMITS, RepoDomain
from stepgym.envs.coding.repo.folder import (
    Folder,
    FolderError,
    answer_of,
    folder_of,
    protects,
    read_files,
    write_files,
)
from stepgym.envs.coding.repo.verifier import RepoVerifier
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.rows import Row, read_rows
from stepgym.envs.types import Problem
from stepgym.plugins.settings import SettingError

NAME = "stepgym/Repo-v0"
INSTRUCTIONS = """\
Change the files below so that they do what is asked. Hidden tests will run on the folder that you leave.
Python between <tool_call> and </tool_call> runs in the folder; variables and files stay. These functions are there: \
files(), read(path), write(path, content), replace(path, old, new), run(path, *args, stdin=""), test(path=None).
A call may also be JSON: {"name": "write", "arguments": {"path": "a.py", "content": "..."}}.
When you are done, write <answer>done</answer>."""
MAX_LISTED = 100


def matches(row: Row) -> bool:
    """Whether a row is a task over a folder."""
    files = row.data.get("files")
    return (isinstance(files, dict) or files == []) and "tests" in row.data


def repo_problem(row: Row, index: int, name: str) -> Problem:
    """Return the problem of a row. Raises `DataFileError`."""
    try:
        own = read_files(row.json("files"))
        if None in own.values():
            raise FolderError("a file of the task is null")
        folder = folder_of({path: data or b"" for path, data in own.items()})
        solution = read_files(row.json("solution") or {})
        folder.with_changes(solution)
    except FolderError as error:
        raise row.error(f"the files: {error}") from error
    protected = tuple(map(str, row.data.get("protected") or ()))
    for path in solution:
        if protects(protected, path):
            raise row.error(f"the solution changes {path!r}, which is protected")
    tests = _tests(row)
    modules = row.data.get("modules") or module_names([*folder.contents, *solution], protected)
    return Problem(
        id=f"{name}/{row.data.get('id', index)}",
        prompt=f"{INSTRUCTIONS}\n\n{row.text('prompt')}\n\nFiles:\n{listing(folder, protected)}",
        reference=answer_of(solution),
        index=index,
        public=folder,
        task={
            "files": write_files(folder.contents),
            "protected": list(protected),
            "tests": tests,
            "modules": list(modules),
            "support": helpers(folder, protected, str(tests.get("source") or "")),
            "limits": dict(row.data.get("limits") or {}),
            "packages": packages_of(row),
        },
    )


def listing(folder: Folder, protected: tuple[str, ...]) -> str:
    """Return the folder's files with their sizes, as the prompt shows them."""
    lines = [
        f"{path} ({len(data)} bytes{', protected' if protects(protected, path) else ''})"
        for path, data in folder.files[:MAX_LISTED]
    ]
    left = len(folder.files) - len(lines)
    return "\n".join(lines + ([f"and {left} more"] if left else []))


def module_names(contents: Iterable[str], protected: tuple[str, ...] = ()) -> list[str]:
    """Return the dotted names of the Python files among some paths, and of the packages they lie in."""
    names: set[str] = set()
    for path in contents:
        parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
        python = path.endswith(".py") and all(part.isidentifier() for part in parts)
        if python and not protects(protected, path):
            names.update(".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return sorted(names)


def helpers(folder: Folder, protected: tuple[str, ...], tests: str) -> dict[str, str]:
    """Return the protected modules that the tests name; they run beside the tests."""
    found = {}
    for path, data in folder.files:
        name = path.removesuffix(".py").replace("/", ".")
        if path.endswith(".py") and protects(protected, path) and name in tests:
            found[name] = data.decode("utf-8", "replace")
    return found


def _tests(row: Row) -> dict[str, Any]:
    tests = row.data["tests"]
    tests = {"source": tests} if isinstance(tests, str) else tests
    known = ("source", "programs", "data_files", "checker", "tolerance")
    if not isinstance(tests, dict) or not set(tests) <= set(known):
        raise row.error(f"column 'tests' is {tests!r:.60}; it must be an object with {known}")
    if not tests.get("source") and not tests.get("programs"):
        raise row.error("column 'tests' has neither 'source' nor 'programs'")
    try:
        read_files(tests.get("data_files") or {})
    except FolderError as error:
        raise row.error(f"the data files of 'tests': {error}") from error
    for number, case in enumerate(tests.get("programs") or ()):
        if not isinstance(case, dict) or not {"program", "stdout"} <= set(case):
            raise row.error(
                f"program {number} of 'tests' is {case!r:.60}, without program or stdout"
            )
    return tests


def make(
    *,
    level: None = None,
    seed: int = 0,
    file: str | Path | None = None,
    **options: Unpack[CodeOptions],
) -> ReasoningEnv:
    """Make `stepgym/Repo-v0` over a file; without one, over the three tasks that ship with the package."""
    if file is not None:
        rows = read_rows(file)
    else:
        with as_file(files("stepgym.envs.coding.repo") / "examples.jsonl") as shipped:
            rows = read_rows(shipped)
    name = NAME if file is None else f"{NAME}/{Path(file).name}"
    problems = code_set(name, rows, repo_problem)
    if options.pop("tools", True) not in (True, "python"):
        raise SettingError(f"{NAME} needs its tools: only tools='python' is possible")
    sandbox, strict = options.pop("sandbox", "auto"), options.pop("strict", False)
    settings = sandbox_settings(problems, sandbox, options.pop("packages", ()))
    domain = RepoDomain(
        max_steps=options.pop("max_steps", 32),
        sandbox=sandbox,
        sandbox_settings=settings,
        tool_limits=REPO_LIMITS,
        tool_results=options.pop("tool_results", "full"),
    )
    verifier = RepoVerifier(sandbox, strict=strict, **settings)
    return ReasoningEnv(problems, domain=domain, verifier=verifier, **cast(CommonOptions, options))
