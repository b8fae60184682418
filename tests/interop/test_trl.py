"""TRL with the real package: an environment as a tool, and reward functions."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents.types import EpisodeRecord
from stepgym.interop.trl import StepTool, code_reward, maths_reward, spec
from stepgym.records.exports import export
from stepgym.records.run_folder import RunFolder
from stepgym.records.tree import path_to
from stepgym.records.types import ExportFormat, RunConfig

from ..records.trees import TREE

TESTS = "def check(square):\n    assert square(3) == 9\n"


def message(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


def test_the_data_set_has_a_row_per_problem() -> None:
    rows = spec("stepgym/Countdown-v0", num_problems=5, level=1)["train_dataset"]
    assert rows["index"] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="has 164 problems"):
        spec("stepgym/HumanEval-v0", num_problems=165, sandbox="local")


def test_the_tool_plays_and_pays() -> None:
    tool = spec("stepgym/Countdown-v0", level=1)["environment_factory"]()
    assert isinstance(tool, StepTool)
    prompt = tool.reset(index=2, prompt="a column of the row")
    assert "target" in prompt.lower() or "reach" in prompt.lower()
    tool.step("1 + 1000")
    assert tool.get_reward() == 0.0
    with pytest.raises(ValueError, match="over"):
        tool.step("1 + 1")


def test_maths_reward_masks_what_is_undecided() -> None:
    reward = maths_reward()
    hard = "\\sum_{k=1}^{10^{40}} k^{k}"
    given = reward([message("so \\boxed{1/2}"), "3", hard], answer=["0.5", "2", hard + "+1"])
    assert given[:2] == [1.0, 0.0]
    assert given[2] is None
    with pytest.raises(ValueError, match="no column 'answer'; it has: solution"):
        reward(["1"], solution=["1"])


def test_code_reward_reads_fences() -> None:
    reward = code_reward(sandbox="local")
    fenced = "Here it is:\n```python\ndef square(x):\n    return x * x\n```\n"
    wrong = "def square(x):\n    return x"
    columns = {"tests": [TESTS, TESTS], "entry_point": ["square", "square"]}
    assert reward([message(fenced), wrong], **columns) == [1.0, 0.0]


@pytest.mark.slow
def test_grpo_trains_on_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TRL_EXPERIMENTAL_SILENCE", "1")
    trl = pytest.importorskip("trl")
    trainer = tiny_trainer(trl, tmp_path, **spec("stepgym/Countdown-v0", num_problems=4, level=1))
    trainer.train()
    assert trainer.state.log_history[0]["rewards/StepTool/mean"] == 0.0
    assert {type(env) for env in trainer.environments} == {StepTool}


@pytest.mark.slow
def test_grpo_trains_on_the_paths_of_search_trees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "TRL_EXPERIMENTAL_SILENCE", "1")
    trl = pytest.importorskip("trl")
    import torch

    arguments = spec(
        "stepgym/Math-v0",
        num_problems=2,
        agent="mcts",
        agent_settings={"simulations": 6, "width": 2},
        policy_settings={"max_new_tokens": 8},
        level=1,
        sandbox=None,
        max_steps=2,
    )
    rollouts = arguments["rollout_func"]
    seen: list[dict[str, list[Any]]] = []

    def watched(prompts: list[str], trainer: Any) -> dict[str, list[Any]]:
        output = rollouts(prompts, trainer)
        for head, ids, log_probs, mask in zip(
            output["prompt_ids"], output["completion_ids"], output["logprobs"], output["env_mask"]
        ):
            with torch.no_grad():
                logits = trainer.model(torch.tensor([head + ids])).logits[0, len(head) - 1 : -1]
            read = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
            own = [i for i, is_own in enumerate(mask) if is_own]
            assert own and [log_probs[i] for i in own] == pytest.approx(
                read[own].tolist(), abs=1e-3
            )
        seen.append(output)
        return output

    trainer = tiny_trainer(trl, tmp_path, **{**arguments, "rollout_func": watched})
    trainer.train()
    [output] = seen
    assert len(output["completion_ids"]) == 4 and set(output["stepgym_reward"]) <= {0.0, 1.0}
    [record] = rollouts.records
    paths = [[record.nodes[n].token_ids for n in path_to(record, end)[1:]] for end in ends(record)]
    sampled = [[token for ids in path for token in ids or ()] for path in paths]
    own = [
        [token for token, is_own in zip(ids, mask) if is_own]
        for ids, mask in zip(output["completion_ids"], output["env_mask"])
    ]
    assert all(tokens in sampled for tokens in own) and len({tuple(t) for t in own}) > 1
    assert trainer.state.log_history[0]["rewards/search_reward/mean"] >= 0.0


def ends(record: EpisodeRecord) -> list[int]:
    return [number for number, node in enumerate(record.nodes) if node.end is not None]


def tiny_trainer(trl: Any, folder: Path, **arguments: Any) -> Any:
    tokenizer, model = tiny_model(Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja")
    return trl.GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=trl.GRPOConfig(
            output_dir=str(folder),
            max_steps=1,
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=16,
            report_to="none",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            logging_steps=1,
            save_strategy="no",
        ),
        **arguments,
    )


@pytest.mark.slow
def test_grpo_trains_on_exported_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Problems of a foreign file, exported from a run, graded by the reference that stands in the row."""
    monkeypatch.setitem(os.environ, "TRL_EXPERIMENTAL_SILENCE", "1")
    trl = pytest.importorskip("trl")
    import datasets

    with RunFolder(tmp_path / "run", RunConfig(env_id="e", agent="a", policy="p")) as folder:
        for number in range(4):
            prompt = f"Compute {number} + 1."
            folder.append(
                replace(TREE, problem_id=prompt, prompt=prompt, reference=str(number + 1))
            )
    out = tmp_path / "prompts.parquet"
    assert export([tmp_path / "run"], out, kind=ExportFormat.PROMPTS) == 4
    rows = datasets.load_dataset(
        "parquet", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    tokenizer, model = tiny_model(Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja")
    graded: list[str] = []
    reward = maths_reward()

    def watched(completions: Any, **columns: Any) -> list[float | None]:
        graded.extend(columns["answer"])
        return reward(completions, **columns)

    trainer = trl.GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=watched,
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            max_steps=1,
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=8,
            report_to="none",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            save_strategy="no",
        ),
        train_dataset=rows,
    )
    trainer.train()
    assert len(graded) == 4 and set(graded) <= {"1", "2", "3", "4"}


def tiny_model(template: Path) -> tuple[Any, Any]:
    """Return a byte tokenizer with a chat template that knows tools, and a Qwen3 of 64 dimensions."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.add_tokens(["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"])
    tokenizer.chat_template = template.read_text()
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer, Qwen3ForCausalLM(config)
