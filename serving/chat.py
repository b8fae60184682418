"""An OpenAI-compatible chat endpoint that answers by search.

It serves `/v1/chat/completions` and `/v1/models`.

Covered: `reasoning_effort`, `max_completion_tokens`, `n`, `seed`, `stop`, streaming with heartbeats, usage with reasoning
tokens, a bounded queue (429 with Retry-After), cancellation when the client leaves, a token. Not covered: tools, images,
log-probabilities. Fields that are not known are ignored.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field, ValidationError

from stepgym.agents.types import EpisodeRecord, RunStopped
from stepgym.serving.thinking import Message, Thinker, Thought

MAX_BODY_BYTES = 2 << 20
HEARTBEAT_S = 5.0
POLL_S = 0.25
RETRY_AFTER_S = 5


class ContentPart(BaseModel):
    """A part of a message."""

    type: str
    """Kind of the part; only `text` is read."""
    text: str = ""
    """The part's text."""


class ChatMessage(BaseModel):
    """A message as a client sends it."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    """Who wrote the message."""
    content: str | list[ContentPart] | None = None
    """Text, or parts of which the texts are read; `None` is empty."""

    def text(self) -> str:
        """Return the content as text; parts that are no text are left out."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class StreamOptions(BaseModel):
    """Options of a stream."""

    include_usage: bool = False
    """Whether a last event gives the tokens used."""


class Reasoning(BaseModel):
    """How much reasoning, and whether to summarise it."""

    effort: str | None = None
    """As `ChatRequest.reasoning_effort`, which goes first."""
    summary: str | None = None
    """Any text asks for one line about the hidden reasoning, as `reasoning_summary`; `None` for no such line."""


class ChatRequest(BaseModel):
    """The fields of a `/v1/chat/completions` body that are read."""

    model: str
    """Must be the name under which the server runs."""
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    """The conversation, oldest message first."""
    reasoning_effort: str | None = None
    """Name of one of the server's efforts, which limit new tokens; `None` is `medium`."""
    reasoning: Reasoning | None = None
    """Effort and summary in one object."""
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    """Most new tokens of each answer, reasoning included; `None` leaves the limit to the effort."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The older name of `max_completion_tokens`, which goes first."""
    n: Annotated[int, Field(ge=1, le=16)] = 1
    """Number of answers, 1 to 16, each from a search of its own."""
    seed: int | None = None
    """Seed of the search; `None` leaves the policy's own."""
    stop: str | list[str] | None = None
    """Texts at which an answer is cut off; the text itself is not sent."""
    stream: bool = False
    """Whether the answer comes as server-sent events, after the search has ended."""
    stream_options: StreamOptions | None = None
    """Options of such a stream."""


