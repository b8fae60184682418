"""One call for every trainer: which records, which model to start from, where the result goes.

`embedded` and folders of embedded models are trained with torch alone on boards and steps; `smollm2` and
`hf:NAME_OR_FOLDER` are language models, trained on the records' text (`stepgym.training.text`) and, for
preferences and GRPO, by TRL.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from stepgym.agents.embedded import net, value_head
from stepgym.agents.embedded.policy import WEIGHTS
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import load_env
from stepgym.plugins.names import unknown_name
from stepgym.plugins.settings import check_settings
from stepgym.records.atomic import write_whole
from stepgym.training import boards, examples
from stepgym.training.embedded import TRAINING_SEED
from stepgym.training.examples import Labels, require, require_both_classes
from stepgym.training.fit import Fit, Progress, Schedule, TrainingError
from stepgym.training.grpo import Variant, train_grpo
from stepgym.training.kinds import Kind, has
from stepgym.training.language import is_language_model
from stepgym.training.played import Played, from_each, read_runs
from stepgym.training.policy_value import train_policy_value

DEVICES = ("auto", "cpu", "cuda", "mps")
LEAST = {
    "steps": 1,
    "batch": 1,
    "group": 2,
    "max_new_tokens": 1,
    "max_steps": 1,
    "lora": 0,
    "seed": 0,
}
LANGUAGE_ONLY = ("lora", "device", "max_new_tokens", "max_steps", "apart")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides what a training run makes."""

    kind: str
    out: str
    runs: tuple[str, ...] = ()
    """Run folders."""
    init: str = "embedded"
    """The model to start from: `embedded`, a folder that a trainer wrote, `smollm2`, or `hf:NAME_OR_FOLDER`."""
    steps: int = 400
    learning_rate: float = 1e-3
    batch: int = 128
    labels: str = Labels.MONTE_CARLO
    hard: bool = False
    beta: float = 0.5
    shared: bool = False
    """AlphaZero: one network with a value head in place of a policy and a reward model."""
    env: str = "stepgym/Countdown-v0"
    level: int | None = 3
    """`None` is the environment's own default (language models' default)."""
    variant: str = Variant.GRPO
    group: int = 8
    max_new_tokens: int = 48
    """Language models in GRPO: the longest step."""
    max_steps: int = 8
    """Language models in GRPO: an episode is cut off after so many steps."""
    apart: str = ""
    """Language models in GRPO: a JSON file with a list of prompts to be measured on; none like them is played."""
    lora: int = 0
    """Language models: the rank of low-rank adapters; 0 trains the whole model."""
    device: str = "auto"
    """Language models: `auto`, `cpu`, `cuda`, `mps`."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises `TrainingError` that names the setting."""
        try:
            check_settings(f"{self.kind} settings", TrainConfig, asdict(self))
        except ValueError as error:
            raise TrainingError(str(error)) from None
        if not isinstance(self.runs, tuple) or not all(isinstance(run, str) for run in self.runs):
            raise TrainingError(f"runs is a list of folders, not {self.runs!r}")
        for name, choices in (("labels", Labels), ("variant", Variant), ("device", DEVICES)):
            if getattr(self, name) not in list(choices):
                raise TrainingError(
                    str(unknown_name(name, getattr(self, name), list(choices), dotted=False))
                )
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise TrainingError(f"{name} is {least} or more, not {getattr(self, name)}")
        for name in ("learning_rate", "beta"):
            if not 0 < getattr(self, name) < math.inf:
                raise TrainingError(f"{name} is more than 0 and finite, not {getattr(self, name)}")
        for field in fields(self):
            if (
                field.name in LANGUAGE_ONLY
                and not self.of_language
                and getattr(self, field.name) != field.default
            ):
                raise TrainingError(
                    f"{field.name} is for language models alone, and init is {self.init!r}"
                )

    @property
    def of_language(self) -> bool:
        return is_language_model(self.init)

    @property
    def schedule(self) -> Schedule:
        if self.of_language:
            return Schedule(
                self.steps,
                self.learning_rate,
                warmup=max(1, self.steps // 10),
                checkpoint_every=200,
                report_every=1,
            )
        return Schedule(
            self.steps, self.learning_rate, warmup=min(20, self.steps), checkpoint_every=200
        )


def language_defaults(kind: str, lora: int) -> dict[str, Any]:
    """Return what other defaults fit a language model: few steps, small ones."""
    rate = {Kind.DPO: 5e-6, Kind.GRPO: 5e-6}.get(Kind(kind), 2e-5)
    return {
        "steps": 100,
        "batch": 16,
        "learning_rate": rate * (10 if lora else 1),
        "beta": 0.1,
        "level": None,
    }


def read_config(kind: str, file: Path | None, given: Mapping[str, Any]) -> TrainConfig:
    """Join a TOML file with what was given besides, which counts more. Raises `TrainingError` with the known names."""
    known = {f.name for f in fields(TrainConfig) if f.name != "kind" and has(Kind(kind), f.name)}
    settings: dict[str, Any] = {}
    if file is not None:
        try:
            settings = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise TrainingError(f"{file}: {error}") from error
        for name in settings:
            if name not in known:
                raise TrainingError(
                    f"{file}: {unknown_name(f'{kind} setting', name, known, dotted=False)}"
                )
    settings |= {name: value for name, value in given.items() if value is not None and value != ()}
    if "out" not in settings:
        raise TrainingError(
            'say where the result goes: --out FOLDER, or out = "FOLDER" in the config'
        )
    if is_language_model(str(settings.get("init", ""))):
        settings = language_defaults(kind, settings.get("lora", 0)) | settings
    runs = settings.get("runs", ())
    settings["runs"] = (
        tuple(runs) if isinstance(runs, list) else (runs,) if isinstance(runs, str) else runs
    )
    return TrainConfig(kind=Kind(kind), **settings)


def train(config: TrainConfig, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train and return figures. Raises `TrainingError`, `LossNotFinite`, `RecordError`, `CheckpointError`.

    The settings stand in `train.json`; a second call with the same goes on where the first stopped. Figures of what
    was finished before and is not known any more are left out.
    """
    if Path(config.init.removeprefix("hf:")).resolve() == Path(config.out).resolve():
        raise TrainingError(
            f"init and out are the same folder, {config.out}: what is trained would write over what it starts from"
        )
    _same_settings(Path(config.out), config)
    return {
        name: value for name, value in _trained(config, progress).items() if value == value
    }  # no NaN: not JSON


def _trained(config: TrainConfig, progress: Progress | None) -> dict[str, Any]:
    out = Path(config.out)
    if config.of_language:
        return _train_language_model(config, progress)
    if config.kind == Kind.GRPO:
        model = start(net.POLICY, config.init)
        env = playground(config)
        done = train_grpo(
            model,
            env,
            schedule=config.schedule,
            variant=Variant(config.variant),
            group=config.group,
            problems_per_step=max(1, config.batch // config.group),
            seed=config.seed,
            out=out,
            progress=progress,
        )
        return {**_figures(done.fit, done.num_problems), "reward": done.reward}
    return _train_on_records(config, read_runs(config.runs), out, progress)


def playground(config: TrainConfig) -> ReasoningEnv:
    """Make the environment that GRPO plays: problems that are for training, whatever the seed."""
    level = {} if config.level is None else {"level": config.level}
    return load_env(config.env, seed=TRAINING_SEED + config.seed, **level)


def _train_language_model(config: TrainConfig, progress: Progress | None) -> dict[str, Any]:
    match Kind(config.kind):
        case Kind.SFT | Kind.PRM | Kind.ORM:
            from stepgym.training.text import train_text

            return train_text(config, read_runs(config.runs), progress=progress)
        case Kind.DPO:
            from stepgym.training.preference_texts import train_preference_texts

            return train_preference_texts(config, read_runs(config.runs), progress=progress)
        case Kind.GRPO:
            from stepgym.training.rollouts import train_rollouts

            return train_rollouts(config, progress=progress)
        case Kind.ALPHAZERO:
            raise TrainingError(
                "alphazero trains embedded models alone; for a language model: sft, dpo, grpo, prm, orm"
            )


def start(kind: str, init: str) -> Any:
    """Load the embedded model to start from: the shipped one, a folder, or the `policy/` or `prm/` in it."""
    return net.load(kind, _start_folder(kind, init))


def _start_folder(kind: str, init: str) -> Path:
    return net.model_folder(WEIGHTS if init == "embedded" else Path(init), kind)


def _train_on_records(
    config: TrainConfig, runs: Sequence[Played], out: Path, progress: Progress | None
) -> dict[str, Any]:
    common: dict[str, Any] = {
        "schedule": config.schedule,
        "batch": config.batch,
        "seed": config.seed,
        "progress": progress,
    }
    match Kind(config.kind):
        case Kind.SFT:
            choices = require(from_each(runs, examples.verified_choices), "no correct episode")
            done = boards.train_choices(start(net.POLICY, config.init), choices, out=out, **common)
            return _figures(done, len(choices))
        case Kind.DPO:
            pairs = require(
                from_each(runs, examples.preferences), "no fork with a correct and an incorrect way"
            )
            done = boards.train_preferences(
                start(net.POLICY, config.init), pairs, beta=config.beta, out=out, **common
            )
            return _figures(done, len(pairs))
        case Kind.ALPHAZERO:
            choices = require(
                from_each(runs, examples.visit_choices), "no node with two visited children"
            )
            values = require_both_classes(from_each(runs, examples.path_outcomes))
            if config.shared:
                both = value_head.load(_start_folder(net.POLICY, config.init))
                joint = train_policy_value(both, choices, values, out=out / net.POLICY, **common)
                parts = {"policy_loss": joint.policy_loss, "value_loss": joint.value_loss}
                return {**_figures(joint.fit, len(choices)), **parts, "value_examples": len(values)}
            done = boards.train_choices(
                start(net.POLICY, config.init), choices, out=out / net.POLICY, **common
            )
            value = boards.train_judged(
                start(net.PRM, config.init), values, out=out / net.PRM, **common
            )
            return {
                **_figures(done, len(choices)),
                "value_loss": value.loss,
                "value_examples": len(values),
            }
        case kind:
            labels = partial(examples.judged_steps, labels=Labels(config.labels), hard=config.hard)
            judged = require_both_classes(
                from_each(runs, examples.outcomes if kind is Kind.ORM else labels)
            )
            done = boards.train_judged(start(net.PRM, config.init), judged, out=out, **common)
            return _figures(done, len(judged))


def _same_settings(out: Path, config: TrainConfig) -> None:
    """Write the settings; raises `TrainingError` when the folder holds a checkpoint of a run with others."""
    file = out / "train.json"
    plain, defaults = (_plain(each) for each in (config, TrainConfig(kind=config.kind, out="")))
    if file.is_file() and any(out.rglob("*.safetensors")):
        # A folder from before a setting came to be was made as that setting's default has it.
        before = {
            **defaults,
            **json.loads(file.read_text(encoding="utf-8")),
            "device": plain["device"],
        }
        changed = [
            f"{k} was {before.get(k)!r}, is now {v!r}"
            for k, v in plain.items()
            if before.get(k) != v
        ]
        if changed:
            raise TrainingError(
                f"{out} holds a run with other settings: {'; '.join(changed)}; choose another --out"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(plain, indent=2) + "\n")


def _plain(config: TrainConfig) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(asdict(replace(config, out="", device="auto"))))
    return found


def _figures(done: Fit, num_examples: int) -> dict[str, Any]:
    return {
        "steps": done.steps,
        "examples": num_examples,
        "loss": done.loss,
        "seconds": round(done.seconds, 1),
    }
