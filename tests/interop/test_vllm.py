"""Searches on a real vLLM with SmolLM2-135M-Instruct on the CPU: what it offers, tokens, and a server that dies.

`STEPGYM_VLLM` names a server that is running already, as `http://HOST:PORT/v1#MODEL`; it is left alone.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents import solve
from stepgym.agents.policies.chat_policy import ChatPolicy
from stepgym.agents.policies.chat_probes import probe
from stepgym.agents.policies.loading import load_language_model, smollm2_file
from stepgym.agents.types import EpisodeRecord, RunStopped
from stepgym.envs.registry import load_env
from stepgym.envs.types import State
from stepgym.records.run_folder import read_episodes
from stepgym.selfplay import selfplay

GIVEN = os.environ.get("STEPGYM_VLLM")
if not GIVEN:
    pytest.importorskip("vllm", reason="run by `make test-interop`")

START_S = 900.0
"""How long a start may take: the model is compiled for the machine."""
pytestmark = pytest.mark.timeout(1800)
DATA = Path(os.environ.get("STEPGYM_DATA", "")) / "gsm8k_test.jsonl"


class VLLM:
    """A vLLM process that serves a folder; it can be killed and started again."""

    def __init__(self, model: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.name = f"http://127.0.0.1:{self.port}/v1#smollm2"
        self._model, self._log = model, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [
            sys.executable,
            "-m",
            "vllm.entrypoints.openai.api_server",
            "--model",
            str(self._model),
        ]
        words += ["--served-model-name", "smollm2", "--host", "127.0.0.1", "--port", str(self.port)]
        words += ["--max-model-len", "2048", "--max-num-seqs", "32", "--enforce-eager"]
        environment = {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
        }
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                words, env=os.environ | environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5)
                return
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        pytest.fail(f"vLLM did not start: {self._log.read_text(errors='replace')[-3000:]}")

    def kill(self) -> None:
        """Kill the server and the processes of its engine."""
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VLLM]:
    if GIVEN:
        pytest.skip("STEPGYM_VLLM names a server that is not ours to kill")
    folder = tmp_path_factory.mktemp("vllm")
    model = load_language_model(smollm2_file(), device="cpu")
    model.model.save_pretrained(folder / "smollm2")
    model.tokenizer.save_pretrained(folder / "smollm2")
    server = VLLM(folder / "smollm2", folder / "log")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def endpoint(request: pytest.FixtureRequest) -> str:
    return GIVEN or str(request.getfixturevalue("own_server").name)


def test_the_probes_find_what_vllm_offers(endpoint: str) -> None:
    found = {each.name: each.found for each in probe(ChatPolicy(endpoint, timeout_s=600.0))}
    offered = ("n", "log-probabilities", "stop", "token ids", "prefill")
    assert {name: found[name] for name in offered} == dict.fromkeys(offered, "yes")
    assert found["temperature"].startswith("acts")
    assert found["end told"] == "yes; tells a length limit"
    assert "tokens/s" in found["throughput"]


def settings(**changed: Any) -> dict[str, Any]:
    """A policy for a small model on a slow machine."""
    return {
        "continuation": "prefill",
        "return_token_ids": True,
        "max_new_tokens": 40,
        "timeout_s": 600.0,
        "examples": [("Compute 4 - 9.", "4 - 9 = -5\n\n<answer>-5</answer>")],
    } | changed


def gsm8k() -> dict[str, Any]:
    """The options of GSM8K: the whole set if `STEPGYM_DATA` has it, else the examples in the package."""
    return {"sandbox": None, "max_steps": 4} | ({"file": str(DATA)} if DATA.is_file() else {})


SEARCHES = [
    ("best_of_n", {"n": 3}),
    ("beam", {"width": 2, "expand": 2}),
    ("mcts", {"simulations": 3, "width": 2, "leaves": 2}),
]


@pytest.mark.parametrize(("agent", "agent_settings"), SEARCHES, ids=[row[0] for row in SEARCHES])
def test_searches_play_gsm8k_with_tokens(
    endpoint: str, agent: str, agent_settings: dict[str, Any]
) -> None:
    env = load_env("stepgym/GSM8K-v0", **gsm8k())
    policy = ChatPolicy(endpoint, **settings())
    records = solve(
        [env.problems[i] for i in range(3)],
        env=env,
        agent=agent,
        agent_settings=agent_settings,
        policy=policy,
        reward_model="log_prob",
    )
    assert len(records) == 3 and all(record.verdict != "failed" for record in records), records[
        0
    ].note
    for record in records:
        check_tokens(record, policy)
        assert record.agent["continuous"], "a served model is searched continuously"


def test_the_end_of_a_text_is_seen(endpoint: str) -> None:
    policy = ChatPolicy(endpoint, **settings(system=None, examples=(), max_new_tokens=100))
    (steps,) = policy.propose([State("Say only the word yes.")], [4])
    assert any(step.final for step in steps), [step.text for step in steps]


def check_tokens(record: EpisodeRecord, policy: ChatPolicy) -> None:
    """Every step has the tokens it was sampled as, with log-probabilities that add up to the step's."""
    steps = record.nodes[1:]
    assert steps
    for node in steps:
        assert node.token_ids and node.token_log_probs, node
        assert len(node.token_ids) == len(node.token_log_probs) <= policy.max_new_tokens
        known = [value for value in node.token_log_probs if value is not None]
        assert node.log_prob == pytest.approx(sum(known), abs=1e-3)
        assert "\n\n" not in node.text
    assert record.nodes[0].context_ids, "the tokens of the prompt"


def test_a_server_that_dies_stops_the_run_and_the_same_call_continues(
    own_server: VLLM, tmp_path: Path
) -> None:
    def play(episodes: int) -> None:
        selfplay(
            "stepgym/GSM8K-v0",
            out=tmp_path / "run",
            agent="greedy",
            policy=f"chat:{own_server.name}",
            policy_settings=settings(max_retries=1, backoff_s=0.1),
            env_options=gsm8k(),
            episodes=episodes,
            num_parallel=1,
        )

    def kill_after_one() -> None:
        file = tmp_path / "run" / "episodes.jsonl"
        while not (file.exists() and file.stat().st_size):
            time.sleep(0.05)
        own_server.kill()

    killer = threading.Thread(target=kill_after_one)
    killer.start()
    with pytest.raises(RunStopped, match="answers no other request either"):
        play(3)
    killer.join()
    kept = list(read_episodes(tmp_path / "run"))
    assert 1 <= len(kept) < 3 and all(record.verdict != "failed" for record in kept)
    own_server.start()
    play(3)
    records = list(read_episodes(tmp_path / "run"))
    assert sorted(record.index for record in records) == [0, 1, 2]
    assert records[: len(kept)] == kept
