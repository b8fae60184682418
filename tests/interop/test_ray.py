"""A Ray cluster of several nodes on this machine plays what one process plays, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stepgym.agents.executors import InProcess
from stepgym.agents.jobs import Job
from stepgym.agents.ray_cluster import SANDBOX_RESOURCE
from stepgym.agents.ray_executor import OnRay
from stepgym.agents.types import EpisodeRecord
from stepgym.cli import main
from stepgym.plugins.errors import UserError
from stepgym.records.run_folder import read_episodes
from stepgym.sandbox.types import SandboxError
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
SLOW = replace(JOB, policy="deadly_policies:Slow", agent="greedy", agent_settings={})
CODE = Job(env_id="Code-v0", policy="deadly_policies:Programs", num_parallel=2)


@contextmanager
def three_nodes(*nodes: dict[str, Any], **head: Any) -> Iterator[Any]:
    """Run a cluster: a head without processors, and two nodes with two each unless `nodes` says otherwise."""
    ray.shutdown()  # a driver has one cluster at a time: tests of the shared one come first
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **head})
    try:
        for node in nodes or ({}, {}):
            made.add_node(**{"num_cpus": 2, **node})
        ray.init(address=made.address, log_to_driver=False)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the policies of the tests read from the environment, which the nodes inherit."""
    folder = tmp_path_factory.mktemp("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}:{HERE}")
        patch.syspath_prepend(str(HERE))
        patch.setenv("SLOW_S", "0.2")
        patch.setenv("BATCH_FILE", str(folder / "batches"))
        patch.setenv("DEADLY_FILE", str(folder / "deadly"))
        patch.setenv("DEADLY_PROMPT", next(iter(InProcess().play(JOB, [5]))).prompt)
        yield folder


@pytest.fixture(scope="module")
def cluster(files: Path) -> Iterator[Any]:
    with three_nodes() as made:
        yield made


def played(records: Sequence[EpisodeRecord]) -> list[dict[str, Any]]:
    shown = [asdict(record) for record in sorted(records, key=lambda record: record.index)]
    for each in shown:
        del each["created"]
        each["details"].pop("used", None)  # processor time and memory of the program
        if "tests" in each["details"]:  # without the time of each test
            each["details"]["tests"] = [row[:3] for row in each["details"]["tests"]]
        each["usage"] = {k: v for k, v in each["usage"].items() if not k.endswith("_s")}
    return shown


def played_here(job: Job, indices: Sequence[int]) -> list[dict[str, Any]]:
    return played(list(InProcess().play(job, indices)))


def test_three_nodes_make_the_records_of_one_process(cluster: Any) -> None:
    assert played(list(OnRay().play(JOB, range(20)))) == played_here(JOB, range(20))


