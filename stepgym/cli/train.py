"""`stepgym train`: train a policy or a reward model; `stepgym train embedded` makes the shipped ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stepgym.cli.options import resumable
from stepgym.training.kinds import Kind, has

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with the step, the number of steps and the metrics."""


@click.group()
def command() -> None:
    """Train a policy or a reward model."""


@command.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for policy/ and prm/; run the same command to continue.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of data, weights and batches.")
@click.option("--quick", is_flag=True, help="Train for a hundredth of the steps, as a test.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def embedded(out: Path, seed: int, quick: bool, as_json: bool) -> None:
    """Train the embedded Countdown policy and reward model from scratch."""
    import torch

    # This imports torch.
    from stepgym.training.embedded import Settings, train_embedded

    torch.set_num_threads(1)
    settings = Settings(seed=seed)
    if quick:
        settings = settings._replace(
            num_problems=400,
            policy_schedule=settings.policy_schedule._replace(steps=50),
            prm_schedule=settings.prm_schedule._replace(steps=25),
        )
    with resumable():
        figures = train_embedded(out, settings, progress=show_tenths())
    print_figures(figures, as_json)


_OPTIONS = (
    click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        help="TOML file with the same names as the options.",
    ),
    click.option("--runs", multiple=True, help="Run folder to train on; may be repeated."),
    click.option(
        "--out",
        help="Folder for the checkpoint and metrics.jsonl; run the same command to continue.",
    ),
    click.option(
        "--init", help="Model to start from: embedded, a folder, smollm2, or hf:NAME_OR_FOLDER."
    ),
    click.option("--steps", type=click.IntRange(min=1), help="Gradient steps."),
    click.option("--learning-rate", type=float, help="Peak learning rate."),
    click.option("--batch", type=click.IntRange(min=1), help="Examples per gradient step."),
    click.option(
        "--labels", help="Source of step labels: monte_carlo, verifier, agreement or first_error."
    ),
    click.option("--hard/--soft", default=None, help="Labels of 0 or 1, or shares in between."),
    click.option(
        "--beta", type=float, help="Weight of the penalty for distance from the initial policy."
    ),
    click.option(
        "--shared/--separate",
        default=None,
        help="Train one network with a value head, or a policy and a reward model.",
    ),
    click.option("--env", metavar="ID", help="Environment; `stepgym envs` lists them."),
    click.option("--level", type=int, help="Level of the environment."),
    click.option("--variant", help="Variant of the loss: grpo, dr_grpo or dapo."),
    click.option("--group", type=click.IntRange(min=2), help="Answers per problem."),
    click.option(
        "--max-new-tokens",
        type=click.IntRange(min=1),
        help="Language models: maximum tokens of a step.",
    ),
    click.option(
        "--max-steps",
        type=click.IntRange(min=1),
        help="Language models: maximum steps of an episode.",
    ),
    click.option(
        "--lora",
        is_flag=False,
        flag_value=16,
        type=click.IntRange(min=1),
        metavar="[RANK]",
        help="Language models: train low-rank adapters instead of the whole model  [rank: 16]",
    ),
    click.option("--device", help="Language models: auto, cpu, cuda or mps."),
    click.option("--seed", type=int, help="Seed of data order and sampling."),
    click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON."),
)


def _add(kind: Kind, summary: str) -> None:
    """Add a trainer's command with the options that it has."""

    @command.command(str(kind), help=summary)
    def run(file: Path | None, as_json: bool, **given: Any) -> None:
        import torch

        # These import torch.
        from stepgym.training.language import is_language_model
        from stepgym.training.run import read_config, train

        with resumable():
            config = read_config(kind, file, given)
            if not is_language_model(config.init):
                torch.set_num_threads(1)
            figures = train(config, progress=show_tenths())
        print_figures(figures, as_json)

    for option in _OPTIONS:
        option(run)
    run.params = [parameter for parameter in run.params if has(kind, str(parameter.name))]


for _kind, _summary in {
    Kind.SFT: "Train a policy on the steps of verified solutions.",
    Kind.DPO: "Train a policy on pairs of a correct and an incorrect step.",
    Kind.PRM: "Train a process reward model on step labels from the tree or the step verifier.",
    Kind.ORM: "Train an outcome reward model on the verdicts of answers.",
    Kind.ALPHAZERO: "Train a policy on visit counts and a reward model on outcomes.",
    Kind.GRPO: "Train a policy by reinforcement learning on an environment's verdicts.",
}.items():
    _add(_kind, _summary)


def show_tenths() -> Progress:
    """Return a function that prints progress to standard error at every tenth of the training."""
    last = 0

    def show(step: int, steps: int, metrics: dict[str, float]) -> None:
        nonlocal last
        before, last = last, 10 * step // steps
        if last != before or step == steps:
            told = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            click.echo(f"step {step}/{steps}  {told}", err=True)

    return show


def print_figures(figures: dict[str, Any], as_json: bool) -> None:
    """Print the figures of a training."""
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, value in figures.items():
            click.echo(
                f"{name:16} {value:.4g}" if isinstance(value, float) else f"{name:16} {value}"
            )
