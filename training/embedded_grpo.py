"""GRPO for the embedded models: the units that are learned are steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch import Tensor

from stepgym.agents.embedded import net
from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.agents.types import EpisodeRecord, Search
from stepgym.records.loader import public_data
from stepgym.training import grpo
from stepgym.training.embedded_trainers import TargetRow, step_log_probs, step_rows
from stepgym.training.fit import FitOptions
from stepgym.training.grpo import GrpoFit, LearnedPath, Played, Units
from stepgym.training.types import Baseline, GrpoVariant


def train_embedded_grpo(
    model: Any,
    env: Any,
    *,
    variant: GrpoVariant = GrpoVariant.GRPO,
    baseline: Baseline = Baseline.GROUP,
    group: int = 8,
    search: Search | None = None,
    problems_per_step: int = 16,
    inner: int = 2,
    undecidable_is_wrong: bool = False,
    refill: bool = False,
    seed: int = 0,
    **options: Unpack[FitOptions],
) -> GrpoFit:
    """Improve the policy on the problems of `env` in place; see `grpo.train_grpo`.

    `search` samples the answers in place of `grpo.sampler(group, baseline)`.
    """

    def sample(step: int, problems: range) -> Played:
        return grpo.play(
            [env.problems[i] for i in problems],
            env=env,
            policy=EmbeddedPolicy(model=model, distinct=False, seed=seed + step),
            search=search or grpo.sampler(group, baseline),
            undecidable_is_wrong=undecidable_is_wrong,
        )

    def units_of(record: EpisodeRecord, paths: Sequence[LearnedPath]) -> list[list[Units]]:
        nodes = sorted({node for path in paths for node in path.nodes})
        parents = [record.nodes[record.nodes[node].parent] for node in nodes]
        steps = [(public_data(p.public), record.nodes[n].text) for n, p in zip(nodes, parents)]
        rows = dict(zip(nodes, step_rows(model.config.stepgym_game, steps)))
        return [
            [Units((1,) * len(path.nodes), [rows[node] for node in path.nodes])] for path in paths
        ]

    def log_probs(samples: Sequence[list[list[TargetRow]]]) -> Tensor:
        return step_log_probs(model, [rows for path in samples for rows in path])

    return grpo.train_grpo(
        model,
        sample,
        units_of,
        log_probs,
        variant=variant,
        baseline=baseline,
        problems_per_step=problems_per_step,
        inner=inner,
        refill=refill,
        save=net.save,
        **options,
    )
