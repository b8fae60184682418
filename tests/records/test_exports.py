"""Exports: only what was verified, laid out as the policy saw it, readable by `datasets.load_dataset`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.envs.tokens import render
from stepgym.envs.types import State, Step
from stepgym.records.exports import export
from stepgym.records.rows import lay_out, prompt_of, rows
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import ExportFormat, RunConfig

#              0 root
#        1 "2 * 3"          4 "2 + 3"
#     2 ok      3 wrong        5 wrong        6 undecided (below 4)
TREE = EpisodeRecord(
    env_id="stepgym/Countdown-v0",
    problem_id="p0",
    level=1,
    seed=0,
    index=0,
    prompt="Make 10.",
    reference="10",
    nodes=(
        NodeRecord(parent=-1),
        NodeRecord(parent=0, text="<think>try 6</think>2 * 3", reply="left: 4 6", value=0.5),
        NodeRecord(
            parent=1, text="6 + 4", status="ended", answer="10", verdict="correct", value=1.0
        ),
        NodeRecord(parent=1, text="6 * 4", status="ended", answer="24", verdict="incorrect"),
        NodeRecord(parent=0, text="2 + 3", value=0.2),
        NodeRecord(parent=4, text="5 + 4", status="ended", answer="9", verdict="incorrect"),
        NodeRecord(parent=4, text="5 ? 4", status="ended", answer="?", verdict="undecided"),
    ),
    path=(0, 1, 2),
    answer="10",
    verdict="correct",
    score=1.0,
)
CONFIG = RunConfig(env_id="stepgym/Countdown-v0", agent="mcts", policy="scripted")


def rows_of(
    kind: ExportFormat, record: EpisodeRecord = TREE, **options: Any
) -> list[dict[str, Any]]:
    return list(rows(record, kind, **options))


def test_sft_is_the_verified_way_with_its_loss_mask() -> None:
    [row] = rows_of(ExportFormat.SFT)
    spans = {
        row["completion"][s["start"] : s["end"]]: (s["kind"], s["learn"]) for s in row["spans"]
    }
    assert spans["<think>try 6</think>"] == ("reasoning", True)
    assert spans["<tool_result>left: 4 6</tool_result>\n"] == ("tool_result", False)
    assert spans["6 + 4"] == ("visible", True)
    [masked] = rows_of(ExportFormat.SFT, learn_reasoning=False)
    assert [s["learn"] for s in masked["spans"] if s["kind"] == "reasoning"] == [False]


def test_preference_compares_ways_that_part_at_a_fork() -> None:
    at_root, after_first = rows_of(ExportFormat.PREFERENCE)
    assert (at_root["num_shared_steps"], after_first["num_shared_steps"]) == (0, 1)
    assert after_first["prompt"].endswith("left: 4 6</tool_result>\n")
    assert after_first["chosen"].startswith("6 + 4") and after_first["rejected"].startswith("6 * 4")
    assert at_root["rejected"].startswith("2 + 3<|step_end|>\n5 + 4")


def test_steps_are_labelled_by_what_lies_below_them() -> None:
    labels = {tuple(row["completions"]): row["labels"] for row in rows_of(ExportFormat.STEPS)}
    assert labels == {
        ("<think>try 6</think>2 * 3", "6 + 4"): [True, True],
        ("<think>try 6</think>2 * 3", "6 * 4"): [True, False],
        ("2 + 3", "5 + 4"): [False, False],  # the undecided end beside it is no evidence
    }
    assert rows_of(ExportFormat.STEPS)[0]["values"] == [0.5, 1.0]


def test_tree_keeps_every_node() -> None:
    assert [row["parent"] for row in rows_of(ExportFormat.TREE)] == [-1, 0, 1, 1, 0, 4, 4]


@pytest.mark.parametrize("kind", [ExportFormat.SFT, ExportFormat.PREFERENCE, ExportFormat.STEPS])
@pytest.mark.parametrize("verdict", ["undecided", None])
def test_nothing_unverified_is_learned_from(kind: ExportFormat, verdict: str | None) -> None:
    doubtful = tuple(
        replace(node, verdict=verdict) if node.verdict else node for node in TREE.nodes
    )
    assert rows_of(kind, replace(TREE, nodes=doubtful)) == []


TEXT = st.text(max_size=12) | st.sampled_from(
    ["<think>a", "</think>", "<tool_call>x</tool_call>", "<|step_end|>"]
)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=5), st.booleans())
def test_prompt_and_completion_are_the_transcript_and_spans_cover_it(
    steps: list[tuple[str, str]], learn_reasoning: bool
) -> None:
    nodes = [
        NodeRecord(parent=i - 1, text=text, reply=reply) for i, (text, reply) in enumerate(steps)
    ]
    completion, spans = lay_out(nodes, learn_reasoning=learn_reasoning)
    state = State("Make 10.", tuple(Step(text, reply=reply) for text, reply in steps))
    assert prompt_of(TREE) + completion == render(state)
    assert [span.start for span in spans] == [0, *(span.end for span in spans)][: len(spans)]
    assert (spans[-1].end if spans else 0) == len(completion)
    assert not any(span.learn for span in spans if span.kind == "tool_result")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    hostile = replace(TREE.nodes[2], text="6 + 4 \ud800\u2028")
    with RunFolder(tmp_path / "run", CONFIG) as folder:
        folder.append(TREE)
        folder.append(replace(TREE, problem_id="p1"))  # the same problem and ways again
        folder.append(
            replace(TREE, problem_id="p2", nodes=(*TREE.nodes[:2], hostile, *TREE.nodes[3:]))
        )
        folder.append(
            replace(TREE, problem_id="p3", nodes=(), path=(), answer=None, verdict="failed")
        )
    return tmp_path / "run"


@pytest.mark.parametrize("kind", list(ExportFormat))
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_datasets_reads_every_format(
    run: Path, kind: ExportFormat, suffix: str, tmp_path: Path
) -> None:
    import datasets

    out = tmp_path / f"rows.{suffix}"
    count = export([run], out, kind=kind)
    loader = {"parquet": "parquet", "jsonl": "json"}[suffix]
    loaded = datasets.load_dataset(
        loader, data_files=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(loaded) == count > 0
    first = loaded[0]
    if kind is ExportFormat.SFT:
        assert [span["learn"] for span in first["spans"]] == [True, True, True, False, True, True]


@pytest.mark.parametrize("kind", list(ExportFormat))
def test_an_empty_export_still_has_its_columns(kind: ExportFormat, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    RunFolder(tmp_path / "run", CONFIG).close()
    assert export([tmp_path / "run"], tmp_path / "rows.parquet", kind=kind) == 0
    assert pq.read_schema(tmp_path / "rows.parquet").names


def test_duplicates_go_unless_they_are_wanted(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    assert export([run, run], out) == 2
    assert export([run, run], out, dedup=False) == 6
    assert (
        "6 + 4 ?\u2028" in json.loads(out.read_text(encoding="utf-8").split("\n")[2])["completion"]
    )


def test_another_suffix_is_refused(run: Path) -> None:
    with pytest.raises(ValueError, match=r"'rows.csv'.*\.parquet or \.jsonl"):
        export([run], "rows.csv")
