"""verifiers with the real package: `vf-eval` plays an environment, a taskset is taken in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verifiers", reason="run by `make test-interop`")

from stepgym.envs.registry import load_env
from stepgym.records.exports import export
from stepgym.records.types import ExportFormat

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


TASKS = "from stepgym.interop.verifiers import StepgymEnv, StepgymTaskset, __all__\n"
SEARCH = """
from stepgym.interop.verifiers import StepgymHarness
__all__ = ["StepgymHarness"]
"""


def vf_eval(folder: Path, chat_url: str, *options: str) -> list[dict[str, Any]]:
    """Play 4 problems of `stepgym_tasks.py` in a folder with `vf-eval`; return the traces."""
    out = folder / "out"
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "vf-eval"),
            "stepgym_tasks",
            *("--env.taskset.env-id", "stepgym/Countdown-v0"),
            *("--env.taskset.env-options", '{"level": 2}'),
            *("-n", "4", "-m", "mock", "--no-push", "--output-dir", str(out)),
            *("--client.base-url", chat_url),
            *("--env.player.runtime.type", "subprocess"),
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "OPENAI_API_KEY": "x",
            "PRIME_API_KEY": "x",
            "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        },
    )
    traces = list(out.rglob("traces.jsonl"))
    assert traces, done.stdout[-3000:] + done.stderr[-3000:]
    return [json.loads(line)["traces"][0] for line in traces[0].read_text().splitlines()]


def test_vf_eval_plays_an_environment(chat_url: str, tmp_path: Path) -> None:
    (tmp_path / "stepgym_tasks.py").write_text(TASKS)
    traces = vf_eval(tmp_path, chat_url)
    assert [trace["rewards"]["verdict"]["score"] for trace in traces] == [1.0] * 4


def test_a_search_is_a_harness(chat_url: str, tmp_path: Path) -> None:
    """The reward is that of the path that the search chose, not that of the last model call."""
    (tmp_path / "stepgym_tasks.py").write_text(TASKS)
    (tmp_path / "stepgym_search.py").write_text(SEARCH)
    settings = ("--env.player.harness.settings.simulations", "6")
    harness = ("--env.player.harness.id", "stepgym_search", "--env.player.harness.agent", "mcts")
    traces = vf_eval(tmp_path, chat_url, *harness, *settings)
    for trace in traces:
        record = trace["info"]["stepgym_record"]
        assert record["verdict"] == "correct" and record["num_nodes"] > 2, record
        assert trace["rewards"]["verdict"]["score"] == 1.0 and not trace["info"]["undecided"]
        assert trace["root_reply"] == record["answer"]
        assert len(trace["nodes"]) > 2, "the calls of the search are in the trace"


def test_a_taskset_is_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small_sums.py").write_text(TASKSET)
    monkeypatch.syspath_prepend(str(tmp_path))
    env = load_env("verifiers:small_sums")
    env.reset(options={"index": 3})
    assert env.step("<answer>6</answer>")[1] == 1.0
    env.reset(options={"index": 3})
    assert env.step("<answer>7</answer>")[1] == 0.0


def test_it_reads_exported_traces(make_run: Any, tmp_path: Path) -> None:
    from verifiers.v1.trace import WireTrace
    from verifiers.v1.utils.trace_store import read_episodes

    assert export([make_run()], tmp_path / "traces.jsonl", kind=ExportFormat.VERIFIERS) == 2
    searched, played = read_episodes(tmp_path, WireTrace)
    assert [trace.reward for trace in searched.traces] == [1.0, 0.0, 0.0]
    [trace] = played.traces
    assert [m.content for m in trace.assistant_messages] == [
        "<think>six and four</think>",
        "It is 10.",
    ]
    assert [m.content for m in trace.tool_messages] == ["FOREIGN 10"]
    assert trace.tools[0].name == "add" and trace.last_reply == "It is 10."
    assert len(trace.branches) == 1 and trace.num_turns == 2
