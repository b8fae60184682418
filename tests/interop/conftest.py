"""For peers: stand-ins, a loopback chat server that solves Countdown from the conversation, and a run folder to export."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stepgym.envs.families.countdown import random_solution
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import RunConfig

from ..records.trees import AGENT, TREE

TASK = re.compile(r"Reach (\d+) from the numbers ([\d, ]+)\.")


def next_step(messages: list[dict[str, object]]) -> str:
    """Return the first step of a solution that the conversation does not hold yet."""
    match = TASK.search(json.dumps(messages))
    if match is None:
        return "<answer>42</answer>"
    numbers = [int(number) for number in match[2].split(",")]
    steps = random_solution(numbers, int(match[1]), random.Random(match[0]))
    said = sum(message["role"] == "assistant" for message in messages)
    return steps[min(said, len(steps) - 1)]


class Handler(BaseHTTPRequestHandler):
    """Answers `/chat/completions`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message = {"role": "assistant", "content": next_step(body["messages"])}
        choices = [
            {"index": i, "message": message, "finish_reason": "stop"}
            for i in range(body.get("n") or 1)
        ]
        usage = {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55}
        reply = {"id": "r", "object": "chat.completion", "created": 0, "model": "mock"}
        if body.get("stream"):
            delta = [{"index": 0, "delta": message, "finish_reason": "stop"}]
            chunk = {**reply, "object": "chat.completion.chunk", "choices": delta, "usage": usage}
            data = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
        else:
            data = json.dumps({**reply, "choices": choices, "usage": usage}).encode()
        self.send_response(200)
        kind = "text/event-stream" if body.get("stream") else "application/json"
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


STAND_INS = Path(__file__).parent / "stand_ins"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Installs a package's metadata, and with `module` its stand-in, for this process and its children."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path[1:]]))

    def install(package: str, version: str, *, module: str = "") -> Path:
        about = folder / f"{package.replace('-', '_')}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        )
        if module:
            shutil.copytree(STAND_INS / module, folder / module)
        return folder

    yield install
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


@contextmanager
def served(*command: str, port: int, **variables: str) -> Iterator[None]:
    """Run a server while the context lasts; it begins when the port answers."""
    server = subprocess.Popen(command, env={**os.environ, **variables})
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert server.poll() is None, f"{command} ended with status {server.returncode}"
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait(20)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.fixture
def chat_url() -> Iterator[str]:
    """The base URL of the server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Makes a run folder of a search's tree and an agent's episode; `changed` are fields of the latter."""

    def make(**changed: Any) -> Path:
        config = RunConfig(env_id="stepgym/Countdown-v0", agent="mcts", policy="scripted")
        with RunFolder(tmp_path / "run", config) as folder:
            folder.append(TREE, replace(AGENT, **changed))
        return tmp_path / "run"

    return make
