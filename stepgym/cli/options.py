"""Options that several commands share, and how a user's mistake becomes exit status 2.

Command files import at their top, except for modules that import torch: `--help` must not wait seconds for it.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from stepgym.agents.description import without_secrets
from stepgym.agents.executors import Workers
from stepgym.agents.jobs import Executor
from stepgym.agents.ray_executor import OnRay
from stepgym.agents.registry import POLICIES, REWARD_MODELS, SEARCHES
from stepgym.agents.types import Budget, RunStopped
from stepgym.envs.registry import NAMES, NAMESPACE, full_id
from stepgym.plugins.errors import UserError
from stepgym.plugins.listing import plug_ins
from stepgym.plugins.processors import num_processors
from stepgym.plugins.registry import Registry, make
from stepgym.plugins.worker_processes import map_in_order
from stepgym.records.reverify import InOrder
from stepgym.records.run_folder import read_episodes
from stepgym.records.types import RunBusyError, View
from stepgym.sandbox.types import SandboxError
from stepgym.training.types import LossNotFinite

F = TypeVar("F", bound=Callable[..., Any])

GRACE_S = 30.0
"""How long episodes in flight may take after SIGTERM."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
BAD_PATH = (
    errno.EACCES,
    errno.EEXIST,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)


def setting(text: str) -> tuple[str, Any]:
    """Read `NAME=VALUE`; the value is JSON if it parses (`n=8`, `greedy=true`), otherwise text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.BadParameter(f"{text!r} should be NAME=VALUE, such as file=PATH or n=8")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


class NameOf(click.types.StringParamType):
    """A name of a registry, which the shell completes; any other text is left to the registry to refuse."""

    name = "name"

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str | None:
        is_environment = self.registry is NAMES
        return (
            "Name one, such as Countdown-v0; `stepgym envs` lists them." if is_environment else None
        )

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        names = [*self.registry, *(f"{prefix}:" for prefix in self.registry.prefixes)]
        names += [plug_in.name for plug_in in plug_ins(self.registry)]
        short = [name.removeprefix(NAMESPACE) for name in names]
        return [
            CompletionItem(name)
            for name in dict.fromkeys([*short, *names])
            if name.startswith(incomplete) and (incomplete or name in short)
        ]


def settings_option(flag: str, help: str) -> Callable[[F], F]:
    """Return an option that takes `NAME=VALUE` any number of times."""
    return click.option(flag, type=setting, metavar="NAME=VALUE", multiple=True, help=help)


def environment_option(*, multiple: bool = False) -> Callable[[F], F]:
    """Return the option for an environment's id."""
    more = "; may be repeated" if multiple else ""
    return click.option(
        "--env",
        "env_id",
        required=True,
        multiple=multiple,
        type=NameOf(NAMES),
        metavar="ID",
        help=f"Environment, such as Countdown-v0{more}; `stepgym envs` lists them.",
    )