class RequestError(Exception):
    """A request that is refused, with its HTTP status."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def chat_app(
    thinker: Thinker,
    *,
    model: str,
    num_parallel: int = 8,
    max_queue: int = 64,
    token: str | None = None,
    on_record: Callable[[EpisodeRecord], object] | None = None,
) -> FastAPI:
    """Return the FastAPI application of the chat endpoint.

    `num_parallel` searches run at once and `max_queue` more wait; requests beyond that are told to come back. `token` is
    what clients must send as a bearer token. `on_record` is called with the tree of every finished search.
    """
    app = FastAPI(title="stepgym", docs_url=None, redoc_url=None, openapi_url=None)
    server = _Server(thinker, model, num_parallel, max_queue, on_record)

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        if error := _refused(request, token):
            return error
        entry = {"id": model, "object": "model", "created": 0, "owned_by": "stepgym"}
        return JSONResponse({"object": "list", "data": [entry]})

    @app.post("/v1/chat/completions")
    async def completions(request: Request) -> Response:
        if error := _refused(request, token):
            return error
        try:
            asked = await _read(request, model, thinker)
            job = server.submit(asked)
        except RequestError as refusal:
            return _error(refusal.status, str(refusal), refusal.code)
        if asked.stream:
            return StreamingResponse(server.stream(job, request), media_type="text/event-stream")
        return await server.answer(job, request)

    return app


class _Job:
    """The searches of one request."""

    def __init__(self, asked: ChatRequest) -> None:
        self.asked = asked
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.cancelled = threading.Event()
        self.thoughts: list[asyncio.Future[Thought]] = []


class _Server:
    """Runs searches in a pool of threads and turns their results into replies."""

    def __init__(
        self,
        thinker: Thinker,
        model: str,
        num_parallel: int,
        max_queue: int,
        on_record: Callable[[EpisodeRecord], object] | None,
    ) -> None:
        self.thinker = thinker
        self.model = model
        self.capacity = num_parallel + max_queue
        self.in_flight = 0
        self.on_record = on_record
        self.pool = ThreadPoolExecutor(num_parallel, thread_name_prefix="think")
        self.recording = threading.Lock()

    def submit(self, asked: ChatRequest) -> _Job:
        """Queue the request's searches. Raises `RequestError` with status 429 if the queue is full."""
        if self.in_flight + asked.n > self.capacity:
            raise RequestError(
                429, f"{self.in_flight} requests are waiting or running; try again", "queue_full"
            )
        job = _Job(asked)
        loop = asyncio.get_running_loop()
        for number in range(asked.n):
            self.in_flight += 1
            thought = loop.run_in_executor(self.pool, self._think, job, number)
            thought.add_done_callback(self._finished)
            job.thoughts.append(thought)
        return job

    def _finished(self, thought: asyncio.Future[Thought]) -> None:
        self.in_flight -= 1
        if not thought.cancelled():
            thought.exception()  # seen here, so that an abandoned request leaves no warning

    def _think(self, job: _Job, number: int) -> Thought:
        asked = job.asked
        effort = asked.reasoning_effort or (asked.reasoning and asked.reasoning.effort) or "medium"
        seed = asked.seed if asked.n == 1 else (asked.seed or 0) * 1_009 + number + 1
        thought = self.thinker.think(
            [Message(message.role, message.text()) for message in asked.messages],
            effort=effort,
            max_tokens=asked.max_completion_tokens or asked.max_tokens,
            seed=seed,
            cancelled=job.cancelled,
        )
        if self.on_record is not None:
            with self.recording:
                self.on_record(thought.record)
        return thought

    async def answer(self, job: _Job, request: Request) -> Response:
        """Wait for the searches, or for the client to leave."""
        try:
            async for _ in self._wait(job, request):
                pass
            thoughts = [thought.result() for thought in job.thoughts]
        except asyncio.CancelledError:
            return Response(status_code=499)
        except Exception as error:  # noqa: BLE001 (a policy or plug-in failed: the client gets a JSON error)
            status = 503 if isinstance(error, RunStopped) else 500  # the model's server is gone
            return _error(status, f"{type(error).__name__}: {error}", "search_failed")
        choices = [self._choice(job, i, thought) for i, thought in enumerate(thoughts)]
        reply = {**self._head(job, "chat.completion"), "choices": choices}
        return JSONResponse({**reply, "usage": _usage(thoughts)})

    async def stream(self, job: _Job, request: Request) -> AsyncIterator[str]:
        """Yield server-sent events: heartbeats while the searches run, then the answers."""
        head = self._head(job, "chat.completion.chunk")
        try:
            async for beat in self._wait(job, request):
                if beat:
                    yield ": thinking\n\n"
            thoughts = [thought.result() for thought in job.thoughts]
        except asyncio.CancelledError:
            job.cancelled.set()
            return
        except Exception as error:  # noqa: BLE001 (a policy or plug-in failed: the client gets a JSON error)
            yield _event(_error_body(f"{type(error).__name__}: {error}", "search_failed"))
            yield "data: [DONE]\n\n"
            return
        for index, thought in enumerate(thoughts):
            choice = self._choice(job, index, thought)
            delta = {"index": index, "delta": choice["message"], "finish_reason": None}
            yield _event({**head, "choices": [delta]})
            end = {"index": index, "delta": {}, "finish_reason": choice["finish_reason"]}
            yield _event({**head, "choices": [end]})
        options = job.asked.stream_options
        if options is not None and options.include_usage:
            yield _event({**head, "choices": [], "usage": _usage(thoughts)})
        yield "data: [DONE]\n\n"

    async def _wait(self, job: _Job, request: Request) -> AsyncIterator[bool]:
        """Yield until all searches are done: True when a heartbeat is due. Raises `CancelledError` if the client left."""
        beat_at = time.monotonic()
        try:
            while not all(thought.done() for thought in job.thoughts):
                await asyncio.wait(job.thoughts, timeout=POLL_S)
                if await request.is_disconnected():
                    raise asyncio.CancelledError
                due = time.monotonic() >= beat_at
                if due:
                    beat_at = time.monotonic() + HEARTBEAT_S
                yield due
        except BaseException:
            job.cancelled.set()
            raise

    def _head(self, job: _Job, kind: str) -> dict[str, Any]:
        return {"id": job.id, "object": kind, "created": job.created, "model": self.model}

    def _choice(self, job: _Job, index: int, thought: Thought) -> dict[str, Any]:
        content, finish_reason = thought.content, thought.finish_reason
        stops = [job.asked.stop] if isinstance(job.asked.stop, str) else job.asked.stop or []
        for stop in filter(None, stops):
            if stop in content:
                content, finish_reason = content.partition(stop)[0], "stop"
        message = {"role": "assistant", "content": content}
        if job.asked.reasoning is not None and job.asked.reasoning.summary:
            message["reasoning_summary"] = thought.summary
        return {"index": index, "message": message, "finish_reason": finish_reason}


async def _read(request: Request, model: str, thinker: Thinker) -> ChatRequest:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise RequestError(413, f"the body is over {MAX_BODY_BYTES} bytes", "body_too_large")
    try:
        asked = ChatRequest.model_validate_json(bytes(body))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise RequestError(400, f"{where}: {first['msg']}", "invalid_request") from error
    if asked.model != model:
        raise RequestError(
            404, f"unknown model {asked.model!r}; this server has {model!r}", "model_not_found"
        )
    effort = asked.reasoning_effort or (asked.reasoning and asked.reasoning.effort)
    if effort is not None and effort not in thinker.efforts:
        known = ", ".join(thinker.efforts)
        raise RequestError(
            400, f"reasoning_effort: unknown effort {effort!r}; known: {known}", "invalid_request"
        )
    return asked


def _usage(thoughts: list[Thought]) -> dict[str, Any]:
    prompt = sum(thought.prompt_tokens for thought in thoughts)
    reasoning = sum(thought.reasoning_tokens for thought in thoughts)
    completion = reasoning + sum(thought.visible_tokens for thought in thoughts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _refused(request: Request, token: str | None) -> Response | None:
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token is None or hmac.compare_digest(given.encode(), token.encode()):
        return None
    return _error(401, "send the server's token as a bearer token", "invalid_api_key")


def _error(status: int, message: str, code: str) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 429 else None
    return JSONResponse(_error_body(message, code), status_code=status, headers=headers)


def _error_body(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"
