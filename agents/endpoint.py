"""A loopback OpenAI-compatible server that records every model call of every episode.

Each episode has a URL of its own, with a secret in its path. A call counts against the episode's budget; once it is
spent, the answer is status 402. Served are `POST chat/completions`, with and without `stream`, and `GET models`.
Anything else is a JSON error, and so is whatever goes wrong. A server that is gone, or a spent budget in US dollars, is
an error to the agent and stops the run. A served model's stream is passed on as it comes; a policy
of this process sends its text at once.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stepgym.agents import boundary
from stepgym.agents.chat_backends import (
    BackendError,
    ChatBackend,
    StreamsCompletions,
    chunks_of,
    join_chunks,
    num_reasoning_tokens,
)
from stepgym.agents.episode import Episode, EpisodeTree, ModelCall
from stepgym.agents.types import RunStopped, Usage
from stepgym.envs.types import State
from stepgym.sandbox.types import SandboxError

MAX_BODY_BYTES = 32 << 20
MAX_IN_FLIGHT = 32
"""Calls of one episode at the same time, forks included; more get status 429."""
IDLE_S = 60.0
"""After this time without a request, a connection is closed."""


class RecordingServer:
    """Serves one backend to many episodes, on a free port of the loopback interface."""

    def __init__(self, backend: ChatBackend) -> None:
        self.backend = backend
        self._episodes: dict[str, tuple[Episode, EpisodeTree]] = {}
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def url(self, episode: Episode, shared: EpisodeTree) -> str:
        """Return a base URL for an episode."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._episodes[key] = (episode, shared)
        return f"http://127.0.0.1:{self._server.server_port}/{key}/v1"

    def forget(self, shared: EpisodeTree) -> None:
        """Stop serving an episode and its forks."""
        with self._lock:
            for key in [key for key, (_, own) in self._episodes.items() if own is shared]:
                del self._episodes[key]

    def close(self) -> None:
        """Stop the server and its backend."""
        self.backend.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def find(self, key: str) -> tuple[Episode, EpisodeTree] | None:
        """Return the episode of a URL's key; `None` if there is none, or it is over."""
        with self._lock:
            return self._episodes.get(key)

    def models(self) -> dict[str, Any]:
        """Return the body of the response to `GET models`."""
        model = {"id": self.backend.model, "object": "model", "owned_by": "stepgym"}
        return {"object": "list", "data": [model]}

    def complete(self, episode: Episode, shared: EpisodeTree, body: bytes, *, reply: Reply) -> None:
        """Answer a call of the model through `reply`, and record it."""
        started, node = time.perf_counter(), episode.node
        request: Mapping[str, Any] = {}
        status, response = 200, dict[str, Any]()
        try:
            with _place(shared):
                request = self._read(body)
                if why := shared.why_no_call():
                    raise BackendError(402, f"no further call: {why}", kind="insufficient_quota")
                if request.get("stream"):
                    response = self._stream(request, episode, shared, reply)
                else:
                    response = dict(self._complete(request, episode, shared))
        except BackendError as error:
            status, response = error.status, _error(str(error), error.kind)
        except (SandboxError, RunStopped) as error:
            shared.stop_run(error)
            status, response = 503, _error(f"the run was stopped: {error}", "server_error")
        except Exception as error:  # noqa: BLE001 - whatever happens here is an answer to the agent
            status, response = 500, _error(f"{type(error).__name__}: {error}", "server_error")
        call = ModelCall(
            node=node,
            request=request,
            response=response,
            status=status,
            seconds=time.perf_counter() - started,
            **_tokens(response),
        )
        with shared.lock:
            shared.calls.append(call)
            if status == 200:
                _charge(shared.tree.usage, response, self.backend.num_parameters)
        if not reply.has_begun:
            reply.send(status, response)
        elif status == 200:
            reply.end_stream()
        else:
            reply.send_chunk(response)

    def _stream(
        self, request: Mapping[str, Any], episode: Episode, shared: EpisodeTree, reply: Reply
    ) -> dict[str, Any]:
        """Send the chunks of a completion as they come; return the completion, cut short if the agent has left."""
        backend = self.backend
        if isinstance(backend, StreamsCompletions):
            chunks = backend.stream(request, charge=shared.charge)
        else:
            chunks = chunks_of(self._complete(request, episode, shared))
        with_usage = bool((request.get("stream_options") or {}).get("include_usage"))
        sent: list[Mapping[str, Any]] = []
        for chunk in chunks:
            sent.append(chunk)
            shown = chunk if with_usage else {k: v for k, v in chunk.items() if k != "usage"}
            if (chunk.get("choices") or with_usage) and not reply.send_chunk(shown):
                break
        return join_chunks(sent)

    def _complete(
        self, request: Mapping[str, Any], episode: Episode, shared: EpisodeTree
    ) -> Mapping[str, Any]:
        return self.backend.complete(
            request, state=lambda: _asked(episode, request), charge=shared.charge
        )

    def _read(self, body: bytes) -> dict[str, Any]:
        try:
            request = json.loads(body)
        except ValueError as error:
            raise BackendError(400, f"the body is no JSON: {error}") from error
        if not isinstance(request, dict):
            raise BackendError(400, f"the body is no JSON object: {request!r:.200}")
        model = request.get("model")
        if model != self.backend.model:
            raise BackendError(
                404, f"no model {model!r:.80}; this episode's model is {self.backend.model!r}"
            )
        return request


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a connection that the agent closed is no fault of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    disable_nagle_algorithm = True
    owner: RecordingServer

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer a GET request."""
        self._answer("GET", b"")

    def do_POST(self) -> None:
        """Answer a POST request."""
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            message = f"content-length {length!r}: at most {MAX_BODY_BYTES} bytes"
            Reply(self).send(413, _error(message))
            return
        self._answer("POST", self.rfile.read(int(length)))

    def _answer(self, method: str, body: bytes) -> None:
        reply = Reply(self)
        key, _, path = self.path.strip("/").partition("/")
        path = path.partition("?")[0].removeprefix("v1/")
        found = self.owner.find(key)
        if found is None:
            reply.send(404, _error("no such episode, or it is over"))
        elif (method, path) == ("GET", "models"):
            reply.send(200, self.owner.models())
        elif (method, path) == ("POST", "chat/completions"):
            self.owner.complete(*found, body, reply=reply)
        else:
            reply.send(404, _error(f"{method} {path} is not served; served: POST chat/completions"))


class Reply:
    """The response to one request; a connection that the agent has closed is ignored."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler
        self.has_begun = False

    def send(self, status: int, response: Mapping[str, Any]) -> None:
        """Send a JSON body."""
        data = json.dumps(response, default=str).encode()
        self.has_begun = True
        with suppress(OSError):
            self._begin(status, "application/json", ("content-length", str(len(data))), data)

    def send_chunk(self, chunk: Mapping[str, Any]) -> bool:
        """Send a chunk of a stream; False if the agent has closed the connection."""
        try:
            if not self.has_begun:
                self.has_begun = True
                self._handler.close_connection = True
                self._begin(200, "text/event-stream", ("connection", "close"))
            self._handler.wfile.write(f"data: {json.dumps(chunk, default=str)}\n\n".encode())
        except OSError:
            return False
        return True

    def end_stream(self) -> None:
        """Send the end of a stream."""
        with suppress(OSError):
            self._handler.wfile.write(b"data: [DONE]\n\n")

    def _begin(
        self, status: int, content_type: str, header: tuple[str, str], body: bytes = b""
    ) -> None:
        """Send the head, and the body with it: one packet is one wake-up of the agent."""
        name, value = header
        head = (
            f"HTTP/1.1 {status} {responses.get(status, 'Error')}\r\n"
            f"content-type: {content_type}\r\n{name}: {value}\r\n\r\n"
        )
        self._handler.wfile.write(head.encode() + body)


