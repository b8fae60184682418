"""verl's reward function over rows of an environment."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepgym.envs.families.countdown import random_solution
from stepgym.envs.registry import load_env
from stepgym.interop.verl import compute_score
from stepgym.records.exports import export
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import ExportFormat, RunConfig

from ..records.trees import TREE


def test_maths_answers_are_graded_by_the_environments_verifier() -> None:
    problem = load_env("stepgym/Math-v0", level=2, seed=3).problems[5]
    row = {"index": 5, "level": 2, "seed": 3}
    solution = f"I think <answer>{problem.reference}</answer>"
    assert compute_score("stepgym/Math-v0", solution, problem.reference, row) == 1.0
    assert compute_score("stepgym/Math-v0", "<answer>x</answer>", problem.reference, row) == 0.0


def test_a_solution_in_steps_is_played() -> None:
    problem = load_env("stepgym/Countdown-v0", level=3).problems[4]
    steps = random_solution(*problem.public, random.Random(0))  # type: ignore[misc]
    row = {"index": 4, "level": 3, "seed": 0}
    assert compute_score("stepgym/Countdown-v0", "\n".join(steps), problem.reference, row) == 1.0
    assert compute_score("stepgym/Countdown-v0", steps[0], problem.reference, row) == 0.0


def test_code_is_graded_too() -> None:
    problem = load_env("stepgym/Code-v0", sandbox="local").problems[0]
    row = {"index": 0, "env_options": json.dumps({"sandbox": "local"})}
    right = f"First the idea.\n\n```python\n{problem.reference}```\nThat is all."
    hidden = f"<think>```python\ndef f():\n    pass\n```</think>{right}"
    for solution in (right, hidden):
        assert compute_score("stepgym/Code-v0", solution, problem.reference, row) == 1.0
    wrong = right.replace("total += number", "total = number")
    assert wrong != right
    for solution in (wrong, "```python\ndef f():\n    pass\n```", "no program"):
        assert compute_score("stepgym/Code-v0", solution, problem.reference, row) < 1.0


def test_verl_reads_the_export_and_calls_the_reward(tmp_path: Path) -> None:
    pytest.importorskip("verl", reason="run by `make test-interop`")
    import numpy as np
    import torch
    from omegaconf import OmegaConf
    from verl import DataProto
    from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
    from verl.trainer.ppo.reward import get_custom_reward_fn
    from verl.utils.dataset.rl_dataset import RLHFDataset

    from ..records.conftest import merging_tokenizer

    env_ids = {"stepgym/Math-v0": {"level": 2}, "stepgym/Code-v0": {"sandbox": "local"}}
    files = []
    for number, (env_id, options) in enumerate(env_ids.items()):
        run, out = tmp_path / f"run{number}", tmp_path / f"rows{number}.parquet"
        env = {"env_id": env_id, "env_options": options}
        config = RunConfig(agent="greedy", policy="scripted", **env)
        with RunFolder(run, config) as folder:
            env_problems = load_env(env_id, **options).problems
            for index in range(2):
                problem = env_problems[index]
                record = replace(TREE, problem_id=problem.id, index=index, prompt=problem.prompt)
                folder.append(replace(record, reference=problem.reference, **env))
        assert export([run], out, kind=ExportFormat.VERL) == 2
        files.append(str(out))
    tokenizer = merging_tokenizer(chat=True)
    settings = {"max_prompt_length": 4096, "filter_overlong_prompts_workers": 1}
    cache = {"cache_dir": str(tmp_path / "cache")}
    rows = RLHFDataset(files, tokenizer, OmegaConf.create({**settings, **cache}))
    assert len(rows) == 4 and rows[0]["raw_prompt"][0]["role"] == "system"
    reward = {"path": "pkg://stepgym.interop.verl", "name": "compute_score"}
    config = OmegaConf.create({"reward": {"custom_reward_function": reward}})

    async def score(manager: Any, row: Any, text: str) -> float:
        ids = torch.tensor([tokenizer(text).input_ids])
        names = ("data_source", "reward_model", "extra_info")
        data = DataProto.from_dict(
            tensors={"responses": ids, "attention_mask": torch.ones_like(ids)},
            non_tensors={name: np.array([row[name]], dtype=object) for name in names},
        )
        return float((await manager.run_single(data))["reward_score"])

    async def scores() -> list[float]:
        grade = get_custom_reward_fn(config)
        manager = NaiveRewardManager(config, tokenizer, compute_score=grade)
        found = []
        for row in rows:
            truth = row["reward_model"]["ground_truth"]
            is_code = row["data_source"] == "stepgym/Code-v0"
            right = f"```python\n{truth}\n```" if is_code else f"<answer>{truth}</answer>"
            for answer in (right, "<answer>?</answer>"):
                found.append(await score(manager, row, f"So:\n{answer}"))
        return found

    assert asyncio.run(scores()) == [1.0, 0.0] * 4


def test_a_row_of_another_problem_is_refused() -> None:
    with pytest.raises(ValueError, match="no 'index'"):
        compute_score("stepgym/Math-v0", "1", "1", {})
    with pytest.raises(ValueError, match="another version"):
        compute_score("stepgym/Math-v0", "1", "no such reference", {"index": 0, "level": 1})
