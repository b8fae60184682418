"""The chat endpoint, on a real server, with the real `openai` client."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import openai
import pytest
import requests
import uvicorn

from stepgym.agents.types import EpisodeRecord, RunStopped
from stepgym.envs.types import State, Step
from stepgym.plugins.errors import UserError
from stepgym.serving import chat
from stepgym.serving.chat import chat_app
from stepgym.serving.thinking import MergedCalls, Thinker

SECRET = "I must not say this"


class Speaker:
    """Thinks aloud in the first step and answers in the second; one answer in three is another one."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.batches: list[int] = []
        self.seed = 0

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        time.sleep(self.delay_s)
        self.batches.append(len(states))
        return [self._steps(state, count) for state, count in zip(states, counts)]

    def _steps(self, state: State, count: int) -> list[Step]:
        if not state.steps:
            text = f"<think>{SECRET}</think>Six times seven."
            return [
                Step(f"{text}{' ' * k}", num_tokens=9, num_reasoning_tokens=5) for k in range(count)
            ]
        first = (state.draw or 0) + len(state.steps[0].text) + self.seed
        answers = [41 if (first + k) % 3 == 0 else 42 for k in range(count)]
        return [Step(f"So it is <answer>{answer}</answer>.", num_tokens=6) for answer in answers]


class Server:
    """A running server."""

    def __init__(self, **settings: object) -> None:
        self.records: list[EpisodeRecord] = []
        thinker = settings.pop("thinker", None) or Thinker(
            Speaker(), agent="best_of_n", agent_settings={"n": 6}
        )
        application = chat_app(thinker, model="m", on_record=self.records.append, **settings)  # type: ignore[arg-type]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = uvicorn.Config(application, host="127.0.0.1", port=self.port, log_level="warning")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def client(self, token: str = "x") -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=token, max_retries=0)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


ASK: list[dict[str, str]] = [{"role": "user", "content": "What is 6 * 7?"}]


def test_an_answer_is_searched_for_and_reasoning_stays_hidden(server: Server) -> None:
    reply = server.client().chat.completions.create(model="m", messages=ASK)  # type: ignore[arg-type]
    [choice] = reply.choices
    assert "42" in str(choice.message.content) and choice.finish_reason == "stop"
    assert SECRET not in reply.model_dump_json()
    usage = reply.usage
    assert usage is not None and usage.completion_tokens_details is not None
    hidden = usage.completion_tokens_details.reasoning_tokens
    assert hidden is not None and 0 < hidden < usage.completion_tokens
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert [model.id for model in server.client().models.list()] == ["m"]
    [record] = server.records
    assert SECRET in record.nodes[1].text and len(record.nodes) > 3


def test_effort_and_max_tokens_limit_the_search(server: Server) -> None:
    def spent(**options: object) -> int:
        reply = server.client().chat.completions.create(model="m", messages=ASK, **options)  # type: ignore[call-overload]
        return int(reply.usage.completion_tokens)

    assert spent(max_completion_tokens=10) < spent(reasoning_effort="high")


def test_n_answers_a_summary_and_stop_strings(server: Server) -> None:
    body = {"model": "m", "messages": ASK, "n": 3, "stop": ["So"], "reasoning": {"summary": "auto"}}
    reply = requests.post(f"{server.url}/chat/completions", json=body, timeout=30).json()
    assert len(reply["choices"]) == 3
    for choice in reply["choices"]:
        assert choice["message"]["content"].strip() == "Six times seven."
        assert choice["message"]["reasoning_summary"].startswith("Searched ")


def test_a_conversation_is_one_prompt_and_a_reward_model_scores_its_steps() -> None:
    class Scores:
        def score(self, states: Sequence[State]) -> list[list[float]]:
            return [[0.5] * len(state.steps) for state in states]

    server = Server(thinker=Thinker(Speaker(), Scores(), agent="beam"))
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "6 * 7?"}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    reply = requests.post(
        f"{server.url}/chat/completions", json={"model": "m", "messages": messages}, timeout=30
    )
    assert "it is 4" in reply.json()["choices"][0]["message"]["content"]
    [record] = server.records
    assert record.prompt.startswith("System: Be brief.\n\nUser: What is\n6 * 7?")
    assert {node.score for node in record.nodes[1:]} == {0.5}
    server.stop()


