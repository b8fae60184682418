"""The recording endpoint: real clients call it, every call is on the episode, and bad use is a proper error."""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from stepgym.agents import Budget, solve
from stepgym.agents.chat_backends import BackendError, num_reasoning_tokens
from stepgym.agents.endpoint import MAX_IN_FLIGHT
from stepgym.agents.episode import Episode
from stepgym.agents.policies.chat_policy import ChatPolicy
from stepgym.agents.policies.scripted import RandomLegalPolicy, ScriptedPolicy
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord, Policy, RunStopped
from stepgym.envs.families.words import WordsDomain, same_word_env
from stepgym.envs.types import State, Step
from stepgym.records.loader import contexts_of
from stepgym.records.schema import from_line, to_line

TOOL = {
    "type": "function",
    "function": {
        "name": "step",
        "description": "Take one step.",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
    },
}


class WithoutLegalSteps:
    """The rules of Words, without a list of legal steps."""

    def __init__(self, size: int) -> None:
        self.inner = WordsDomain(size)
        self.initial, self.advance = self.inner.initial, self.inner.advance


def spells(state: State) -> list[Step]:
    """The next letter of `cab`, with tokens."""
    letter = "cab"[len(state.steps) % 3]
    token = Step(
        letter,
        log_prob=-0.5,
        num_tokens=1,
        num_prompt_tokens=5,
        token_ids=(ord(letter),),
        token_log_probs=(-0.5,),
        context_ids=tuple(range(len(state.steps) + 1)),
    )
    return [token] * 4


def run(agent: Callable[[Episode], Any], policy: Policy | None = None, **settings: Any) -> Any:
    env = same_word_env(count=settings.pop("count", 1), domain=settings.pop("domain", None))
    return solve(env, agent=agent, policy=policy or ScriptedPolicy(spells), **settings)


def client_of(episode: Episode) -> openai.OpenAI:
    return openai.OpenAI(base_url=episode.endpoint, api_key="none", max_retries=0)


def chats(episode: Episode) -> None:
    """An agent on the openai package: asks, steps, and shows the environment's reply as a user message."""
    with client_of(episode) as client:
        messages: list[Any] = [{"role": "user", "content": episode.prompt}]
        while not episode.done:
            reply = client.chat.completions.create(
                model=episode.model, messages=messages, tools=[TOOL]
            )
            text = reply.choices[0].message.content or ""
            result = episode.step(text)
            messages += [
                {"role": "assistant", "content": text},
                {"role": "user", "content": result.text or "ok"},
            ]


def test_every_call_is_recorded_with_messages_tools_usage_and_tokens() -> None:
    (record,) = run(chats)
    assert record.verdict == "correct"
    assert [call["node"] for call in record.calls] == [0, 1, 2]
    assert [len(call["request"]["messages"]) for call in record.calls] == [1, 3, 5]
    assert all(
        call["request"]["tools"] == [TOOL] and call["status"] == 200 for call in record.calls
    )
    assert [tuple(call["token_ids"]) for call in record.calls] == [(99,), (97,), (98,)]
    assert [node.token_ids for node in record.nodes[1:]] == [(99,), (97,), (98,)]
    assert [node.token_log_probs for node in record.nodes[1:]] == [(-0.5,)] * 3
    assert record.usage["model_calls"] == 3
    assert contexts_of(record)[1:] == [(0,), (0, 1), (0, 1, 2)]
    assert (record.usage["visible_tokens"], record.usage["prompt_tokens"]) == (3, 15)
    again = from_line(to_line(record))
    assert to_line(again) == to_line(record)


def test_streams_are_recorded_too() -> None:
    def streams(episode: Episode) -> None:
        with client_of(episode) as client:
            for letter in "cab":
                messages: list[Any] = [{"role": "user", "content": "go"}]
                for earlier in "cab"["cab".index(letter) :: -1][1:]:
                    messages.insert(1, {"role": "assistant", "content": earlier})
                stream = client.chat.completions.create(
                    model=episode.model,
                    messages=messages,
                    stream=True,
                    stream_options={"include_usage": True},
                )
                chunks = list(stream)
                text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
                assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 1
                episode.step(text)

    (record,) = run(streams)
    assert record.verdict == "correct", record.note
    assert [call["status"] for call in record.calls] == [200] * 3


