"""`stepgym serve` shows a growing run to its own machine and to nobody else."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stepgym.agents.types import EpisodeRecord
from stepgym.records.types import RecordError
from stepgym.selfplay import RunConfig, RunFolder
from stepgym.serving.live_page import LivePageServer

CONFIG = RunConfig(env_id="stepgym/Countdown-v0", agent="greedy", policy="random")
EPISODE = EpisodeRecord(
    env_id="stepgym/Countdown-v0",
    problem_id="p0",
    level=1,
    seed=0,
    index=0,
    prompt="Make 10.",
    reference="10",
    nodes=(),
    path=(),
    answer=None,
    verdict="no_answer",
    score=0.0,
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LivePageServer]:
    with RunFolder(tmp_path, CONFIG) as run:
        run.append(EPISODE)
    with LivePageServer(tmp_path, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server: LivePageServer, path: str = "/", host: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.request("GET", path, headers={} if host is None else {"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8")
    finally:
        connection.close()


def test_the_page_grows_with_the_run(server: LivePageServer) -> None:
    assert "1 episode" in get(server)[1]
    with RunFolder(server.run, CONFIG) as run:
        run.append(replace(EPISODE, problem_id="p1"))
    assert "2 episodes" in get(server)[1]


def test_a_file_of_the_same_size_is_not_the_same_file(server: LivePageServer) -> None:
    assert "Make 10." in get(server)[1]
    file = server.run / "episodes.jsonl"
    file.write_text(file.read_text().replace("Make 10.", "Make 20."))
    assert "Make 20." in get(server)[1]


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("/?x=1", None, 200),
        ("/", "localhost:PORT", 200),
        ("/", "evil.example:PORT", 403),  # a page elsewhere whose name was made to point here
        ("/", "127.0.0.1", 403),
        ("/../run.json", None, 404),
        ("/episodes.jsonl", None, 404),
    ],
)
def test_who_gets_what(server: LivePageServer, path: str, host: str | None, status: int) -> None:
    assert get(server, path, host and host.replace("PORT", str(server.server_port)))[0] == status


def test_a_broken_run_says_so_and_the_server_lives(server: LivePageServer) -> None:
    with (server.run / "episodes.jsonl").open("a") as file:
        file.write("{\n")
    assert get(server)[0] == 500 and "episodes.jsonl:2" in get(server)[1]


def test_no_run_no_server(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="not a run folder"):
        LivePageServer(tmp_path, port=0)
