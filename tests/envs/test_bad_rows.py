"""Data files with rows in error: every loader leaves these out, counts and lists them, and reads all others."""

from __future__ import annotations

import gzip
import json
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from stepgym.envs.registry import load_env
from stepgym.envs.rows import DataFileError

EXAMPLES = files("stepgym.envs.benchmarks") / "examples"
SETS = {
    "Math-v0": EXAMPLES / "gsm8k.jsonl",
    "GSM8K-v0": EXAMPLES / "gsm8k.jsonl",
    "MATH500-v0": EXAMPLES / "math500.jsonl",
    "AIME-v0": EXAMPLES / "aime.jsonl",
    "MBPP-v0": EXAMPLES / "mbpp.jsonl",
    "HumanEvalPlus-v0": EXAMPLES / "humaneval_plus.jsonl",
    "MBPPPlus-v0": EXAMPLES / "mbpp_plus.jsonl",
    "CRUXEval-v0": EXAMPLES / "cruxeval.jsonl",
    "LiveCodeBench-v0": EXAMPLES / "livecodebench.jsonl",
    "APPS-v0": EXAMPLES / "apps.jsonl",
    "Code-v0": files("stepgym.envs.coding") / "examples.jsonl",
    "Repo-v0": files("stepgym.envs.coding.repo") / "examples.jsonl",
}
MIXED = ("HumanEvalPlus-v0", "MBPPPlus-v0", "Code-v0")
"""Sets whose examples have values of several types in a column, which no table can hold."""
BAD_LINES = ('{"a": ', "[1, 2]", "5", "null", "{}", '{"foo": 1}', '{"foo": "\xe9"}')
VALUES = (None, 7, True, float("nan"), [1], [[None]], {"x": [None]}, "", "[" * 5000)


@pytest.fixture(params=SETS)
def env_id(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def good_lines(env_id: str) -> list[str]:
    return [line for line in SETS[env_id].read_text("utf-8").splitlines() if line.strip()]


def loaded(env_id: str, path: Path, data: bytes) -> tuple[list[str], tuple[str, ...]]:
    """Return the ids of the problems, and what is said of the rows that are left out."""
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = load_env(env_id, file=str(path))
    problems: Any = env.problems
    env.close()
    return [problems[i].id for i in range(len(problems))], problems.skipped


@pytest.mark.parametrize("first", [True, False])
def test_lines_that_are_no_row_are_left_out(env_id: str, first: bool, tmp_path: Path) -> None:
    good, bad = good_lines(env_id), [line.encode("latin-1") for line in BAD_LINES]
    lines = [line.encode() for line in good]
    text = b"\n".join([*bad, *lines] if first else [*lines, *bad])
    ids, skipped = loaded(env_id, tmp_path / "rows.jsonl", text)
    assert len(ids) == len(good) and len(skipped) == len(bad)
    assert all("line " in said for said in skipped)


def test_any_value_in_any_column_spoils_at_most_its_own_row(env_id: str, tmp_path: Path) -> None:
    good = good_lines(env_id)
    row = json.loads(good[0])
    bad = [json.dumps({**row, name: value}) for name in row for value in VALUES]
    bad += [json.dumps({k: v for k, v in row.items() if k != name}) for name in row]
    ids, skipped = loaded(env_id, tmp_path / "rows.jsonl", "\n".join([*bad, *good]).encode())
    assert len(ids) + len(skipped) == len(bad) + len(good)
    assert len(ids) >= len(good) and len(set(ids)) == len(ids)


def test_files_in_other_dresses_hold_the_same_rows(env_id: str, tmp_path: Path) -> None:
    good = good_lines(env_id)
    text = "\n".join(good)
    array, rows = f"[{','.join(good)}, 5, null]", [json.loads(line) for line in good]
    for data, num_bad in (
        (text.encode(), 0),
        (text.encode("utf-8-sig"), 0),
        (text.encode("utf-16"), 0),
        (text.replace("\n", "\r\n").encode(), 0),
        (gzip.compress(text.encode()), 0),
        (array.encode(), 2),
        (array[:-1].encode(), 3),
        (json.dumps({"data": [*rows, 5]}).encode(), 1),
    ):
        ids, skipped = loaded(env_id, tmp_path / "rows", data)
        assert (len(ids), len(skipped)) == (len(good), num_bad)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \n\n",
        bytes(range(256)),
        gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9],
        b"PAR1\x00\x00PAR1",
        b"{}",
    ],
    ids=["empty", "blank", "binary", "cut gzip", "cut Parquet", "an object"],
)
def test_a_file_without_a_usable_row_is_an_error_that_names_it(
    env_id: str, data: bytes, tmp_path: Path
) -> None:
    with pytest.raises(DataFileError, match="rows"):
        loaded(env_id, tmp_path / "rows", data)


