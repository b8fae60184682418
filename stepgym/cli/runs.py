"""`stepgym runs`: a summary of run folders."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from stepgym.cli.options import user_errors
from stepgym.records.statistics import summarise
from stepgym.records.types import RunSummary


@click.command("runs")
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path())
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: one object for one folder, else a list."
)
def command(folders: tuple[str, ...], as_json: bool) -> None:
    """Summarise run folders: counts by verdict, tokens, seconds. Works while a run is being written."""
    with user_errors():
        summaries = [summarise(folder) for folder in folders]
    if as_json:
        plain = [asdict(summary) for summary in summaries]
        click.echo(json.dumps(plain[0] if len(plain) == 1 else plain))
        return
    for summary in summaries:
        _show(summary)


def _show(summary: RunSummary) -> None:
    usage = summary.usage
    solved = "" if summary.solved is None else f", {summary.solved:.1%} solved"
    verdicts = (
        ", ".join(f"{count:,} {verdict}" for verdict, count in summary.verdicts.items())
        or "none yet"
    )
    new_tokens = usage.get("visible_tokens", 0) + usage.get("reasoning_tokens", 0)
    click.echo(f"{summary.run}: {summary.agent} with {summary.policy} on {summary.env_id}")
    click.echo(f"  episodes  {summary.episodes:,}{solved}")
    click.echo(f"  verdicts  {verdicts}")
    click.echo(f"  nodes     {summary.nodes:,}")
    click.echo(f"  tokens    {new_tokens:,.0f} new, {usage.get('prompt_tokens', 0):,.0f} prompt")
    click.echo(f"  search time {usage.get('wall_s', 0):,.1f} s, summed over parallel episodes")
