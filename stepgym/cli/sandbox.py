"""`stepgym sandbox`: build the images, probe the guarantees of each backend, attack one, run a program."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import warnings
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from stepgym.envs.coding.attacks import iterate_attacks, load_attacks
from stepgym.plugins.errors import UserError
from stepgym.sandbox import docker_image
from stepgym.sandbox.backends import open_sandbox
from stepgym.sandbox.docker import connect, engine_faults
from stepgym.sandbox.guarantees import probe
from stepgym.sandbox.packages import Packages, bare_name, find, install
from stepgym.sandbox.types import Limits, Program, Sandbox, SandboxError

BACKEND = click.option(
    "--sandbox",
    "name",
    default="auto",
    show_default=True,
    help="docker, local, auto, or PACKAGE.MODULE:CLASS.",
)
SECONDS = click.FloatRange(min=0, min_open=True)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@click.group()
def command() -> None:
    """Build, probe and attack the sandboxes."""


@command.command()
@click.option(
    "--languages",
    is_flag=True,
    help="Also build the image with compilers for C, C++ and JavaScript.",
)
@click.option(
    "--packages",
    default=None,
    help="Python packages for programs, as name,name: installed as wheels from your package index if they are not here.",
)
@click.option(
    "--prune", is_flag=True, help="Remove the images of other versions of this package afterwards."
)
def build(languages: bool, packages: str | None, prune: bool) -> None:
    """Build the images of the Docker sandbox from a registry or from this machine's interpreter.

    Without an engine, --packages still installs the packages for the local sandbox.
    """
    names = None if packages is None else list(filter(None, map(str.strip, packages.split(","))))
    try:
        carried = _packages(names)
        click.echo(f"packages {', '.join(carried.versions) or 'none'}")
        with engine_faults():
            client = connect()
            for kind in ("python", "tester", *(["tools"] if languages else [])):
                click.echo(
                    f"{kind:8} {docker_image.ensure(client, kind, packages=carried, log=click.echo)}"
                )
            for name in docker_image.remove_others(client, carried) if prune else []:
                click.echo(f"removed  {name}")
    except SandboxError as error:
        raise click.ClickException(str(error)) from error


@command.command()
@click.option(
    "--sandbox", "names", multiple=True, default=("docker", "local"), help="Backends to probe."
)
@JSON
def doctor(names: tuple[str, ...], as_json: bool) -> None:
    """Test each guarantee on each backend of this machine and print which hold."""
    found = {name: _examine(name) for name in names}
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print_table(found)
    if not any(
        "error" not in report and all(row["held"] for row in report["guarantees"])
        for report in found.values()
    ):
        sys.exit(1)


def _examine(name: str) -> dict[str, Any]:
    with (
        warnings.catch_warnings(record=True) as caught,
        tempfile.NamedTemporaryFile(dir=_home()) as secret,
    ):
        warnings.simplefilter("always")
        os.environ["STEPGYM_PROBE"] = "1"
        try:
            with open_sandbox(name, workers=1) as sandbox:
                rows = probe(sandbox, secret=secret.name, pid=os.getpid())
        except (SandboxError, UserError) as error:
            return {"error": str(error)}
        finally:
            del os.environ["STEPGYM_PROBE"]
    return {
        "guarantees": [row._asdict() for row in rows],
        "warnings": [str(item.message) for item in caught],
    }


def _home() -> str | None:
    home = os.path.expanduser("~")
    return home if os.access(home, os.W_OK) else None


def _print_table(found: dict[str, dict[str, Any]]) -> None:
    console = Console()
    working = {name: report for name, report in found.items() if "error" not in report}
    table = Table("a program ...", *working)
    sentences = [row["sentence"] for report in working.values() for row in report["guarantees"]]
    for sentence in dict.fromkeys(sentences):
        rows = [
            next(row for row in report["guarantees"] if row["sentence"] == sentence)
            for report in working.values()
        ]
        table.add_row(
            sentence,
            *(
                "[green]held[/]" if row["held"] else f"[red]NOT HELD[/] {row['detail']}"
                for row in rows
            ),
        )
    if working:
        console.print(table)
    for name, report in found.items():
        for line in [report["error"]] if "error" in report else report["warnings"]:
            console.print(f"{name}: {line}", markup=False)


@command.command()
@BACKEND
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    help="Programs that run in parallel  [default: the number of cores]",
)
@JSON
def attack(name: str, workers: int | None, as_json: bool) -> None:
    """Run the corpus of hostile and cheating solutions on a backend; exit status 1 if one wins or does damage."""
    attacks = load_attacks()
    results = []
    with _open(name, workers=workers) as sandbox:
        for result in iterate_attacks(sandbox, attacks=attacks, batch=8):
            results.append(result)
            if sys.stderr.isatty():
                click.echo(f"\r{len(results)} of {len(attacks)}", nl=False, err=True)
    won, damaged = (
        sum(result.won for result in results),
        sum(result.did_damage for result in results),
    )
    if as_json:
        rows = [result.row() for result in results]
        click.echo(json.dumps({"attacks": len(rows), "won": won, "damaged": damaged, "rows": rows}))
    else:
        table = Table("attack", "class", "verdict", "pool", "reason")
        for result in results:
            held = "[red]WON[/red]" if result.won else result.verdict.status.value
            pool = "[red]damaged[/red]" if result.did_damage else "fine"
            reason = result.verdict.reason.replace("[", "\\[")
            table.add_row(result.attack.id, result.attack.category, held, pool, reason)
        Console().print(table)
        click.echo(f"{len(results)} attacks: {won} won, {damaged} damaged the pool")
    if won or damaged:
        sys.exit(1)


@command.command()
@click.argument("file", type=click.File("r", encoding="utf-8", errors="surrogateescape"))
@click.argument("args", nargs=-1)
@BACKEND
@click.option(
    "--language", default="python", show_default=True, help="python, c, c++ or javascript."
)
@click.option(
    "--cpu-s", default=10.0, show_default=True, type=SECONDS, help="Limit of CPU time in seconds."
)
@click.option(
    "--wall-s",
    default=30.0,
    show_default=True,
    type=SECONDS,
    help="Limit of elapsed time in seconds.",
)
@click.option(
    "--memory-mib",
    default=512,
    show_default=True,
    type=click.IntRange(min=1),
    help="Memory limit in MiB.",
)
@JSON
def run(
    file: Any,
    args: tuple[str, ...],
    name: str,
    language: str,
    cpu_s: float,
    wall_s: float,
    memory_mib: int,
    as_json: bool,
) -> None:
    """Run one program (`-` is standard input), print its output and exit with its exit code."""
    limits = Limits(cpu_s=cpu_s, wall_s=wall_s, memory_mib=memory_mib)
    program = Program(file.read(), language=language, args=args, limits=limits)
    with _open(name, workers=1) as sandbox:
        try:
            [result] = sandbox.run([program])
        except (SandboxError, UserError) as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(result) | {"outcome": result.outcome.value}))
    else:
        click.echo(result.stdout, nl=False)
        click.echo(result.stderr, nl=False, err=True)
        if result.reason:
            click.echo(f"{result.outcome.value}: {result.reason}", err=True)
    sys.exit(result.exit_code if result.exit_code is not None else 1)


def _packages(names: list[str] | None) -> Packages:
    """Find the packages, installing those that are not here; names with a version are always installed."""
    if names is None:
        return find(None)
    bare = [bare_name(name) for name in names]
    try:
        if bare == names:
            return find(names)
    except SandboxError:
        pass
    for version, digest in install(names).items():
        click.echo(f"wheel    {version} sha256:{digest}")
    return find(bare)


def _open(name: str, **options: Any) -> Sandbox:
    try:
        return open_sandbox(name, **options)
    except (SandboxError, UserError) as error:
        raise click.ClickException(str(error)) from error