ENVIRONMENT = (
    environment_option(),
    click.option("--level", type=int, help="Difficulty, if the environment has levels."),
    settings_option("--env-option", "Option of the environment, such as file=PATH."),
    click.option(
        "--sandbox", metavar="NAME", help="Where untrusted programs run: docker, local, auto."
    ),
)
POLICY = (
    click.option(
        "--policy",
        type=NameOf(POLICIES),
        default="embedded",
        show_default=True,
        metavar="NAME",
        help="Policy that proposes steps.",
    ),
    settings_option("--policy-option", "Setting of the policy, such as temperature=0.7."),
)
AGENT = (
    click.option(
        "--agent",
        type=NameOf(SEARCHES),
        default="greedy",
        show_default=True,
        metavar="NAME",
        help="Search method, or your own search or agent: PACKAGE.MODULE:THING.",
    ),
    settings_option("--agent-option", "Setting of the agent, such as n=8."),
    *POLICY,
    click.option(
        "--reward-model",
        type=NameOf(REWARD_MODELS),
        metavar="NAME",
        help="Reward model that scores steps.",
    ),
    click.option(
        "--seed",
        default=0,
        show_default=True,
        type=click.IntRange(min=0),
        help="Seed of the problems and of sampling.",
    ),
)
BUDGET = (
    click.option(
        "--budget-tokens", "new_tokens", type=click.IntRange(min=1), help="New tokens per problem."
    ),
    click.option(
        "--budget-calls", "model_calls", type=click.IntRange(min=1), help="Model calls per problem."
    ),
    click.option(
        "--budget-flops", "flops", type=click.FloatRange(min=0), help="FLOPs per problem."
    ),
    click.option(
        "--budget-seconds", "wall_s", type=click.FloatRange(min=0), help="Seconds per problem."
    ),
    click.option(
        "--budget-sandbox-seconds",
        "sandbox_s",
        type=click.FloatRange(min=0),
        help="Sandbox seconds per problem.",
    ),
)
MONEY = (
    click.option(
        "--price",
        metavar="INPUT,OUTPUT",
        help="US dollars per million tokens that a served policy reads and writes, such as 0.15,0.60;"
        " those of a reward model are not counted.",
    ),
    click.option(
        "--budget-usd",
        type=click.FloatRange(min=0),
        help="US dollars for the whole run, all its environments and resumed parts together; needs --price.",
    ),
)
VERDICTS = click.option(
    "--verdicts/--no-verdicts",
    "see_verdicts",
    default=None,
    help="Whether the search may check answers with the verifier"
    "  [default: if the verifier needs no reference].",
)
CONTINUOUS = click.option(
    "--continuous/--lock-step",
    default=None,
    help="Let fast problems run ahead, or take all rounds in step"
    "  [default: continuous with a served model].",
)
VIEW = click.option(
    "--view",
    default=View.OPERATOR.value,
    show_default=True,
    type=click.Choice([each.value for each in View]),
    help="user: leave out internal reasoning, tool calls and tool results.",
)
JSON_OBJECT = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def add_options(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Return a decorator that adds options to a command, in the order given."""

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def episodes_option(default: int, help: str) -> Callable[[F], F]:
    """Return the option for the number of problems."""
    return click.option(
        "--episodes", default=default, show_default=True, type=click.IntRange(min=1), help=help
    )


def parallel_option(default: int) -> Callable[[F], F]:
    """Return the option for how many problems are searched in parallel."""
    return click.option(
        "--parallel",
        default=default,
        show_default=True,
        type=click.IntRange(min=1),
        help="Problems searched in parallel.",
    )


ATTEMPTS = click.option(
    "--attempts",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Attempts at each problem, each with a seed of its own.",
)
WORKERS = click.option(
    "--workers",
    metavar="N|auto",
    help="Processes that work side by side; auto: one for each processor  [default: this process]",
)
RAY = click.option(
    "--ray",
    metavar="ADDRESS|auto",
    help="Work on the Ray cluster at this address; auto: the one that runs on this machine.",
)
EXECUTOR = (
    WORKERS,
    RAY,
    settings_option(
        "--ray-option",
        "How --ray plays, such as policy_actors=1 or policy_gpus=0.5; docs/cluster.md lists them.",
    ),
)
KEEP_FAILED = click.option(
    "--keep-failed",
    is_flag=True,
    help="Do not play episodes again that failed in an earlier run of this command.",
)


def executor(given: dict[str, Any]) -> Executor | None:
    """Take the options of `EXECUTOR` out of `given`; `None` if this process plays."""
    workers, address, settings = given.pop("workers"), given.pop("ray"), given.pop("ray_option")
    _require_one(workers, address)
    if settings and not address:
        raise click.UsageError(f"--ray-option {settings[0][0]} needs --ray ADDRESS")
    if address:
        with user_errors():
            return cast(OnRay, make("--ray", OnRay, {"address": address, **dict(settings)}))
    count = num_workers(workers)
    return None if count is None else Workers(count)


def in_order(workers: str | None, ray: str | None) -> InOrder:
    """Read --workers and --ray of a command that maps a function over parts."""
    _require_one(workers, ray)
    if ray:
        return OnRay(ray).map
    return partial(map_in_order, num_workers=num_workers(workers))


def _require_one(workers: str | None, ray: str | None) -> None:
    if workers and ray:
        raise click.UsageError(f"--workers {workers} and --ray {ray}: give one of them")


def num_workers(given: str | None) -> int | None:
    """Read the value of --workers; `None` if this process works alone."""
    if not given:
        return None
    if given == "auto":
        return num_processors()
    if not given.isdecimal() or not int(given):
        raise click.UsageError(f"--workers {given!r} should be a number above 0, or auto")
    return int(given)


class Environment(NamedTuple):
    """The environment that the options name."""

    id: str
    options: dict[str, Any]


def environment(given: dict[str, Any]) -> Environment:
    """Take the options of `ENVIRONMENT` out of `given`; --level and --sandbox count as environment options."""
    options = dict(given.pop("env_option"))
    for name in ("level", "sandbox"):
        value = given.pop(name, None)
        if value is not None and name in options:
            raise click.UsageError(
                f"--{name} {value} and --env-option {name}={options[name]}: give one of them"
            )
        if value is not None:
            options[name] = value
    return Environment(full_id(given.pop("env_id")), options)


def budget(given: dict[str, Any]) -> Budget | None:
    """Take the options of `BUDGET` out of `given`; `None` if there is no limit at all."""
    names = ("new_tokens", "model_calls", "flops", "wall_s", "sandbox_s")
    limits = {name: given.pop(name) for name in names}
    return Budget(**limits) if any(limit is not None for limit in limits.values()) else None


def policy_settings(given: dict[str, Any]) -> dict[str, Any]:
    """Take --policy-option and the options of `MONEY` out of `given`; money is counted by the policy."""
    settings = dict(given.pop("policy_option"))
    price, limit = given.pop("price"), given.pop("budget_usd")
    if price is not None:
        try:
            settings["price"] = [float(each) for each in price.split(",")]
        except ValueError:
            settings["price"] = []
        if len(settings["price"]) != 2:
            raise click.UsageError(f"--price {price} should look like 0.15,0.60")
        scorer = given["reward_model"] or ""
        if scorer.startswith(("judge:", "served:")):
            message = f"warning: what {without_secrets(scorer)} costs is not counted by --price and --budget-usd"
            click.secho(message, fg="yellow", err=True)
    if limit is not None:
        if "price" not in settings:
            raise click.UsageError(
                "--budget-usd needs --price INPUT,OUTPUT (US dollars per million tokens)"
            )
        settings["budget_usd"] = limit
    return settings


def stop_if_all_failed(folder: str) -> None:
    """End with exit status 1 and the reason if no episode of a run could be played."""
    first = ""
    for record in read_episodes(folder):
        if record.verdict != "failed":
            return
        first = first or record.note or record.reason
    if first:
        raise click.ClickException(
            f"every episode failed; the first: {first}\nRun the same command to play them again."
        )


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn a user's mistake (a name, a setting, a file, a missing package) into its message and exit status 2.

    A full disk and a run that another process writes are exit status 1, because the command was right. Any other exception is a bug and keeps its traceback.
    """
    try:
        yield
    except (UserError, SandboxError, FileNotFoundError) as error:
        raise click.UsageError(str(error)) from error
    except (RunStopped, RunBusyError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        if error.errno in DISK_FULL:
            where = f" ({error.filename})" if error.filename else ""
            raise click.ClickException(
                f"{error.strerror}{where}; make room and run the same command again: "
                "episodes that were finished before are kept"
            ) from error
        if error.errno in BAD_PATH:
            raise click.UsageError(f"{error.filename}: {error.strerror}") from error
        raise
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "stepgym":
            raise
        raise click.UsageError(str(error)) from error


class Stopping:
    """SIGTERM as a wish to stop: episodes in flight are finished first, for `GRACE_S` at most; a second one stops at once."""

    def __init__(self) -> None:
        self.wished = False
        self._timer: threading.Timer | None = None

    def __call__(self) -> bool:
        return self.wished

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._terminate)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)

    def _terminate(self, *_: object) -> None:
        if self.wished:
            raise KeyboardInterrupt
        self.wished = True
        click.echo(
            "Stopping after the episodes in flight; a second SIGTERM stops at once.", err=True
        )
        self._timer = threading.Timer(GRACE_S, os.kill, (os.getpid(), signal.SIGINT))
        self._timer.daemon = True
        self._timer.start()