def test_the_models_are_listed_and_repeated_requests_get_new_samples() -> None:
    def asks(episode: Episode) -> str:
        with client_of(episode) as client:
            assert [model.id for model in client.models.list()] == [episode.model]
            texts = [
                client.chat.completions.create(
                    model=episode.model, messages=[{"role": "user", "content": "go"}], n=2
                )
                for _ in range(2)
            ]
        return "".join(c.message.content or "" for reply in texts for c in reply.choices)

    (record,) = run(asks, ScriptedPolicy(lambda state: list("abcd")))
    assert record.answer == "abcd"


def test_a_spent_budget_is_status_402_and_steps_are_still_allowed() -> None:
    seen: list[openai.APIStatusError] = []

    def spends(episode: Episode) -> None:
        with client_of(episode) as client:
            for _ in range(5):
                try:
                    client.chat.completions.create(
                        model=episode.model, messages=[{"role": "user", "content": "go"}]
                    )
                except openai.APIStatusError as error:
                    seen.append(error)
                    break
        for letter in "cab":
            episode.step(letter)

    (record,) = run(spends, budget=Budget(new_tokens=2))
    assert record.verdict == "correct"
    assert [call["status"] for call in record.calls] == [200, 200, 402]
    assert seen[0].status_code == 402 and "budget is spent" in str(seen[0])
    assert record.usage["model_calls"] == 2


def test_a_run_budget_limits_the_calls_of_all_episodes_together() -> None:
    def spends(episode: Episode) -> None:
        for _ in range(3):
            raw(episode, "POST", "/chat/completions", json.dumps(GOOD).encode())

    records = run(spends, count=4, run_budget=Budget(new_tokens=5), num_parallel=1)
    statuses = [[call["status"] for call in record.calls] for record in records]
    assert statuses == [[200] * 3, [200, 200, 402], [402] * 3, [402] * 3]


def test_an_agent_without_an_endpoint_needs_no_policy_that_fits() -> None:
    (record,) = run(lambda episode: "cab", RandomLegalPolicy(), domain=WithoutLegalSteps(3))
    assert record.verdict == "correct"


def raw(episode: Episode, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
    """Send a request as it is; return status and JSON body."""
    url = urlsplit(episode.endpoint)
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 0, timeout=20)
    try:
        connection.request(method, url.path + path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


GOOD = {"model": "policy", "messages": [{"role": "user", "content": "go"}]}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/chat/completions", b"{", 400, "the body is no JSON"),
        ("POST", "/chat/completions", b"[1]", 400, "no JSON object"),
        ("POST", "/chat/completions", b"\xff", 400, "the body is no JSON"),
        ("POST", "/chat/completions", {**GOOD, "model": "gpt-5"}, 404, "no model 'gpt-5'"),
        ("POST", "/chat/completions", {"messages": []}, 404, "no model None"),
        ("POST", "/chat/completions", {"model": "policy"}, 400, "a list of messages is needed"),
        ("POST", "/chat/completions", {**GOOD, "messages": [7]}, 400, "a message needs a role"),
        ("POST", "/chat/completions", {**GOOD, "n": -1}, 400, "n=-1"),
        ("POST", "/chat/completions", {**GOOD, "n": 10**9}, 400, "n=1000000000"),
        ("POST", "/chat/completions", {**GOOD, "n": "2"}, 400, "n='2'"),
        ("POST", "/responses", GOOD, 404, "is not served"),
        ("GET", "/chat/completions", b"", 404, "is not served"),
        ("GET", "/models/../..", b"", 404, "is not served"),
    ],
)
def test_bad_requests_are_json_errors_and_the_episode_goes_on(
    method: str, path: str, body: Any, status: int, message: str
) -> None:
    found: list[Any] = []

    def asks(episode: Episode) -> str:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        found.append(raw(episode, method, path, data))
        assert raw(episode, "POST", "/chat/completions", json.dumps(GOOD).encode())[0] == 200
        return "cab"

    (record,) = run(asks)
    ((code, answer),) = found
    assert code == status
    assert message in answer["error"]["message"] and answer["error"]["type"]
    assert record.verdict == "correct", record.note


def test_another_path_is_no_episode() -> None:
    found: list[Any] = []

    def asks(episode: Episode) -> str:
        url = urlsplit(episode.endpoint)
        connection = http.client.HTTPConnection(url.hostname or "", url.port or 0, timeout=20)
        connection.request("POST", "/somebody-else/v1/chat/completions", json.dumps(GOOD))
        found.append(connection.getresponse().status)
        return "cab"

    run(asks)
    assert found == [404]


