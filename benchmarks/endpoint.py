"""Time that the recording endpoint adds to a model call, and 32 agents that call it side by side.

The model is a scripted policy, which takes no time: what is measured is the request, the record and the response over
the loopback interface. The client is `http.client` with one connection per agent.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import statistics
import time
from typing import Any
from urllib.parse import urlsplit

from stepgym.agents import solve
from stepgym.agents.episode import Episode
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.envs.families.words import same_word_env


def measure(num_agents: int, num_calls: int) -> dict[str, Any]:
    """Return milliseconds per call and calls per second for agents that run at the same time."""
    times: list[float] = []

    def agent(episode: Episode) -> str:
        url = urlsplit(episode.endpoint)
        connection = http.client.HTTPConnection(url.hostname or "", url.port or 0)
        for number in range(num_calls):
            message = {"role": "user", "content": f"{episode.prompt}, call {number}"}
            body = json.dumps({"model": episode.model, "messages": [message]})
            started = time.perf_counter()
            connection.request("POST", url.path + "/chat/completions", body)
            connection.getresponse().read()
            times.append(1000 * (time.perf_counter() - started))
        connection.close()
        return "cab"

    started = time.perf_counter()
    records = solve(
        same_word_env(count=num_agents),
        agent=agent,
        policy=ScriptedPolicy(lambda state: ["c"]),
        num_parallel=num_agents,
    )
    seconds = time.perf_counter() - started
    assert all(len(record.calls) == num_calls for record in records), "a call is not recorded"
    low, *_, high = statistics.quantiles(times, n=20)
    return {
        "agents": num_agents,
        "calls": len(times),
        "median_ms": statistics.median(times),
        "5_to_95_percent_ms": [low, high],
        "calls_per_second": len(times) / seconds,
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--calls", type=int, default=200, help="calls of each agent")
    given = parser.parse_args()
    result = {
        "benchmark": "endpoint",
        "runs": [measure(1, given.calls), measure(32, given.calls)],
        "machine": f"{os.cpu_count()}-core {platform.machine()}, Python {platform.python_version()}",
    }
    if given.json:
        print(json.dumps(result))
        return
    for run in result["runs"]:
        low, high = run["5_to_95_percent_ms"]
        print(
            f"{run['agents']:>3} agents: {run['median_ms']:.2f} ms per call [{low:.2f}, {high:.2f}], "
            f"{run['calls_per_second']:.0f} calls/s"
        )


if __name__ == "__main__":
    main()
