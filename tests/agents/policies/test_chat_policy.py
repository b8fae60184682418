"""The chat policy against a real HTTP server on loopback that answers well, badly, late, half and not at all."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner

from stepgym.agents.description import describe
from stepgym.agents.policies import chat_client
from stepgym.agents.policies.chat_client import Choice, Completion
from stepgym.agents.policies.chat_policy import ChatPolicy
from stepgym.agents.policies.chat_probes import probe
from stepgym.agents.policies.chat_steps import token_shares
from stepgym.agents.policies.continuation import PartialStep
from stepgym.agents.registry import load_policy
from stepgym.agents.solving import solve
from stepgym.agents.types import PolicyError, RunStopped
from stepgym.cli import main
from stepgym.envs.types import State, Step

Reply = tuple[int, bytes, dict[str, str]]
Script = Callable[[dict[str, Any], int], "Reply | str"]


def completion(
    *texts: str,
    usage: dict[str, Any] | None = None,
    logprobs: list[float] | None = None,
    **message: Any,
) -> Reply:
    """A well-formed reply with one choice per text."""
    content = (
        None
        if logprobs is None
        else {"content": [{"token": "t", "logprob": x, "top_logprobs": []} for x in logprobs]}
    )
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": i,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text, **message},
                "logprobs": content,
            }
            for i, text in enumerate(texts)
        ],
        "usage": usage,
    }
    return 200, json.dumps(body).encode(), {}


def fault(status: int, message: str = "no", **headers: str) -> Reply:
    return status, json.dumps({"error": {"message": message}}).encode(), headers


class Server:
    """A loopback server that plays a script: what it answers to (request, number of requests before it)."""

    def __init__(self) -> None:
        self.script: Script = lambda request, n: completion("a step")
        self.requests: list[dict[str, Any]] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self.stop = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        request = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        with self._lock:
            before = len(self.requests)
            self.requests.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        reply = self.script(request, before)
        if reply == "hang":
            self.stop.wait(20)
        elif reply == "drop":
            handler.connection.shutdown(socket.SHUT_RDWR)
        else:
            assert not isinstance(reply, str)
            self.send(handler, *reply)
        with self._lock:
            self._now -= 1

    @staticmethod
    def send(
        handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]
    ) -> None:
        half = headers.pop("half", None)
        handler.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
        }.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2] if half else body)
        if half:
            handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop.set()
    server.http.shutdown()
    server.http.server_close()


def policy_for(server: Server, **settings: Any) -> ChatPolicy:
    return ChatPolicy(
        f"{server.url}#tiny", **{"backoff_s": 0.001, "timeout_s": 5.0, "max_retries": 2, **settings}
    )


def by_prompt(request: dict[str, Any]) -> str:
    return str(next(m["content"] for m in request["messages"] if m["role"] == "user"))


def test_steps_come_back_in_order_with_what_the_server_counted(server: Server) -> None:
    usage = {
        "prompt_tokens": 30,
        "completion_tokens": 9,
        "total_tokens": 39,
        "prompt_tokens_details": {"cached_tokens": 10},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    server.script = lambda request, n: completion(
        f"for {by_prompt(request)}", usage=usage, reasoning_content="hm"
    )
    ((a,), (b,)) = policy_for(server).propose([State("a"), State("b")], [1, 1])
    assert (a.text, b.text) == ("<think>hm</think>for a", "<think>hm</think>for b")
    assert (a.num_prompt_tokens, a.num_tokens, a.num_reasoning_tokens) == (20, 9, 4)


def test_log_probabilities_are_summed_where_the_server_gives_them(server: Server) -> None:
    server.script = lambda request, n: completion("x", logprobs=[-0.5, -0.25])
    ((step,),) = policy_for(server).propose([State("a")], [1])
    assert step.log_prob == -0.75
    assert step.num_tokens == 2
    server.script = lambda request, n: completion("x")
    ((step,),) = policy_for(server).propose([State("a")], [1])
    assert step.log_prob is None


def test_tokens_come_from_servers_that_give_them(server: Server) -> None:
    def reply(request: dict[str, Any], n: int) -> Reply:
        status, body, headers = completion("x y", "x y", logprobs=[-0.5, -0.25])
        data = json.loads(body)
        if request.get("return_token_ids"):
            data["prompt_token_ids"] = [1, 2, 3]
            data["choices"][0]["token_ids"] = [7, 8]
            data["choices"][1]["token_ids"] = [7, 8, 9]  # one more than log-probabilities
        return status, json.dumps(data).encode(), headers

    server.script = reply
    ((first, second),) = policy_for(server, return_token_ids=True).propose([State("a")], [2])
    assert (first.context_ids, first.token_ids) == ((1, 2, 3), (7, 8))
    assert first.token_log_probs == (-0.5, -0.25)
    assert (second.token_ids, second.token_log_probs) == ((7, 8, 9), None)
    ((plain, _),) = policy_for(server).propose([State("a")], [2])
    assert "return_token_ids" not in server.requests[-1]
    assert (plain.context_ids, plain.token_ids, plain.token_log_probs) == (None, None, None)


@pytest.mark.parametrize("ids", ["many", [1, "2"], [True], [], None])
def test_token_ids_that_are_none_are_left_out(server: Server, ids: object) -> None:
    def reply(request: dict[str, Any], n: int) -> Reply:
        status, body, headers = completion("x")
        data = json.loads(body)
        data["prompt_token_ids"], data["choices"][0]["token_ids"] = [1], ids
        return status, json.dumps(data).encode(), headers

    server.script = reply
    ((step,),) = policy_for(server, return_token_ids=True).propose([State("a")], [1])
    assert (step.text, step.token_ids, step.context_ids) == ("x", None, None)


FAILING: list[tuple[str, Reply | str, str]] = [
    ("rate limit", fault(429, retry_after="0"), "status 429"),
    ("server error", fault(500), "status 500"),
    ("overloaded", fault(503), "status 503"),
    ("truncated json", (200, b'{"choices": [{"mess', {}), "no chat completion"),
    (
        "page instead of json",
        (200, b"<html>busy</html>", {"Content-Type": "text/html"}),
        "no chat completion",
    ),
    ("empty object", (200, b"{}", {}), "no chat completion"),
    ("no choices", completion(), "no chat completion"),
    ("dropped connection", "drop", "connection failed"),
    ("dropped in the middle", (200, completion("x")[1], {"half": "yes"}), "connection failed"),
    ("hang", "hang", "no reply within 0.3"),
]


@pytest.mark.parametrize(
    ("reply", "says"), [row[1:] for row in FAILING], ids=[row[0] for row in FAILING]
)
def test_failure_is_tried_again_then_recorded_for_its_state_alone(
    server: Server, reply: Reply | str, says: str
) -> None:
    again = {"again": 0}

    def script(request: dict[str, Any], n: int) -> Reply | str:
        if by_prompt(request) in ("good", "1"):  # a server in trouble is asked for one token
            return completion("fine")
        if by_prompt(request) == "once" and again["again"]:
            return completion("second time")
        again["again"] += by_prompt(request) == "once"
        return (reply[0], reply[1], dict(reply[2])) if isinstance(reply, tuple) else reply

    server.script = script
    states = [State("good"), State("once"), State("never")]
    policy = policy_for(server, timeout_s=0.3 if reply == "hang" else 5.0)
    with pytest.raises(PolicyError, match=r"1 of 3 states failed.*in 3 tries") as caught:
        policy.propose(states, [1, 1, 1])
    assert says in caught.value.failures[2]
    assert caught.value.steps == [[Step("fine")], [Step("second time")], []]
    assert sum(by_prompt(request) == "never" for request in server.requests) == 3
    assert policy.num_retries == 1 + 2


@pytest.mark.parametrize(
    ("reply", "says"), [row[1:] for row in FAILING], ids=[row[0] for row in FAILING]
)
def test_a_server_that_answers_nothing_stops_the_run(
    server: Server, reply: Reply | str, says: str
) -> None:
    server.script = lambda request, n: (
        (reply[0], reply[1], dict(reply[2])) if isinstance(reply, tuple) else reply
    )
    policy = policy_for(server, timeout_s=0.1 if reply == "hang" else 5.0, max_retries=1)
    with pytest.raises(RunStopped, match="answers no other request either") as caught:
        policy.propose([State("a"), State("b")], [1, 1])
    assert says.replace("0.3", "0.1") in str(caught.value)


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_refused_key_or_model_stops_the_run_at_once(server: Server, status: int) -> None:
    server.script = lambda request, n: fault(status, "bad key")
    with pytest.raises(RunStopped, match=rf"status {status}: .*bad key \(.*\)"):
        policy_for(server).propose([State("a")], [3])
    assert len(server.requests) == 2, "the request, and a small one that is refused too"


@pytest.mark.parametrize("status", [402, 403, 404])
def test_a_refusal_of_one_request_alone_stops_nothing(server: Server, status: int) -> None:
    server.script = lambda request, n: (
        fault(status, "not this text") if by_prompt(request) == "bad" else completion("x")
    )
    with pytest.raises(PolicyError, match="not this text") as caught:
        policy_for(server).propose([State("bad"), State("good")], [1, 1])
    assert caught.value.steps == [[], [Step("x")]]


@pytest.mark.parametrize(
    "after", ["0.15", "Thu, 26 Nov 2099 08:00:00 GMT"], ids=["seconds", "date"]
)
def test_the_server_says_how_long_to_wait(
    server: Server, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_client, "MAX_RETRY_AFTER_S", 0.2)
    server.script = lambda request, n: fault(429, retry_after=after) if n == 0 else completion("x")
    started = time.monotonic()
    assert policy_for(server).propose([State("a")], [1]) == [[Step("x")]]
    assert time.monotonic() - started >= 0.15


@pytest.mark.parametrize(
    "unknown", [{"logprobs"}, {"n"}, {"logprobs", "n"}], ids=lambda fields: "+".join(sorted(fields))
)
def test_server_that_refuses_optional_fields_is_asked_without(
    server: Server, unknown: set[str]
) -> None:
    server.script = lambda request, n: (
        fault(400, "unknown field") if unknown & set(request) else completion(f"step {n}")
    )
    policy = policy_for(server)
    with pytest.warns(UserWarning, match="refuses .*leave it out from now on"):
        (steps,) = policy.propose([State("a")], [3])
    assert len({step.text for step in steps}) == 3
    before = len(server.requests)
    policy.propose([State("b")], [1])
    assert len(server.requests) == before + 1, "what a server refuses is remembered"


def test_prompt_the_server_refuses_teaches_nothing(server: Server) -> None:
    server.script = lambda request, n: (
        fault(400, "too long") if by_prompt(request) == "long" else completion("x")
    )
    policy = policy_for(server)
    with pytest.raises(PolicyError, match="too long"):
        policy.propose([State("long")], [2])
    policy.propose([State("short")], [1])
    assert "logprobs" in server.requests[-1]


def test_several_choices_and_a_server_that_gives_fewer(server: Server) -> None:
    server.script = lambda request, n: completion(
        *(f"{request['seed']}.{i}" for i in range(min(2, request.get("n", 1))))
    )
    policy = policy_for(server)
    (steps,) = policy.propose([State("a")], [5])
    seeds = list(dict.fromkeys(step.text.partition(".")[0] for step in steps))
    assert [step.text for step in steps] == [
        f"{seed}.{i}" for seed, count in zip(seeds, (2, 2, 1)) for i in range(count)
    ]
    assert len(seeds) == 3, "each request draws anew"
    assert policy.propose([State("a")], [5]) == [steps], "what was learned changes no child"


def test_children_are_asked_for_in_parallel_if_a_server_gives_one_at_a_time(server: Server) -> None:
    together = threading.Barrier(7)  # the first request finds out, the others go together

    def script(request: dict[str, Any], n: int) -> Reply:
        if n:
            together.wait(10)
        return completion(f"step {request['seed']}")

    server.script = script
    policy = policy_for(server, concurrency=8)
    (steps,) = policy.propose([State("a")], [8])
    assert len({step.text for step in steps}) == 8
    together = threading.Barrier(8)
    assert policy.propose([State("a")], [8]) == [steps]


def test_empty_completions_are_a_recorded_failure(server: Server) -> None:
    server.script = lambda request, n: completion(" \n", "")
    with pytest.raises(PolicyError, match="empty completions"):
        policy_for(server).propose([State("a")], [2])


def test_concurrency_is_a_limit(server: Server) -> None:
    def script(request: dict[str, Any], n: int) -> Reply:
        time.sleep(0.02)
        return completion("x")

    server.script = script
    policy_for(server, concurrency=3).propose([State(str(n)) for n in range(12)], [1] * 12)
    assert server.most_at_once == 3


def test_earlier_steps_are_shown_and_replies_told_apart(server: Server) -> None:
    state = State("a", (Step("one"), Step("two", reply="4")))
    policy_for(server).propose([state], [1])
    policy_for(server, continuation="prefill").propose([state], [1])
    ask, prefill = server.requests
    shown = "one\n\ntwo\n\n<tool_result>4</tool_result>"
    assert [m["role"] for m in ask["messages"]] == ["system", "user", "assistant", "user"]
    assert ask["messages"][2]["content"] == shown
    assert prefill["messages"][-1] == {"role": "assistant", "content": shown + "\n\n"}
    assert prefill["continue_final_message"] is True


def test_answer_opened_before_the_stop_word_is_closed(server: Server) -> None:
    server.script = lambda request, n: completion("so <answer>42")
    ((step,),) = policy_for(server).propose([State("a")], [1])
    assert step.text == "so <answer>42</answer>"


def test_likeliest_step_is_asked_for_coldly(server: Server) -> None:
    policy_for(server).propose([State("a", draw=None)], [4])
    assert server.requests[0]["temperature"] == 0
    assert "n" not in server.requests[0]


def test_options_are_laid_over_the_request(server: Server) -> None:
    policy_for(server, options={"max_tokens": None, "max_completion_tokens": 7}).propose(
        [State("a")], [1]
    )
    assert "max_tokens" not in server.requests[0]
    assert server.requests[0]["max_completion_tokens"] == 7


def test_name_leads_to_the_server(server: Server) -> None:
    policy = load_policy(f"chat:{server.url}#tiny", seed=5)
    assert policy.propose([State("a")], [1]) == [[Step("a step")]]
    assert server.requests[0]["model"] == "tiny"
    assert policy.seed == 5
    with pytest.raises(
        ValueError, match="has no setting 'temprature'; did you mean 'temperature'\\?"
    ):
        load_policy(f"chat:{server.url}#tiny", temprature=1)


@pytest.mark.parametrize("name", ["http://localhost:1/v1", "#gpt", "", "localhost:1#m"])
def test_name_that_is_no_endpoint_says_what_one_is(name: str) -> None:
    with pytest.raises(ValueError, match="chat:http://HOST:PORT/v1#MODEL"):
        ChatPolicy(name)


def test_a_key_in_the_address_stays_out_of_records_and_messages() -> None:
    policy = ChatPolicy("http://me:hush@127.0.0.1:1/v1?key=hush#tiny", max_retries=0, timeout_s=2.0)
    assert policy.describe()["url"].startswith("http://127.0.0.1:1/v1")
    with pytest.raises(RunStopped) as caught:
        policy.propose([State("1+1?")], [1])
    told = [
        describe(policy),
        describe("chat:http://me:hush@host/v1?key=hush#tiny"),
        describe({"api_key": "hush"}),
    ]
    assert "hush" not in f"{told} {caught.value}"
    assert told[1] == "chat:http://host/v1#tiny", "what is no secret stays"


def test_half_a_character_is_counted_like_any_other() -> None:
    assert token_shares(Completion([Choice("\ud800", "", "stop")], None, None, 0)) == [1]


def prefilled(request: dict[str, Any]) -> str:
    """What the server is to write on from."""
    last = request["messages"][-1]
    assert (
        last["role"] == "assistant"
        and request["continue_final_message"]
        and not request["add_generation_prompt"]
    )
    return str(last["content"])


@pytest.mark.parametrize(("told_apart", "forgets"), [(False, False), (True, False), (False, True)])
def test_budget_forcing_writes_on_in_the_models_message(
    server: Server, told_apart: bool, forgets: bool
) -> None:
    """The thought comes back as text or as reasoning, and some servers forget the stop word."""

    def think(text: str) -> Reply:
        usage = {"prompt_tokens": 3, "completion_tokens": 2}
        if told_apart:
            return completion("", usage=usage, reasoning_content=text)
        return completion(text + "</think>so" * forgets, usage=usage)

    def script(request: dict[str, Any], n: int) -> Reply:
        begun = prefilled(request)
        if begun == "<think>":
            assert request["stop"][0] == "</think>" and request["max_tokens"] == 9
            return think("hm")
        if begun == "<think>hm\nWait":
            assert request["max_tokens"] == 7
            return think(", no")
        assert begun == "<think>hm\nWait, no\n</think>\n" and "</think>" not in request["stop"]
        return completion("<answer>4", usage={"prompt_tokens": 5, "completion_tokens": 3})

    server.script = script
    policy = load_policy(
        f"budget_forcing:chat:{server.url}#tiny", max_thinking_tokens=9, num_waits=1
    )
    ((step,),) = policy.propose([State("2 + 2?")], [1])
    assert step.text == "<think>hm\nWait, no\n</think>\n<answer>4</answer>"
    assert (step.num_tokens, step.num_reasoning_tokens, step.num_prompt_tokens) == (7, 4, 11)


def test_a_thought_cut_by_length_is_closed(server: Server) -> None:
    def script(request: dict[str, Any], n: int) -> Reply:
        status, body, headers = completion("hm" if prefilled(request) == "<think>" else "4")
        return status, body.replace(b'"stop"', b'"length"') if n == 0 else body, headers

    server.script = script
    policy = load_policy(f"budget_forcing:chat:{server.url}#tiny", num_waits=3)
    assert policy.propose([State("2 + 2?")], [1])[0][0].text == "<think>hm\n</think>\n4"


def test_what_asks_for_steps_cannot_be_forced(server: Server) -> None:
    with pytest.raises(ValueError, match="continuation='prefill'"):
        load_policy(f"budget_forcing:chat:{server.url}#tiny", continuation="ask")
    with pytest.raises(ValueError, match="continuation='prefill'"):
        policy_for(server).continue_steps([PartialStep(State("p"), ("<think>",))])


def with_choice(reply: Reply, **fields: Any) -> Reply:
    """The reply with further fields in its first choice."""
    status, body, headers = reply
    data = json.loads(body)
    data["choices"][0] |= fields
    return status, json.dumps(data).encode(), headers


MESSAGES = [
    ({"reasoning_content": "hm"}, "so"),
    ({"reasoning": "hm"}, "so"),
    ({"reasoning_details": [{"type": "reasoning.text", "text": "h"}, {"text": "m"}, 7]}, "so"),
    ({"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]}, "so"),
    ({}, "<think>hm</think>so"),
    ({}, "hm</think>so"),
]


@pytest.mark.parametrize(("message", "text"), MESSAGES)
def test_reasoning_is_read_and_counted_under_any_name(
    server: Server, message: dict[str, Any], text: str
) -> None:
    server.script = lambda request, n: completion(
        text, usage={"prompt_tokens": 3, "completion_tokens": 10}, **message
    )
    ((step,),) = policy_for(server).propose([State("a")], [1])
    assert step.text == "<think>hm</think>so"
    assert step.num_tokens == 10 and 0 < step.num_reasoning_tokens < 10


def test_a_thought_that_a_delimiter_cut_is_asked_for_without(server: Server) -> None:
    def script(request: dict[str, Any], n: int) -> Reply:
        usage = {"prompt_tokens": 2, "completion_tokens": 5}
        if "\n\n" in request["stop"]:
            return completion("", usage=usage, reasoning="first")
        return completion("one\n\ntwo", usage=usage, reasoning="first\n\nsecond")

    server.script = script
    policy = policy_for(server)
    ((step,),) = policy.propose([State("a")], [1])
    assert step.text == "<think>first\n\nsecond</think>one", "and the text is cut here"
    assert (step.num_prompt_tokens, step.num_tokens) == (4, 10), "both requests are charged"
    policy.propose([State("b")], [1])
    assert len(server.requests) == 3, "what cuts a thought is remembered"


def test_thoughts_that_were_cut_at_the_same_time_are_all_asked_for_again(server: Server) -> None:
    together = threading.Barrier(2)

    def script(request: dict[str, Any], n: int) -> Reply:
        if "\n\n" in request["stop"]:
            together.wait(10)
            return completion("", reasoning="first")
        return completion("one", reasoning="first\n\nsecond")

    server.script = script
    both = policy_for(server).propose([State("a"), State("b")], [1, 1])
    assert both == [[Step("<think>first\n\nsecond</think>one")]] * 2


def tokens(*texts: str) -> dict[str, Any]:
    return {
        "logprobs": {"content": [{"token": text, "logprob": -0.5} for text in texts]},
        "token_ids": list(range(len(texts))),
    }


def test_text_beyond_a_delimiter_is_cut_with_its_tokens(server: Server) -> None:
    def script(request: dict[str, Any], n: int) -> Reply:
        status, body, headers = with_choice(
            completion("one\n\ntwo"), **tokens("one", "\n", "\n", "two", "<eos>")
        )
        return status, json.dumps(json.loads(body) | {"prompt_token_ids": [9]}).encode(), headers

    server.script = script
    ((step,),) = policy_for(server).propose([State("a")], [1])
    assert (step.text, step.final, step.num_tokens) == ("one", False, 5)
    assert (step.token_ids, step.log_prob) == ((0, 1, 2), -1.5)


ENDS: list[tuple[dict[str, Any], bool]] = [
    ({"stop_reason": None, **tokens("x", "<eos>")}, True),
    ({"stop_reason": None, **tokens("x", "\n\n")}, False),  # a server that never gives the reason
    ({"stop_reason": "\n\n"}, False),
    ({"matched_stop": 2}, True),
    ({"matched_stop": "\n\n"}, False),
    ({"finish_reason": "eos"}, True),
    ({"finish_reason": "length", "stop_reason": None}, False),
    ({}, False),
]


@pytest.mark.parametrize(("fields", "ended"), ENDS)
def test_the_end_is_seen_if_the_server_tells_it(
    server: Server, fields: dict[str, Any], ended: bool
) -> None:
    server.script = lambda request, n: with_choice(completion("x"), **fields)
    ((step,),) = policy_for(server).propose([State("a")], [1])
    assert step.final is ended


def test_a_model_may_end_without_another_word(server: Server) -> None:
    server.script = lambda request, n: with_choice(completion(""), stop_reason=None)
    ((step,),) = policy_for(server).propose([State("a", (Step("one"),))], [1])
    assert (step.text, step.final) == ("", True)


def test_a_server_that_takes_no_stop_words_ends_at_its_end(server: Server) -> None:
    server.script = lambda request, n: (
        fault(400, "'stop' is not supported") if "stop" in request else completion("a\n\nb")
    )
    policy = policy_for(server)
    with pytest.warns(UserWarning, match="refuses stop"):
        ((first,),) = policy.propose([State("a")], [1])
    assert (first.text, first.final) == ("a", False)
    server.script = lambda request, n: completion("b")
    ((last,),) = policy.propose([State("a")], [1])
    assert last.final and len(server.requests) == 3


def test_a_refusal_that_names_a_field_names_the_setting(server: Server) -> None:
    server.script = lambda request, n: fault(400, "top_p: only the default is supported")
    with pytest.raises(PolicyError, match=r"options=.*top_p.*null") as caught:
        policy_for(server).propose([State("a")], [1])
    assert "status 400" in caught.value.failures[0]


def test_the_other_name_of_the_token_limit(server: Server) -> None:
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server.script = lambda request, n: (
        fault(400, said) if "max_tokens" in request else completion("x")
    )
    policy = policy_for(server, max_new_tokens=7)
    policy.propose([State("a"), State("b")], [1, 1])
    policy.propose([State("c")], [1])
    assert server.requests[-1]["max_completion_tokens"] == 7


def test_money_is_counted_and_never_overspent(server: Server) -> None:
    """A dollar a token: a request that could pass the limit waits for those under way, or stops the run."""
    usage = {
        "prompt_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 6},
        "completion_tokens": 5,
    }
    server.script = lambda request, n: completion("x", usage=usage)
    policy = policy_for(server, price=[1e6, 2e6], budget_usd=1000.0, max_new_tokens=50, system=None)
    spending = policy.spending
    assert spending is not None
    num_calls = 0
    with pytest.raises(RunStopped, match="--budget-usd"):
        while True:
            ((step,), _) = policy.propose([State("a"), State("b")], [1, 1])
            assert step.usd == 20.0, "cached tokens cost as much as others"
            num_calls += 2
    assert spending.spent_usd == 20.0 * len(server.requests) <= 1000.0
    assert 1000.0 - spending.spent_usd < 300.0, "it stops because of the next request alone"
    assert num_calls > 10


def test_a_reply_that_was_lost_may_have_cost_money(server: Server) -> None:
    server.script = lambda request, n: "hang" if n == 0 else completion("x", usage={})
    policy = policy_for(server, price=[0.0, 1e6], max_new_tokens=50, timeout_s=0.1)
    policy.propose([State("a")], [1])
    assert policy.spending is not None and policy.spending.spent_usd == 50 + 1
    server.script = lambda request, n: fault(500) if n == 2 else completion("x", usage={})
    policy.propose([State("a")], [1])
    assert policy.spending.spent_usd == 50 + 2, "a refused request costs nothing"
    server.script = lambda request, n: "hang" if n == 4 else completion("x", usage={})
    charged: list[float] = []
    ask = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 50}
    policy.complete_chat(ask, charge=charged.append)
    assert charged == [50.0, 50.0], "a reply without usage costs the most it can"


@pytest.mark.parametrize("given", [{"budget_usd": 1.0}, {"price": [1]}, {"price": [-1, 2]}])
def test_prices_are_checked(server: Server, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="price"):
        policy_for(server, **given)


def count_to_30(request: dict[str, Any], *lacks: str) -> Reply:
    """A model that counts, a token a word, on a server that offers everything but what it `lacks`."""
    said = [m["content"] for m in request["messages"] if m["role"] == "assistant"]
    continues = bool(said) and request.get("continue_final_message") and "prefill" not in lacks
    num_prompt = sum(len(m["content"].split()) for m in request["messages"])
    num_prompt += 3 * len(request["messages"]) + (0 if continues else 3)
    hot = request.get("temperature", 1.0) > 0 and "temperature" not in lacks
    noise = "" if not hot else request.get("seed", "s") if "seed" not in lacks else "s"
    choices = []
    for i in range(1 if "n" in lacks else request.get("n", 1)):
        if noise == "s":
            noise = str(time.perf_counter_ns())
        words = [f"{k}{noise}{i}," for k in range(1, 31)]
        if "yes" in by_prompt(request):
            words = ["yes"]
        ended = len(words) <= request["max_tokens"]
        words = words[: request["max_tokens"]]
        text = " ".join(words)
        if request.get("stop") and "stop" not in lacks:
            text = text.partition(request["stop"][0])[0]
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}}
        choice["finish_reason"] = "stop" if ended else "length"
        if ended and "end" not in lacks:
            choice["stop_reason"] = None
        if request.get("logprobs") and "logprobs" not in lacks:
            choice |= {"logprobs": tokens(*words)["logprobs"]}
        if request.get("return_token_ids") and "token ids" not in lacks:
            choice["token_ids"] = list(range(len(words)))
        choices.append(choice)
    usage = {"prompt_tokens": num_prompt, "completion_tokens": len(words) * len(choices)}
    body = {"choices": choices, "usage": usage, "prompt_token_ids": list(range(num_prompt))}
    return 200, json.dumps(body).encode(), {}


ALL_FOUND = {
    "n": "yes",
    "log-probabilities": "yes",
    "stop": "yes",
    "temperature": "acts",
    "seed": "honoured",
    "end told": "yes; tells a length limit",
    "token ids": "yes",
    "prefill": "yes",
    "reasoning": "none seen",
}
LACKS = [
    ("n", "n", "ignored (1 of 3 choices)"),
    ("logprobs", "log-probabilities", "ignored"),
    ("stop", "stop", "ignored"),
    ("temperature", "temperature", "does not act"),
    ("seed", "seed", "not honoured (4 different texts of 4)"),
    ("end", "end told", "no (finish_reason 'stop' alone); tells a length limit"),
    ("token ids", "token ids", "ignored"),
    ("prefill", "prefill", "no"),
]


@pytest.mark.parametrize(("lacks", "name", "found"), [("", "n", "yes"), *LACKS])
def test_probes_find_what_a_server_lacks(server: Server, lacks: str, name: str, found: str) -> None:
    server.script = lambda request, n: count_to_30(request, lacks)
    findings = {each.name: each for each in probe(policy_for(server))}
    assert "tokens/s for 1 request" in findings.pop("throughput").found
    assert {name: each.found for name, each in findings.items()} == ALL_FOUND | {name: found}
    assert findings[name].advice or not lacks


@pytest.mark.parametrize(
    ("field", "name"),
    [("n", "n"), ("stop", "stop"), ("seed", "seed"), ("return_token_ids", "token ids")],
)
def test_probes_name_what_a_server_refuses(server: Server, field: str, name: str) -> None:
    server.script = lambda request, n: (
        fault(400, f"{field} is unknown") if field in request else count_to_30(request)
    )
    findings = {each.name: each for each in probe(policy_for(server))}
    assert "refused" in findings[name].found and f"{field} is unknown" in findings[name].found
    assert findings[name].advice


def test_check_prints_the_probes(server: Server) -> None:
    server.script = lambda request, n: count_to_30(request, "prefill")
    words = ["check", f"chat:{server.url}#tiny"]
    shown = CliRunner().invoke(main, words)
    assert shown.exit_code == 0, shown.output
    assert "continuation=ask" in shown.output and "return_token_ids=true" in shown.output
    found = json.loads(CliRunner().invoke(main, [*words, "--json"]).output)
    assert found["probes"]["seed"]["found"] == "honoured"
    server.script = lambda request, n: fault(404, "no such model")
    lost = CliRunner().invoke(main, words)
    assert lost.exit_code == 1 and "no such model" in lost.output


def test_faults_of_a_server_change_no_record(server: Server) -> None:
    """It hangs, answers 500, drops connections, sends half a reply; each request succeeds in the end."""
    faults: list[Reply | str] = ["hang", fault(500), "drop", fault(503), (200, b"{", {})]
    settings: dict[str, Any] = {"episodes": 12, "level": 2, "agent": "best_of_n"}

    def answers(request: dict[str, Any], n: int) -> Reply:
        said = json.dumps([request["messages"], request["seed"]]).encode()
        return completion(f"The answer is \\boxed{{{len(said) % 7}}}.")

    def play() -> list[dict[str, Any]]:
        policy = policy_for(server, timeout_s=0.3, max_retries=4, options={"n": None})
        records = solve("Math-v0", policy=policy, agent_settings={"n": 2}, **settings)
        shown = [asdict(record) for record in records]
        return [{k: v for k, v in each.items() if k not in ("created", "usage")} for each in shown]

    server.script = answers
    undisturbed = play()
    failed: set[str] = set()

    def disturbed(request: dict[str, Any], n: int) -> Reply | str:
        """Let every request fail once, each in its own way."""
        key = json.dumps(request, sort_keys=True)
        if key in failed:
            return answers(request, n)
        failed.add(key)
        return faults[len(failed) % len(faults)]

    server.script = disturbed  # type: ignore[assignment]
    assert play() == undisturbed
    assert {each["verdict"] for each in undisturbed} <= {"correct", "incorrect"} and failed


def test_a_server_that_comes_back_with_other_weights_is_recorded(server: Server) -> None:
    def named(fingerprint: str) -> Reply:
        status, body, headers = completion("The answer is \\boxed{4}.")
        return (
            status,
            json.dumps({**json.loads(body), "system_fingerprint": fingerprint}).encode(),
            headers,
        )

    server.script = lambda request, n: named("fp_1" if n < 3 else "fp_2")
    policy = policy_for(server)
    with pytest.warns(UserWarning, match="now serves m, fp_2, before m, fp_1"):
        records = solve("Math-v0", policy=policy, agent="greedy", episodes=5, num_parallel=1)
    served = [record.agent["served"] for record in records]
    assert served[0] == ["m, fp_1"] and served[-1] == ["m, fp_1", "m, fp_2"]
