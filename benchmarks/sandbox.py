"""How fast programs run in the sandboxes, beside the usual ways, interleaved in one run.

    python benchmarks/sandbox.py --json             # ratios of one confined check to its rivals
    python benchmarks/sandbox.py --soak 10000       # memory, descriptors, processes and files, per thousand programs

One check is a HumanEval problem with its tests. Ours is the whole of it: candidate and tester in two containers.
The rivals run candidate and tests in one process, with the protection that each is known for, or with none.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import click

from stepgym.envs.coding import grade
from stepgym.sandbox import Program, Sandbox, open_sandbox

SOLUTION = """from typing import List

def has_close_elements(numbers: List[float], threshold: float) -> bool:
    for idx, elem in enumerate(numbers):
        for idx2, elem2 in enumerate(numbers):
            if idx != idx2:
                distance = abs(elem - elem2)
                if distance < threshold:
                    return True
    return False
"""
TESTS = """
def check(candidate):
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3) == True
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.05) == False
    assert candidate([1.0, 2.0, 5.9, 4.0, 5.0], 0.95) == True
    assert candidate([1.0, 2.0, 5.9, 4.0, 5.0], 0.8) == False
    assert candidate([1.0, 2.0, 3.0, 4.0, 5.0, 2.0], 0.1) == True
    assert candidate([1.1, 2.2, 3.1, 4.1, 5.1], 1.0) == True
    assert candidate([1.1, 2.2, 3.1, 4.1, 5.1], 0.5) == False
"""
BESIDE = SOLUTION + TESTS + "check(has_close_elements)\n"
REST_S = 1.0
"""Seconds to pause after a call of the engine, whose clean-up would slow the next measurement."""
FORK_SERVER = """
import os, sys
exec("import abc, bisect, collections, contextlib, copy, dataclasses, datetime, decimal, functools, heapq, inspect, "
     "itertools, json, math, random, re, statistics, string, struct, time, typing")
if sys.argv[1:] == ["frozen"]:
    import gc
    gc.collect()
    gc.freeze()
while header := sys.stdin.buffer.readline():
    source = sys.stdin.buffer.read(int(header))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            exec(compile(source, "main.py", "exec"), {"__name__": "__main__"})
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    sys.stdout.write(f"{status}\\n")
    sys.stdout.flush()
"""


def graded(sandbox: Sandbox, count: int = 1) -> None:
    """Grade the solution so many times, as users do: candidate and tests in two processes."""
    names = ["has_close_elements"] * count
    found = grade([SOLUTION] * count, tests=[TESTS] * count, entry_points=names, sandbox=sandbox)
    assert all(verdict.correct for verdict in found), found


def program_in(sandbox: Sandbox) -> Callable[[], None]:
    """Run tests beside the candidate through `run`."""

    def check() -> None:
        [result] = sandbox.run([Program(BESIDE)])
        assert result.exit_code == 0, result

    return check


def fresh_python() -> None:
    """Start an interpreter with no protection at all."""
    subprocess.run([sys.executable, "-I", "-S", "-c", BESIDE], check=True)


def fork_server(stack: ExitStack, *options: str) -> Callable[[], None]:
    """Start a fork server with no protection at all.

    "frozen" keeps its garbage collector from what was there before the fork; otherwise a collection falls due in
    each child or in none, by chance of what was imported, and one costs more than the program.
    """
    argv = [sys.executable, "-I", "-S", "-c", FORK_SERVER, *options]
    server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stack.callback(server.kill)
    assert server.stdin is not None and server.stdout is not None
    sink, source = server.stdin, server.stdout

    def check() -> None:
        data = BESIDE.encode()
        sink.write(f"{len(data)}\n".encode() + data)
        sink.flush()
        assert source.readline() == b"0\n"

    return check


def docker_rivals(stack: ExitStack) -> dict[str, Callable[[], None]]:
    """`docker run --rm` with the hardening of ours, and `docker exec` into such a container, through the SDK."""
    from stepgym.sandbox import docker_image
    from stepgym.sandbox.docker import NOBODY, connect

    client = connect()
    hardened: dict[str, Any] = {
        "image": docker_image.ensure(client, "python"),
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "ipc_mode": "none",
        "pids_limit": 64,
        "mem_limit": "512m",
        "nano_cpus": 10**9,
        "tmpfs": {"/tmp": "rw,noexec,size=64m"},
        "user": NOBODY,
    }
    argv = ["python3", "-I", "-S", "-c", BESIDE]
    warm = client.containers.run(
        command=["python3", "-c", "import time; time.sleep(3600)"], detach=True, **hardened
    )
    stack.callback(warm.remove, force=True)

    def run() -> None:
        client.containers.run(command=argv, remove=True, **hardened)

    def execute() -> None:
        assert warm.exec_run(argv).exit_code == 0

    return {"docker run --rm": run, "docker exec": execute}


def interleaved(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, dict[str, float]]:
    """Time every way in turn, `rounds` times over; quick ones are repeated within a round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for check in ways.values():
        check()
    for _ in range(rounds):
        for name, check in ways.items():
            repeats = 1 if name.startswith("docker ") else 20
            begin = time.perf_counter()
            for _ in range(repeats):
                check()
            times[name].append((time.perf_counter() - begin) / repeats)
            if name.startswith("docker "):
                time.sleep(REST_S)
    return {name: _spread(values) for name, values in times.items()}