def test_answers_and_stored_runs_are_verified_on_ray(cluster: Any, tmp_path: Path) -> None:
    rows = [{"answer": f"{n}/2", "reference": str(n // 2)} for n in range(200)]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = []
    for where in ([], ["--ray", cluster.address]):
        result = CliRunner().invoke(main, ["check-answers", str(answers), "--json", *where])
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        counts.append([found[status] for status in ("pairs", "correct", "incorrect", "undecided")])
    assert counts == [[200, 100, 100, 0]] * 2
    selfplay("Countdown-v0", out=tmp_path / "run", policy="random", episodes=70)
    for where in ([], ["--ray", cluster.address]):
        result = CliRunner().invoke(main, ["verify", str(tmp_path / "run"), "--json", *where])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["episodes"] == 70
        assert json.loads(result.stdout)["changes"] == []
    with pytest.raises(ZeroDivisionError):
        list(OnRay().map(one_over, [1, 0]))


def one_over(number: int) -> float:
    return 1 / number


def test_a_search_that_shares_a_budget_keeps_its_groups(cluster: Any) -> None:
    job = replace(JOB, agent="adaptive", agent_settings={}, num_parallel=5)
    assert played(list(OnRay().play(job, range(10)))) == played_here(job, range(10))


@pytest.mark.parametrize("attempt", [0, 1])
def test_models_in_processes_of_their_own_make_the_same_records(cluster: Any, attempt: int) -> None:
    job = replace(
        JOB,
        policy="embedded",
        reward_model="random",
        agent="mcts",
        agent_settings={},
        attempt=attempt,
    )
    on_ray = OnRay(policy_actors=2, policy_cpus=0.5, reward_model_actors=1, reward_model_cpus=0.5)
    assert played(list(on_ray.play(job, range(12)))) == played_here(job, range(12))


def test_calls_of_several_tasks_are_one_batch(cluster: Any, files: Path) -> None:
    job = replace(JOB, policy="deadly_policies:LogsBatches")
    records = list(OnRay(policy_actors=1).play(job, range(60)))
    assert len(records) == 60
    lines = [line.split() for line in (files / "batches").read_text().splitlines()]
    assert len({process for process, _ in lines}) == 1
    assert max(int(size) for _, size in lines) > job.num_parallel


def test_a_policy_whose_process_dies_is_started_anew(cluster: Any, files: Path) -> None:
    job = replace(JOB, policy="deadly_policies:KillsOnce")
    records = played(list(OnRay(policy_actors=1).play(job, range(20))))
    assert (files / "deadly").exists()
    assert records == played_here(job, range(20))


def test_a_policy_that_dies_at_one_problem_fails_that_problem(cluster: Any) -> None:
    job = replace(JOB, policy="deadly_policies:KillsAt", num_parallel=1)
    records = list(OnRay(policy_actors=1, policy_cpus=0.5).play(job, range(4, 8)))
    assert {r.index: r.verdict for r in records if r.verdict == "failed"} == {5: "failed"}
    assert len(records) == 4


def test_what_cannot_be_placed_says_so(cluster: Any) -> None:
    with pytest.raises(UserError, match=r"no node .* policy needs .*GPU 1.*policy_gpus"):
        OnRay(policy_actors=1, policy_gpus=1, wait_s=0).with_models(JOB)
    with pytest.raises(UserError, match="beside the 4 CPU of the models"):
        list(OnRay(policy_actors=4, wait_s=0).play(JOB, range(2)))
    with pytest.raises(UserError, match=rf"no node .*{SANDBOX_RESOURCE} 1.*--resources="):
        list(OnRay(wait_s=0).play(CODE, range(2)))
    with pytest.raises(UserError, match="unknown policy 'embeded'"):
        OnRay(policy_actors=1).with_models(replace(JOB, policy="embeded"))
    with pytest.raises(UserError, match="leave out policy_actors"):
        OnRay(policy_actors=1).with_models(replace(JOB, policy="chat:http://127.0.0.1:1/v1#m"))


def test_a_process_that_dies_twice_fails_its_problem_alone(cluster: Any, tmp_path: Path) -> None:
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


def test_a_driver_that_is_killed_is_resumed(cluster: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stepgym", "selfplay", "--env", "Countdown-v0", "--level", "1"]
    command += ["--policy", SLOW.policy, "--seed", "3", "--episodes", "24", "--parallel", "2"]
    command += ["--ray", cluster.address, "--ray-option", "policy_actors=1"]
    command += ["--out", str(tmp_path / "run"), "--json"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    file = tmp_path / "run" / "episodes.jsonl"
    deadline = time.monotonic() + 60
    while not file.exists() or len(file.read_text().splitlines()) < 4:
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert len(file.read_text().splitlines()) < 24
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    job = replace(SLOW, verify_all=True)
    assert played(list(read_episodes(tmp_path / "run"))) == played_here(job, range(24))


def test_a_node_that_is_lost_loses_nothing_and_one_that_joins_takes_work(files: Path) -> None:
    records: list[EpisodeRecord] = []
    with three_nodes({"num_cpus": 1}, {"num_cpus": 1}) as cluster:
        for record in OnRay().play(SLOW, range(40)):
            records.append(record)
            if len(records) == 4:
                lost = next(iter(cluster.worker_nodes))
                cluster.remove_node(lost, allow_graceful=False)
                cluster.add_node(num_cpus=2)
    assert played(records) == played_here(SLOW, range(40))


def test_records_of_more_bytes_than_the_object_store(files: Path) -> None:
    job = replace(JOB, policy="deadly_policies:Verbose", num_parallel=16)
    store = {"object_store_memory": 80 * 2**20}
    num_bytes = 0
    indices = []
    no_spilling = {"automatic_object_spilling_enabled": False}
    with three_nodes(store, store, _system_config=no_spilling, **store):
        for record in OnRay().play(job, range(300)):
            indices.append(record.index)
            num_bytes += sum(len(node.text) for node in record.nodes)
    assert sorted(indices) == list(range(300))
    assert num_bytes > 2 * store["object_store_memory"]


def test_an_engine_that_does_not_answer_on_one_node(files: Path) -> None:
    if not Path("/var/run/docker.sock").exists():
        pytest.skip("needs a Docker engine")
    job = replace(CODE, env_options={"sandbox": "docker"})
    declared = {"num_cpus": 1, "resources": {SANDBOX_RESOURCE: 1}}
    broken = {**declared, "env_vars": {"DOCKER_HOST": "unix:///nowhere/engine.sock"}}
    indices = [i % 4 for i in range(24)]
    with three_nodes(broken) as cluster:
        sound = cluster.add_node(**{"num_cpus": 2, **declared})
        cluster.wait_for_nodes()
        assert played(list(OnRay().play(job, indices))) == played_here(job, indices)
        found = CliRunner().invoke(main, ["doctor", "--ray", cluster.address, "--json"])
        assert found.exit_code == 1
        nodes = json.loads(found.stdout)["nodes"]
        assert [len(node["faults"]) for node in nodes if node[SANDBOX_RESOURCE] == 0] == [0]
        [dead] = [node for node in nodes if node["faults"]]
        assert dead["sandbox"] != "docker" and "engine.sock" in dead["engine"]
        shown = CliRunner().invoke(main, ["doctor", "--ray", cluster.address]).stdout
        assert "2 of 3 nodes fit" in shown and "NOT FIT" in shown
        cluster.remove_node(sound)
        with pytest.raises(SandboxError, match="failed on every node"):
            list(OnRay().play(job, range(4)))


def test_no_cluster_says_what_to_start() -> None:
    with pytest.raises(UserError, match="ray start --head"):
        list(OnRay("127.0.0.1:1").play(JOB, range(2)))
