"""Options that several commands share, and how a user's mistake becomes exit status 2."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from stepgym.plugins.errors import UserError
from stepgym.sandbox.types import SandboxError

F = TypeVar("F", bound=Callable[..., Any])


def setting(text: str) -> tuple[str, Any]:
    """Read `NAME=VALUE`; the value is JSON where it can be (`n=8`, `greedy=true`), otherwise text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.BadParameter(f"{text!r} should look like n=8")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def agent_options(command: F) -> F:
    """Add the options that say who plays what: environment, agent, policy, reward model, seed, budget."""
    options = [
        click.option(
            "--env",
            "env_id",
            required=True,
            metavar="ID",
            help="Environment; `stepgym envs` lists them.",
        ),
        click.option("--level", type=int, help="Difficulty, where the environment has levels."),
        click.option(
            "--env-option",
            type=setting,
            metavar="NAME=VALUE",
            multiple=True,
            help="An option of the environment.",
        ),
        click.option(
            "--sandbox", metavar="NAME", help="Where untrusted programs run: docker, local, auto."
        ),
        click.option(
            "--agent", default="greedy", show_default=True, metavar="NAME", help="How to search."
        ),
        click.option(
            "--agent-option",
            type=setting,
            metavar="NAME=VALUE",
            multiple=True,
            help="A setting of the agent, such as n=8.",
        ),
        click.option(
            "--policy",
            default="embedded",
            show_default=True,
            metavar="NAME",
            help="Who proposes steps.",
        ),
        click.option(
            "--policy-option",
            type=setting,
            metavar="NAME=VALUE",
            multiple=True,
            help="A setting of the policy.",
        ),
        click.option("--reward-model", metavar="NAME", help="Who scores steps."),
        click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0)),
        click.option(
            "--budget-tokens",
            "new_tokens",
            type=click.IntRange(min=1),
            help="New tokens a problem.",
        ),
        click.option(
            "--budget-calls",
            "model_calls",
            type=click.IntRange(min=1),
            help="Model calls a problem.",
        ),
        click.option(
            "--budget-flops", "flops", type=click.FloatRange(min=0), help="FLOPs a problem."
        ),
        click.option(
            "--budget-seconds", "wall_s", type=click.FloatRange(min=0), help="Seconds a problem."
        ),
        click.option(
            "--budget-sandbox-seconds",
            "sandbox_s",
            type=click.FloatRange(min=0),
            help="Sandbox seconds.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


BUDGET_NAMES = ("new_tokens", "model_calls", "flops", "wall_s", "sandbox_s")


def split_budget(given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the `Budget` that the options say (`None` for no limit at all) and the other options."""
    from stepgym.agents.types import Budget

    limits = {name: given.pop(name) for name in BUDGET_NAMES}
    return (
        Budget(**limits) if any(limit is not None for limit in limits.values()) else None
    ), given


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn a user's mistake (a name, a setting, a file, a missing package) into its message and exit status 2.

    Any other exception is a bug and keeps its traceback.
    """
    try:
        yield
    except (UserError, SandboxError, FileNotFoundError) as error:
        raise click.UsageError(str(error)) from error
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "stepgym":
            raise
        raise click.UsageError(str(error)) from error


@contextmanager
def resumable() -> Iterator[None]:
    """`user_errors` for a command that goes on where it stopped: Ctrl-C says so, and a loss that is no number ends it."""
    from stepgym.training.types import LossNotFinite

    try:
        with user_errors():
            yield
    except LossNotFinite as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo(
            "\nStopped; what was kept is safe, and the same command goes on from there.", err=True
        )
        raise click.exceptions.Exit(130) from None