def test_the_same_seed_gives_the_same_answer(server: Server) -> None:
    def ask(seed: int) -> tuple[object, object]:
        reply = server.client().chat.completions.create(model="m", messages=ASK, seed=seed)  # type: ignore[arg-type]
        return reply.choices[0].message.content, reply.usage

    assert ask(7) == ask(7)


def test_a_stream_beats_until_the_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(chat, "POLL_S", 0.05)
    thinker = Thinker(Speaker(delay_s=0.3), agent="greedy")
    server = Server(thinker=thinker)
    body = {
        "model": "m",
        "messages": ASK,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with requests.post(
        f"{server.url}/chat/completions", json=body, timeout=30, stream=True
    ) as stream:
        lines = [line.decode() for line in stream.iter_lines() if line]
    assert lines.count(": thinking") >= 2 and lines[-1] == "data: [DONE]"
    pieces = server.client().chat.completions.create(model="m", messages=ASK, stream=True)  # type: ignore[arg-type]
    text = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
    assert "<answer>" not in text and "it is 4" in text
    server.stop()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "JSON"),
        (json.dumps({"model": "m", "messages": []}).encode(), 400, "messages"),
        (json.dumps({"model": "m", "messages": ASK, "n": 99}).encode(), 400, "n:"),
        (json.dumps({"model": "gpt", "messages": ASK}).encode(), 404, "'gpt'"),
        (
            json.dumps({"model": "m", "messages": ASK, "reasoning_effort": "max"}).encode(),
            400,
            "low",
        ),
        (b" " * (3 << 20), 413, "bytes"),
    ],
)
def test_bad_requests_are_json_errors(server: Server, body: bytes, status: int, words: str) -> None:
    reply = requests.post(f"{server.url}/chat/completions", data=body, timeout=30)
    assert reply.status_code == status and words in reply.json()["error"]["message"]
    server.client().chat.completions.create(model="m", messages=ASK)  # type: ignore[arg-type]


def test_unknown_fields_are_ignored(server: Server) -> None:
    body = {"model": "m", "messages": ASK, "logit_bias": {}, "no_such_field": 1}
    assert requests.post(f"{server.url}/chat/completions", json=body, timeout=30).status_code == 200


def test_slow_clients_and_broken_http_do_not_hold_up_others(server: Server) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{"
    waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(32)]
    for connection in waiting:
        connection.sendall(head)  # the rest of the body never comes
    with socket.create_connection(("127.0.0.1", server.port)) as broken:
        broken.sendall(b"\x16\x03\x01 no http at all\r\n\r\n")
        assert b" 400 " in broken.recv(200)
    server.client().chat.completions.create(model="m", messages=ASK)  # type: ignore[arg-type]
    for connection in waiting:
        connection.close()


def test_a_token_is_asked_for() -> None:
    server = Server(token="secret")
    with pytest.raises(openai.AuthenticationError):
        server.client("wrong").models.list()
    with pytest.raises(openai.AuthenticationError):
        server.client("wrong").chat.completions.create(model="m", messages=ASK)  # type: ignore[arg-type]
    server.client("secret").chat.completions.create(model="m", messages=ASK)  # type: ignore[arg-type]
    server.stop()


def test_a_full_queue_asks_to_come_back() -> None:
    thinker = Thinker(Speaker(delay_s=0.5), agent="greedy")
    server = Server(thinker=thinker, num_parallel=1, max_queue=1)
    body = {"model": "m", "messages": ASK}
    with ThreadPoolExecutor(6) as pool:
        replies = list(
            pool.map(
                lambda _: requests.post(f"{server.url}/chat/completions", json=body, timeout=30),
                range(6),
            )
        )
    refused = [reply for reply in replies if reply.status_code == 429]
    assert len(refused) == 4 and all(reply.headers["retry-after"] for reply in refused)
    assert sum(reply.status_code == 200 for reply in replies) == 2
    server.stop()


