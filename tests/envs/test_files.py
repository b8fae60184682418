"""Data files: the conventions that are known, and what is said about a file that cannot be used."""

from __future__ import annotations

import csv
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.envs.files import final_reference, load_file_set
from stepgym.envs.maths import MathVerifier
from stepgym.envs.registry import load_env
from stepgym.envs.rows import DataFileError, read_rows

GSM8K = {
    "question": "Natalia sold 48 clips, then half as many. How many?",
    "answer": "48/2 = <<48/2=24>>24\n#### 72",
}
MATH = {
    "problem": "What is $\\frac12+\\frac12$?",
    "solution": "It is $\\boxed{1}$.",
    "level": "Level 1",
}


def jsonl(folder: Path, *rows: Any, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_text(
        "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows),
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(
    ("row", "question", "reference", "why"),
    [
        (GSM8K, GSM8K["question"], "72", "GSM8K: behind ####"),
        (MATH, MATH["problem"], "1", "MATH: in the box"),
        (
            {"question": "q", "answer": "4", "solution": "\\boxed{5}"},
            "q",
            "4",
            "answer goes before solution",
        ),
        ({"prompt": "q", "answer": 3.5}, "q", "3.5", "numbers are written out"),
        ({"problem": "q", "answer": "\\frac{1}{2}"}, "q", "\\frac{1}{2}", "bare"),
    ],
)
def test_columns_and_conventions(
    row: dict[str, Any], question: str, reference: str, why: str, tmp_path: Path
) -> None:
    problem = load_file_set(jsonl(tmp_path, row))[0]
    assert (problem.prompt, problem.reference) == (question, reference), why


@pytest.mark.parametrize(
    ("lines", "options", "says"),
    [
        ([], {}, ["line 1", "empty", "at least one row"]),
        (["", "  "], {}, ["line 1", "empty"]),
        (
            [*[GSM8K] * 16, '{"question": "q", "answer": }'],
            {},
            ["line 17, column 29", "broken JSON", "JSON object"],
        ),
        (
            ["version https://git-lfs.github.com/spec/v1"],
            {},
            ["line 1", "Git LFS pointer", "git lfs pull"],
        ),
        ([GSM8K, "[1, 2]"], {}, ["line 2", "found list, not an object"]),
        ([GSM8K, '{"a":' * 100_000], {}, ["line 2, column", "broken JSON"]),
        (
            [{"q": "1", "a": "2"}],
            {},
            ["line 1", "no question column", "found q, a", "question=COLUMN"],
        ),
        ([{"question": "1", "a": "2"}], {}, ["no answer column", "answer=COLUMN"]),
        (
            [GSM8K],
            {"question": "qestion"},
            ["line 1", "unknown question column 'qestion'; did you mean 'question'?"],
        ),
        ([GSM8K, {"question": "q"}], {}, ["line 2", "no column 'answer'", "its columns: question"]),
        (
            [GSM8K, {"question": "q", "answer": None}],
            {},
            ["line 2", "column 'answer' is NoneType None"],
        ),
        (
            [GSM8K, {"question": ["q"], "answer": "1"}],
            {},
            ["line 2", "column 'question' is list ['q']"],
        ),
        ([{"question": "q", "answer": True}], {}, ["line 1", "column 'answer' is bool True"]),
        ([{"question": " ", "answer": "1"}], {}, ["line 1", "column 'question' is empty"]),
        (
            [GSM8K, '{"question": "q", "answer": ' + "9" * 5000 + "}"],
            {},
            ["line 2", "write it as text"],
        ),
    ],
)
def test_faults_are_named_with_file_line_and_way_out(
    lines: list[Any], options: dict[str, str], says: list[str], tmp_path: Path
) -> None:
    path = jsonl(tmp_path, *lines)
    good = lines.count(GSM8K) if not options else 0
    if good:
        with pytest.warns(UserWarning, match=f"1 of {len(lines)} rows are left out"):
            problems = load_file_set(path, **options)
        assert len(problems) == good
        [said] = problems.skipped
    else:
        with pytest.raises(DataFileError) as caught:
            load_file_set(path, **options)
        said = str(caught.value)
    for words in [str(path), *says]:
        assert words in said


@pytest.mark.parametrize(
    ("row", "prompt", "reference"),
    [
        ({"Problem": "q", "Answer": 204}, "q", "204"),
        (
            {"Body": "Ann has 2.", "Question": "How many?", "Answer": 2.0},
            "Ann has 2. How many?",
            "2.0",
        ),
        ({"context": None, "question": "q", "final_answer": ["4"]}, "q", "4"),
        ({"content": "q", "answer": "\\pi"}, "q", "\\pi"),
        (
            {
                "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
                "reward_model": {"style": "rule", "ground_truth": "34"},
            },
            "q",
            "34",
        ),
    ],
    ids=["AIME", "SVAMP", "OlympiadBench", "Carp", "verl"],
)
def test_columns_of_published_sets_are_found(
    row: dict[str, Any], prompt: str, reference: str, tmp_path: Path
) -> None:
    problem = load_file_set(jsonl(tmp_path, row))[0]
    assert (problem.prompt, problem.reference) == (prompt, reference)


def test_rows_in_error_are_left_out_of_code_sets_too(tmp_path: Path) -> None:
    good = {"text": "q", "code": "def f(x):\n    return x", "test_list": ["assert f(1) == 1"]}
    path = jsonl(tmp_path, "{", {**good, "test_list": [1]}, good)
    with pytest.warns(UserWarning, match="2 of 3 rows are left out.*line 1.*line 2"):
        env = load_env("MBPP-v0", file=path)
    assert len(env.problems) == 1 and env.problems[0].index == 0


def test_a_missing_file_and_bytes_that_are_not_text(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no such file"):
        load_file_set(tmp_path / "none.jsonl")
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'\n{"question": "\xe9"}')
    with pytest.raises(DataFileError, match="line 2, byte 15: not UTF-8"):
        load_file_set(path)
    parquet = tmp_path / "broken.parquet"
    parquet.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataFileError, match="not a readable Parquet file"):
        load_file_set(parquet)


def test_parquet_reads_as_jsonl_does(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [GSM8K, {**GSM8K, "question": "another"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "data.parquet")
    one = load_file_set(tmp_path / "data.parquet")
    other = load_file_set(jsonl(tmp_path, *rows))
    assert one.questions == other.questions and one.references == other.references
    assert [row.line for row in read_rows(tmp_path / "data.parquet")] == [1, 2]


def test_a_map_of_any_size_is_an_object(tmp_path: Path) -> None:
    """Also inside lists, objects and maps; an empty list of another type stays a list."""
    import pyarrow
    import pyarrow.parquet

    texts = pyarrow.map_(pyarrow.string(), pyarrow.string())
    kinds = {
        "files": texts,
        "list": pyarrow.list_(texts),
        "object": pyarrow.struct([("files", texts), ("names", pyarrow.list_(pyarrow.string()))]),
        "map": pyarrow.map_(pyarrow.string(), texts),
        "names": pyarrow.list_(pyarrow.string()),
    }
    rows: list[dict[str, Any]] = [
        {"files": {}, "list": [{}], "object": {"files": {}, "names": []}, "map": {}, "names": []},
        {
            "files": {"a": "1"},
            "list": [{}, {"b": "2"}],
            "object": {"files": {"c": "3"}, "names": ["x"]},
            "map": {"d": {}, "e": {"f": "4"}},
            "names": ["y"],
        },
    ]
    table = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(list(kinds.items())))
    pyarrow.parquet.write_table(table, tmp_path / "data.parquet")
    assert [row.data for row in read_rows(tmp_path / "data.parquet")] == rows


def test_a_reference_that_no_answer_can_match_is_reported(tmp_path: Path) -> None:
    class Sceptic(MathVerifier):
        def verify(self, problems: Any, answers: Any) -> Any:
            return super().verify(
                problems, ["0" if answer == "hopeless" else answer for answer in answers]
            )

    path = jsonl(tmp_path, GSM8K, {"question": "q", "answer": "hopeless"})
    with pytest.warns(
        UserWarning, match="1 references do not verify against themselves.*line 2: 'hopeless'"
    ):
        problems = load_file_set(path, verifier=Sceptic())
    assert [row.line for row in problems.unverifiable] == [2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            load_file_set(
                jsonl(tmp_path, GSM8K, MATH | GSM8K), verifier=MathVerifier()
            ).unverifiable
            == ()
        )


@given(st.text())
@settings(max_examples=200)
def test_any_answer_column_has_a_reference(text: str) -> None:
    assert final_reference(text) == final_reference(text).strip()
    assert final_reference(f"{text}\n#### 42") == "42"


def test_the_environment_over_a_file(tmp_path: Path) -> None:
    rows = [{"question": f"What is {i} + {i}?", "answer": f"so\n#### {2 * i}"} for i in range(30)]
    path = jsonl(tmp_path, *rows)
    env = load_env("Math-v0", file=path, instructions="Think.")
    assert "What is 0 + 0?\n\nThink." in env.reset()[0]
    assert env.step("<answer>0</answer>")[1] == 1.0
    order = [env.reset(seed=1 if k == 0 else None)[1]["index"] for k in range(30)]
    assert sorted(order) == list(range(30)) != order, "a seed shuffles the rows, each once"
    assert env.reset(seed=1)[1]["index"] == order[0] != env.reset(seed=2)[1]["index"]
    assert env.reset(options={"index": 7})[1]["problem_id"].startswith(
        "stepgym/Math-v0/data.jsonl@"
    )
    assert pickle.loads(pickle.dumps(env)).state == env.state
    with pytest.raises(ValueError, match="not both"):
        load_env("Math-v0", file=path, level=3)
    with pytest.raises(ValueError, match="has no levels"):
        env.reset(options={"level": 2})


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_a_csv_file_holds_the_rows_that_csv_wrote(tmp_path_factory: Any, rows: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "answer"), *rows])
    assert [tuple(row.data.values()) for row in read_rows(path)] == rows


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("rows.csv", b'q,a\n"x,1\n', "line 2: broken CSV"),
        ("rows.csv", b"q,a\n1,\xff\n", "line 2, byte 3: not UTF-8"),
        ("rows.json", b'[\n{"q": "\xff"},\n{"q": "b"}\n]', "line 2, byte 8: not UTF-8"),
        ("rows.json", b'{\n"rows": []\n}', "line 1: the object holds no rows"),
    ],
)
def test_a_file_without_a_usable_row_is_named_with_the_line(
    tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataFileError, match=says):
        read_rows(tmp_path / name)


def test_a_csv_cell_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("q,a\n1," + "9" * 200_000, encoding="utf-8")
    assert len(read_rows(tmp_path / "rows.csv")[0].data["a"]) == 200_000


def test_a_csv_row_with_another_number_of_cells_is_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("question\tanswer\n2 + 2?\t4\n\n1 + 1?\n", encoding="utf-8")
    first, second = read_rows(path)
    assert first.data == {"question": "2 + 2?", "answer": "4"} and first.line == 2
    assert "line 4: 1 cells under 2 column names" in str(second.fault)
