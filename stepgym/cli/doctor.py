"""`stepgym doctor`: what this machine, or every node of a Ray cluster, can do; exit status 1 if one is not fit."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from stepgym.agents.node_report import NodeReport, examine_machine
from stepgym.agents.ray_cluster import SANDBOX_RESOURCE, connected, examine_nodes
from stepgym.cli.options import JSON_OBJECT, user_errors

GIB = 2**30


@click.command()
@click.option(
    "--ray",
    "address",
    metavar="[ADDRESS]",
    is_flag=False,
    flag_value="auto",
    help="Examine every node of the Ray cluster at this address; without one, the cluster that runs on this machine.",
)
@click.option(
    "--timeout",
    "timeout_s",
    default=120.0,
    show_default=True,
    help="Seconds for each node to answer.",
)
@JSON_OBJECT
def command(address: str | None, timeout_s: float, as_json: bool) -> None:
    """Show versions, processors and the sandbox of this machine, or of every node of a Ray cluster.

    A node is not fit if it does not answer, or if its Python or stepgym differs from the one here. One that declares
    stepgym_sandbox must run a program, in Docker if others do. Nodes that have left the cluster do not count.
    """
    here = examine_machine()
    if address is None:
        rows = [{**here._asdict(), "alive": True, "faults": _faults(here, here, {})}]
    else:
        with user_errors():
            ray = connected(address)
        rows = [
            _node_row(node, answer, here)
            for node, answer in examine_nodes(ray, examine_machine, timeout_s=timeout_s)
        ]
        _compare_sandboxes(rows)
    if as_json:
        click.echo(json.dumps({"nodes": rows}))
    else:
        for row in rows:
            _print(row)
        living = [row for row in rows if row["alive"]]
        fit = sum(not row["faults"] for row in living)
        click.echo(f"{fit} of {len(living)} nodes fit")
    if any(row["faults"] for row in rows):
        sys.exit(1)


def _node_row(node: Any, answer: NodeReport | str, here: NodeReport) -> dict[str, Any]:
    """Return what is known of a node: what it tells Ray, what it answers, and what is wrong with it."""
    declared = node["Resources"]
    row: dict[str, Any] = {
        "node": node["NodeID"],
        "address": node["NodeManagerAddress"],
        "alive": node["Alive"],
    }
    if not node["Alive"]:
        return {**row, "faults": []}
    row |= {
        "cpus": declared.get("CPU", 0.0),
        "gpus": declared.get("GPU", 0.0),
        "memory_bytes": int(declared.get("memory", 0)),
        "object_store_bytes": int(declared.get("object_store_memory", 0)),
        SANDBOX_RESOURCE: declared.get(SANDBOX_RESOURCE, 0.0),
    }
    if isinstance(answer, str):
        return {**row, "faults": [answer]}
    return {**row, **answer._asdict(), "faults": _faults(answer, here, declared)}


def _faults(node: NodeReport, here: NodeReport, declared: Any) -> list[str]:
    faults = [
        f"{name} {theirs} there, {ours} here"
        for name, theirs, ours in (
            ("Python", node.python, here.python),
            ("stepgym", node.stepgym, here.stepgym),
        )
        if theirs != ours
    ]
    if declared.get(SANDBOX_RESOURCE) and node.sandbox is None:
        faults.append(
            f"it declares {SANDBOX_RESOURCE} and cannot run programs: {node.sandbox_fault}"
        )
    return faults


def _compare_sandboxes(rows: list[dict[str, Any]]) -> None:
    """Note a fault of nodes that declare a sandbox and have a weaker one than others."""
    declaring = [row for row in rows if row.get(SANDBOX_RESOURCE) and row.get("sandbox")]
    if any(row["sandbox"] == "docker" for row in declaring):
        for row in declaring:
            if row["sandbox"] != "docker":
                row["faults"].append(
                    f"its sandbox is {row['sandbox']}, that of other nodes docker: {row['engine']}"
                )


def _print(row: dict[str, Any]) -> None:
    verdict = "left the cluster" if not row["alive"] else "NOT FIT" if row["faults"] else "fit"
    colour = {"fit": "green", "NOT FIT": "red"}.get(verdict)
    name = f"{row['address']} ({row['node'][:8]})" if "node" in row else row["host"]
    click.echo(f"{name}: {click.style(verdict, fg=colour)}")
    if "cpus" in row:
        click.echo(
            f"    Ray       {row['cpus']:g} CPU, {row['gpus']:g} GPU, {row['memory_bytes'] / GIB:.1f} GiB memory, "
            f"{row['object_store_bytes'] / GIB:.2f} GiB object store, {SANDBOX_RESOURCE} {row[SANDBOX_RESOURCE]:g}"
        )
    if "python" in row:
        torch = (
            f"torch {row['torch']} ({row['torch_threads']} threads)" if row["torch"] else "no torch"
        )
        click.echo(
            f"    software  Python {row['python']}, stepgym {row['stepgym']}, {torch}, {row['processors']} processors"
        )
        engine = "answers" if row["engine"] is None else f"does not answer ({row['engine']})"
        sandbox = row["sandbox"] or f"none ({row['sandbox_fault']})"
        click.echo(f"    programs  Docker engine {engine}; sandbox: {sandbox}")
        if "cpus" in row and row["sandbox"] == "docker" and not row[SANDBOX_RESOURCE]:
            click.echo(
                f"    to use it for programs, start it with --resources='{{\"{SANDBOX_RESOURCE}\": N}}'"
            )
    for fault in row["faults"]:
        click.echo(f"    fault     {fault}")