def _spread(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {
        "median_ms": middle * 1000,
        "quartile_low_ms": low * 1000,
        "quartile_high_ms": high * 1000,
    }


def throughput(workers: tuple[int, ...], num_checks: int) -> dict[str, float]:
    """Checks a second with so many workers, in Docker."""
    rates = {}
    for count in workers:
        with open_sandbox("docker", workers=count) as sandbox:
            graded(sandbox, 4 * count)
            best = 0.0
            for _ in range(3):
                begin = time.perf_counter()
                graded(sandbox, num_checks)
                best = max(best, num_checks / (time.perf_counter() - begin))
            rates[str(count)] = best
    return rates


def soak(num_programs: int) -> Iterator[dict[str, Any]]:
    """Run programs in one container and yield what it and this process hold after every thousand."""
    from stepgym.sandbox.docker import DockerSandbox

    with DockerSandbox(workers=1, max_programs=num_programs + 1) as sandbox:
        runner = sandbox.all_workers[0].runner("python")
        for done in range(0, num_programs + 1, 1000):
            facts = resting(sandbox.client)
            yield {
                "programs": done,
                "container_mib": facts["memory_mib"],
                "container_processes": facts["processes"],
                "runner_descriptors": descriptors_of(facts["pid"]),
                "host_descriptors": len(os.listdir("/proc/self/fd")),
                "tmpfs_bytes": json.loads(sandbox.run([Program(TMPFS)])[0].stdout),
                "same_container": sandbox.all_workers[0].runners["python"] is runner,
            }
            if done < num_programs:
                sandbox.run([Program(f"open('f{i}', 'w').write('x' * 5000)") for i in range(999)])


TMPFS = "import os; s = os.statvfs('/tmp'); print((s.f_blocks - s.f_bfree) * s.f_frsize)"


def descriptors_of(pid: int) -> int | None:
    """Count a process's descriptors; `None` without the right to look."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except PermissionError:
        return None


def resting(client: Any) -> dict[str, Any]:
    """What the candidate's container of this process holds: memory (without cache), processes, first process."""
    from stepgym.sandbox.docker import OWNER

    for row in client.api.containers(filters={"label": "stepgym.sandbox=python"}):
        if row["Labels"][OWNER].split()[2] == str(os.getpid()):
            container = client.containers.get(row["Id"])
            facts = container.stats(stream=False)
            memory = facts["memory_stats"]
            cache = memory["stats"].get("total_cache", memory["stats"].get("file", 0))
            return {
                "memory_mib": (memory["usage"] - cache) / 2**20,
                "processes": facts["pids_stats"]["current"],
                "pid": container.attrs["State"]["Pid"],
            }
    raise LookupError("no container of this process")


@click.command()
@click.option(
    "--rounds", default=7, show_default=True, help="Rounds over all ways; each counts one median."
)
@click.option(
    "--soak",
    "num_soak",
    default=0,
    help="Instead: so many programs in one container, in thousands.",
)
@click.option(
    "--workers", default="1,2,8", show_default=True, help="Worker counts for the throughput."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(rounds: int, num_soak: int, workers: str, as_json: bool) -> None:
    """Measure the sandboxes beside their rivals."""
    if num_soak:
        rows = []
        for row in soak(num_soak):
            rows.append(row)
            if not as_json:
                click.echo(json.dumps(row))
        if as_json:
            click.echo(json.dumps({"machine": _machine(), "soak": rows}))
        return
    found = measure(rounds, tuple(int(count) for count in workers.split(",")))
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, row in found["checks"].items():
        click.echo(
            f"{name:32} {row['median_ms']:9.2f} ms   {found['times_ours'][name]:7.2f} x ours"
        )
    click.echo(f"checks a second by workers: {found['checks_per_s_by_workers']}")
    click.echo(f"at rest: {found['container_at_rest_mib']:.1f} MiB")


def measure(rounds: int, workers: tuple[int, ...]) -> dict[str, Any]:
    """Measure everything but the soak."""
    with ExitStack() as stack:
        docker = stack.enter_context(open_sandbox("docker", workers=1))
        local = stack.enter_context(open_sandbox("local", workers=1))
        ours = "check in docker"
        ways = {
            ours: partial(graded, docker),
            "check in local": partial(graded, local),
            "one process in docker": program_in(docker),
            "fork server, no isolation": fork_server(stack),
            "the same, heap frozen": fork_server(stack, "frozen"),
            "python -I -S -c": fresh_python,
            **docker_rivals(stack),
        }
        checks = interleaved(ways, rounds)
        at_rest = resting(docker.client)["memory_mib"]  # type: ignore[attr-defined]
    times = {name: row["median_ms"] / checks[ours]["median_ms"] for name, row in checks.items()}
    return {
        "machine": _machine(),
        "rounds": rounds,
        "checks": checks,
        "times_ours": times,
        "container_at_rest_mib": at_rest,
        "checks_per_s_by_workers": throughput(workers, 200),
    }


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.release()}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
