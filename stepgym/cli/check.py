"""`stepgym check`: hold somebody's own policy, search, sandbox or environment to the contract."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import click

from stepgym.plugins.contract import Finding
from stepgym.plugins.names import UnknownNameError, load_dotted

CHECKS = {
    "propose": ("policy", "stepgym.agents.conformance:check_policy"),
    "score": ("reward model", "stepgym.agents.conformance:check_reward_model"),
    "select": ("search", "stepgym.agents.conformance:check_search"),
    "run": ("sandbox", "stepgym.sandbox.conformance:conformance"),
    "reset": ("environment", "stepgym.envs.conformance:check_environment"),
    "__getitem__": ("problem set", "stepgym.envs.conformance:check_problem_set"),
}
"""The method that tells what a thing is -> its name and the function that checks it (a sandbox by what opens it)."""


@click.command()
@click.argument("path", metavar="PACKAGE.MODULE:THING")
@click.option(
    "--env", "env_id", help="Environment on whose states a policy or reward model is tried."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(path: str, env_id: str | None, as_json: bool) -> None:
    """Check a thing of yours: a class or function is called without arguments, anything else is taken as it is.

    What it is shows in its methods: propose (policy), score (reward model), select (search), run (sandbox),
    reset (environment; its domain and verifier are checked with it), item access (problem set). Exit status 1 when
    a clause is broken. A registered environment's id will do as well.
    """
    maker = _maker(path)
    thing = maker()
    kind, check = _kind(path, thing)
    try:
        options = {"env": env_id} if env_id and kind in ("policy", "reward model") else {}
        findings: list[Finding] = load_dotted(check)(
            maker if kind == "sandbox" else thing, **options
        )
    except UnknownNameError as error:
        raise click.ClickException(f"no contract for a {kind} is here: {error}") from error
    finally:
        if hasattr(thing, "close"):
            thing.close()
    broken = sum(finding.fault is not None for finding in findings)
    if as_json:
        clauses = [{"sentence": f.sentence, "fault": f.fault} for f in findings]
        click.echo(json.dumps({"thing": path, "kind": kind, "broken": broken, "clauses": clauses}))
    else:
        _print(path, kind, findings)
    if broken:
        raise SystemExit(1)


def _maker(path: str) -> Callable[[], Any]:
    """Return what makes the thing: a class or function itself, else a function that returns the thing as it is."""
    if "/" in path:
        return lambda: _load_env(path)
    if not path.partition(":")[2]:
        raise click.ClickException(
            f"{path!r} names no thing in a module; write {path.rstrip(':')}:Thing"
        )
    try:
        found = load_dotted(path)
    except UnknownNameError as error:
        raise click.ClickException(str(error)) from error
    if inspect.isclass(found) or inspect.isroutine(found):
        return lambda: _call(path, found)
    return lambda: found


def _load_env(env_id: str) -> Any:
    from stepgym.envs.registry import load_env

    try:
        return load_env(env_id)
    except (ValueError, ImportError) as error:
        raise click.ClickException(str(error)) from error


def _call(path: str, maker: Callable[[], Any]) -> Any:
    try:
        return maker()
    except Exception as error:  # whatever a plug-in's constructor raises is said, not traced
        raise click.ClickException(
            f"{path!r} could not be made without arguments ({type(error).__name__}: {error}); "
            "name a function that makes it"
        ) from error


def _kind(path: str, thing: Any) -> tuple[str, str]:
    for method, check in CHECKS.items():
        if hasattr(thing, method):
            return check
    raise click.ClickException(
        f"{path!r} is a {type(thing).__name__} with none of the methods {', '.join(CHECKS)}; "
        "a domain or verifier is checked inside its environment: name a function that returns a ReasoningEnv"
    )


def _print(path: str, kind: str, findings: list[Finding]) -> None:
    click.echo(f"{path}: {kind}")
    for finding in findings:
        click.echo(f"  {'ok    ' if finding.fault is None else 'BROKEN'}  {finding.sentence}")
        if finding.fault is not None:
            click.echo(f"          {finding.fault[:500]}")
    broken = sum(finding.fault is not None for finding in findings)
    click.echo(f"{len(findings) - broken} of {len(findings)} clauses hold.")
