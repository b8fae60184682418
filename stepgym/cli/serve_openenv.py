"""`stepgym serve openenv ID`: an environment for OpenEnv's clients."""

from __future__ import annotations

from typing import Any

import click

from stepgym.cli.options import settings_option, user_errors
from stepgym.envs.registry import full_id
from stepgym.plugins.errors import UserError


@click.command("openenv")
@click.argument("env_id", metavar="ID")
@settings_option("--env-option", "Option of the environment, such as level=3.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Port."
)
@click.option(
    "--max-sessions",
    default=64,
    show_default=True,
    type=click.IntRange(min=1),
    help="Episodes at the same time.",
)
def command(
    env_id: str, env_option: tuple[tuple[str, Any], ...], port: int, max_sessions: int
) -> None:
    """Serve the environment ID to OpenEnv's clients: `reset(seed=i)` begins problem i, a step is `{"text": ...}`."""
    with user_errors():
        try:
            import uvicorn

            from stepgym.interop.openenv import app  # imports OpenEnv, which may be missing
        except UserError:  # an unsupported version of OpenEnv
            raise
        except ImportError as error:
            raise UserError(f"{error}: pip install openenv uvicorn") from error
        application = app(full_id(env_id), max_sessions=max_sessions, **dict(env_option))
    click.echo(f"http://127.0.0.1:{port}   Press Ctrl-C to stop.")
    uvicorn.run(application, host="127.0.0.1", port=port, log_level="warning")
