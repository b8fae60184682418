"""Runs on a served model from the command line: a lost server, and a budget in US dollars."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stepgym.agents.episode import Episode
from stepgym.cli import main
from stepgym.records.run_folder import read_episodes


class Model:
    """A loopback chat server whose model answers every problem with 7; it can be taken away."""

    def __init__(self) -> None:
        self.num_left: int | None = None
        """Requests that it still answers; `None` is no limit."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                if outer.num_left is not None:
                    outer.num_left -= 1
                    if outer.num_left < 0:
                        self.send_error(503)
                        return
                choice = {
                    "message": {"role": "assistant", "content": "<answer>7"},
                    "finish_reason": "stop",
                }
                usage = {"prompt_tokens": 100, "completion_tokens": 10}
                data = json.dumps({"choices": [choice], "usage": usage}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.name = f"chat:http://127.0.0.1:{self.http.server_address[1]}/v1#m"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.http.shutdown()
    model.http.server_close()


def run(model: Model, *words: str) -> Result:
    fast = ["--policy-option", "max_retries=1", "--policy-option", "backoff_s=0.01"]
    served = ["--env", "Math-v0", "--level", "1", "--policy", model.name, *fast, "--parallel", "2"]
    return CliRunner().invoke(main, [words[0], *served, *words[1:]])


def asks_once(episode: Episode) -> None:
    """An agent that drives itself: one call of the model through its endpoint is its answer."""
    body = {"model": episode.model, "messages": [{"role": "user", "content": episode.prompt}]}
    request = urllib.request.Request(
        f"{episode.endpoint}/chat/completions",
        json.dumps({**body, "max_tokens": 50}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        text = json.load(reply)["choices"][0]["message"]["content"]
    episode.step(text + "</answer>")


AGENTS = ["greedy", f"{__name__}:asks_once"]


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("command", ["eval", "selfplay"])
def test_a_lost_server_stops_the_run_and_the_same_command_continues(
    command: str, agent: str, model: Model, tmp_path: Path
) -> None:
    words = (command, "--episodes", "8", "--out", str(tmp_path / "run"), "--agent", agent)
    model.num_left = 4
    stopped = run(model, *words)
    assert stopped.exit_code == 1, stopped.output
    assert "status 503" in stopped.output and "run the same command to continue" in stopped.output
    kept = list(read_episodes(tmp_path / "run"))
    assert {record.verdict for record in kept} <= {"correct", "incorrect"}
    assert f"{len(kept)} new episodes are kept" in stopped.output
    model.num_left = None
    assert run(model, *words).exit_code == 0
    records = list(read_episodes(tmp_path / "run"))
    assert sorted(record.index for record in records) == list(range(8))
    assert records[: len(kept)] == kept


@pytest.mark.parametrize("agent", AGENTS)
def test_a_budget_in_dollars_is_never_passed(agent: str, model: Model, tmp_path: Path) -> None:
    """An episode is one request of 100 + 10 tokens: 100 + 20 dollars at this price, and at most some 1,700."""
    out = str(tmp_path / "run")
    words = ("eval", "--episodes", "8", "--out", out, "--price", "1e6,2e6", "--json")
    words += ("--agent", agent)
    most = ("--policy-option", "max_new_tokens=50", "--policy-option", "system=null")
    stopped = run(model, *words, *most, "--budget-usd", "1000")
    assert stopped.exit_code == 1, stopped.output
    assert "the budget of $1000 is used up" in stopped.output
    kept = list(read_episodes(out))
    assert 0 < len(kept) < 8
    assert {record.usage["usd"] for record in kept} == {120.0}
    spent = json.loads((tmp_path / "run/spent.json").read_text())["usd"]
    assert 120.0 * len(kept) <= spent <= 1000.0
    again = run(model, *words, *most, "--budget-usd", "2500")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["usage"]["usd"] == 960.0


def test_a_budget_in_dollars_holds_over_several_environments(model: Model, tmp_path: Path) -> None:
    """Each of the 2 x 4 episodes costs 120 dollars; a budget for one environment alone would allow all."""
    out = str(tmp_path / "run")
    words = ("eval", "--env", "Fractions-v0", "--episodes", "4", "--out", out)
    words += ("--price", "1e6,2e6", "--parallel", "1")
    words += ("--policy-option", "max_new_tokens=50", "--policy-option", "system=null")
    stopped = run(model, *words, "--budget-usd", "960")
    assert stopped.exit_code == 1, stopped.output
    kept = [list(read_episodes(folder)) for folder in sorted(Path(out).iterdir())]
    assert "is used up" in stopped.output
    assert sum(record.usage["usd"] for records in kept for record in records) <= 960.0
    assert "$480.0000 of $960" in stopped.output
    assert run(model, *words, "--budget-usd", "9000").exit_code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--budget-usd", "1"], "needs --price"),
        (["--price", "1"], "should look like 0.15,0.60"),
        (["--price", "cheap,dear"], "should look like 0.15,0.60"),
        (["--price", "-1,2"], "US dollars per million"),
    ],
)
def test_prices_are_checked(words: list[str], says: str, model: Model, tmp_path: Path) -> None:
    result = run(model, "eval", "--episodes", "1", "--out", str(tmp_path / "run"), *words)
    assert result.exit_code == 2 and says in result.output, result.output


def test_what_a_served_reward_model_costs_is_said_to_be_left_out(
    model: Model, tmp_path: Path
) -> None:
    words = ("--out", str(tmp_path / "run"), "--price", "1,2", "--agent", "best_of_n")
    scorer = model.name.replace("chat:", "judge:")
    result = run(model, "eval", "--episodes", "1", *words, "--reward-model", scorer)
    assert f"what {scorer} costs is not counted" in result.output
