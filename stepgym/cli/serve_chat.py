"""`stepgym serve chat`: an OpenAI-compatible endpoint that thinks by search."""

from __future__ import annotations

import ipaddress
from contextlib import ExitStack
from typing import Any

import click

from stepgym.agents.registry import load_policy, load_reward_model
from stepgym.cli.options import AGENT, add_options, user_errors
from stepgym.plugins.errors import UserError
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import RunConfig
from stepgym.serving.thinking import EFFORTS, ENV_ID, Thinker


def effort(text: str) -> tuple[str, int]:
    """Read `NAME=TOKENS`."""
    name, equals, tokens = text.partition("=")
    if not equals or not name or not tokens.isdecimal() or int(tokens) < 1:
        raise click.BadParameter(f"{text!r} should look like high=16000")
    return name, int(tokens)


@click.command("chat")
@add_options(*AGENT)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Port."
)
@click.option(
    "--token",
    envvar="STEPGYM_TOKEN",
    help="Bearer token that clients must send; required unless --host is a loopback address.",
)
@click.option(
    "--model", "model_name", default="stepgym", show_default=True, help="Name of the model."
)
@click.option(
    "--effort",
    "efforts",
    type=effort,
    multiple=True,
    metavar="NAME=TOKENS",
    help="New tokens for a reasoning_effort  [default: low=1000, medium=4000, high=16000]",
)
@click.option(
    "--concurrency",
    default=8,
    show_default=True,
    type=click.IntRange(min=1),
    help="Searches at the same time.",
)
@click.option(
    "--queue",
    default=64,
    show_default=True,
    type=click.IntRange(min=0),
    help="Requests that may wait; others get status 429.",
)
@click.option(
    "--records",
    metavar="DIR",
    type=click.Path(),
    help="Run folder for the whole search trees, hidden reasoning included.",
)
@click.option(
    "--grace",
    default=30,
    show_default=True,
    type=click.IntRange(min=0),
    help="Seconds for running requests after Ctrl-C or SIGTERM.",
)
def command(**given: Any) -> None:
    """Serve /v1/chat/completions: every answer is the best solution that a search found within its token budget.

    `reasoning_effort` chooses the budget. Hidden reasoning is counted in `usage` and is not part of the answer.
    """
    with user_errors(), ExitStack() as opened:
        host, token = given["host"], given["token"]
        if not _is_loopback(host) and not token:
            raise UserError(
                f"--host {host} is reachable from outside: set --token or STEPGYM_TOKEN"
            )
        application = _application(given, opened)
        import uvicorn

        click.echo(f"http://{host}:{given['port']}/v1   Press Ctrl-C to stop.", err=True)
        uvicorn.run(
            application,
            host=host,
            port=given["port"],
            log_level="warning",
            timeout_graceful_shutdown=given["grace"],
        )


def _application(given: dict[str, Any], opened: ExitStack) -> Any:
    try:
        from stepgym.serving.chat import chat_app  # imports FastAPI, which may be missing
    except ImportError as error:
        raise UserError(f'{error}: pip install "stepgym[serve]"') from error
    settings = dict(given["agent_option"])
    name = given["reward_model"]
    thinker = Thinker(
        load_policy(given["policy"], seed=given["seed"], **dict(given["policy_option"])),
        None if name is None else load_reward_model(name, seed=given["seed"]),
        agent=given["agent"],
        agent_settings=settings,
        efforts={**EFFORTS, **dict(given["efforts"])},
    )
    folder = None
    if given["records"]:
        config = RunConfig(
            env_id=ENV_ID, agent=given["agent"], agent_settings=settings, policy=given["policy"]
        )
        folder = opened.enter_context(RunFolder(given["records"], config))
    return chat_app(
        thinker,
        model=given["model_name"],
        num_parallel=given["concurrency"],
        max_queue=given["queue"],
        token=given["token"],
        on_record=folder.append if folder is not None else None,
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
