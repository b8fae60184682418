"""LLaMA-Factory with the real package: it reads ShareGPT rows and learns the model's turns alone."""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("omegaconf", reason="run by `make test-interop`")

from stepgym.records.exports import export
from stepgym.records.types import ExportFormat

from ..records.conftest import merging_tokenizer
from ..records.trees import ASKED, CALLED, RESULT, SAID, call

IGNORED = -100


@pytest.fixture
def llamafactory(monkeypatch: pytest.MonkeyPatch) -> None:
    # It imports torchaudio for audio data, whose builds want the CUDA libraries.
    audio = types.ModuleType("torchaudio")
    audio.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
    monkeypatch.setitem(sys.modules, "torchaudio", audio)
    monkeypatch.setenv("DISABLE_VERSION_CHECK", "1")
    pytest.importorskip("llamafactory.data", reason="run by `make test-interop`")


def test_it_learns_the_models_turns(llamafactory: None, make_run: Any, tmp_path: Path) -> None:
    from llamafactory.data.loader import _load_single_dataset
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments, ModelArguments
    from transformers import Seq2SeqTrainingArguments

    own, silent = ASKED[-1:], {**CALLED, "reasoning_content": None}
    run = make_run(calls=(call(own, silent), call([*own, silent, RESULT], SAID)))
    assert export([run], tmp_path / "rows.jsonl", kind=ExportFormat.SHAREGPT) == 2
    columns = {"messages": "conversations", "tools": "tools"}
    info = {"rows": {"file_name": "rows.jsonl", "formatting": "sharegpt", "columns": columns}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    data = DataArguments(
        dataset="rows", dataset_dir=str(tmp_path), template="qwen", cutoff_len=4096
    )
    rows = _load_single_dataset(
        get_dataset_list(["rows"], str(tmp_path))[0],
        ModelArguments(model_name_or_path="none", cache_dir=str(tmp_path / "cache")),
        data,
        Seq2SeqTrainingArguments(output_dir=str(tmp_path), use_cpu=True, bf16=False),
    )
    tokenizer = merging_tokenizer(chat=True)
    processor = SupervisedDatasetProcessor(
        template=get_template_and_fix_tokenizer(tokenizer, data),
        tokenizer=tokenizer,
        processor=None,
        data_args=data,
    )
    made = processor.preprocess_dataset(rows[:])
    learned = [
        tokenizer.decode([label for label in labels if label != IGNORED])
        for labels in made["labels"]
    ]
    assert len(learned) == 2
    turns = [turn.strip() for turn in learned[0].split("<|im_end|>")]
    assert turns == ["<think>try 6</think>2 * 3", "6 + 4", ""]
    assert "It is 10." in learned[1] and '"add"' in learned[1]
    for text in learned:
        assert "FOREIGN" not in text and "left: 4 6" not in text and "Make 10." not in text