def test_an_ended_episode_is_served_no_longer() -> None:
    urls: list[Episode] = []

    def keeps(episode: Episode) -> str:
        if urls:
            found.append(raw(urls[0], "POST", "/chat/completions", json.dumps(GOOD).encode()))
        else:
            urls.append(episode)
            assert episode.endpoint
        return "cab"

    found: list[Any] = []
    first, second = run(keeps, count=2, num_parallel=1)
    ((status, answer),) = found
    assert status in (402, 404) and "error" in answer
    assert (first.verdict, second.verdict) == ("correct", "correct")


def test_a_policy_that_fails_is_an_error_to_the_agent() -> None:
    def broken(state: State) -> list[Step]:
        raise RuntimeError("out of memory")

    def asks(episode: Episode) -> str:
        status, answer = raw(episode, "POST", "/chat/completions", json.dumps(GOOD).encode())
        return f"{status} {answer['error']['message']}"

    (record,) = run(asks, ScriptedPolicy(broken))
    assert record.answer == "502 policy: RuntimeError: out of memory"
    assert [call["status"] for call in record.calls] == [502]


def test_a_connection_closed_in_the_middle_of_a_stream_harms_nobody() -> None:
    def closes(episode: Episode) -> str:
        if episode.prompt == "word 1":
            url = urlsplit(episode.endpoint)
            connection = http.client.HTTPConnection(url.hostname or "", url.port or 0)
            body = json.dumps({**GOOD, "stream": True})
            connection.request("POST", url.path + "/chat/completions", body)
            connection.close()
            connection = http.client.HTTPConnection(url.hostname or "", url.port or 0)
            connection.putrequest("POST", url.path + "/chat/completions")
            connection.putheader("content-length", "1000")
            connection.endheaders(b"{")
            connection.close()
        chats(episode)
        return "cab"

    assert [record.verdict for record in run(closes, count=3)] == ["correct"] * 3


