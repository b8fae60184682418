"""Supervised fine-tuning with TRL on rows that stepgym exported, in as many processes as its launcher starts.

    stepgym export runs/a --format sft --out rows.parquet
    accelerate launch --config_file examples/cluster/fsdp.yaml \
        examples/cluster/train_sft.py --rows rows.parquet --model MODEL --out runs/sft
    stepgym eval --env Countdown-v0 --policy hf:runs/sft

With `--tiny` a model with random weights is made, which learns nothing and shows that the parts fit.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from datasets import load_dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer


def tiny_model(tokenizer: Any) -> LlamaForCausalLM:
    """Make a model of two layers with random weights for the tokens of `tokenizer`."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", required=True, help="an export of the format sft (parquet)")
    parser.add_argument("--model", required=True, help="name or folder of a causal language model")
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--tiny", action="store_true", help="random weights, the model's tokenizer")
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    rows = load_dataset("parquet", data_files=options.rows, split="train")
    trainer = SFTTrainer(
        model=tiny_model(tokenizer) if options.tiny else options.model,
        processing_class=tokenizer,
        train_dataset=rows.select_columns(["prompt", "completion"]),
        args=SFTConfig(
            output_dir=options.out,
            max_steps=options.steps,
            per_device_train_batch_size=2,
            completion_only_loss=True,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            bf16=torch.cuda.is_available(),
            use_cpu=not torch.cuda.is_available(),
            ddp_backend=None if torch.cuda.is_available() else "gloo",
        ),
    )
    done = trainer.train()
    trainer.save_model(options.out)
    if trainer.accelerator.is_main_process:
        print(f"{trainer.accelerator.num_processes} processes, loss {done.training_loss:.3f}")


if __name__ == "__main__":
    main()
