"""One generation of self-play with a real language model, measured before and after: `stepgym reproduce llm-generation`.

The model answers arithmetic problems several times each and learns from the answers that the verifier accepts (expert
iteration: STaR, Zelikman et al. 2022; ReST-EM, Singh et al. 2023). Held-out problems differ in words or numbers from each
other and from all played ones. Arms: `sft` on verified answers; `unverified` on all answers, the control that shows the
verifier's effect; `dpo` and `grpo` continue from the result of `sft`. Finished parts are not repeated, and arms may be
added later.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stepgym.agents.intervals import bootstrap_difference, wilson
from stepgym.agents.policies.loading import load_language_model, pick_device, smollm2_file
from stepgym.agents.policies.prompts import EXAMPLES
from stepgym.agents.registry import load_policy
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord, Policy
from stepgym.envs.registry import load_env
from stepgym.envs.types import Problem
from stepgym.records.atomic import write_whole
from stepgym.records.kept_settings import KeptSettings
from stepgym.records.near_duplicates import likeness
from stepgym.records.run_folder import RunFolder, episode_key, read_episodes
from stepgym.records.types import RunConfig
from stepgym.selfplay.play import play_into
from stepgym.training.config import SMOLLM2, TrainConfig, is_language_model
from stepgym.training.examples import episode_is_correct, require
from stepgym.training.language_models import save_language_model
from stepgym.training.progress import progress_lines
from stepgym.training.train import train
from stepgym.training.types import OnProgress, TrainerKind, TrainingError

WriteLine = Callable[[str], None]
HELD_OUT_SEED, PLAY_SEED = 700_000, 500_000
ARMS = {"sft": 1.0, "unverified": 1.0, "dpo": 0.1, "grpo": 0.25}
"""Arm -> factor of the learning rate."""
NOT_DECIDED = ("no_answer", "undecided", "failed")
"""Verdicts that a measurement counts apart."""


@dataclass(frozen=True, kw_only=True)
class LlmGenerationConfig:
    """The settings that determine a generation."""

    out: str
    init: str = "smollm2"
    env: str = "stepgym/Math-v0"
    level: int = 1
    arms: tuple[str, ...] = ("sft",)
    episodes: int = 60
    """Problems played."""
    samples: int = 8
    """Answers per problem."""
    temperature: float = 1.0
    """Of play; measurements are greedy."""
    held_out: int = 200
    max_new_tokens: int = 24
    """Of one step."""
    max_steps: int = 3
    steps: int = 40
    """Training steps of each arm."""
    batch: int = 8
    learning_rate: float = 2e-4
    """Of `sft`; for the others see `ARMS`."""
    lora: int = 16
    """Rank of the adapters; 0 trains the whole model."""
    group: int = 8
    device: str = "auto"
    seed: int = 0


def run_generation(
    config: LlmGenerationConfig,
    *,
    write_line: WriteLine = print,
    progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Play, train each arm, measure; return and write `results.json`. Raises `TrainingError`, `LossNotFinite`."""
    if not is_language_model(config.init):
        raise TrainingError(
            f"init {config.init!r} is no language model; take smollm2 or hf:NAME_OR_FOLDER"
        )
    for arm in config.arms:
        if arm not in ARMS:
            raise TrainingError(f"unknown arm {arm!r}; known: {', '.join(ARMS)}")
    out = Path(config.out)
    _same_config(out, config)
    test = held_out(config)
    start, shown = start_model(config), EXAMPLES if config.init == SMOLLM2 else ()
    _keep_held_out(out, [problem.prompt for problem in test])
    rows = [measured(config, "before", "before", start, test, write_line, examples=shown)]
    if shown:
        rows.append(
            measured(config, "before, without examples", "before-bare", start, test, write_line)
        )
    records, play = self_play(config, start, test, write_line, examples=shown)
    needed = {*config.arms, *(("sft",) if {"dpo", "grpo"} & {*config.arms} else ())}
    arms = [arm for arm in ARMS if arm in needed or _measured_file(config, arm).is_file()]
    for arm in arms:
        if arm in needed:
            train_arm(config, arm, start, records, progress)
        rows.append(measured(config, f"after {arm}", arm, f"hf:{out / arm}", test, write_line))
    settings = asdict(replace(config, arms=tuple(arms)))
    results = {
        "settings": settings,
        "machine": machine(config),
        "play": play,
        "methods": compared(rows),
    }
    write_whole(out / "results.json", json.dumps(results, indent=2) + "\n")
    return results


def start_model(config: LlmGenerationConfig) -> str:
    """Return the policy to start from; SmolLM2 is unpacked into `out/start` once, because its GGUF file loads slowly."""
    if config.init != SMOLLM2:
        return config.init
    folder = Path(config.out) / "start"
    if not (folder / "tokenizer.json").is_file():
        save_language_model(*load_language_model(smollm2_file(), device="cpu"), folder)
    return f"hf:{folder}"


