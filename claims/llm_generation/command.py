"""`stepgym reproduce llm-generation`: the command of this claim."""

from __future__ import annotations

import json
from typing import Any

import click

from stepgym.claims.command_line import report
from stepgym.cli.options import resumable
from stepgym.cli.progress import show_progress


@click.command("llm-generation")
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    default="runs/llm-generation",
    show_default=True,
    help="Folder for results; run the same command to continue.",
)
@click.option(
    "--init",
    default="smollm2",
    show_default=True,
    help="Language model to start from: smollm2 or hf:NAME_OR_FOLDER.",
)
@click.option("--env", default="stepgym/Math-v0", show_default=True, help="Environment.")
@click.option("--level", default=1, show_default=True, help="Level of the environment.")
@click.option(
    "--arm",
    "arms",
    multiple=True,
    default=("sft",),
    show_default=True,
    help="Training method: sft, unverified (the control), dpo, grpo; may be repeated.",
)
@click.option(
    "--episodes", default=60, show_default=True, type=click.IntRange(min=1), help="Problems played."
)
@click.option(
    "--samples",
    default=8,
    show_default=True,
    type=click.IntRange(min=1),
    help="Answers per problem.",
)
@click.option("--temperature", default=1.0, show_default=True, help="Sampling temperature in play.")
@click.option(
    "--held-out",
    default=200,
    show_default=True,
    type=click.IntRange(min=1),
    help="Held-out problems.",
)
@click.option(
    "--steps",
    default=40,
    show_default=True,
    type=click.IntRange(min=1),
    help="Training steps of each arm.",
)
@click.option(
    "--batch",
    default=8,
    show_default=True,
    type=click.IntRange(min=1),
    help="Examples per training step.",
)
@click.option("--learning-rate", default=2e-4, show_default=True, help="Learning rate of sft.")
@click.option(
    "--lora",
    default=16,
    show_default=True,
    type=click.IntRange(min=0),
    help="Rank of low-rank adapters; 0 trains the whole model.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--seed", default=0, show_default=True, help="Seed of problems and training.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(as_json: bool, **given: Any) -> None:
    """Train a language model on its own verified answers to arithmetic, and measure it before and after."""
    # Imports torch.
    from stepgym.claims.llm_generation.claim import LlmGenerationConfig, run_generation

    with resumable():
        results = run_generation(
            LlmGenerationConfig(**given), write_line=report, progress=show_progress()
        )
    if as_json:
        click.echo(json.dumps(results))
        return
    click.echo(
        f"{'policy':26} {'solved':>7} {'95% interval':>16} {'over the first':>24} {'tokens':>7}"
    )
    for row in results["methods"]:
        (low, high), (less, more) = row["ci"], row["gain_ci"]
        change = f"{row['gain']:+.3f} ({less:+.3f} to {more:+.3f})"
        click.echo(
            f"{row['name']:26} {row['share']:7.3f}   {low:.3f} to {high:.3f} {change:>24} {row['tokens']:7.1f}"
        )
        if left_out := row["undecided"] + row["failed"]:
            click.echo(f"  left out: {left_out} undecided or failed")
    click.echo(f"{len(results['methods'][0]['solved'])} held-out problems on {results['machine']}")
