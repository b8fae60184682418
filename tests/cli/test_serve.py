"""`stepgym serve` as a process: it answers, it ends with Ctrl-C, and it says why it cannot start."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stepgym.cli import main
from stepgym.records.run_folder import read_episodes

HERE = Path(__file__).parent
START_S = 60


@contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server in a process of its own; yields the process and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stepgym", "serve", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"(http://\S+)   Press Ctrl-C to stop.", line)
        assert found, line + process.stdout.read()
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def read(request: Any) -> str:
    """Return the reply to a request, which is repeated until the server listens."""
    end = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=START_S) as reply:
                return str(reply.read().decode())
        except urllib.error.URLError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def stopped(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Press Ctrl-C; return the exit status and what the process printed since its address."""
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=START_S)
    return process.returncode, output


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_the_chat_endpoint_answers_keeps_its_trees_and_ends_with_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    port, run = free_port(), tmp_path / "run"
    words = ["chat", "--policy", "odd_policies:Speaker", "--records", str(run), "--token", "t"]
    with serving(*words, "--port", str(port)) as (process, address):
        asked = {"model": "stepgym", "messages": [{"role": "user", "content": "6 * 7?"}]}
        headers = {"content-type": "application/json", "authorization": "Bearer t"}
        body = json.dumps(asked).encode()
        reply = json.loads(
            read(urllib.request.Request(f"{address}/chat/completions", body, headers))
        )
        assert reply["choices"][0]["message"]["content"].endswith("42")
        assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2
        second = CliRunner().invoke(main, ["serve", *words])
        assert second.exit_code == 1 and "another process is writing" in second.output
        assert stopped(process) == (0, "")
    [record] = read_episodes(run)
    assert "<think>hidden</think>" in record.nodes[1].text


def test_the_page_of_a_run_is_shown_until_ctrl_c(tmp_path: Path) -> None:
    play = f"selfplay --env Countdown-v0 --policy random --episodes 2 --out {tmp_path}/run"
    assert CliRunner().invoke(main, play.split()).exit_code == 0
    with serving("page", f"{tmp_path}/run", "--port", "0") as (process, address):
        assert read(address).startswith("<!doctype html>")
        port = address.rstrip("/").rpartition(":")[2]
        second = CliRunner().invoke(main, ["serve", "page", f"{tmp_path}/run", "--port", port])
        assert second.exit_code == 2 and "--port 0 takes a free one" in second.output
        assert stopped(process) == (0, "\n")
