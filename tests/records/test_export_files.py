"""Export files: splits, decontamination, dataset cards, and what the command says when there is nothing to write."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from stepgym.cli.export import command
from stepgym.records.card import write_card
from stepgym.records.decontamination import Benchmarks
from stepgym.records.exports import export, side_of, write_export
from stepgym.records.rows import dialogues
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import ExportFormat, RunConfig, SchemaError, TextLayout, View
from stepgym.records.writers import OutputError, RowFile

from .trees import SAID, TREE

CONFIG = RunConfig(env_id="stepgym/Countdown-v0", agent="mcts", policy="scripted")
LONG = "A farmer has twelve red hens and sells four of them to a neighbour on Monday morning."


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Forty problems, one of which is the long one."""
    with RunFolder(tmp_path / "run", CONFIG) as folder:
        for number in range(40):
            prompt = LONG if number == 7 else f"Make {number}."
            folder.append(replace(TREE, problem_id=f"p{number}", prompt=prompt))
    return tmp_path / "run"


def prompts_in(file: Path) -> set[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["prompt"][-1]["content"] for line in lines}


def export_command(*words: Any) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)


@given(st.text(), st.floats(0.01, 0.98), st.floats(0.0, 0.01))
def test_the_side_follows_from_the_problem_alone(prompt: str, share: float, more: float) -> None:
    side = side_of(prompt, share)
    assert side == side_of(f"  {prompt.upper().lower()} \n", share) or not prompt.isascii()
    if side == "test":
        assert side_of(prompt, share + more) == "test"


def test_about_the_share_is_for_testing() -> None:
    sides = [side_of(f"problem {number}", 0.2) for number in range(2000)]
    assert 0.17 < sides.count("test") / 2000 < 0.23


def test_no_problem_is_on_both_sides(run: Path, tmp_path: Path) -> None:
    kind = ExportFormat.PROMPTS
    report = write_export([run], tmp_path / "rows.jsonl", kind=kind, test_share=0.3)
    train, test = (prompts_in(Path(file)) for file in report.files)
    assert not train & test and len(train | test) == 40 == report.rows
    write_export([run], tmp_path / "again.jsonl", kind=kind, test_share=0.3)
    assert prompts_in(tmp_path / "again-test.jsonl") == test
    one = {"test_share": 0.3, "kind": kind}
    with RunFolder(tmp_path / "one", CONFIG) as folder:
        folder.append(TREE)
    assert (
        "choose another share"
        in write_export([tmp_path / "one"], tmp_path / "o.jsonl", **one).why_empty
    )


def benchmark(folder: Path, *questions: str) -> Path:
    file = folder / "benchmark.jsonl"
    file.write_text("".join(json.dumps({"question": q, "answer": "1"}) + "\n" for q in questions))
    return file


@pytest.mark.parametrize(
    ("question", "prompt", "is_found"),
    [
        (LONG, LONG.upper().replace(" ", "  "), True),
        ("In short: " + LONG + " How many are left?", LONG, True),
        (LONG.replace("sells", "buys"), LONG, False),
        (LONG, "Once, " + " ".join(LONG.split()[:13]) + " he rested.", True),
        (LONG, "Once, " + " ".join(LONG.split()[:12]) + " the fence.", False),
        ("What is 2 + 2?", "What is 2+2 ?", True),
        ("What is 2 + 2?", "What is 2 + 2?\n\nGive the answer as <answer>...</answer>.", True),
        ("What is 2 + 2?", "Solve it.\n\nWhat is 2 + 2?", True),
        ("What is 2 + 2?", "What is 2 + 2 + 3?", False),
    ],
)
def test_a_benchmarks_problem_is_found(
    tmp_path: Path, question: str, prompt: str, is_found: bool
) -> None:
    known = Benchmarks([benchmark(tmp_path, "An unrelated one.", question)])
    found = known.find("p", prompt)
    assert (found is not None and found.line == 2) is is_found


def test_phrases_of_many_questions_are_ignored(tmp_path: Path) -> None:
    asked = [f"{LONG} Question {number}" for number in range(11)]
    assert Benchmarks([benchmark(tmp_path, *asked)]).find("p", LONG + " How many?") is None
    assert Benchmarks([benchmark(tmp_path, *asked[:10])]).find("p", LONG + " How many?")