def test_a_folder_is_an_error(env_id: str, tmp_path: Path) -> None:
    with pytest.raises(DataFileError):
        load_env(env_id, file=str(tmp_path))


def test_repeated_rows_are_left_out_and_repeated_ids_made_different(tmp_path: Path) -> None:
    first = json.loads(good_lines("MBPP-v0")[0])
    rows = [first, first, {**first, "text": "Another question."}]
    ids, skipped = loaded("MBPP-v0", tmp_path / "rows", "\n".join(map(json.dumps, rows)).encode())
    assert len(ids) == 2 and ids[1] == f"{ids[0]}-2" and "repeats the row" in skipped[0]


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//x", "a\\x", "", "."])
def test_paths_in_rows_stay_in_their_folder(path: str, tmp_path: Path) -> None:
    code, repo = json.loads(good_lines("Code-v0")[0]), json.loads(good_lines("Repo-v0")[0])
    source = {"source": "def test():\n    pass\n", "data_files": {path: "text"}}
    for env_id, row in (
        ("Code-v0", {**code, "tests": source}),
        ("Repo-v0", {**repo, "tests": {**repo["tests"], "data_files": {path: "text"}}}),
        ("Repo-v0", {**repo, "files": {**repo["files"], path: "text"}}),
        ("Repo-v0", {**repo, "solution": {path: "text"}}),
    ):
        with pytest.raises(DataFileError, match="relative path"):
            loaded(env_id, tmp_path / "rows", json.dumps(row).encode())


@pytest.mark.parametrize("env_id", [name for name in SETS if name not in MIXED], indirect=True)
def test_a_table_has_the_problems_of_the_rows_it_was_made_of(env_id: str, tmp_path: Path) -> None:
    """A Parquet column of objects has the keys of all rows; a file of one task is no file of another."""
    table = tmp_path / "rows.parquet"
    rows = [json.loads(line) for line in good_lines(env_id)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    as_json, as_table = (load_env(env_id, file=str(file)) for file in (SETS[env_id], table))
    assert len(as_table.problems) == len(rows)
    for index in range(len(rows)):
        first, second = as_json.problems[index], as_table.problems[index]
        assert (first.prompt, first.reference, first.task) == (
            second.prompt,
            second.reference,
            second.task,
        )


@pytest.mark.parametrize("kind", ["struct", "map", "datasets"])
def test_folders_of_files_come_out_of_tables(kind: str, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": f"Task {number}",
            "files": {f"file_{number}.py": "x = 1\n", "shared.py": ""},
            "tests": {"source": f"import file_{number}\n"},
            "solution": {f"file_{number}.py": "x = 2\n"},
        }
        for number in range(3)
    ]
    table, path = pyarrow.Table.from_pylist(rows), tmp_path / "tasks.parquet"
    if kind == "map":
        files_type = pyarrow.map_(pyarrow.string(), pyarrow.string())
        pairs = pyarrow.array([list(row["files"].items()) for row in rows], files_type)
        table = table.set_column(table.column_names.index("files"), "files", pairs)
    if kind == "datasets":
        datasets.Dataset.from_list(rows).to_parquet(path)
    else:
        parquet.write_table(table, path)
    env = load_env("Repo-v0", file=str(path))
    for number, row in enumerate(rows):
        problem = env.problems[number]
        assert problem.task["files"] == row["files"]
        assert json.loads(problem.reference)["changes"] == row["solution"]
        assert problem.task["tests"] == row["tests"]