def test_a_client_that_leaves_ends_its_search() -> None:
    speaker = Speaker(delay_s=0.2)
    thinker = Thinker(speaker, agent="best_of_n", agent_settings={"n": 4})
    server = Server(thinker=thinker)
    body = {"model": "m", "messages": ASK}
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(f"{server.url}/chat/completions", json=body, timeout=0.1)
    before, deadline = -1, time.monotonic() + 60
    while before != len(speaker.batches) and time.monotonic() < deadline:
        before = len(speaker.batches)
        time.sleep(2)
    assert len(speaker.batches) == before
    server.client().chat.completions.create(model="m", messages=ASK)  # type: ignore[arg-type]
    server.stop()


def test_a_policy_that_fails_is_an_error_and_the_server_stays_up() -> None:
    class Broken:
        def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
            raise RuntimeError("no weights")

    server = Server(thinker=Thinker(Broken(), agent="greedy"))
    for _ in range(2):
        reply = requests.post(
            f"{server.url}/chat/completions", json={"model": "m", "messages": ASK}, timeout=30
        )
        assert reply.status_code == 500 and "no weights" in reply.json()["error"]["message"]
    stream = post(server, {"messages": ASK, "stream": True}).text
    assert "no weights" in stream and stream.rstrip().endswith("data: [DONE]")
    server.stop()


def test_a_served_policy_is_called_by_each_search_alone() -> None:
    """Two clients wait for each other's requests, which one merged call after the other could not serve."""
    together = threading.Barrier(2)

    class Served(Speaker):
        concurrency = 2

        def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
            if not states[0].steps:
                together.wait(20)
            return super().propose(states, counts)

    server = Server(thinker=Thinker(Served(), agent="greedy"), num_parallel=2)
    bodies = [{"messages": ASK, "seed": seed} for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(partial(post, server), bodies))
    assert [reply.status_code for reply in replies] == [200, 200]
    server.stop()


def post(server: Server, body: dict[str, object]) -> requests.Response:
    return requests.post(f"{server.url}/chat/completions", json={"model": "m", **body}, timeout=60)


def test_a_model_server_that_is_gone_is_status_503() -> None:
    class Gone(Speaker):
        def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
            raise RunStopped("http://host gave nothing")

    server = Server(thinker=Thinker(Gone(), agent="greedy"))
    reply = post(server, {"messages": ASK})
    assert reply.status_code == 503 and "gave nothing" in reply.json()["error"]["message"]
    server.stop()


def test_64_clients_at_once_lose_nothing() -> None:
    speaker = Speaker(delay_s=0.002)
    thinker = Thinker(speaker, agent="best_of_n", agent_settings={"n": 4})
    server = Server(thinker=thinker, num_parallel=16, max_queue=200)
    client = server.client()

    def ask(number: int) -> str:
        question = [{"role": "user", "content": f"What is {number} * 1?"}]
        reply = client.chat.completions.create(model="m", messages=question)  # type: ignore[arg-type]
        return str(reply.choices[0].message.content)

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(ask, range(128)))
    assert len(answers) == 128 and all("it is 4" in answer for answer in answers)
    assert len(server.records) == 128
    assert max(speaker.batches) > 1  # calls of several clients were one batch
    server.stop()


def test_merged_calls_return_to_their_callers() -> None:
    def double(items: Sequence[int]) -> list[int]:
        time.sleep(0.005)
        if 13 in items:
            raise ValueError("13")
        return [2 * item for item in items]

    merged = MergedCalls(double)
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda n: merged([n, n + 100]), range(12)))
    assert results == [[2 * n, 2 * n + 200] for n in range(12)]
    with pytest.raises(ValueError, match="13"):
        merged([13])


def test_an_unknown_agent_is_refused_before_the_server_starts() -> None:
    with pytest.raises(UserError, match="did you mean 'mcts'"):
        Thinker(Speaker(), agent="mtcs")