def test_decontamination_is_reported_and_on_the_card(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "rows.parquet"
    known = benchmark(tmp_path, LONG)
    done = export_command(run, "--out", out, "--decontaminate", known, "--card", "--json")
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert [each["problem_id"] for each in report["contaminated"]] == ["p7"]
    assert report["contaminated"][0]["line"] == 1 and report["rows"] == 39 * 2
    card = (out.parent / "README.md").read_text()
    assert "problems left out: 1" in card
    gone = export_command(
        run,
        "--out",
        out,
        "--decontaminate",
        benchmark(tmp_path, *[f"Make {n}" for n in range(40)], LONG),
    )
    assert gone.exit_code == 1 and "a benchmark has the problems of all 40 episodes" in gone.output


def test_progress_counts_every_episode_that_was_read(run: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    known = [benchmark(tmp_path, LONG)]  # an episode that is left out was read
    write_export([run, run], tmp_path / "a.jsonl", decontaminate=known, progress=seen.append)
    assert seen == list(range(1, 81))


@pytest.mark.parametrize("kind", list(ExportFormat))
def test_the_hub_reads_the_card(run: Path, kind: ExportFormat, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    import datasets

    if kind is ExportFormat.TOKENS:
        return  # these need tokens
    out = tmp_path / "set" / "rows.jsonl"
    report = write_export([run], out, kind=kind, test_share=0.3)
    written = write_card(report, [run], layout=TextLayout.CHAT, command="stepgym export")
    card = hub.DatasetCard.load(written)
    assert card.data.license == "apache-2.0"
    assert card.data.configs[0]["config_name"] == kind.value
    assert kind.value in card.data.tags and "stepgym export" in card.text
    if kind is ExportFormat.SFT:
        cache = str(tmp_path / "cache")
        loaded = datasets.load_dataset(str(out.parent), kind.value, cache_dir=cache)
        assert {name: len(rows) for name, rows in loaded.items()} == {
            "train": report.files[str(out.with_name("rows-train.jsonl"))],
            "test": report.files[str(out.with_name("rows-test.jsonl"))],
        }


def test_an_empty_export_says_why(tmp_path: Path) -> None:
    RunFolder(tmp_path / "none", CONFIG).close()
    with RunFolder(tmp_path / "wrong", CONFIG) as folder:
        nodes = tuple(replace(n, verdict="incorrect") if n.verdict else n for n in TREE.nodes)
        folder.append(replace(TREE, nodes=nodes, verdict="incorrect"))
    done = export_command(tmp_path / "none")
    assert done.exit_code == 1 and "the run has no finished episode yet" in done.output
    done = export_command(tmp_path / "wrong", "--json")
    assert done.exit_code == 1
    assert "needs a correct answer, and none of the 1 episodes has it (1 incorrect)" in done.output
    assert json.loads(done.stdout)["rows"] == 0


def test_a_bad_output_is_refused_before_an_episode_is_read(run: Path, tmp_path: Path) -> None:
    with (run / "episodes.jsonl").open("a") as file:
        file.write("broken\n")
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.jsonl").mkdir()
    for out, why in (
        ("rows.csv", "should end in"),
        ("file/rows.jsonl", "a folder is needed here"),
        ("folder.jsonl", "is a folder"),
        (run / "episodes.jsonl", "a run folder has its own file of that name"),
    ):
        done = export_command(run, "--out", tmp_path / out)
        assert done.exit_code == 2 and why in done.output.replace("\n", " ")
    with pytest.raises(OutputError, match=r"no fixed columns; write .*v\.jsonl"):
        export([run], tmp_path / "v.parquet", kind=ExportFormat.VERIFIERS)
    with pytest.raises(ValueError, match="not JSON"):
        export([run], tmp_path / "rows.jsonl")
    assert not list(tmp_path.glob("*rows.jsonl*")), "a failed export leaves nothing"


CALLING = {"role": "assistant", "content": "", "tool_calls": [{"id": "c1"}]}


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        ({"input": {"messages": [CALLING]}, "preferred_output": []}, "tool_calls"),
        ({"input": {"messages": []}, "preferred_output": [SAID, CALLING]}, "tool_calls"),
        ({"input": {"messages": [], "tools": []}, "preferred_output": []}, "tools"),
        ({"input": {"messages": [SAID, SAID]}, "preferred_output": [SAID], "tools": ""}, "tools"),
        ({"input": {"messages": [SAID, SAID]}, "preferred_output": [SAID]}, None),
    ],
)
def test_parquet_drops_nothing_that_has_no_column(
    row: dict[str, Any], missing: str | None, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    columns = dialogues.OPENAI_PREFERENCE_COLUMNS
    row = {**row, "non_preferred_output": [SAID]}
    out = tmp_path / "rows.parquet"
    if missing:
        refused = pytest.raises(OutputError, match=f"'{missing}'.* write a .jsonl")
        with refused, RowFile(out, columns) as file:
            file.add(row)
        assert not out.exists()
        return
    with RowFile(out, columns) as file:
        for _ in range(2001):  # one more than a row group
            file.add(row)
    assert pq.read_table(out).to_pylist() == [row] * 2001
    assert pq.ParquetFile(out).num_row_groups == 2


def test_a_full_disk_is_an_error_and_keeps_the_old_file(run: Path, tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    out = tmp_path / "rows.jsonl"
    out.write_text("old")
    draft = tmp_path / f".rows.jsonl.{os.getpid()}.draft"
    draft.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), RowFile(out, None) as file:
        file.add({"text": "x" * 100_000})
    assert out.read_text() == "old" and not draft.is_symlink()
    draft.symlink_to("/dev/full")
    with pytest.raises(ZeroDivisionError), RowFile(out, None) as file:
        file.add({"text": "short"})
        raise ZeroDivisionError("an earlier error is the one to report")
    assert out.read_text() == "old" and not draft.is_symlink()


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        with RunFolder(tmp_path / "run", CONFIG) as folder:
            folder.append(TREE)
        export([tmp_path / "run"], tmp_path / "rows.parquet")
    finally:
        os.umask(before)
    for file in (tmp_path / "rows.parquet", *(tmp_path / "run").iterdir()):
        assert stat.S_IMODE(file.stat().st_mode) == 0o664, file


def test_a_users_view_has_no_reasoning(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    for kind in ExportFormat:
        if kind is not ExportFormat.TOKENS:
            write_export([run], out, kind=kind, view=View.USER)
            assert "try 6" not in out.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", ["run.json", "episodes.jsonl"])
def test_a_newer_schema_names_the_way_out(run: Path, file: str) -> None:
    text = (run / file).read_text()
    newer = text.replace('"format": 2', '"format": 3').replace('"schema":2', '"schema":3')
    (run / file).write_text(newer)
    with pytest.raises(SchemaError, match="a newer stepgym wrote it; install that version"):
        export([run], run / "rows.jsonl")
    assert "newer stepgym" in export_command(run).output.replace("\n", " ")
