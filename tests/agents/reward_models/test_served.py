"""Reward models behind a server of vLLM's shape, and generative judges."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stepgym.agents import solve
from stepgym.agents.registry import load_reward_model
from stepgym.agents.types import Budget, RunStopped
from stepgym.envs.types import State, Step
from stepgym.plugins.errors import UserError

STATE = State("2 + 3 * 4?", (Step("3 * 4 = 12"), Step("2 + 12 = 14")))


class Server(ThreadingHTTPServer):
    """Answers with `reply(path, body)`: a JSON value, or a status and a value."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.reply: Callable[[str, dict[str, Any]], Any] = vllm
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        server: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server.seen.append((self.path, body))
        reply = server.reply(self.path, body)
        status, value = reply if isinstance(reply, tuple) else (200, reply)
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def vllm(path: str, body: dict[str, Any]) -> Any:
    """Reply as vLLM's pooling, classify and score endpoints do, and as a chat model."""
    head = {"id": "r", "created": 0, "model": body["model"], "usage": {"prompt_tokens": 30}}
    if path.endswith("/chat/completions"):
        text = f"The step is fine. Score: {len(body['messages'][0]['content']) % 11}"
        message = {"role": "assistant", "content": text}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return {**head, "choices": choices, "usage": {"prompt_tokens": 30, "completion_tokens": 7}}
    if path == "/pooling":
        marks = body["messages"][-1]["content"].count("<extra_0>")
        rows = [[0.25, 0.75] for _ in range(marks)]
        return {**head, "object": "list", "data": [{"index": 0, "object": "pooling", "data": rows}]}
    if path == "/classify":
        probs = {"label": "LABEL_1", "probs": [0.1, 0.9], "num_classes": 2}
        return {**head, "object": "list", "data": [{"index": 0, **probs}]}
    entry = {"index": 0, "object": "score", "score": 0.625}
    return {**head, "object": "list", "data": [entry]}


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize(
    ("endpoint", "scores"), [("pooling", [0.75, 0.75]), ("classify", [0.9]), ("score", [0.625])]
)
def test_each_endpoint_is_asked_in_its_shape(
    server: Server, endpoint: str, scores: list[float]
) -> None:
    model = load_reward_model(f"served:{server.url}/{endpoint}#prm")
    assert model.score([STATE, State("none")]) == [scores, []]
    [(path, body)] = server.seen
    assert path == f"/{endpoint}" and body["model"] == "prm" and "12" in json.dumps(body)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({"data": [{"data": [[0.5, 0.5]]}]}, "1 rows for 2 steps"),
        ({"data": []}, "gave no data"),
        ({"data": [{"data": [[0.5, 7.0]] * 2}]}, "not \\[0.5, 7.0\\]"),
        ((400, {"error": "no such field"}), "status 400.*no such field"),
    ],
)
def test_other_replies_are_errors_that_show_them(server: Server, reply: Any, words: str) -> None:
    server.reply = lambda path, body: reply
    with pytest.raises(ValueError, match=words):
        load_reward_model(f"served:{server.url}/pooling#prm").score([STATE])


def test_busy_servers_are_asked_again_and_lost_ones_stop_the_run(server: Server) -> None:
    replies = iter([(503, {}), (429, {})])
    server.reply = lambda path, body: next(replies, None) or vllm(path, body)
    model = load_reward_model(f"served:{server.url}/pooling#prm", backoff_s=0.01)
    assert model.score([STATE]) == [[0.75, 0.75]] and len(server.seen) == 3
    for gone in ("served", "judge"):
        lost = load_reward_model(
            f"{gone}:http://127.0.0.1:9/pooling#m", backoff_s=0.01, max_retries=1
        )
        with pytest.raises(RunStopped, match=r"127\.0\.0\.1:9"):
            lost.score([STATE])


def test_a_judge_scores_each_step_once_and_its_tokens_are_counted(server: Server) -> None:
    judge = load_reward_model(f"judge:{server.url}/v1#m")
    records = solve(
        "stepgym/Countdown-v0", agent="beam", policy="random", reward_model=judge, level=2
    )
    [record] = records
    assert len({json.dumps(body) for _, body in server.seen}) == len(server.seen)
    plain = solve("stepgym/Countdown-v0", agent="beam", policy="random", level=2)[0].usage
    asked = len(server.seen)
    assert record.usage["reasoning_tokens"] - plain["reasoning_tokens"] == 7 * asked
    assert {node.score for node in record.nodes[1:]} <= {i / 10 for i in range(11)}
    before = len(server.seen)
    budget = Budget(new_tokens=20)
    solve(
        "stepgym/Countdown-v0",
        agent="beam",
        policy="random",
        reward_model=load_reward_model(f"judge:{server.url}/v1#m"),
        level=2,
        budget=budget,
    )
    assert len(server.seen) - before < asked


def test_a_judges_dollars_are_counted_and_limited(server: Server) -> None:
    """A reply costs 30 + 2 x 7 dollars, and at most a dollar a byte and two for each of 8 tokens."""
    priced = {"price": [1e6, 2e6], "max_new_tokens": 8}
    problems = {"agent": "beam", "policy": "random", "level": 2}
    judge = load_reward_model(f"judge:{server.url}/v1#m", **priced)
    [record] = solve("stepgym/Countdown-v0", reward_model=judge, **problems)  # type: ignore[arg-type]
    assert record.usage["usd"] == 44.0 * len(server.seen)
    limited = load_reward_model(f"judge:{server.url}/v1#m", budget_usd=1000.0, **priced)
    before = len(server.seen)
    with pytest.raises(RunStopped, match="budget of \\$1000 is used up"):
        solve("stepgym/Countdown-v0", reward_model=limited, **problems)  # type: ignore[arg-type]
    assert 0 < 44.0 * (len(server.seen) - before) <= 1000.0


def test_a_judge_without_a_score_fails_its_state_and_is_no_score(server: Server) -> None:
    text = {"role": "assistant", "content": "I cannot say; score: 11"}
    server.reply = lambda path, body: {"choices": [{"index": 0, "message": text}]}
    judge = load_reward_model(f"judge:{server.url}/v1#m", max_retries=0)
    [record] = solve("stepgym/Countdown-v0", agent="beam", policy="random", reward_model=judge)
    assert record.verdict in ("failed", "no_answer") and "no score from 0 to 10" in record.note
    assert all(node.score is None for node in record.nodes)


def test_a_name_without_a_model_is_refused() -> None:
    for kind in ("served", "judge"):
        with pytest.raises(ValueError, match="URL and a model"):
            load_reward_model(f"{kind}:http://127.0.0.1:9")
    with pytest.raises(UserError, match="must end in /pooling, /classify, /score"):
        load_reward_model("served:http://127.0.0.1:9/v1#m")
