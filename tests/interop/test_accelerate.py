"""TRL trains on an export in two processes: with a copy of the model each, and with a shard each (FSDP)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from stepgym.selfplay import ExportFormat, export, selfplay

pytest.importorskip("trl")
pytestmark = pytest.mark.skipif(
    not os.environ.get("STEPGYM_PEER"), reason="slow: run `make test-interop PEERS=accelerate`"
)

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "cluster"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows of an export and a tokenizer of single bytes."""
    folder = tmp_path_factory.mktemp("sft")
    selfplay(
        "Countdown-v0", out=folder / "run", agent="best_of_n", policy="random", level=1, episodes=30
    )
    assert export([folder / "run"], folder / "rows.parquet", kind=ExportFormat.SFT) > 4
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>")
    tokenizer.chat_template = "{% for turn in messages %}{{ turn.content }}\n{% endfor %}"
    tokenizer.save_pretrained(folder / "tokenizer")
    return folder


def train(parts: Path, launcher: list[str], out: Path) -> str:
    command = [sys.executable, "-m", *launcher, str(EXAMPLES / "train_sft.py"), "--tiny"]
    command += ["--rows", str(parts / "rows.parquet"), "--model", str(parts / "tokenizer")]
    command += ["--out", str(out), "--steps", "3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (out / "model.safetensors").exists()
    return done.stdout


def test_two_processes_with_a_model_each(parts: Path, tmp_path: Path) -> None:
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert "2 processes, loss " in train(parts, launcher, tmp_path / "out")


def test_two_processes_with_a_shard_each(parts: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((EXAMPLES / "fsdp.yaml").read_text())
    config |= {"num_machines": 1, "num_processes": 2, "use_cpu": True, "mixed_precision": "no"}
    config |= {"main_process_ip": "127.0.0.1", "main_process_port": 0}
    (tmp_path / "fsdp.yaml").write_text(yaml.safe_dump(config))
    launcher = ["accelerate.commands.launch", "--config_file", str(tmp_path / "fsdp.yaml")]
    assert "2 processes, loss " in train(parts, launcher, tmp_path / "out")