def test_a_flood_gets_status_429_and_the_others_go_on() -> None:
    release = threading.Event()

    def slow(state: State) -> list[Step]:
        if state.prompt == "flood":
            release.wait(10)
        return spells(state)

    def floods(episode: Episode) -> Any:
        if episode.prompt != "word 0":
            return "cab"
        body = json.dumps({**GOOD, "messages": [{"role": "user", "content": "flood"}]}).encode()
        codes: list[int] = []
        threads = [
            threading.Thread(
                target=lambda: codes.append(raw(episode, "POST", "/chat/completions", body)[0])
            )
            for _ in range(MAX_IN_FLIGHT + 8)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 10
        while codes.count(429) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        release.set()
        for thread in threads:
            thread.join()
        return f"{codes.count(200)} {codes.count(429)}"

    first, second = run(floods, ScriptedPolicy(slow), count=2)
    assert first.answer == f"{MAX_IN_FLIGHT} 8"
    assert second.verdict == "correct"


def test_thirty_two_agents_side_by_side_with_every_call_recorded() -> None:
    records: Sequence[EpisodeRecord] = run(chats, count=32, num_parallel=32)
    assert [record.verdict for record in records] == ["correct"] * 32
    assert [len(record.calls) for record in records] == [3] * 32
    for record in records:
        assert record.calls[0]["request"]["messages"][0]["content"] == record.prompt


def test_the_endpoint_adds_little_time_to_a_call() -> None:
    """Measured without a client library: a request, the policy, the record and the response."""
    times: list[float] = []

    def asks(episode: Episode) -> str:
        url = urlsplit(episode.endpoint)
        connection = http.client.HTTPConnection(url.hostname or "", url.port or 0)
        for number in range(200):
            body = json.dumps({**GOOD, "user": str(number)})
            started = time.perf_counter()
            connection.request("POST", url.path + "/chat/completions", body)
            connection.getresponse().read()
            times.append(time.perf_counter() - started)
        return "cab"

    run(asks)
    assert statistics.median(times) < 0.02, "2 ms on an idle machine; ten times that under load"


class Upstream(BaseHTTPRequestHandler):
    """A chat server that calls the tool `step` with the next letter, and gives tokens."""

    requests: list[Any]
    may_send = threading.Semaphore(0)
    """Released by the agent for each chunk that the server may send."""
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.requests.append(request)
        if request["messages"][0]["content"] == "refuse":
            self._send(400, {"error": {"message": "context too long", "code": 400}})
            return
        if request["stream"]:
            self._stream()
            return
        letter = "cab"[sum(m["role"] == "tool" for m in request["messages"])]
        call = {"name": "step", "arguments": json.dumps({"text": letter})}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": f"call-{letter}", "type": "function", "function": call}],
        }
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "tool_calls",
            "token_ids": [1, 2],
            "logprobs": {"content": [{"logprob": -1.0}, {"logprob": -2.0}]},
        }
        usage = {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13}
        self._send(
            200,
            {"id": "x", "object": "chat.completion", "created": 0, "model": "served"}
            | {"choices": [choice], "usage": usage},
        )

    def _stream(self) -> None:
        """Send `c`, `a`, `b` and a tool call in parts, each chunk only after the one before was fetched."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        head = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "served"}
        for letter in "cab":
            assert self.may_send.acquire(timeout=20)
            delta = {"content": letter, "reasoning_content": "r"}
            choice = {"index": 0, "delta": delta, "finish_reason": None, "token_ids": [ord(letter)]}
            choice["logprobs"] = {"content": [{"logprob": -0.5}]}
            read = {"prompt_token_ids": [7, 8]} if letter == "c" else {}
            self._chunk({**head, "choices": [choice], **read})
        for name, arguments in (("step", ""), (None, '{"te'), (None, 'xt": "c"}')):
            function = {"name": name, "arguments": arguments}
            part = {"index": 0, "id": "call" if name else None, "function": function}
            choice = {"index": 0, "delta": {"tool_calls": [part]}, "finish_reason": None}
            self._chunk({**head, "choices": [choice]})
        end = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
        self._chunk({**head, "choices": [end]})
        usage = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
        self._chunk({**head, "choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _chunk(self, chunk: Mapping[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()

    def _send(self, status: int, answer: Mapping[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def upstream() -> Iterator[tuple[ChatPolicy, list[Any]]]:
    requests: list[Any] = []
    handler = type(
        "Handler", (Upstream,), {"requests": requests, "may_send": threading.Semaphore(0)}
    )
    Upstream.may_send = handler.may_send  # type: ignore[attr-defined]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/v1#served"
    yield ChatPolicy(url, return_token_ids=True, max_retries=0), requests
    server.shutdown()
    server.server_close()
    thread.join()


def calls_tools(episode: Episode) -> None:
    """A tool-calling loop as users of the openai package write it."""
    with client_of(episode) as client:
        messages: list[Any] = [{"role": "user", "content": episode.prompt}]
        while not episode.done:
            message = (
                client.chat.completions.create(
                    model=episode.model,
                    messages=messages,
                    tools=[TOOL],  # type: ignore[list-item]
                )
                .choices[0]
                .message
            )
            messages.append(message.model_dump(exclude_none=True))
            for call in message.tool_calls or ():
                text = json.loads(call.function.arguments)["text"]  # type: ignore[union-attr]
                result = episode.step(text)
                messages.append(
                    {"role": "tool", "tool_call_id": call.id, "content": result.text or "ok"}
                )


def test_a_served_models_calls_are_passed_on_and_recorded(
    upstream: tuple[ChatPolicy, list[Any]],
) -> None:
    policy, requests = upstream
    (record,) = run(calls_tools, policy)
    assert record.verdict == "correct"
    assert all(r["tools"] == [TOOL] and r["return_token_ids"] for r in requests)
    assert [tuple(call["token_ids"]) for call in record.calls] == [(1, 2)] * 3
    assert [tuple(call["token_log_probs"]) for call in record.calls] == [(-1.0, -2.0)] * 3
    assert (record.usage["prompt_tokens"], record.usage["visible_tokens"]) == (33, 6)
    tools = [m for m in record.calls[-1]["request"]["messages"] if m["role"] == "tool"]
    assert [m["content"] for m in tools] == ["ok", "ok"], "foreign text is kept"
    assert all(node.token_ids is None for node in record.nodes), "a tool call is no step's own text"


def test_a_servers_refusal_reaches_the_agent(upstream: tuple[ChatPolicy, list[Any]]) -> None:
    def refused(episode: Episode) -> str:
        with client_of(episode) as client, pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(
                model=episode.model, messages=[{"role": "user", "content": "refuse"}]
            )
        return "cab" if "context too long" in str(raised.value) else str(raised.value)

    (record,) = run(refused, upstream[0])
    assert record.answer == "cab"


@pytest.mark.parametrize("stream", [False, True])
def test_a_lost_server_stops_the_run_and_finished_episodes_are_kept(stream: bool) -> None:
    """The first of three episodes asks nothing, the second asks a dead server, the third is never begun."""
    statuses: list[int] = []

    def asks(episode: Episode) -> str:
        statuses.append(200)
        if len(statuses) > 1:
            with client_of(episode) as client, pytest.raises(openai.APIStatusError) as raised:
                client.chat.completions.create(  # type: ignore[call-overload]
                    model=episode.model, messages=[{"role": "user", "content": "go"}], stream=stream
                )
            statuses[-1] = raised.value.status_code
        return "cab"

    policy = ChatPolicy("http://127.0.0.1:9#served", max_retries=1, backoff_s=0.01)
    env, kept = same_word_env(count=3), []
    with pytest.raises(RunStopped, match="it answers no other request either"):
        for record in iter_solve(
            list(env.problems), env=env, agent=asks, policy=policy, num_parallel=1
        ):
            kept.append(record)
    assert [record.verdict for record in kept] == ["correct"]
    assert statuses == [200, 503]


@pytest.mark.parametrize("stream", [False, True])
def test_an_agents_dollars_are_counted_and_the_limit_holds(
    stream: bool, upstream: tuple[ChatPolicy, list[Any]]
) -> None:
    """A dollar for each token read and two for each written; a call may cost some hundred at most."""
    policy, requests = upstream
    Upstream.may_send.release(1000)
    cost = 11 + 2 * (4 if stream else 2)

    def asks(episode: Episode) -> str:
        with client_of(episode) as client:
            for _ in range(3):
                reply = client.chat.completions.create(  # type: ignore[call-overload]
                    model=episode.model,
                    messages=[{"role": "user", "content": "go"}],
                    max_tokens=30,
                    stream=stream,
                )
                assert list(reply)
        return "cab"

    url = f"{policy.client.where}#served"
    priced = ChatPolicy(url, price=[1e6, 2e6], budget_usd=700.0, max_retries=0)
    env, kept = same_word_env(count=50), []
    with pytest.raises(RunStopped, match=r"the budget of \$700 is used up"):
        for record in iter_solve(
            list(env.problems), env=env, agent=asks, policy=priced, num_parallel=2
        ):
            kept.append(record)
    assert len(kept) > 3
    assert {record.usage["usd"] for record in kept} == {3.0 * cost}
    assert priced.spending is not None
    assert priced.spending.spent_usd == cost * len(requests) <= 700.0


STREAMED = {"messages": [{"role": "user", "content": "go"}], "stream": True}


def test_a_servers_stream_is_passed_on_as_it_comes(upstream: tuple[ChatPolicy, list[Any]]) -> None:
    """The server sends a chunk only once the agent has fetched the one before it."""

    def streams(episode: Episode) -> str:
        text = ""
        with client_of(episode) as client:
            Upstream.may_send.release()
            for chunk in client.chat.completions.create(model=episode.model, **STREAMED):  # type: ignore[call-overload]
                assert chunk.usage is None, "it was not asked for"
                if chunk.choices[0].delta.content:
                    text += chunk.choices[0].delta.content
                    Upstream.may_send.release()
        return text

    (record,) = run(streams, upstream[0])
    assert record.answer == "cab", record.note
    (call,) = record.calls
    message = call["response"]["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("cab", "rrr")
    function = message["tool_calls"][0]["function"]
    assert function == {"name": "step", "arguments": '{"text": "c"}'}
    assert call["response"]["choices"][0]["finish_reason"] == "tool_calls"
    assert tuple(call["token_ids"]) == tuple(map(ord, "cab"))
    assert call["response"]["prompt_token_ids"] == [7, 8]
    assert tuple(call["token_log_probs"]) == (-0.5,) * 3
    assert (record.usage["prompt_tokens"], record.usage["visible_tokens"]) == (11, 4)


def test_an_agent_that_leaves_in_the_middle_of_a_servers_stream_is_recorded(
    upstream: tuple[ChatPolicy, list[Any]],
) -> None:
    def leaves(episode: Episode) -> str:
        Upstream.may_send.release()
        with client_of(episode) as client:
            stream = client.chat.completions.create(model=episode.model, **STREAMED)  # type: ignore[call-overload]
            assert next(iter(stream)).choices[0].delta.content == "c"
            stream.close()
        deadline = time.monotonic() + 20
        while not episode.calls and time.monotonic() < deadline:
            Upstream.may_send.release()
            time.sleep(0.01)
        return "cab"

    (record,) = run(leaves, upstream[0])
    assert record.verdict == "correct"
    (call,) = record.calls
    assert call["status"] == 200
    assert record.usage["visible_tokens"] >= 1, "what was generated is charged"


def test_a_proxy_of_the_environment_is_used(
    upstream: tuple[ChatPolicy, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upstream stands in for the proxy: it answers whatever host a request names."""
    policy, requests = upstream
    monkeypatch.setenv(
        "http_proxy", f"http://user:word@{urlsplit(str(policy.describe()['url'])).netloc}"
    )
    monkeypatch.delenv("no_proxy", raising=False)
    charged: list[float] = []
    far = ChatPolicy("http://server.invalid:9/v1#served", max_retries=0)
    request = {"messages": [{"role": "user", "content": "go"}]}
    assert far.complete_chat(request, charge=charged.append)["choices"][0]["token_ids"] == [1, 2]
    monkeypatch.setenv("no_proxy", "server.invalid")
    near = ChatPolicy("http://server.invalid:9/v1#served", max_retries=0)
    with pytest.raises(RunStopped, match=r"server\.invalid"):
        near.complete_chat(request, charge=charged.append)
    assert len(requests) == 1