@contextmanager
def _place(shared: EpisodeTree) -> Iterator[None]:
    """Take one of an episode's places for calls at the same time."""
    with shared.lock:
        if shared.calls_in_flight >= MAX_IN_FLIGHT:
            message = f"more than {MAX_IN_FLIGHT} calls at once"
            raise BackendError(429, message, kind="rate_limit_error")
        shared.calls_in_flight += 1
    try:
        yield
    finally:
        with shared.lock:
            shared.calls_in_flight -= 1


def _asked(episode: Episode, request: Mapping[str, Any]) -> State:
    """Return the episode's state with the draw of a request: repeated requests get new samples."""
    drawn = sum(
        len(call.response["choices"])
        for call in episode.calls
        if call.status == 200 and call.request == request
    )
    return replace(episode.state, draw=None if request.get("temperature") == 0 else drawn)


def _error(message: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


def _tokens(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first choice's token ids and log-probabilities, if it has them."""
    for choice in response.get("choices") or ():
        ids = choice.get("token_ids")
        if not isinstance(ids, list) or not boundary.are_counts(ids):
            return {}
        log_probs = choice.get("token_log_probs")
        content = (choice.get("logprobs") or {}).get("content")
        if not isinstance(log_probs, list) and isinstance(content, list):
            log_probs = [token.get("logprob") for token in content]
        matches = isinstance(log_probs, list) and len(log_probs) == len(ids)
        return {
            "token_ids": tuple(ids),
            "token_log_probs": tuple(log_probs) if matches and log_probs else None,
        }
    return {}


def _charge(usage: Usage, response: Mapping[str, Any], num_parameters: int) -> None:
    """Charge a call what its response says that it cost."""
    reported = response.get("usage") or {}
    prompt, new = (_count(reported.get(name)) for name in ("prompt_tokens", "completion_tokens"))
    reasoning = num_reasoning_tokens(response)
    usage.model_calls += 1
    usage.prompt_tokens += prompt
    usage.visible_tokens += new - reasoning
    usage.reasoning_tokens += reasoning
    usage.flops += 2.0 * num_parameters * (prompt + new)


def _count(number: object) -> int:
    return int(number) if boundary.is_count(number) else 0  # type: ignore[call-overload]
