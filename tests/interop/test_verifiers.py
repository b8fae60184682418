"""verifiers with the real package: `vf-eval` plays an environment, a taskset is taken in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("verifiers", reason="run by `make test-interop`")

from stepgym.envs.registry import load_env

TASKSET = """
import verifiers.v1 as vf

class Data(vf.TaskData):
    answer: str

class Task(vf.Task[Data, vf.State, vf.TaskConfig]):
    @vf.reward(weight=1.0)
    async def right(self, trace: vf.Trace) -> float:
        return float(trace.last_reply.strip() == self.data.answer)

class Sums(vf.Taskset[Task, vf.TasksetConfig]):
    def load(self):
        for i in range(5):
            yield Task(Data(prompt=f"{i} + 3?", answer=str(i + 3)), self.config.task)

__all__ = ["Sums"]
"""


def test_vf_eval_plays_an_environment(chat_url: str, tmp_path: Path) -> None:
    (tmp_path / "stepgym_tasks.py").write_text(
        "from stepgym.interop.verifiers import StepgymEnv, StepgymTaskset, __all__\n"
    )
    out = tmp_path / "out"
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "vf-eval"),
            "stepgym_tasks",
            *("--env.taskset.env-id", "stepgym/Countdown-v0"),
            *("--env.taskset.env-options", '{"level": 2}'),
            *("-n", "4", "-m", "mock", "--no-push", "--output-dir", str(out)),
            *("--client.base-url", chat_url),
            *("--env.player.runtime.type", "subprocess"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "OPENAI_API_KEY": "x",
            "PRIME_API_KEY": "x",
            "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
        },
    )
    traces = list(out.rglob("traces.jsonl"))
    assert traces, done.stdout[-3000:] + done.stderr[-3000:]
    episodes = [json.loads(line) for line in traces[0].read_text().splitlines()]
    rewards = [episode["traces"][0]["rewards"]["verdict"]["score"] for episode in episodes]
    assert rewards == [1.0] * 4


def test_a_taskset_is_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small_sums.py").write_text(TASKSET)
    monkeypatch.syspath_prepend(str(tmp_path))
    env = load_env("verifiers:small_sums")
    env.reset(options={"index": 3})
    assert env.step("<answer>6</answer>")[1] == 1.0
    env.reset(options={"index": 3})
    assert env.step("<answer>7</answer>")[1] == 0.0