def test_a_server_that_closed_a_kept_connection_is_asked_over_a_new_one(
    upstream: tuple[ChatPolicy, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, requests = upstream
    request = {"messages": [{"role": "user", "content": "go"}]}
    charged: list[float] = []
    policy.complete_chat(request, charge=charged.append)
    (kept,) = policy.client.upstream._idle
    assert kept.sock is not None
    kept.sock.shutdown(2)
    assert policy.complete_chat(request, charge=charged.append)["choices"]
    with pytest.raises(BackendError) as raised:
        policy.complete_chat(
            {"messages": [{"role": "user", "content": "refuse"}]}, charge=charged.append
        )
    assert (raised.value.status, str(raised.value)) == (400, "context too long")
    assert len(requests) == 3


def test_a_thousand_requests_of_one_agent_are_all_answered_and_the_others_go_on() -> None:
    """50 threads send them over connections of their own; the other agents play on meanwhile."""

    def floods(episode: Episode) -> Any:
        if episode.prompt != "word 0":
            return chats(episode)
        url, codes = urlsplit(episode.endpoint), list[int]()

        def sends() -> None:
            connection = http.client.HTTPConnection(url.hostname or "", url.port or 0, timeout=60)
            for number in range(
                20
            ):  # the script has four steps for a request, so that no two are equal
                body = json.dumps({**GOOD, "user": f"{threading.get_ident()} {number}"})
                connection.request("POST", url.path + "/chat/completions", body)
                response = connection.getresponse()
                json.loads(response.read())
                codes.append(response.status)
            connection.close()

        threads = [threading.Thread(target=sends) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return f"{len(codes)} {set(codes) <= {200, 429}} {len(episode.calls)}"

    first, *others = run(floods, count=4, num_parallel=4)
    assert first.answer == "1000 True 1000"
    assert [record.verdict for record in others] == ["correct"] * 3


@pytest.mark.parametrize(
    ("message", "counted", "reasoning"),
    [
        ({"content": "a" * 85 + "b" * 15}, None, 0),
        ({"content": "<think>" + "a" * 78 + "</think>" + "b" * 7}, None, 93),
        ({"content": "b" * 7, "reasoning_content": "a" * 93}, None, 93),
        ({"content": "b" * 7, "reasoning": "a" * 93}, None, 93),
        ({"content": "a" * 78 + "</think>" + "b" * 7}, None, 93),
        ({"content": "<think>cut off"}, None, 100),
        ({"content": None, "reasoning": "a" * 30}, None, 100),
        ({"content": "<think>a</think>b"}, 40, 40),
        ({"content": "b"}, 10**9, 100),
        ({"content": "", "tool_calls": []}, None, 0),
    ],
)
def test_a_thought_is_counted_whatever_field_it_came_in(
    message: dict[str, Any], counted: int | None, reasoning: int
) -> None:
    usage: dict[str, Any] = {"completion_tokens": 100}
    if counted is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": counted}
    response = {"choices": [{"message": message}], "usage": usage}
    assert num_reasoning_tokens(response) == reasoning
