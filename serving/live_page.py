"""The page of search trees over HTTP, for watching a run while it is written.

Loopback only, read only, one page. Requests that name another host are refused, so that no web page elsewhere can
read the run through the reader's own browser (DNS rebinding). Not covered: several users of one machine see it.
"""

from __future__ import annotations

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from stepgym.records.run_folder import read_config, read_episodes
from stepgym.records.types import RecordError
from stepgym.serving.charts import Run
from stepgym.serving.page import page

LOOPBACK = "127.0.0.1"


class LivePageServer(ThreadingHTTPServer):
    """Serves a run folder's page at `/`; the page is rebuilt when the run has new episodes."""

    daemon_threads = True

    def __init__(self, run: str | Path, *, port: int = 8000) -> None:
        """`port=0` takes any free port, which `url` shows. Raises `RecordError` if there is no run."""
        read_config(run)
        self.run = Path(run)
        self._made: tuple[tuple[int, ...], bytes] | None = None
        self._lock = Lock()
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{LOOPBACK}:{self.server_port}/"

    @property
    def hosts(self) -> set[str]:
        """The accepted values of a request's Host header."""
        return {f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost")}

    def page(self) -> bytes:
        """Return the page of the finished episodes."""
        file = self.run / "episodes.jsonl"
        with self._lock:
            version = _version(file)
            if self._made is None or self._made[0] != version:
                html = page(
                    [Run(self.run.name, list(read_episodes(self.run)))],
                    title=f"stepgym: {self.run.name}",
                    is_live=True,
                )
                self._made = version, html.encode("utf-8")
            return self._made[1]


def _version(file: Path) -> tuple[int, ...]:
    """Return what changes if a file is rewritten: its inode, time and size."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return ()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class _Handler(BaseHTTPRequestHandler):
    server: LivePageServer
    server_version = "stepgym"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        if self.headers.get("Host") not in self.server.hosts:
            self._send(
                HTTPStatus.FORBIDDEN,
                b"this server answers requests from its own machine only",
                "text/plain",
            )
        elif self.path.partition("?")[0] != "/":
            self._send(HTTPStatus.NOT_FOUND, b"there is one page, at /", "text/plain")
        else:
            try:
                self._send(HTTPStatus.OK, self.server.page(), "text/html; charset=utf-8")
            except RecordError as error:
                self._send(
                    HTTPStatus.INTERNAL_SERVER_ERROR,
                    str(error).encode("utf-8", "replace"),
                    "text/plain",
                )

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing, because the run prints to the same terminal."""
