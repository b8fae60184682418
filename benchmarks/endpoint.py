"""Time that the recording endpoint adds to a model call, with agents that call it side by side.

Three processes: a chat server that answers after half to one and a half of a given time (the upstream), the clients, and the endpoint with one
episode per client. The clients send the same requests to the upstream and through the endpoint, in turns within one
run. The overhead of a call is the difference of the two. Every connection is kept open.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import random
import statistics
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from stepgym.agents import solve
from stepgym.agents.episode import Episode
from stepgym.agents.policies.chat_policy import ChatPolicy
from stepgym.envs.families.words import same_word_env

MODEL = "served"
NUM_TOKENS = 64
"""Tokens of a response, each with its id and log-probability."""


class Load(NamedTuple):
    """What the clients measured: each call's time, and the time of all of them together."""

    calls_s: list[float]
    wall_s: float

    @property
    def median_ms(self) -> float:
        return 1000 * statistics.median(self.calls_s)

    @property
    def percentiles_ms(self) -> list[float]:
        """The 5th and the 95th."""
        low, *_, high = statistics.quantiles(self.calls_s, n=20)
        return [1000 * low, 1000 * high]


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    """Read an HTTP message with a content-length; return its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    return await reader.readexactly(length)


def serve_upstream(delay_s: float, port: Connection) -> None:
    """Run a chat server that answers every request after about `delay_s` with a text of `NUM_TOKENS` tokens."""
    tokens = [
        {"token": f" word{at}", "logprob": -0.1 - at / 100, "bytes": None, "top_logprobs": []}
        for at in range(NUM_TOKENS)
    ]
    message = {"role": "assistant", "content": "".join(str(t["token"]) for t in tokens)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    choice |= {"token_ids": list(range(NUM_TOKENS)), "logprobs": {"content": tokens}}
    usage = {"prompt_tokens": 200, "completion_tokens": NUM_TOKENS, "total_tokens": 264}
    completion = {"id": "x", "object": "chat.completion", "created": 0, "model": MODEL}
    body = json.dumps(completion | {"choices": [choice], "usage": usage}).encode()
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    response = head.encode() + body

    delays = random.Random(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await _read_message(reader)
                await asyncio.sleep(delay_s * delays.uniform(0.5, 1.5))
                writer.write(response)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def run_clients(orders: Connection) -> None:
    """Run the clients: each order is URLs, one per client, and a number of calls; the reply is a `Load`."""
    while (order := orders.recv()) is not None:
        orders.send(asyncio.run(_call_all(*order)))


async def _call_all(urls: Sequence[str], num_calls: int) -> Load:
    times: list[float] = []
    ready = asyncio.Barrier(len(urls))
    started: list[float] = []

    async def client(at: int, url: str) -> None:
        where = urlsplit(url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        earlier = [
            {"role": role, "content": f"client {at} " + 40 * "words of a longer message "}
            for role in ("user", "assistant", "user")
        ]
        bodies = [
            json.dumps(
                {"model": MODEL, "messages": [*earlier, {"role": "user", "content": str(n)}]}
            ).encode()
            for n in range(num_calls)
        ]
        await ready.wait()
        started.append(time.perf_counter())
        for body in bodies:
            head = f"POST {where.path}/chat/completions HTTP/1.1\r\nhost: {where.netloc}\r\n"
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            begun = time.perf_counter()
            writer.write(head.encode() + body)
            reply = await _read_message(reader)
            times.append(time.perf_counter() - begun)
            assert reply.startswith(b'{"id"'), reply[:300]
        writer.close()

    await asyncio.gather(*(client(at, url) for at, url in enumerate(urls)))
    return Load(times, time.perf_counter() - min(started))


def measure(num_agents: int, num_calls: int, delay_s: float, turns: int) -> dict[str, Any]:
    """Return the figures of `num_agents` episodes, each with `turns` times `num_calls` calls."""
    spawn = multiprocessing.get_context("spawn")
    port, port_end = spawn.Pipe()
    orders, orders_end = spawn.Pipe()
    upstream = spawn.Process(target=serve_upstream, args=(delay_s, port_end), daemon=True)
    clients = spawn.Process(target=run_clients, args=(orders_end,), daemon=True)
    upstream.start(), clients.start()
    url = f"http://127.0.0.1:{port.recv()}/v1"
    urls: list[str] = []
    all_known, done = threading.Barrier(num_agents + 1), threading.Event()

    def agent(episode: Episode) -> str:
        urls.append(episode.endpoint)
        all_known.wait()
        done.wait()
        return "cab"

    loads: dict[str, list[Load]] = {"upstream": [], "endpoint": []}
    cpu_s: list[float] = []

    def load(name: str, where: Sequence[str]) -> None:
        before = time.process_time()
        orders.send((where, num_calls))
        loads[name].append(orders.recv())
        if name == "endpoint":
            cpu_s.append(time.process_time() - before)

    def drive() -> None:
        all_known.wait()
        orders.send((urls, 1)), orders.recv()  # threads and connections are made before measuring
        for _ in range(turns):
            load("upstream", [url] * num_agents)
            load("endpoint", urls)
        done.set()

    driver = threading.Thread(target=drive)
    driver.start()
    records = solve(
        same_word_env(count=num_agents),
        agent=agent,
        policy=ChatPolicy(f"{url}#{MODEL}", return_token_ids=True),
        num_parallel=num_agents,
    )
    driver.join()
    orders.send(None), clients.join(), upstream.terminate()
    assert all(len(record.calls) == turns * num_calls + 1 for record in records), (
        "calls are missing"
    )
    assert all(len(call["token_ids"]) == NUM_TOKENS for r in records for call in r.calls)
    total = {
        name: Load([s for each in own for s in each.calls_s], sum(each.wall_s for each in own))
        for name, own in loads.items()
    }
    direct, through = total["upstream"], total["endpoint"]
    return {
        "agents": num_agents,
        "calls": len(through.calls_s),
        "upstream_ms": 1000 * delay_s,
        "direct_median_ms": direct.median_ms,
        "endpoint_median_ms": through.median_ms,
        "endpoint_5_to_95_percent_ms": through.percentiles_ms,
        "overhead_median_ms": through.median_ms - direct.median_ms,
        "overhead_mean_ms": 1000
        * (statistics.fmean(through.calls_s) - statistics.fmean(direct.calls_s)),
        "overhead_wall_ms": 1000 * (through.wall_s - direct.wall_s) / len(through.calls_s),
        "cpu_ms": 1000 * sum(cpu_s) / len(through.calls_s),
        "calls_per_second": len(through.calls_s) / through.wall_s,
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--calls", type=int, default=50, help="calls of each agent in a turn")
    parser.add_argument("--turns", type=int, default=4, help="turns of upstream and endpoint")
    parser.add_argument(
        "--upstream-ms", type=float, nargs="+", default=[0, 100], help="time of the upstream"
    )
    given = parser.parse_args()
    result = {
        "benchmark": "endpoint",
        "runs": [
            measure(agents, given.calls, delay / 1000, given.turns)
            for delay in given.upstream_ms
            for agents in given.agents
        ],
        "machine": f"{os.cpu_count()}-core {platform.machine()}, Python {platform.python_version()}",
    }
    if given.json:
        print(json.dumps(result))
        return
    for run in result["runs"]:
        low, high = run["endpoint_5_to_95_percent_ms"]
        print(
            f"{run['agents']:>3} agents, upstream {run['upstream_ms']:.0f} ms: direct {run['direct_median_ms']:.2f} ms, "
            f"endpoint {run['endpoint_median_ms']:.2f} ms [{low:.2f}, {high:.2f}]; overhead per call: median "
            f"{run['overhead_median_ms']:.2f} ms, mean {run['overhead_mean_ms']:.2f} ms, wall time "
            f"{run['overhead_wall_ms']:.2f} ms; CPU time per call {run['cpu_ms']:.2f} ms; {run['calls_per_second']:.0f} calls/s"
        )


if __name__ == "__main__":
    main()