@contextmanager
def keeps_episodes(out: str, num_new: Callable[[], int]) -> Iterator[Stopping]:
    """Handle errors like `user_errors`, and say what is kept in the run folder `out` if the run was stopped.

    A run is stopped by Ctrl-C or SIGTERM, by a sandbox that is lost, or by a server that is gone or too expensive.
    """

    def stopped() -> str:
        return f"Stopped. {num_new()} new episodes are kept in {out}; run the same command to continue, with --out {out}"

    try:
        with user_errors(), Stopping() as stop:
            yield stop
    except click.ClickException as error:
        cause = error.__cause__
        if isinstance(cause, RunStopped) or (isinstance(cause, SandboxError) and num_new()):
            raise click.ClickException(f"{error.message}\n{stopped()}") from error
        raise
    except KeyboardInterrupt:
        click.echo(f"\n{stopped()}", err=True)
        raise click.exceptions.Exit(130) from None
    if stop.wished:
        click.echo(stopped(), err=True)
        raise click.exceptions.Exit(128 + signal.SIGTERM)


@contextmanager
def resumable() -> Iterator[None]:
    """Handle errors like `user_errors`, for a command that can be resumed after Ctrl-C or a non-finite loss."""
    try:
        with user_errors():
            yield
    except LossNotFinite as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("\nStopped. Finished work is kept; run the same command to continue.", err=True)
        raise click.exceptions.Exit(130) from None