def held_out(config: LlmGenerationConfig) -> list[Problem]:
    """Return different problems to measure on, at most two thirds of those at a level, so that some are left to play."""
    env = load_env(
        config.env, level=config.level, seed=HELD_OUT_SEED + config.seed, max_steps=config.max_steps
    )
    found = {
        likeness(problem.prompt): problem
        for problem in (env.problems[i] for i in range(min(2000, len(env.problems))))
    }
    return list(found.values())[: min(config.held_out, len(found) * 2 // 3)]


def self_play(
    config: LlmGenerationConfig,
    start: str,
    test: Iterable[Problem],
    write_line: WriteLine,
    **settings: Any,
) -> tuple[list[EpisodeRecord], dict[str, Any]]:
    """Play problems unlike the held-out ones into `out/run`; return the records and a summary."""
    seed = PLAY_SEED + config.seed
    env = load_env(config.env, level=config.level, seed=seed, max_steps=config.max_steps)
    about = RunConfig(
        env_id=env.env_id,
        env_options={"level": config.level, "max_steps": config.max_steps},
        agent="best_of_n",
        agent_settings={"n": config.samples},
        policy=config.init,
        policy_settings={"temperature": config.temperature},
        seed=seed,
        see_verdicts=False,
    )
    chosen = _others(env, test, config.episodes)
    clock, started = Path(config.out) / "play.json", time.monotonic()
    seconds = json.loads(clock.read_text(encoding="utf-8"))["seconds"] if clock.is_file() else 0.0
    run = Path(config.out) / "run"
    done = {r.problem_id for r in read_episodes(run)} if (run / "run.json").is_file() else set()
    if any(problem.id not in done for problem in chosen):
        for _ in play_into(
            run,
            about,
            chosen,
            env=env,
            policy=_policy(config, start, seed, temperature=config.temperature, **settings),
            num_parallel=_parallel(config),
            progress=progress_lines(write_line, prefix="  "),
        ):
            write_whole(clock, json.dumps({"seconds": seconds + time.monotonic() - started}))
    records = list(read_episodes(run))
    solved = sum(any(node.verdict == "correct" for node in record.nodes) for record in records)
    undecided = sum(node.verdict == "undecided" for record in records for node in record.nodes)
    play = {
        "problems": len(records),
        "solved_by_any_sample": solved / len(records),
        "undecided_answers": undecided,
    }
    play |= json.loads(clock.read_text(encoding="utf-8")) if clock.is_file() else {}
    write_line(
        f"played {len(records)} problems: {solved / len(records):.3f} solved by one of {config.samples} answers"
    )
    return records, play


def train_arm(
    config: LlmGenerationConfig,
    arm: str,
    start: str,
    records: Sequence[EpisodeRecord],
    progress: OnProgress | None,
) -> None:
    """Train one arm into its folder; `dpo` and `grpo` start from the finished arm `sft`."""
    out = Path(config.out)
    run, init, kind = out / "run", start, TrainerKind.SFT
    if arm == "unverified":
        run = _all_approved(out / "run-unverified", records)
    elif arm != "sft":
        kind, init = TrainerKind(arm), f"hf:{out / 'sft'}"
    train(
        TrainConfig(
            kind=kind,
            out=str(out / arm),
            runs=() if kind is TrainerKind.GRPO else (str(run),),
            init=init,
            steps=config.steps,
            batch=config.batch if kind is not TrainerKind.GRPO else max(config.batch, config.group),
            learning_rate=config.learning_rate * ARMS[arm],
            lora=config.lora,
            device=config.device,
            beta=0.1,
            env=config.env,
            level=config.level,
            group=config.group,
            seed=config.seed,
            max_new_tokens=config.max_new_tokens,
            max_steps=config.max_steps,
            variant="dr_grpo",
            exclude_prompts=str(out / "held-out.json"),
        ),
        progress=progress,
    )


def measured(
    config: LlmGenerationConfig,
    name: str,
    key: str,
    policy: str,
    problems: Sequence[Problem],
    write_line: WriteLine,
    **settings: Any,
) -> dict[str, Any]:
    """Return which problems the policy solves greedily, from `measured-KEY.json` where that is there."""
    file = _measured_file(config, key)
    if not file.is_file():
        env = load_env(
            config.env,
            level=config.level,
            seed=HELD_OUT_SEED + config.seed,
            max_steps=config.max_steps,
        )
        started = time.monotonic()
        records: list[EpisodeRecord] = []
        for record in iter_solve(
            problems,
            env=env,
            agent="greedy",
            policy=_policy(config, policy, config.seed, **settings),
            see_verdicts=False,
            num_parallel=_parallel(config),
        ):
            records.append(record)
            if len(records) % 32 == 0:
                write_line(f"  {name}: {len(records)} of {len(problems)} problems")
        row = {
            "name": name,
            "solved": [_solved(record) for record in records],
            **{name: sum(r.verdict == name for r in records) for name in NOT_DECIDED},
            "tokens": sum(record.usage["visible_tokens"] for record in records) / len(records),
            "seconds": time.monotonic() - started,
        }
        write_whole(file, json.dumps(row) + "\n")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    decided = [solved for solved in found["solved"] if solved is not None]
    left_out = len(found["solved"]) - len(decided)
    write_line(
        f"{name}: {sum(decided) / max(1, len(decided)):.3f}"
        + (f" ({left_out} undecided or failed problems are left out)" if left_out else "")
    )
    return found


def _solved(record: EpisodeRecord) -> int | None:
    """Return 1 or 0; `None` for a problem whose answer is undecided or whose episode failed."""
    correct = episode_is_correct(record)
    return None if correct is None else int(correct)


def _measured_file(config: LlmGenerationConfig, key: str) -> Path:
    return Path(config.out) / f"measured-{key}.json"


def compared(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each row with its interval, and the difference to the first, problem by problem.

    Undecided and failed problems (`None` in `solved`) are left out.
    """
    first = rows[0]["solved"]
    found = []
    for row in rows:
        decided = [solved for solved in row["solved"] if solved is not None]
        pairs = [(a, b) for a, b in zip(row["solved"], first) if None not in (a, b)]
        own, before = [a for a, _ in pairs], [b for _, b in pairs]
        found.append(
            {
                **row,
                "share": sum(decided) / max(1, len(decided)),
                "ci": list(wilson(sum(decided), len(decided))),
                "gain": (sum(own) - sum(before)) / max(1, len(pairs)),
                "gain_ci": list(bootstrap_difference(own, before)),
            }
        )
    return found


def machine(config: LlmGenerationConfig) -> str:
    """Return the device that the models ran on."""
    import platform

    import torch

    if (device := _device(config)).startswith("cuda"):
        return f"{torch.cuda.get_device_name()}, bfloat16"
    return f"{platform.machine()} {device}, {torch.get_num_threads()} threads, float32"


def _others(env: Any, test: Iterable[Problem], count: int) -> list[Problem]:
    """Return up to `count` problems, no two the same, and none like one to be measured on."""
    apart = {likeness(problem.prompt) for problem in test}

    def new() -> Iterator[Problem]:
        seen: set[str] = set()
        for problem in (env.problems[i] for i in range(min(20 * count, len(env.problems)))):
            if problem.prompt not in seen and likeness(problem.prompt) not in apart:
                seen.add(problem.prompt)
                yield problem

    return require(
        [problem for _, problem in zip(range(count), new())], "no problem that is not held out"
    )


def _policy(config: LlmGenerationConfig, name: str, seed: int, **settings: Any) -> Policy:
    if _device(config).startswith("cuda"):
        settings |= {"max_children": 4096, "working_mib": 16384}
    return load_policy(
        name, seed=seed, max_new_tokens=config.max_new_tokens, device=_device(config), **settings
    )


def _device(config: LlmGenerationConfig) -> str:
    return pick_device(None if config.device == "auto" else config.device)


def _parallel(config: LlmGenerationConfig) -> int:
    return 512 if _device(config).startswith("cuda") else 32


def _all_approved(path: Path, records: Sequence[EpisodeRecord]) -> Path:
    """Write the records again with every answer called correct, as training data without a verifier."""
    about = RunConfig(env_id=records[0].env_id, agent="best_of_n", policy="every answer approved")
    with RunFolder(path, about) as folder:
        for record in records:
            nodes = tuple(
                replace(n, verdict="correct" if n.answer is not None else None)
                for n in record.nodes
            )
            if episode_key(record) not in folder.done:
                folder.append(replace(record, nodes=nodes))
    return path


def _keep_held_out(out: Path, prompts: list[str]) -> None:
    """Write the held-out prompts; raises `TrainingError` if the folder was measured on other problems."""
    file = out / "held-out.json"
    if (
        file.is_file()
        and any(out.glob("measured-*.json"))
        and json.loads(file.read_text(encoding="utf-8")) != prompts
    ):
        raise TrainingError(
            f"{out} was measured on other problems, as an earlier version chose them; choose another folder"
        )
    write_whole(file, json.dumps(prompts))


def _same_config(out: Path, config: LlmGenerationConfig) -> None:
    """Write the settings; raises `TrainingError` for a folder with others by which something was measured already.

    Further arms are no other settings.
    """
    kept = KeptSettings(file=out / "config.json", what="a generation", error=TrainingError)
    settings = asdict(config)
    if _measured_file(config, "before").is_file():
        kept.check(settings, free=("out", "device", "arms"))
    kept.write({**settings, "out": "", "device": "", "arms": []})
