"""`train`: one call for every trainer, from records and a start model to a saved result.

`embedded` and folders of embedded models are trained on public data and steps; `smollm2` and `hf:NAME_OR_FOLDER` are
language models, trained on token rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from stepgym.agents.embedded import net, value_head
from stepgym.agents.embedded.policy import WEIGHTS
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import load_env
from stepgym.records.kept_settings import KeptSettings
from stepgym.training import embedded_trainers as embedded
from stepgym.training import examples
from stepgym.training.config import TRAINING_SEED, TrainConfig
from stepgym.training.embedded_grpo import train_embedded_grpo
from stepgym.training.examples import (
    LabelsOf,
    read_runs,
    require,
    require_both_classes,
    require_step_verdicts,
)
from stepgym.training.fit import figures_of
from stepgym.training.grpo import GrpoFit
from stepgym.training.types import (
    Baseline,
    GrpoVariant,
    OnProgress,
    StepLabels,
    TrainerKind,
    TrainingError,
    ValueTarget,
)


def train(config: TrainConfig, *, progress: OnProgress | None = None) -> dict[str, Any]:
    """Train a model as `config` says, save it, and return figures.

    Raises `TrainingError`, `LossNotFinite`, `RecordError` and `CheckpointError`.

    The settings are kept in `train.json`; a second call with the same settings resumes. Figures that a run finished
    before no longer knows are left out. A run that ends before its first checkpoint leaves no folder.
    """
    out = Path(config.out)
    if Path(config.init.removeprefix("hf:")).resolve() == out.resolve():
        raise TrainingError(
            f"init and out are the same folder, {config.out}: training would overwrite the model it starts from"
        )
    if out.exists() and not out.is_dir():
        raise TrainingError(f"out is a file, {config.out}; name a folder")
    if (out / "run.json").exists():
        raise TrainingError(
            f"out, {config.out}, is a folder of episodes; name another for the model"
        )
    kept = KeptSettings(file=out / "train.json", what="a run", error=TrainingError)
    settings = asdict(config)
    if _has_checkpoint(out):
        kept.check(settings, free=("out", "device"))
    with _no_half_folder(out):
        kept.write({**settings, "out": ""})
        figures = _train(config, progress)
    return {name: value for name, value in figures.items() if value == value}  # NaN is not JSON


def training_env(config: TrainConfig) -> ReasoningEnv:
    """Make the environment that GRPO plays; its problem seeds are reserved for training."""
    options: dict[str, Any] = {"max_steps": config.max_steps} if config.of_language else {}
    if config.level is not None:
        options["level"] = config.level
    return load_env(
        config.env, seed=TRAINING_SEED + config.seed, **{**options, **config.env_options}
    )


def load_start(kind: str, init: str) -> Any:
    """Load the embedded model to start from.

    `init` is `embedded` (the shipped one), a folder, or a folder that has `policy/` or `prm/`.
    """
    return net.load(kind, _start_folder(kind, init))


def _start_folder(kind: str, init: str) -> Path:
    return net.model_folder(WEIGHTS if init == "embedded" else Path(init), kind)


def _train(config: TrainConfig, progress: OnProgress | None) -> dict[str, Any]:
    if config.kind == TrainerKind.GRPO:
        return _train_grpo(config, progress)
    records = read_runs(config.runs, undecidable_is_wrong=config.undecidable_is_wrong)
    if config.kind == TrainerKind.PRM:
        require_step_verdicts(records, StepLabels(config.labels))
    if config.of_language:
        return _train_language_model(config, records, progress)
    return _train_embedded(config, records, progress)


def _train_grpo(config: TrainConfig, progress: OnProgress | None) -> dict[str, Any]:
    env = training_env(config)
    try:
        if config.of_language:
            from stepgym.training.language_grpo import train_language_grpo  # loads transformers

            done = train_language_grpo(config, env, progress=progress)
        else:
            done = _train_embedded_grpo(config, env, progress)
    finally:
        env.close()
    counts = {"undecided": done.undecided, "failed": done.failed}
    return {**figures_of(done.fit, done.num_problems), "reward": done.reward, **counts}


def _train_embedded_grpo(
    config: TrainConfig, env: ReasoningEnv, progress: OnProgress | None
) -> GrpoFit:
    return train_embedded_grpo(
        load_start(net.POLICY, config.init),
        env,
        variant=GrpoVariant(config.variant),
        baseline=Baseline(config.baseline),
        group=config.group,
        problems_per_step=max(1, config.batch // config.group),
        undecidable_is_wrong=config.undecidable_is_wrong,
        refill=config.refill,
        seed=config.seed,
        schedule=config.schedule,
        out=Path(config.out),
        progress=progress,
        task="train grpo",
    )


def _train_language_model(
    config: TrainConfig, records: Sequence[EpisodeRecord], progress: OnProgress | None
) -> dict[str, Any]:
    from stepgym.training import language_trainers as language  # loads transformers

    match TrainerKind(config.kind):
        case TrainerKind.SFT:
            return language.train_language_sft(config, records, progress=progress)
        case TrainerKind.DPO:
            return language.train_language_dpo(config, records, progress=progress)
        case TrainerKind.PRM | TrainerKind.ORM:
            labels = [_labels_of(config)(record) for record in records]
            return language.train_language_reward(config, records, labels, progress=progress)
        case _:
            raise TrainingError(
                "alphazero trains only embedded models; for a language model: sft, dpo, grpo, prm, orm"
            )


def _train_embedded(
    config: TrainConfig, records: Sequence[EpisodeRecord], progress: OnProgress | None
) -> dict[str, Any]:
    out = Path(config.out)
    options: dict[str, Any] = {
        "schedule": config.schedule,
        "batch": config.batch,
        "seed": config.seed,
        "progress": progress,
        "task": f"train {config.kind}",
    }
    match TrainerKind(config.kind):
        case TrainerKind.SFT:
            targets = require(examples.verified_targets(records), "no correct episode")
            start = load_start(net.POLICY, config.init)
            return figures_of(
                embedded.train_targets(start, targets, out=out, **options), len(targets)
            )
        case TrainerKind.DPO:
            pairs = require(
                examples.preferences(records),
                "no fork with a correct and an incorrect end below it",
            )
            start = load_start(net.POLICY, config.init)
            done = embedded.train_preferences(start, pairs, beta=config.beta, out=out, **options)
            return figures_of(done, len(pairs))
        case TrainerKind.ALPHAZERO:
            return _train_alphazero(config, records, options)
        case _:
            start = load_start(net.PRM, config.init)
            values = _values(config, records, start)
            return figures_of(embedded.train_values(start, values, out=out, **options), len(values))


def _train_alphazero(
    config: TrainConfig, records: Sequence[EpisodeRecord], options: dict[str, Any]
) -> dict[str, Any]:
    policy_out, prm_out = Path(config.out) / net.POLICY, Path(config.out) / net.PRM
    targets = require(examples.visit_targets(records), "no node with two visited children")
    if config.shared:
        model = value_head.load(_start_folder(net.POLICY, config.init))
        values = _values(config, records, model)
        joint = embedded.train_policy_value(model, targets, values, out=policy_out, **options)
        policy, value_loss = joint.fit, joint.value_loss
        parts = {"policy_loss": joint.policy_loss}
    else:
        prm = load_start(net.PRM, config.init)
        values = _values(config, records, prm)
        start = load_start(net.POLICY, config.init)
        policy = embedded.train_targets(start, targets, out=policy_out, **options)
        value_loss = embedded.train_values(prm, values, out=prm_out, **options).loss
        parts = {}
    figures = {**figures_of(policy, len(targets)), **parts}
    return {**figures, "value_loss": value_loss, "value_examples": len(values)}


def _labels_of(config: TrainConfig) -> LabelsOf:
    """Return the source of the labels for a reward model of this kind."""
    match TrainerKind(config.kind):
        case TrainerKind.ALPHAZERO:
            return examples.path_labels
        case TrainerKind.ORM:
            return examples.end_labels
        case _:
            source = StepLabels(config.labels)
            return partial(examples.step_labels, source=source, hard=config.hard)


def _values(config: TrainConfig, records: Sequence[EpisodeRecord], model: Any) -> list[ValueTarget]:
    """Return the value targets of a reward model."""
    game = str(model.config.stepgym_game)
    values = examples.value_targets(records, game, labels_of=_labels_of(config))
    require_both_classes([value.label for value in values])
    return values


def _has_checkpoint(out: Path) -> bool:
    return out.is_dir() and any(out.rglob("*.safetensors"))


@contextmanager
def _no_half_folder(out: Path) -> Iterator[None]:
    """Remove the written files if an error or Ctrl-C ends the training before its first checkpoint."""
    before = set(out.iterdir()) if out.is_dir() else None
    try:
        yield
    except BaseException:
        if not _has_checkpoint(out):
            for path in out.iterdir() if out.is_dir() else ():
                if path not in (before or ()):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            if before is None and out.is_dir():
                out.rmdir()
        raise
