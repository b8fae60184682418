"""A loopback OpenAI-compatible server that records every model call of every episode.

Each episode has a URL of its own, with a secret in its path. A call counts against the episode's budget; once it is
spent, the answer is status 402. Served are `POST chat/completions`, with and without `stream`, and `GET models`.
Anything else is a JSON error, and so is whatever goes wrong. A stream is sent once the completion is finished.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stepgym.agents import boundary
from stepgym.agents.chat_backends import BackendError, ChatBackend
from stepgym.agents.episode import Episode, EpisodeTree, ModelCall
from stepgym.agents.types import Usage
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

    def answer(self, key: str, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Return status and body of the response to a request; calls of the model are recorded."""
        with self._lock:
            found = self._episodes.get(key)
        if found is None:
            return _error(404, "no such episode, or it is over")
        if method == "GET" and path == "models":
            model = {"id": self.backend.model, "object": "model", "owned_by": "stepgym"}
            return 200, {"object": "list", "data": [model]}
        if method != "POST" or path != "chat/completions":
            return _error(404, f"{method} {path} is not served; served: POST chat/completions")
        episode, shared = found
        with shared.lock:
            if shared.calls_in_flight >= MAX_IN_FLIGHT:
                return _error(429, f"more than {MAX_IN_FLIGHT} calls at once", "rate_limit_error")
            shared.calls_in_flight += 1
        try:
            return self._complete(episode, shared, body)
        finally:
            with shared.lock:
                shared.calls_in_flight -= 1

    def _complete(
        self, episode: Episode, shared: EpisodeTree, body: bytes
    ) -> tuple[int, dict[str, Any]]:
        started, node = time.perf_counter(), episode.node
        request: Mapping[str, Any] = {}
        try:
            request = self._read(body)
            if why := shared.why_no_call():
                raise BackendError(402, f"no further call: {why}", kind="insufficient_quota")
            drawn = sum(
                len(call.response["choices"])
                for call in shared.calls
                if call.status == 200 and call.request == request
            )
            draw = None if request.get("temperature") == 0 else drawn
            state = replace(episode.state, draw=draw)
            response = dict(self.backend.complete(request, state=state))
            status = 200
        except BackendError as error:
            status, response = _error(error.status, str(error), error.kind)
        except SandboxError as error:
            status, response = _error(503, f"sandbox: {error}", "server_error")
        except Exception as error:  # noqa: BLE001 - whatever happens here is an answer to the agent
            status, response = _error(500, f"{type(error).__name__}: {error}", "server_error")
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
        return status, response

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
            self._send(*_error(413, f"content-length {length!r}: at most {MAX_BODY_BYTES} bytes"))
            return
        self._answer("POST", self.rfile.read(int(length)))

    def _answer(self, method: str, body: bytes) -> None:
        key, _, path = self.path.strip("/").partition("/")
        path = path.partition("?")[0].removeprefix("v1/")
        status, response = self.owner.answer(key, method, path, body)
        with suppress(OSError):  # the agent has closed the connection
            if status == 200 and method == "POST" and json.loads(body).get("stream"):
                self._stream(response, json.loads(body))
            else:
                self._send(status, response)

    def _send(self, status: int, response: Mapping[str, Any]) -> None:
        data = json.dumps(response).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, response: Mapping[str, Any], request: Mapping[str, Any]) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for chunk in chunks(
            response, with_usage=bool((request.get("stream_options") or {}).get("include_usage"))
        ):
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")


def chunks(response: Mapping[str, Any], *, with_usage: bool) -> list[dict[str, Any]]:
    """Return a chat completion as the chunks of a stream."""
    head = {name: response.get(name) for name in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk"
    found: list[dict[str, Any]] = []
    for choice in response.get("choices") or ():
        message = dict(choice.get("message") or {})
        if calls := message.get("tool_calls"):
            message["tool_calls"] = [{"index": at, **call} for at, call in enumerate(calls)]
        index = choice.get("index", 0)
        found.append(
            {**head, "choices": [{"index": index, "delta": message, "finish_reason": None}]}
        )
        end = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason", "stop")}
        found.append({**head, "choices": [end]})
    if with_usage:
        found.append({**head, "choices": [], "usage": response.get("usage")})
    return found


def _error(
    status: int, message: str, kind: str = "invalid_request_error"
) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": message, "type": kind, "param": None, "code": kind}}


def _tokens(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first choice's token ids and log-probabilities, if it has them."""
    for choice in response.get("choices") or ():
        ids = choice.get("token_ids")
        if not isinstance(ids, list) or not all(map(boundary.is_count, ids)):
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
    details = reported.get("completion_tokens_details") or {}
    reasoning = min(new, _count(details.get("reasoning_tokens")))
    usage.model_calls += 1
    usage.prompt_tokens += prompt
    usage.visible_tokens += new - reasoning
    usage.reasoning_tokens += reasoning
    usage.flops += 2.0 * num_parameters * (prompt + new)


def _count(number: object) -> int:
    return int(number) if boundary.is_count(number) else 0  # type: ignore[call-overload]
