"""The settings of a training run: which trainer takes which, and their TOML form.

Imports nothing heavy, so that `--help` can read it.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from stepgym.agents.model_names import resolved
from stepgym.plugins import settings as plugin_settings
from stepgym.plugins.errors import UserError
from stepgym.plugins.names import unknown_name
from stepgym.training.types import (
    Baseline,
    GrpoVariant,
    Schedule,
    StepLabels,
    TrainerKind,
    TrainingError,
)

SMOLLM2 = "smollm2"
TRAINING_SEED = 900_000
"""Problem seeds from here on are for training; measure on smaller ones."""
DEVICES = ("auto", "cpu", "cuda", "mps")
CHOICES: Mapping[str, Collection[str]] = {
    "kind": list(TrainerKind),
    "labels": list(StepLabels),
    "variant": list(GrpoVariant),
    "baseline": list(Baseline),
    "device": DEVICES,
}
MINIMUM = {
    "steps": 1,
    "batch": 1,
    "group": 2,
    "max_new_tokens": 1,
    "max_steps": 1,
    "lora": 0,
    "seed": 0,
}
LANGUAGE_ONLY = ("tool_tokens", "lora", "device", "max_new_tokens", "max_steps", "exclude_prompts")
_GRPO_ONLY = (
    "env",
    "env_options",
    "level",
    "variant",
    "baseline",
    "group",
    "refill",
    "max_new_tokens",
    "max_steps",
    "exclude_prompts",
)
ONLY_FOR: Mapping[str, frozenset[TrainerKind]] = {
    "runs": frozenset(TrainerKind) - {TrainerKind.GRPO},
    "labels": frozenset({TrainerKind.PRM}),
    "hard": frozenset({TrainerKind.PRM}),
    "beta": frozenset({TrainerKind.DPO}),
    "shared": frozenset({TrainerKind.ALPHAZERO}),
    "tool_tokens": frozenset({TrainerKind.SFT}),
    **dict.fromkeys(_GRPO_ONLY, frozenset({TrainerKind.GRPO})),
    **dict.fromkeys(("lora", "device"), frozenset(TrainerKind) - {TrainerKind.ALPHAZERO}),
    "undecidable_is_wrong": frozenset(TrainerKind) - {TrainerKind.SFT},
}
"""Setting -> the trainers that have it; all trainers have the settings that are not listed."""


def has_setting(kind: TrainerKind, setting: str) -> bool:
    """Return whether a trainer has a setting."""
    return kind in ONLY_FOR.get(setting, TrainerKind)


def is_language_model(init: str) -> bool:
    """Return whether `init` names a language model; all other names are embedded models."""
    return init == SMOLLM2 or init.startswith("hf:")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training run. Raises `TrainingError` for an invalid one."""

    kind: str
    """Name of the trainer, such as `sft`."""
    out: str
    """Folder of the trained model; the same folder continues an interrupted training."""
    runs: tuple[str, ...] = ()
    """Run folders."""
    init: str = "embedded"
    """The model to start from: `embedded`, a folder that a trainer wrote, `smollm2`, or `hf:NAME_OR_FOLDER`."""
    steps: int = 400
    """Training steps."""
    learning_rate: float = 1e-3
    """The highest learning rate."""
    batch: int = 128
    """Rows in a training step."""
    labels: str = StepLabels.MONTE_CARLO
    """Reward models: where step labels come from (`StepLabels`)."""
    hard: bool = False
    """Labels of steps are 0 or 1 instead of shares."""
    beta: float = 0.5
    """DPO: the weight of the divergence from the starting policy."""
    shared: bool = False
    """AlphaZero: one network with a value head in place of a policy and a reward model."""
    undecidable_is_wrong: bool = False
    """Answers that are UNDECIDED through their own fault (too large, unreadable, endless) count as wrong. Otherwise
    they are masked, as verdicts that failed through the verifier's own limits always are."""
    env: str = "stepgym/Countdown-v0"
    """GRPO: id of the environment."""
    env_options: Mapping[str, Any] = field(default_factory=dict)
    """GRPO: options of the environment besides level and seed."""
    level: int | None = 3
    """`None` is the environment's own default (the default for language models)."""
    variant: str = GrpoVariant.GRPO
    """GRPO: form of the update (`GrpoVariant`)."""
    baseline: str = Baseline.GROUP
    """GRPO: what an answer is compared with (`Baseline`)."""
    group: int = 8
    """GRPO: answers to each problem."""
    refill: bool = False
    """GRPO: draw more problems in place of those whose answers are all correct or all incorrect; DAPO always does."""
    max_new_tokens: int = 48
    """GRPO with language models: the longest step."""
    max_steps: int = 8
    """GRPO with language models: the most steps of an episode."""
    exclude_prompts: str = ""
    """GRPO with language models: a JSON file with a list of held-out prompts; no problem like them is played."""
    tool_tokens: bool = False
    """SFT of language models: tool and step delimiters become single tokens, saved with the model."""
    lora: int = 0
    """Language models: the rank of low-rank adapters; 0 trains the whole model."""
    device: str = "auto"
    """Language models: `auto`, `cpu`, `cuda`, `mps`."""
    seed: int = 0
    """Seeds weights, order of rows, and play."""

    def __post_init__(self) -> None:
        settings = asdict(self)
        check_settings(f"{self.kind} settings", TrainConfig, settings, CHOICES)
        if not isinstance(self.runs, tuple) or not all(isinstance(run, str) for run in self.runs):
            raise TrainingError(f"runs is a list of folders, not {self.runs!r}")
        for name, least in MINIMUM.items():
            if settings[name] < least:
                raise TrainingError(f"{name} is {least} or more, not {settings[name]}")
        for name in ("learning_rate", "beta"):
            if not 0 < settings[name] < math.inf:
                raise TrainingError(f"{name} is more than 0 and finite, not {settings[name]}")
        for each in fields(self):
            if (
                each.name in LANGUAGE_ONLY
                and not self.of_language
                and settings[each.name] != each.default
            ):
                raise TrainingError(
                    f"{each.name} is only for language models, and init is {self.init!r}"
                )

    @property
    def of_language(self) -> bool:
        """Whether a language model is trained, not an embedded one."""
        return is_language_model(self.init)

    @property
    def schedule(self) -> Schedule:
        """The schedule of steps and learning rate."""
        warmup = max(1, self.steps // 10) if self.of_language else min(20, self.steps)
        return Schedule(
            self.steps,
            self.learning_rate,
            warmup=warmup,
            checkpoint_every=200,
            report_every=1 if self.of_language else 50,
        )


def language_defaults(kind: str, lora: int) -> dict[str, Any]:
    """Return the defaults that differ for a language model: fewer and smaller steps."""
    rate = 5e-6 if kind in (TrainerKind.DPO, TrainerKind.GRPO) else 2e-5
    return {
        "steps": 100,
        "batch": 16,
        "learning_rate": rate * (10 if lora else 1),
        "beta": 0.1,
        "level": None,
    }


def read_config(kind: str, file: Path | None, given: Mapping[str, Any]) -> TrainConfig:
    """Read settings from a TOML file; those in `given` override it.

    `file` may be `None`. Raises `TrainingError`, which lists the known names.
    """
    known = {
        f.name
        for f in fields(TrainConfig)
        if f.name != "kind" and has_setting(TrainerKind(kind), f.name)
    }
    settings = read_toml(file, known, what=f"{kind} setting") if file is not None else {}
    settings |= {name: value for name, value in given.items() if value not in (None, (), {})}
    if "out" not in settings:
        raise TrainingError(
            'say where the result goes: --out FOLDER, or out = "FOLDER" in the config'
        )
    if isinstance(settings.get("init"), str):
        part = "prm" if kind in (TrainerKind.PRM, TrainerKind.ORM) else "policy"
        settings["init"] = resolved(settings["init"], part).removeprefix("embedded:")
    if is_language_model(str(settings.get("init", ""))):
        settings = language_defaults(kind, settings.get("lora", 0)) | settings
    runs = settings.get("runs", ())
    settings["runs"] = (
        tuple(runs) if isinstance(runs, list) else (runs,) if isinstance(runs, str) else runs
    )
    return TrainConfig(kind=TrainerKind(kind), **settings)


def read_toml(file: Path, known: Collection[str], *, what: str) -> dict[str, Any]:
    """Read settings from a TOML file.

    Raises `TrainingError` for a file that cannot be read or an unknown name.
    """
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{file}: {error}") from error
    for name in settings:
        if name not in known:
            raise TrainingError(f"{file}: {unknown_name(what, name, known, dotted=False)}")
    return settings


def check_settings(
    what: str, taker: Any, settings: Mapping[str, Any], choices: Mapping[str, Collection[str]]
) -> None:
    """Raise `TrainingError` for a setting of the wrong type or one that is none of its choices."""
    try:
        plugin_settings.check_settings(what, taker, settings)
    except UserError as error:
        raise TrainingError(str(error)) from None
    for name, known in choices.items():
        if settings[name] not in known:
            shown: Sequence[str] = [str(one) for one in known]
            raise TrainingError(str(unknown_name(name, settings[name], shown, dotted=False)))
