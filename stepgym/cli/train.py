"""`stepgym train`: make a policy or a reward model better; `stepgym train embedded` makes the shipped ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stepgym.cli.options import resumable
from stepgym.training.config import has_setting
from stepgym.training.types import TrainerKind

if TYPE_CHECKING:
    from stepgym.training.types import OnProgress


@click.group()
def command() -> None:
    """Train a policy or a reward model."""


@command.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for policy/ and prm/; resumes there.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--quick", is_flag=True, help="A hundredth of the steps, to see that it runs.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def embedded(out: Path, seed: int, quick: bool, as_json: bool) -> None:
    """Train the embedded Countdown policy and reward model from scratch."""
    import torch

    from stepgym.claims.shipped_models import Settings, train_embedded

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
    click.option("--runs", multiple=True, help="Run folder to learn from; may be repeated."),
    click.option(
        "--out", help="Folder for the checkpoint and metrics.jsonl; the same command resumes there."
    ),
    click.option(
        "--init", help="Model to start from: embedded, a folder, smollm2, or hf:NAME_OR_FOLDER."
    ),
    click.option("--steps", type=click.IntRange(min=1)),
    click.option("--learning-rate", type=float),
    click.option("--batch", type=click.IntRange(min=1)),
    click.option("--labels", help="monte_carlo, verifier, agreement or first_error."),
    click.option("--hard/--soft", default=None, help="StepLabels 0 or 1, or shares."),
    click.option("--beta", type=float, help="How far from the start the policy may go."),
    click.option(
        "--shared/--separate",
        default=None,
        help="One network with a value head, or a policy and a reward model.",
    ),
    click.option("--env", help="Environment."),
    click.option("--level", type=int, help="Its level."),
    click.option("--variant", help="grpo, dr_grpo or dapo."),
    click.option("--group", type=click.IntRange(min=2), help="Answers to each problem."),
    click.option(
        "--max-new-tokens", type=click.IntRange(min=1), help="Language models: the longest step."
    ),
    click.option(
        "--max-steps", type=click.IntRange(min=1), help="Language models: steps of an episode."
    ),
    click.option(
        "--lora",
        is_flag=False,
        flag_value=16,
        type=click.IntRange(min=1),
        metavar="[RANK]",
        help="Language models: train low-rank adapters in place of the whole model; rank 16 unless given.",
    ),
    click.option("--device", help="Language models: auto, cpu, cuda or mps."),
    click.option("--seed", type=int),
    click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON."),
)


def _add(kind: TrainerKind, summary: str) -> None:
    """Add a trainer's command with the options that it has_setting."""

    @command.command(str(kind), help=summary)
    def run(file: Path | None, as_json: bool, **given: Any) -> None:
        import torch

        from stepgym.training.config import is_language_model, read_config
        from stepgym.training.train import train

        with resumable():
            config = read_config(kind, file, given)
            if not is_language_model(config.init):
                torch.set_num_threads(1)
            figures = train(config, progress=show_tenths())
        print_figures(figures, as_json)

    for option in _OPTIONS:
        option(run)
    run.params = [parameter for parameter in run.params if has_setting(kind, str(parameter.name))]


for _kind, _summary in {
    TrainerKind.SFT: "Policy, on the steps of verified solutions.",
    TrainerKind.DPO: "Policy, on verified steps against refuted ones.",
    TrainerKind.PRM: "Step reward model, on labels from the tree or the step verifier.",
    TrainerKind.ORM: "Outcome reward model, on the verdicts of answers.",
    TrainerKind.ALPHAZERO: "Policy on the search's visits, reward model on outcomes.",
    TrainerKind.GRPO: "Policy, straight on an environment's verdicts.",
}.items():
    _add(_kind, _summary)


def show_tenths() -> OnProgress:
    """Return what prints a line of progress on standard error for every tenth of the way, of one training or several."""
    last = 0

    def show(step: int, steps: int, metrics: dict[str, float]) -> None:
        nonlocal last
        before, last = last, 10 * step // steps
        if last != before or step == steps:
            told = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            click.echo(f"step {step}/{steps}  {told}", err=True)

    return show


def print_figures(figures: dict[str, Any], as_json: bool) -> None:
    """Print what came out."""
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, value in figures.items():
            click.echo(
                f"{name:16} {value:.4g}" if isinstance(value, float) else f"{name:16} {value}"
            )
