"""OpenRLHF with the real package: its process reward data set reads a label after each step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("openrlhf", reason="run by `make test-interop`")

import datasets
from openrlhf.datasets.process_reward_dataset import ProcessRewardDataset

from stepgym.records.exports import export
from stepgym.records.rows.steps import PLACEHOLDER
from stepgym.records.types import ExportFormat

from ..records.conftest import merging_tokenizer

IGNORED = -100


def test_its_process_reward_data_set_finds_every_label(make_run: Any, tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    assert export([make_run()], out, kind=ExportFormat.OPENRLHF)
    rows = datasets.load_dataset(
        "parquet", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    tokenizer = merging_tokenizer(chat=True)
    tokenizer.add_tokens([PLACEHOLDER, "+", "-"])
    names = {
        "input_key": "input",
        "label_key": "label",
        "placeholder_token": PLACEHOLDER,
        "reward_tokens": ["+", "-"],
    }
    read = ProcessRewardDataset(
        rows, tokenizer, 4096, SimpleNamespace(args=SimpleNamespace(**names))
    )
    for row, (_, _, labels) in zip(rows, (read[at] for at in range(len(read)))):
        found = [label for label in labels[0].tolist() if label != IGNORED]
        assert tokenizer.convert_ids_to_tokens(found) == row["label"]
