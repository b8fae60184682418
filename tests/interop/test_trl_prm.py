"""The last TRL with a trainer for process reward models (1.13 and before): it trains on stepwise rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

prm = pytest.importorskip("trl.experimental.prm", reason="run by `make test-interop`")

import datasets
from transformers import LlamaConfig, LlamaForTokenClassification

from stepgym.records.exports import export
from stepgym.records.types import ExportFormat

from ..records.conftest import merging_tokenizer

IGNORED = -100


def test_it_learns_a_label_for_each_step(make_run: Any, tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    assert export([make_run()], out, kind=ExportFormat.STEPWISE)
    rows = datasets.load_dataset(
        "parquet", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    tokenizer = merging_tokenizer(chat=True)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_labels=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    trainer = prm.PRMTrainer(
        model=LlamaForTokenClassification(config),
        args=prm.PRMConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            report_to="none",
            max_steps=1,
            save_strategy="no",
        ),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    for row, read in zip(rows, trainer.train_dataset):
        assert [bool(label) for label in read["labels"] if label != IGNORED] == row["labels"]
    trainer.train()
