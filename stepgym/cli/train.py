"""`stepgym train`: train a policy or a reward model; `stepgym train embedded` makes the shipped ones."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import click

from stepgym.cli.lazy_group import LazyGroup
from stepgym.cli.options import resumable, setting
from stepgym.cli.progress import show_progress
from stepgym.records.run_folder import read_config as read_run
from stepgym.training.config import (
    TrainConfig,
    has_setting,
    is_language_model,
    language_defaults,
    read_config,
)
from stepgym.training.types import TrainerKind


@click.group(
    cls=LazyGroup,
    members={
        "embedded": (
            "stepgym.claims.shipped_models.command:command",
            "Train the embedded Countdown policy and reward model from scratch.",
        )
    },
    noun="trainer",
)
def command() -> None:
    """Train a policy or a reward model."""


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
    click.option(
        "--env-option",
        "env_options",
        type=setting,
        metavar="NAME=VALUE",
        multiple=True,
        help="Option of the environment, such as file=PATH.",
    ),
    click.option(
        "--undecidable-is-wrong/--undecidable-is-masked",
        default=None,
        help="How to count an answer that is undecided through its own fault: too large, unreadable, endless.",
    ),
    click.option("--variant", help="Variant of the loss: grpo, dr_grpo or dapo."),
    click.option(
        "--baseline",
        help="What an answer is compared with. group: all answers; fork: those with the same steps so far.",
    ),
    click.option("--group", type=click.IntRange(min=2), help="Answers per problem."),
    click.option(
        "--refill/--no-refill",
        default=None,
        help="Replace problems whose answers are all correct or all incorrect; dapo always does.",
    ),
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
        "--tool-tokens/--no-tool-tokens",
        default=None,
        help="Language models: make tool and step delimiters single tokens of the tokenizer.",
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


def _add(kind: TrainerKind, summary: str) -> None:
    """Add a trainer's command with the options that it has_setting."""

    @command.command(str(kind), help=summary)
    def run(file: Path | None, as_json: bool, **given: Any) -> None:
        import torch

        from stepgym.training.train import train  # imports torch

        if "env_options" in given:
            given["env_options"] = dict(given["env_options"])
        with resumable():
            config = read_config(kind, file, given)
            if not is_language_model(config.init):
                torch.set_num_threads(1)
            figures = train(config, progress=show_progress())
        print_figures(figures, as_json)
        if not as_json:
            click.echo(f"{'folder':16} {config.out}")
            click.echo(f"Next: {next_command(config)}")

    for option in _OPTIONS:
        option(run)
    run.params = [parameter for parameter in run.params if has_setting(kind, str(parameter.name))]
    _show_defaults(kind, run)


def _show_defaults(kind: TrainerKind, command: click.Command) -> None:
    """Say in the help of each option what holds if neither it nor the TOML file gives a value."""
    for_language = language_defaults(kind, 0)
    defaults = {each.name: each.default for each in fields(TrainConfig)}
    for option in command.params:
        name = str(option.name)
        if not isinstance(option, click.Option) or name not in defaults:
            continue
        if name in ("out", "runs"):
            note = "required"
        elif defaults[name] in ("", None, MISSING) or name in ("lora", "runs"):
            continue
        else:
            note = f"default: {_word(option, defaults[name])}"
            if name in for_language:
                value = for_language[name]
                note += f"; language models: {'its own' if value is None else value}"
        option.help = f"{option.help}  [{note}]"


def _word(option: click.Option, value: Any) -> str:
    """Return a default as the option is written: the name of the flag for a flag."""
    if isinstance(value, bool):
        flags = option.opts if value else option.secondary_opts
        return flags[0].removeprefix("--")
    return str(value)


for _kind, _summary in {
    TrainerKind.SFT: "Train a policy on the steps of verified solutions.",
    TrainerKind.DPO: "Train a policy on pairs of a correct and an incorrect step.",
    TrainerKind.PRM: "Train a process reward model on step labels from the tree or the step verifier.",
    TrainerKind.ORM: "Train an outcome reward model on the verdicts of answers.",
    TrainerKind.ALPHAZERO: "Train a policy on visit counts and a reward model on outcomes.",
    TrainerKind.GRPO: "Train a policy by reinforcement learning on an environment's verdicts.",
}.items():
    _add(_kind, _summary)


def next_command(config: TrainConfig) -> str:
    """Return the command that measures the trained model on problems that it was not trained on."""
    out, prefix = config.out, "hf" if config.of_language else "embedded"
    policy, reward_model = f"{prefix}:{out}", None
    if config.kind == TrainerKind.ALPHAZERO:
        policy = f"{prefix}:{out}/policy"
        reward_model = policy if config.shared else f"{prefix}:{out}/prm"
    elif config.kind in (TrainerKind.PRM, TrainerKind.ORM):
        policy = config.init if config.of_language else "embedded"
        reward_model = f"{prefix}:{out}"
    env, options = _environment_of(config)
    search = f" --reward-model {reward_model} --agent beam" if reward_model else ""
    return (
        f"stepgym eval --env {env}{options} --policy {policy}{search} --episodes 200 --seed 700000"
    )


def _environment_of(config: TrainConfig) -> tuple[str, str]:
    """Return the environment that was trained on, and its options as the command line takes them."""
    env, options = config.env, {"level": config.level, **config.env_options}
    if config.runs:
        run = read_run(config.runs[0])
        env, options = run.env_id, dict(run.env_options)
    words = "".join(
        f" --level {value}" if name == "level" else f" --env-option {name}={value}"
        for name, value in options.items()
        if value is not None and name != "seed"
    )
    return env, words


def print_figures(figures: dict[str, Any], as_json: bool) -> None:
    """Print the figures of a training."""
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, value in figures.items():
            click.echo(
                f"{name:16} {value:.4g}" if isinstance(value, float) else f"{name:16} {value}"
            )
