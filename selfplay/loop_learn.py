"""What a loop learns: the replay buffer, the targets that its teacher approves, and the training of its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepgym.agents.embedded import net
from stepgym.agents.embedded.games import GAMES
from stepgym.agents.types import EpisodeRecord
from stepgym.records.loader import Environments
from stepgym.records.near_duplicates import without_near_duplicates
from stepgym.selfplay import costs
from stepgym.selfplay.loop_config import LoopConfig
from stepgym.selfplay.loop_folder import RUN, model_home
from stepgym.selfplay.loop_play import held_out, read_generation
from stepgym.selfplay.teachers import approved_targets
from stepgym.training import examples
from stepgym.training.embedded_trainers import tokens_per_sequence, train_targets, train_values
from stepgym.training.examples import require, require_both_classes
from stepgym.training.types import OnProgress, PolicyTarget, Schedule, ValueTarget

VALUE_BATCH = 256


def replay_buffer(
    config: LoopConfig, generation: int, episodes: dict[int, list[EpisodeRecord]], part: str = RUN
) -> dict[int, list[EpisodeRecord]]:
    """Return the episodes that a generation may learn from, by the generation that played them.

    They are those of the last `replay` generations, from the run folder `part` of each, without near-duplicate problems
    and without problems like a held-out one. `episodes` keeps the generations that were played or read before; those that left the buffer are dropped from it.
    """
    first = max(1, generation - config.replay + 1)
    for g in range(first, generation + 1):
        if g not in episodes:
            episodes[g] = read_generation(config, g, part)
    for g in [g for g in episodes if g < first]:
        del episodes[g]
    apart = [problem.prompt for problem in held_out(config)]
    numbers = sorted(episodes)
    kept = without_near_duplicates([episodes[g] for g in numbers], apart=apart)
    return dict(zip(numbers, kept))


def policy_targets(
    config: LoopConfig, buffer: Mapping[int, Sequence[EpisodeRecord]]
) -> list[PolicyTarget]:
    """Return the policy's targets from the buffer."""
    environments = Environments()
    found: list[PolicyTarget] = []
    for g, records in buffer.items():
        trusted = min(1.0, config.most_agreed + config.more_agreed * (g - 1))
        of_generation = replace(config, most_agreed=trusted)
        seed = 1000 * config.seed + g
        by_problem = approved_targets(of_generation, records, environments, seed=seed)
        found += [target for targets in by_problem.values() for target in targets]
    environments.close()
    return require(found, f"nothing that teacher {config.teacher} approves")


def value_targets(buffer: Mapping[int, Sequence[EpisodeRecord]], game: str) -> list[ValueTarget]:
    """Return the targets of the loop's own reward model, a model of a game, from the buffer."""
    records = [record for records in buffer.values() for record in records]
    found = examples.value_targets(records, game)
    require_both_classes([target.label for target in found])
    return found


def train_policy(
    config: LoopConfig,
    targets: Sequence[PolicyTarget],
    start: str,
    out: Path,
    *,
    seed: int,
    steps: int | None = None,
    progress: OnProgress | None = None,
) -> dict[str, float]:
    """Train the policy named `start` on the targets into `out`; return the cost."""
    schedule = _schedule(config)._replace(steps=steps or config.steps)
    model = net.load(net.POLICY, net.model_folder(model_home(config, start), net.POLICY))
    train_targets(
        model,
        targets,
        schedule=schedule,
        batch=config.batch,
        seed=seed,
        out=out,
        progress=progress,
        task=f"{out.parent.name}: train policy",
    )
    read = tokens_per_sequence(model.config.stepgym_game, targets[:500])
    return costs.training_cost(net.num_parameters(model), read * config.batch * schedule.steps)


def load_reward_model(config: LoopConfig, name: str) -> Any:
    """Load the loop's own reward model that a line of the log names."""
    return net.load(net.PRM, net.model_folder(model_home(config, name), net.PRM))


def train_reward_model(
    config: LoopConfig,
    targets: Sequence[ValueTarget],
    model: Any,
    out: Path,
    *,
    seed: int,
    progress: OnProgress | None = None,
) -> dict[str, float]:
    """Train a reward model on the targets into `out`; return the cost."""
    train_values(
        model,
        targets,
        schedule=_schedule(config),
        batch=VALUE_BATCH,
        seed=seed,
        out=out,
        progress=progress,
        task=f"{out.parent.name}: train reward model",
    )
    game = GAMES[model.config.stepgym_game]
    sizes = [len(game.reading_tokens(target.reading)) for target in targets[:500]]
    read = sum(sizes) / len(sizes) * VALUE_BATCH * config.steps
    return costs.training_cost(net.num_parameters(model), read)


def _schedule(config: LoopConfig) -> Schedule:
    return Schedule(config.steps, config.learning_rate, warmup=20, checkpoint_every=200)
