"""`stepgym check`: check a policy, a search, an agent, a sandbox, an environment or a problem set against its contract."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import click

from stepgym.agents.description import without_secrets
from stepgym.agents.policies.chat_policy import ChatPolicy
from stepgym.agents.policies.chat_probes import Finding as Probed
from stepgym.agents.policies.chat_probes import probe
from stepgym.agents.registry import POLICIES, REWARD_MODELS, SEARCHES
from stepgym.agents.run_setup import is_function, takes_argument
from stepgym.cli.options import JSON_OBJECT, settings_option, user_errors
from stepgym.envs.registry import NAMES, full_id, load_env
from stepgym.envs.types import Closeable
from stepgym.plugins.contract import Finding
from stepgym.plugins.errors import UserError
from stepgym.plugins.names import is_dotted, load_dotted, unknown_name
from stepgym.plugins.registry import Registry, make
from stepgym.sandbox.backends import SANDBOXES

CHECKS = {
    "propose": ("policy", "stepgym.agents.conformance:check_policy"),
    "score": ("reward model", "stepgym.agents.conformance:check_reward_model"),
    "select": ("search", "stepgym.agents.conformance:check_search"),
    "act": ("agent", "stepgym.agents.conformance:check_agent"),
    "run": ("sandbox", "stepgym.sandbox.conformance:conformance"),
    "reset": ("environment", "stepgym.envs.conformance:check_environment"),
    "__getitem__": ("problem set", "stepgym.envs.conformance:check_problem_set"),
}
"""The method that identifies a kind -> the kind and the function that checks it."""
REGISTRIES: dict[str, Registry] = {
    "environment": NAMES,
    "search": SEARCHES,
    "policy": POLICIES,
    "reward-model": REWARD_MODELS,
    "sandbox": SANDBOXES,
}


@click.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--kind",
    type=click.Choice(list(REGISTRIES)),
    help="What NAME is, if two kinds have that name (`random` is a policy and a reward model).",
)
@settings_option("--option", "Option or setting of the thing, such as level=3.")
@click.option(
    "--env", "env_id", help="Environment on which a policy, a reward model or an agent is checked."
)
@JSON_OBJECT
def command(
    name: str,
    kind: str | None,
    option: tuple[tuple[str, Any], ...],
    env_id: str | None,
    as_json: bool,
) -> None:
    """Check your own or a built-in object against its contract.

    NAME is a name that other commands take (Countdown-v0, mcts) or a dotted path PACKAGE.MODULE:THING. A class or
    function is called with the given options, unless the function needs an argument, which makes it an agent; any other
    object is checked as it is. Its methods tell its kind: propose (policy), score (reward model), select (search), act
    (agent), run (sandbox), reset (environment, with its domain and verifier), item access (problem set). The exit
    status is 1 if a clause is broken.

    For chat:URL#MODEL, some 30 small requests find out what the server offers, and which settings make use of it.
    """
    with user_errors():
        maker = _maker(name, kind, dict(option))
        thing = _call(name, maker)
        if isinstance(thing, ChatPolicy):
            _print_probes(name, probe(thing), as_json)
            return
        try:
            found, check = _kind(name, thing)
            options = (
                {"env": env_id} if env_id and found in ("policy", "reward model", "agent") else {}
            )
            findings: list[Finding] = load_dotted(check)(
                maker if found == "sandbox" else thing, **options
            )
        finally:
            if isinstance(thing, Closeable):
                thing.close()
    broken = sum(finding.fault is not None for finding in findings)
    if as_json:
        clauses = [finding._asdict() for finding in findings]
        click.echo(json.dumps({"thing": name, "kind": found, "broken": broken, "clauses": clauses}))
    else:
        _print(name, found, findings)
    if broken:
        raise SystemExit(1)


def _maker(name: str, kind: str | None, options: dict[str, Any]) -> Callable[[], Any]:
    """Return a function that makes the thing called `name`."""
    if is_dotted(name) and not _kinds(name):
        found = load_dotted(name)
        if is_function(found) and takes_argument(found):
            return lambda: found
        if inspect.isclass(found) or inspect.isroutine(found):
            return partial(make, repr(name), found, options)
        return lambda: found
    if kind is None:
        kind = _only_kind(name)
    if kind == "environment":
        return partial(load_env, name, **options)
    found = REGISTRIES[kind].find(name)
    if is_function(found) and takes_argument(found):  # an agent that is a function
        return lambda: found
    return partial(REGISTRIES[kind].load, name, **options)


def _only_kind(name: str) -> str:
    """Return the one kind that has a thing of this name; an unlisted name with a slash is Gymnasium's."""
    kinds = _kinds(name)
    if len(kinds) > 1:
        raise UserError(f"{name!r} is {' and '.join(kinds)}; add --kind {kinds[0]}")
    if kinds:
        return kinds[0]
    if "/" in name:
        return "environment"
    known: Iterable[str] = {known for names in REGISTRIES.values() for known in names}
    raise unknown_name("thing", name, known, dotted=True)


def _kinds(name: str) -> list[str]:
    """Return the kinds that have a thing of this name, or names that begin like it (`chat:URL#MODEL`)."""
    prefix, colon, _ = name.partition(":")
    return [
        kind
        for kind, names in REGISTRIES.items()
        if names.offers(full_id(name)) or (colon and prefix in names.prefixes)
    ]


def _call(name: str, maker: Callable[[], Any]) -> Any:
    try:
        return maker()
    except UserError:
        raise
    except Exception as error:  # the constructor of a plug-in may raise anything
        raise click.ClickException(
            f"{name!r} could not be made ({type(error).__name__}: {error}); give --option NAME=VALUE, or the path of a "
            "function that makes it"
        ) from error


def _kind(name: str, thing: Any) -> tuple[str, str]:
    if is_function(thing):
        return CHECKS["act"]
    for method, check in CHECKS.items():
        if hasattr(thing, method):
            return check
    raise UserError(
        f"{name!r} is a {type(thing).__name__} with none of the methods {', '.join(CHECKS)}; a domain or a verifier is "
        "checked inside its environment: give a function that returns a ReasoningEnv"
    )


def _print_probes(name: str, found: list[Probed], as_json: bool) -> None:
    if as_json:
        probes = {each.name: each._asdict() for each in found}
        click.echo(
            json.dumps({"thing": without_secrets(name), "kind": "served policy", "probes": probes})
        )
        return
    click.echo(f"{without_secrets(name)}: served policy")
    for each in found:
        click.echo(f"  {each.name:<18} {each.found}")
        if each.advice:
            click.echo(f"  {'':<18} -> {each.advice}")


def _print(name: str, kind: str, findings: list[Finding]) -> None:
    click.echo(f"{name}: {kind}")
    for finding in findings:
        click.echo(f"  {'ok    ' if finding.fault is None else 'BROKEN'}  {finding.sentence}")
        if finding.fault is not None:
            click.echo(f"          {finding.fault[:500]}")
    passed = sum(finding.fault is None for finding in findings)
    click.echo(f"{passed} of {len(findings)} clauses passed")
