"""Exports: only what was verified, laid out as a policy reads it, readable by `datasets.load_dataset`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.policies.layout import Layout
from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.envs.types import State, Step
from stepgym.records.exports import export
from stepgym.records.formats import FORMATS, format_in
from stepgym.records.rows.options import RowOptions
from stepgym.records.rows.tokens import IGNORED
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import Advantage, ExportFormat, RecordError, RunConfig, TextLayout

from .trees import TREE

CONFIG = RunConfig(env_id="stepgym/Countdown-v0", agent="mcts", policy="scripted")
TEXT_LAYOUTS = [TextLayout.CHAT, TextLayout.PLAIN]


def rows_of(
    kind: ExportFormat, record: EpisodeRecord = TREE, **options: Any
) -> list[dict[str, Any]]:
    chosen = RowOptions(**options)
    return list(format_in(kind, chosen.layout).rows(record, chosen))


def words(completion: Any) -> str:
    """Return the text that a trainer learns of a completion."""
    if isinstance(completion, str):
        return completion
    [message] = completion
    assert message["role"] == "assistant"
    return str(message["content"])


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_sft_is_the_verified_path_in_stretches_between_replies(layout: TextLayout) -> None:
    first, second = rows_of(ExportFormat.SFT, layout=layout)
    assert words(first["completion"]) == "<think>try 6</think>2 * 3"
    assert words(second["completion"]) == "6 + 4"
    assert "left: 4 6" in str(second["prompt"]) and "2 * 3" in str(second["prompt"])
    assert "Make 10." in str(first["prompt"]) and "2 * 3" not in str(first["prompt"])


def test_plain_rows_mask_reasoning_by_spans_and_chat_rows_refuse() -> None:
    first, _ = rows_of(ExportFormat.SFT, layout=TextLayout.PLAIN, learn_reasoning=False)
    masked = [first["completion"][s["start"] : s["end"]] for s in first["spans"] if not s["learn"]]
    assert masked == ["<think>try 6</think>"]
    with pytest.raises(ValueError, match=r"choose layout plain .* or tokens"):
        rows_of(ExportFormat.SFT, learn_reasoning=False)


def test_token_rows_learn_own_tokens_alone(chat_tokenizer: Any) -> None:
    layout = Layout(chat_tokenizer)
    for learn_reasoning in (True, False):
        [row] = rows_of(
            ExportFormat.SFT,
            layout=TextLayout.TOKENS,
            tokens=layout,
            learn_reasoning=learn_reasoning,
        )
        learned = [label for label in row["labels"] if label != IGNORED]
        assert len(row["labels"]) == len(row["input_ids"])
        # ">2" is one token here; one that begins inside the reasoning is masked whole
        first = "<think>try 6</think>2 * 3" if learn_reasoning else " * 3"
        assert layout.decode(learned) == f"{first}\n\n6 + 4<|im_end|>"
        assert "<|im_start|>user\n<tool_result>left: 4 6" in layout.decode(row["input_ids"])


def test_token_rows_without_tokens_name_the_way_out() -> None:
    with pytest.raises(RecordError, match=r"holds no tokens; name the model .* --model hf:NAME"):
        rows_of(ExportFormat.SFT, layout=TextLayout.TOKENS)
    with pytest.raises(ValueError, match="no layout tokens; choose chat or plain"):
        rows_of(ExportFormat.PREFERENCE, layout=TextLayout.TOKENS)


def test_rollout_rows_have_advantages_over_the_group_or_the_fork(chat_tokenizer: Any) -> None:
    layout = Layout(chat_tokenizer)
    group = rows_of(ExportFormat.TOKENS, tokens=layout, mean_rewards={"p0": 1 / 3})
    assert [row["reward"] for row in group] == [1.0, 0.0, 0.0], "the undecided path is left out"
    for row in group:
        wanted = row["reward"] - 1 / 3
        for label, advantage in zip(row["labels"], row["advantages"], strict=True):
            assert advantage == pytest.approx(0.0 if label == IGNORED else wanted)
        for end in row["step_ends"]:
            assert row["labels"][end - 1] != IGNORED
    tree = rows_of(ExportFormat.TOKENS, tokens=layout, advantages=Advantage.TREE)
    first = tree[0]
    at_first, at_second = (first["advantages"][end - 1] for end in first["step_ends"])
    assert (at_first, at_second) == pytest.approx((1 / 2 - 1 / 3, 1 - 1 / 2))
    learned = [layout.decode([x for x in row["labels"] if x != IGNORED]) for row in tree]
    assert learned == [
        "<think>try 6</think>2 * 3\n\n6 + 4<|im_end|>",
        "6 * 4<|im_end|>",
        "2 + 3\n\n5 + 4<|im_end|>",
    ], "each step is learned once, and none of an undecided path alone"


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_preference_compares_paths_that_part_at_a_fork(layout: TextLayout) -> None:
    at_root, after_first = rows_of(ExportFormat.PREFERENCE, layout=layout)
    assert (at_root["num_shared_steps"], after_first["num_shared_steps"]) == (0, 1)
    assert "left: 4 6</tool_result>" in str(after_first["prompt"])
    assert words(after_first["chosen"]) == "6 + 4" and words(after_first["rejected"]) == "6 * 4"
    assert words(at_root["chosen"]) == "<think>try 6</think>2 * 3", "it stops before the reply"
    assert words(at_root["rejected"]) == "2 + 3\n\n5 + 4"


def test_a_chat_preference_holds_the_whole_turn_and_a_plain_one_what_differs() -> None:
    quiet = replace(TREE, nodes=tuple(replace(node, reply="") for node in TREE.nodes))
    _, chat = rows_of(ExportFormat.PREFERENCE, quiet)
    assert words(chat["chosen"]) == "<think>try 6</think>2 * 3\n\n6 + 4"
    assert [message["role"] for message in chat["prompt"]] == ["system", "user"]
    _, plain = rows_of(ExportFormat.PREFERENCE, quiet, layout=TextLayout.PLAIN)
    assert plain["chosen"] == "6 + 4" and plain["prompt"].endswith("2 * 3\n\n")


def test_steps_are_labelled_by_what_lies_below_them() -> None:
    rows = rows_of(ExportFormat.STEPS)
    labels = {tuple(row["completions"]): row["labels"] for row in rows}
    assert labels == {
        ("<think>try 6</think>2 * 3", "6 + 4"): [True, True],
        ("<think>try 6</think>2 * 3", "6 * 4"): [True, False],
        ("2 + 3", "5 + 4"): [False, False],  # the undecided end beside it is no evidence
    }
    assert rows[0]["values"] == [0.5, 1.0]
    assert rows[-1]["verified"] == [False, None], "the step verifier's, where it decided"


def test_tree_keeps_every_node() -> None:
    assert [row["parent"] for row in rows_of(ExportFormat.TREE)] == [-1, 0, 1, 1, 0, 4, 4]


@pytest.mark.parametrize("layout", list(TextLayout))
@pytest.mark.parametrize("kind", [ExportFormat.SFT, ExportFormat.PREFERENCE, ExportFormat.STEPS])
@pytest.mark.parametrize("verdict", ["undecided", None])
def test_nothing_unverified_is_learned(
    kind: ExportFormat, verdict: str | None, layout: TextLayout, chat_tokenizer: Any
) -> None:
    if kind is ExportFormat.PREFERENCE and layout is TextLayout.TOKENS:
        return
    doubtful = tuple(
        replace(node, verdict=verdict) if node.verdict else node for node in TREE.nodes
    )
    record, tokens = replace(TREE, nodes=doubtful), Layout(chat_tokenizer)
    assert rows_of(kind, record, layout=layout, tokens=tokens) == []
    assert rows_of(ExportFormat.TOKENS, record, tokens=tokens) == []


TEXT = st.text(st.characters(max_codepoint=127), min_size=1, max_size=12) | st.sampled_from(
    ["<think>a", "</think>", "<tool_call>x</tool_call>", "<|step_end|>"]
)
REPLY = st.sampled_from(["", "", "noted", "<tool_result>7</tool_result>"])


@given(st.lists(st.tuples(TEXT, REPLY), min_size=1, max_size=5), st.booleans())
def test_rows_are_what_a_policy_reads_and_writes(
    plain_tokenizer: Any, chat_tokenizer: Any, steps: list[tuple[str, str]], learn_reasoning: bool
) -> None:
    nodes = [
        NodeRecord(parent=i - 1, text=text, reply=reply) for i, (text, reply) in enumerate(steps)
    ]
    root = NodeRecord(parent=-1)
    path = [replace(node, parent=i) for i, node in enumerate(nodes)]
    path[-1] = replace(path[-1], answer="a", verdict="correct", end="answered", reply="")
    record = replace(TREE, nodes=(root, *path), path=tuple(range(len(path) + 1)))
    state = State("Make 10.", tuple(Step(node.text, reply=node.reply) for node in path))
    plain = rows_of(
        ExportFormat.SFT, record, layout=TextLayout.PLAIN, learn_reasoning=learn_reasoning
    )
    reader = Layout(plain_tokenizer)
    read = reader.decode(reader.ids(state))
    assert plain[-1]["prompt"] + plain[-1]["completion"] + "\n\n" == read
    for row in plain:
        assert read.startswith(row["prompt"] + row["completion"])
        assert [s["start"] for s in row["spans"]] == [0, *(s["end"] for s in row["spans"])][:-1]
        assert row["spans"][-1]["end"] == len(row["completion"])
    chat = rows_of(ExportFormat.SFT, record)
    reader = Layout(chat_tokenizer)
    read = reader.decode(reader.ids(state))
    for row in chat:
        shown = chat_tokenizer.apply_chat_template(
            row["prompt"], tokenize=False, add_generation_prompt=True
        )
        if len(chat) == 1:
            assert read == shown + words(row["completion"]) + "\n\n"
    written = "".join(words(row["completion"]) for row in chat)
    assert "noted" not in written and "<tool_result>7" not in written


@pytest.fixture
def run(tmp_path: Path) -> Path:
    hostile = replace(TREE.nodes[2], text="6 + 4 \ud800\u2028")
    with RunFolder(tmp_path / "run", CONFIG) as folder:
        folder.append(TREE)
        folder.append(replace(TREE, problem_id="p1"))  # the same problem and paths again
        folder.append(
            replace(TREE, problem_id="p2", nodes=(*TREE.nodes[:2], hostile, *TREE.nodes[3:]))
        )
        folder.append(
            replace(TREE, problem_id="p3", nodes=(), path=(), answer=None, verdict="failed")
        )
    return tmp_path / "run"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, chat_tokenizer: Any) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    chat_tokenizer.save_pretrained(folder)
    return f"hf:{folder}"


EVERY = [
    (kind, layout)
    for kind, made in FORMATS.items()
    for layout in made.layouts
    if made.columns is not None
]


@pytest.mark.parametrize(("kind", "layout"), EVERY)
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_datasets_reads_every_format(
    run: Path, kind: ExportFormat, layout: TextLayout, suffix: str, model: str, tmp_path: Path
) -> None:
    import datasets

    out = tmp_path / f"rows.{suffix}"
    count = export([run], out, kind=kind, layout=layout, model=model)
    loader = {"parquet": "parquet", "jsonl": "json"}[suffix]
    loaded = datasets.load_dataset(
        loader, data_files=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(loaded) == count > 0
    assert set(loaded.column_names) == set(FORMATS[kind].columns_in(layout) or loaded.column_names)


@pytest.mark.parametrize(("kind", "layout"), EVERY)
def test_an_empty_export_still_has_its_columns(
    kind: ExportFormat, layout: TextLayout, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    RunFolder(tmp_path / "run", CONFIG).close()
    out = tmp_path / "rows.parquet"
    assert export([tmp_path / "run"], out, kind=kind, layout=layout) == 0
    assert pq.read_schema(out).names


def test_duplicates_go_unless_they_are_wanted(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    assert export([run, run], out) == 3
    assert export([run, run], out, dedup=False) == 12
    assert "6 + 4 ?\u2028" in out.read_text(encoding="utf-8")


def test_another_suffix_is_refused(run: Path) -> None:
    with pytest.raises(ValueError, match=r"'rows.csv'.*\.parquet or \.jsonl"):
        export([run], "rows.csv")


def test_the_command_writes_every_layout(run: Path, model: str, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from stepgym.cli.export import command

    out = tmp_path / "rows.jsonl"
    for layout in TextLayout:
        words = ["--layout", layout.value, "--model", model, "--out", str(out)]
        done = CliRunner().invoke(command, [str(run), *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert json.loads(out.read_text(encoding="utf-8").split("\n")[0])
    refused = CliRunner().invoke(command, [str(run), "--format", "tokens"])
    assert refused.exit_code and "--model hf:NAME" in refused.output
