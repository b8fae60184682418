"""inspect_ai with the real package: its mock model answers a task of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("inspect_ai", reason="run by `make test-interop`")

from inspect_ai import eval as run_task
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from stepgym.envs.registry import load_env
from stepgym.interop.inspect_ai import stepgym_task


def test_a_task_is_scored_by_the_environments_verifier(tmp_path: Path) -> None:
    env = load_env("stepgym/Math-v0", level=2)

    def output(index: int) -> ModelOutput:
        answer = env.problems[index].reference if index % 2 else "no number"
        found = ModelOutput.from_content("mockllm/model", f"so <answer>{answer}</answer>")
        found.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return found

    model = get_model("mockllm/model", custom_outputs=[output(index) for index in range(10)])
    [log] = run_task(
        stepgym_task("stepgym/Math-v0", num_problems=10, level=2),
        model=model,
        display="none",
        max_connections=1,
        max_samples=1,
        log_dir=str(tmp_path),
    )
    assert log.status == "success", log.error
    assert log.results.scores[0].metrics["accuracy"].value == 0.5
