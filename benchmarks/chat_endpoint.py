"""`stepgym serve chat` under load: are replies lost or mixed up, and does the server's memory grow?

    python benchmarks/chat_endpoint.py --clients 64 --seconds 120 --json

Clients ask one after the other without a pause, every fourth as a stream; each reply must repeat the number of its question. The
policy is a stand-in that writes at once, so that the server is what is measured. Records of all trees are kept (`--records`).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepgym.envs.types import State, Step


class Speaker:
    """Writes one line of reasoning, then an answer that repeats the number in the question."""

    seed = 0

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        return [[self._step(s, k) for k in range(n)] for s, n in zip(states, counts)]

    def _step(self, state: State, number: int) -> Step:
        if not state.steps:
            return Step(f"<think>{number}</think>I repeat the number.", num_tokens=9)
        found = re.search(r"number (\d+)", state.prompt)
        return Step(f"<answer>{found[1] if found else '?'}</answer>", num_tokens=6)


class Client(threading.Thread):
    """Asks until the time is over."""

    def __init__(self, port: int, number: int, until: float) -> None:
        super().__init__(daemon=True)
        self.port, self.number, self.until = port, number, until
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        asked = 0
        while time.monotonic() < self.until:
            asked += 1
            question = str(self.number * 1_000_000 + asked)
            try:
                self.outcomes[self._ask(connection, question, stream=asked % 4 == 0)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[f"lost: {type(error).__name__}"] += 1
                connection.close()

    def _ask(self, connection: http.client.HTTPConnection, question: str, *, stream: bool) -> str:
        message = {"role": "user", "content": f"Repeat the number {question}."}
        body = {"model": "stepgym", "messages": [message], "stream": stream}
        headers = {"content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        reply = connection.getresponse()
        data = reply.read().decode()
        if reply.status != 200:
            return f"status {reply.status}"
        if stream and not data.endswith("data: [DONE]\n\n"):
            return "lost: stream cut off"
        return "answered" if question in data else "wrong reply"


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(num_clients: int, seconds: float, records: str) -> dict[str, Any]:
    """Run server and clients, and return what came of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "stepgym", "serve", "chat", "--agent", "mcts"]
    command += ["--agent-option", "simulations=16", "--policy", "chat_endpoint:Speaker"]
    command += ["--port", str(port), "--queue", "200", "--records", records]
    server = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
    try:
        deadline = time.monotonic() + 60
        while not _listens(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the server did not start")
            time.sleep(0.1)
        started = time.monotonic()
        clients = [Client(port, number, started + seconds) for number in range(num_clients)]
        for client in clients:
            client.start()
        memory = []
        while any(client.is_alive() for client in clients):
            memory.append((round(time.monotonic() - started), round(resident_mib(server.pid), 1)))
            time.sleep(min(5.0, seconds / 8))
        elapsed = time.monotonic() - started
    finally:
        server.terminate()
        server.wait(60)
    outcomes = sum((client.outcomes for client in clients), Counter[str]())
    with (Path(records) / "episodes.jsonl").open() as lines:
        num_records = sum(1 for _ in lines)
    settled = [mib for at, mib in memory if at >= seconds / 4]
    return {
        "clients": num_clients,
        "seconds": round(elapsed, 1),
        "outcomes": dict(outcomes),
        "replies_per_s": round(outcomes["answered"] / elapsed, 1),
        "records": num_records,
        "exit_status": server.returncode,
        "memory_mib": memory,
        "growth_mib": round(settled[-1] - settled[0], 1) if settled else None,
        "load": os.getloadavg()[0],
    }


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.clients, given.seconds, str(Path(folder) / "run"))
    print(json.dumps(found) if given.json else json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
