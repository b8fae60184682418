"""Requests to a chat server over connections that stay open, at a tenth of a client library's time.

Used for the requests of searches and for the calls of agents that drive themselves; both come by the thousand. A proxy
that the environment names (`HTTPS_PROXY`, `NO_PROXY`) is used. Not covered: SOCKS, and trying again.
"""

from __future__ import annotations

import base64
import http.client
import json
import threading
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from stepgym.agents.chat_backends import BackendError
from stepgym.agents.description import without_secrets

HTTP_ERRORS = (OSError, http.client.HTTPException)


class Cause(Enum):
    """Why a request brought no response of a model."""

    STATUS = "status"
    """The server answered with an error."""
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    REPLY = "reply"
    """The response is not JSON."""


class UpstreamError(BackendError):
    """A request that brought no response of a model."""

    def __init__(
        self, status: int, message: str, cause: Cause, *, retry_after: str = "", field: str = ""
    ) -> None:
        super().__init__(status, message, kind="upstream_error")
        self.cause = cause
        self.retry_after = retry_after
        """The header of this name."""
        self.field = field
        """The field of the request that the server says is at fault."""


class Upstream:
    """A chat server's base URL, and idle connections to it. Safe to use from several threads."""

    def __init__(self, url: str, *, api_key: str, timeout_s: float) -> None:
        self.where = without_secrets(url)
        self.timeout_s = timeout_s
        self.served: tuple[str, ...] = ()
        """What the server's replies said of its model, each once, in the order in which they first said it."""
        self._server, self._proxy = urlsplit(url), _proxy(urlsplit(url))
        path = self._server.path.rstrip("/") + "/chat/completions"
        self._path = path + (f"?{self._server.query}" if self._server.query else "")
        self._headers = {"content-type": "application/json", "authorization": f"Bearer {api_key}"}
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        if self._proxy and self._server.scheme == "http":
            self._path = f"http://{self._server.netloc.rpartition('@')[2]}{self._path}"
            self._headers |= _credentials(self._proxy)

    def complete(self, request: Mapping[str, Any]) -> Any:
        """Return the response to a chat-completion request as JSON. Raises `BackendError`."""
        with self._response(request) as response:
            data = response.read()
        reply = _as_json(data)
        self._note_model(reply)
        return reply

    def stream(self, request: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the chunks of a streamed response as JSON. Raises `BackendError`."""
        with self._response(request) as response:
            for line in response:
                name, _, data = line.partition(b":")
                if name != b"data":
                    continue
                if data.strip() == b"[DONE]":
                    break
                chunk = _as_json(data)
                self._note_model(chunk)
                yield chunk
            response.read()  # to its end, so that the connection can be used again

    def _note_model(self, reply: Any) -> None:
        """Note the model and the fingerprint that a reply names; warn if they differ from those before."""
        if not isinstance(reply, Mapping):
            return
        names = (reply.get("model"), reply.get("system_fingerprint"))
        said = ", ".join(name for name in names if isinstance(name, str) and name)
        with self._lock:
            if not said or said in self.served:
                return
            before, self.served = self.served, (*self.served, said)
        if before:
            warnings.warn(
                f"{self.where} now serves {said}, before {before[-1]}: later episodes may differ; "
                "records keep both names",
                stacklevel=2,
            )

    @contextmanager
    def _response(self, request: Mapping[str, Any]) -> Iterator[http.client.HTTPResponse]:
        """Send a request; a connection whose response was not read to its end is closed."""
        body = json.dumps(request).encode()
        connection = None
        try:
            connection, response = self._send(body)
            if response.status != 200:
                raise _refusal(response)
            yield response
            if response.isclosed() and not response.will_close:
                with self._lock:
                    self._idle.append(connection)
                connection = None
        except HTTP_ERRORS as error:
            cause = Cause.TIMEOUT if isinstance(error, TimeoutError) else Cause.CONNECTION
            message = f"{self.where}: {type(error).__name__}: {error}"
            raise UpstreamError(502, message, cause) from error
        finally:
            if connection is not None:
                connection.close()

    def _send(self, body: bytes) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a body over an idle connection, or over a new one if the server has closed that."""
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            try:
                kept.request("POST", self._path, body, self._headers)
                return kept, kept.getresponse()
            except (ConnectionError, http.client.BadStatusLine):
                kept.close()
            except BaseException:
                kept.close()
                raise
        new = self._connection()
        try:
            new.request("POST", self._path, body, self._headers)
            return new, new.getresponse()
        except BaseException:
            new.close()
            raise

    def _connection(self) -> http.client.HTTPConnection:
        is_https = self._server.scheme == "https"
        kind = http.client.HTTPSConnection if is_https else http.client.HTTPConnection
        nearest = self._proxy or self._server
        new = kind(nearest.hostname or "", nearest.port, timeout=self.timeout_s)
        if self._proxy and is_https:
            new.set_tunnel(
                self._server.hostname or "", self._server.port, _credentials(self._proxy)
            )
        return new


def _proxy(server: SplitResult) -> SplitResult | None:
    """Return the proxy that the environment names for a server."""
    proxies = urllib.request.getproxies()
    named = proxies.get(server.scheme) or proxies.get("all")
    if not named or urllib.request.proxy_bypass(server.netloc.rpartition("@")[2]):
        return None
    return urlsplit(named if "//" in named else f"http://{named}")


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"proxy-authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _refusal(response: http.client.HTTPResponse) -> UpstreamError:
    """Return a server's error with the message of its body."""
    text = response.read(1 << 16).decode("utf-8", "replace")
    try:
        error = json.loads(text)["error"]
        message, field = error["message"], error.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, field = text, None
    return UpstreamError(
        response.status,
        str(message)[:2000] or response.reason,
        Cause.STATUS,
        retry_after=response.headers.get("retry-after", ""),
        field=field if isinstance(field, str) else "",
    )


def _as_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        message = f"no JSON in the response: {data!r:.200}"
        raise UpstreamError(502, message, Cause.REPLY) from error
