"""How busy searches keep a server: their throughput against a load generator that sends the same requests.

The server is `benchmarks/chat_server.py`, in a process of its own. Each search solves 64 problems through `ChatPolicy`;
then the load generator sends the requests of that search again, in their order and at the same concurrency, but without
waiting for any reply. The ratio of the two times is the share of the server's throughput that the search reaches.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stepgym.agents import solve
from stepgym.agents.policies.chat_policy import ChatPolicy
from stepgym.envs.registry import load_env

METHODS: Mapping[str, Mapping[str, Any]] = {
    "best_of_n": {"n": 16},
    "beam": {"width": 4, "expand": 4},
    "mcts": {"simulations": 32, "width": 4, "leaves": 4},
}


async def _replay(url: str, requests: Sequence[bytes], concurrency: int) -> None:
    """Send requests over `concurrency` connections, each as soon as its connection is free."""
    where = urlsplit(url)
    waiting = iter(requests)

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        for body in waiting:
            head = f"POST {where.path}/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(answer.partition("content-length: ")[2].split("\r\n")[0]))
        writer.close()

    await asyncio.gather(*(connection() for _ in range(concurrency)))


def _log(url: str) -> list[dict[str, Any]]:
    """Return the requests that the server has answered since the last call."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port or 0)
    connection.request("GET", "/log")
    found: list[dict[str, Any]] = json.loads(connection.getresponse().read())
    connection.close()
    return found


def measure(
    url: str, agent: str, *, problems: int, concurrency: int, seed: int, continuous: bool | None
) -> dict[str, Any]:
    """Return the times of one search over all problems and of the load generator with the same requests."""
    env = load_env("stepgym/Math-v0", level=1, seed=seed, sandbox=None)
    policy = ChatPolicy(f"{url}#m", seed=seed, concurrency=concurrency, options={"logprobs": None})
    _log(url)
    cpu, started = time.process_time(), time.perf_counter()
    records = solve(
        [env.problems[i] for i in range(problems)],
        env=env,
        agent=agent,
        agent_settings=METHODS[agent],
        policy=policy,
        reward_model="random",
        seed=seed,
        num_parallel=problems,
        continuous=continuous,
    )
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert all(record.answer is not None for record in records), records[0].note
    requests = _log(url)
    bodies = [json.dumps(request).encode() for request in requests]
    started = time.perf_counter()
    asyncio.run(_replay(url, bodies, concurrency))
    plain = time.perf_counter() - started
    print(f"{agent}, seed {seed}: {plain / seconds:.3f}", file=sys.stderr, flush=True)
    return {
        "agent": agent,
        "requests": len(requests),
        "tokens": int(sum(record.usage["visible_tokens"] for record in records)),
        "seconds": seconds,
        "load_generator_seconds": plain,
        "ratio": plain / seconds,
        "cpu_share": cpu / seconds,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--concurrency", type=int, default=64, help="requests at once, and slots")
    parser.add_argument("--agents", default=",".join(METHODS))
    parser.add_argument(
        "--lock-step", action="store_true", help="take the rounds of all problems in step"
    )
    given = parser.parse_args()
    command = [sys.executable, str(Path(__file__).with_name("chat_server.py"))]
    server = subprocess.Popen(
        [*command, "--slots", str(given.concurrency)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        runs = [
            measure(
                url,
                agent,
                problems=given.problems,
                concurrency=given.concurrency,
                seed=seed,
                continuous=False if given.lock_step else None,
            )
            for seed in range(given.rounds)
            for agent in given.agents.split(",")
        ]
    finally:
        server.terminate()
        server.wait()
    if given.json:
        machine = f"{os.cpu_count()}-core {platform.machine()}, Python {platform.python_version()}"
        print(json.dumps({"benchmark": "serving", "runs": runs, "machine": machine}))
        return
    for agent in dict.fromkeys(run["agent"] for run in runs):
        own = [run for run in runs if run["agent"] == agent]
        ratios = [run["ratio"] for run in own]
        rates = [run["tokens"] / run["seconds"] for run in own]
        print(
            f"{agent:<10} {statistics.median(ratios):.3f} of the load generator [{min(ratios):.3f}, {max(ratios):.3f}], "
            f"{statistics.median(rates):.0f} tokens/s, {own[0]['requests']} requests, "
            f"CPU {max(run['cpu_share'] for run in own):.2f} of a core, machine's load {max(run['load'] for run in own):.1f}"
        )


if __name__ == "__main__":
    main()
