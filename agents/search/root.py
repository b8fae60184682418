"""Exploration at the root for self-play: Dirichlet noise on the priors, or Gumbel sequential halving."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from stepgym.agents.randomness import derive_seed
from stepgym.agents.types import ROOT, SearchTree

if TYPE_CHECKING:
    from stepgym.agents.search.mcts import MCTS
    from stepgym.agents.search.puct import Walks


class RootNoise(StrEnum):
    """How the root explores beyond PUCT."""

    NONE = "none"
    DIRICHLET = "dirichlet"
    GUMBEL = "gumbel"


VALUE_SCALE, VISIT_SCALE = 0.1, 50.0
"""c_scale and c_visit of Danihelka et al. 2022, section 4."""


def add_dirichlet(search: MCTS, tree: SearchTree, walks: Walks) -> None:
    """Mix Dirichlet noise into the root's priors (Silver et al. 2018): (1 - fraction) P + fraction Dir(alpha)."""
    children = tree.children[ROOT]
    noisy = dirichlet(search, tree.problem_id, [tree.prior[child] for child in children])
    for child, prior in zip(children, noisy):
        tree.prior[child] = prior
        walks.pull[child] = prior / (1 + tree.visits[child])


def dirichlet(search: MCTS, problem_id: str, priors: Sequence[float]) -> list[float]:
    """Return priors with noise, which depends on the problem and on how many there are."""
    stream = random.Random(derive_seed(search.seed, problem_id, "dirichlet", len(priors)))
    draws = [stream.gammavariate(search.dirichlet_alpha, 1.0) for _ in priors]
    scale = sum(draws) or 1.0
    fraction = search.noise_fraction
    return [(1 - fraction) * prior + fraction * draw / scale for prior, draw in zip(priors, draws)]


def choose_gumbel(search: MCTS, tree: SearchTree, walks: Walks) -> int:
    """Return the root's next child by sequential halving (Danihelka et al. 2022, Policy improvement by planning with
    Gumbel, section 3): the candidates are the largest of g + log P + sigma(q), half as many in each phase, each
    visited equally often within one."""
    children = tree.children[ROOT]
    first: dict[int, float] = {}
    for child in children:
        stream = random.Random(derive_seed(search.seed, tree.problem_id, "gumbel", child))
        gumbel = -math.log(-math.log(stream.random() or 1e-12))
        first[child] = gumbel + math.log(max(tree.prior[child], 1e-12))
    considered = sorted(children, key=lambda child: -first[child])[: search.gumbel_candidates]
    num_phases = max(1, math.ceil(math.log2(max(2, len(considered)))))
    phase = min(num_phases - 1, walks.started * num_phases // search.simulations)
    scale = VALUE_SCALE * (VISIT_SCALE + max(tree.visits[child] for child in children))
    live = [child for child in considered if child in walks.live[ROOT]] or walks.live[ROOT]
    worth = {child: first[child] + scale * walks.worth[child] for child in live}
    candidates = sorted(live, key=lambda child: -worth[child])[: max(2, len(considered) >> phase)]
    return min(candidates, key=lambda child: (tree.visits[child], -worth[child]))
