"""A Ray cluster of several nodes on this machine plays what one process plays; nodes come and go."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents.executors import InProcess
from stepgym.agents.jobs import Job
from stepgym.agents.ray_executor import OnRay
from stepgym.agents.types import EpisodeRecord
from stepgym.plugins.errors import UserError
from stepgym.records.run_folder import read_episodes
from stepgym.selfplay.play import selfplay

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster

HERE = Path(__file__).parent.parent / "agents"
JOB = Job(
    env_id="Countdown-v0",
    env_options={"level": 1},
    agent="best_of_n",
    agent_settings={"n": 4},
    policy="random",
    seed=3,
    num_parallel=2,
)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three nodes with one processor each; tasks run on the two that are not the head."""
    monkeypatch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}:{HERE}")
    monkeypatch.syspath_prepend(str(HERE))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made.add_node(num_cpus=1)
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def played(records: list[EpisodeRecord]) -> list[dict[str, Any]]:
    shown = [asdict(record) for record in sorted(records, key=lambda record: record.index)]
    for each in shown:
        del each["created"]
        each["usage"] = {k: v for k, v in each["usage"].items() if not k.endswith("_s")}
    return shown


def test_three_nodes_make_the_records_of_one_process(cluster: Any) -> None:
    assert played(list(OnRay().play(JOB, range(20)))) == played(
        list(InProcess().play(JOB, range(20)))
    )


def test_a_node_that_is_lost_loses_nothing_and_one_that_joins_takes_work(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW_S", "0.2")
    slow = replace(JOB, policy="deadly_policies:Slow", agent="greedy", agent_settings={})
    records: list[EpisodeRecord] = []
    for record in OnRay().play(slow, range(40)):
        records.append(record)
        if len(records) == 4:
            lost = next(iter(cluster.worker_nodes))
            cluster.remove_node(lost, allow_graceful=False)
            cluster.add_node(num_cpus=2)
    assert played(records) == played(list(InProcess().play(slow, range(40))))


def test_a_process_that_dies_twice_fails_its_problem_alone(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = next(iter(InProcess().play(JOB, [5]))).prompt
    ray.shutdown()
    runtime = {"env_vars": {"DEADLY_PROMPT": prompt}}
    ray.init(address=cluster.address, log_to_driver=False, runtime_env=runtime)
    summary = selfplay(
        "Countdown-v0",
        out=tmp_path,
        level=1,
        policy="deadly_policies:KillsAt",
        seed=3,
        episodes=9,
        executor=OnRay(),
    )
    assert summary.verdicts["failed"] == 1
    records = list(read_episodes(tmp_path))
    assert sorted(record.index for record in records) == list(range(9))
    [failed] = [record for record in records if record.verdict == "failed"]
    assert failed.index == 5 and "died twice" in failed.note


def test_tasks_go_to_the_nodes_that_have_what_they_need(cluster: Any) -> None:
    cluster.add_node(num_cpus=1, resources={"sandbox": 1})
    started = time.monotonic()
    records = list(OnRay(resources={"sandbox": 1}).play(JOB, range(4)))
    assert len(records) == 4 and time.monotonic() - started < 120


def test_no_cluster_says_what_to_start() -> None:
    with pytest.raises(UserError, match="ray start --head"):
        list(OnRay("127.0.0.1:1").play(JOB, range(2)))
