"""Exploration at the root for self-play: Dirichlet noise on the priors, or Gumbel sequential halving."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from enum import StrEnum

from stepgym.agents.randomness import derive_seed
from stepgym.agents.search.puct import MCTSMemory
from stepgym.agents.types import ROOT, SearchTree


class RootNoise(StrEnum):
    """How the root explores beyond PUCT."""

    NONE = "none"
    DIRICHLET = "dirichlet"
    GUMBEL = "gumbel"


VALUE_SCALE, VISIT_SCALE = 0.1, 50.0
"""c_scale and c_visit of Danihelka et al. 2022, section 4."""


def add_dirichlet(
    tree: SearchTree, memory: MCTSMemory, *, seed: int, alpha: float, fraction: float
) -> None:
    """Mix Dirichlet noise into the root's priors (Silver et al. 2018): (1 - fraction) P + fraction Dir(alpha)."""
    children = tree.children[ROOT]
    priors = [tree.prior[child] for child in children]
    stream = random.Random(derive_seed(seed, tree.problem_id, "dirichlet", len(priors)))
    noise = _dirichlet(stream, alpha, len(priors))
    for child, prior, own in zip(children, priors, noise):
        noisy = (1 - fraction) * prior + fraction * own
        tree.prior[child] = noisy
        memory.prior_term[child] = noisy / (1 + tree.visits[child])


def _dirichlet(stream: random.Random, alpha: float, size: int) -> Sequence[float]:
    draws = [stream.gammavariate(alpha, 1.0) for _ in range(size)]
    scale = sum(draws) or 1.0
    return [draw / scale for draw in draws]


def choose_gumbel(
    tree: SearchTree, memory: MCTSMemory, *, seed: int, num_candidates: int, simulations: int
) -> int:
    """Return the root's next child by sequential halving (Danihelka et al. 2022, Policy improvement by planning with
    Gumbel, section 3).

    The candidates are the largest of g + log P + sigma(Q), half as many in each phase, and each is visited equally
    often within a phase.
    """
    children = tree.children[ROOT]
    noisy: dict[int, float] = {}
    for child in children:
        stream = random.Random(derive_seed(seed, tree.problem_id, "gumbel", child))
        gumbel = -math.log(-math.log(stream.random() or 1e-12))
        noisy[child] = gumbel + math.log(max(tree.prior[child], 1e-12))
    considered = sorted(children, key=lambda child: -noisy[child])[:num_candidates]
    num_phases = max(1, math.ceil(math.log2(max(2, len(considered)))))
    phase = min(num_phases - 1, memory.started * num_phases // simulations)
    scale = VALUE_SCALE * (VISIT_SCALE + max(tree.visits[child] for child in children))
    open_children = memory.open_children[ROOT]
    left = [child for child in considered if child in open_children] or open_children
    score = {child: noisy[child] + scale * memory.q[child] for child in left}
    candidates = sorted(left, key=lambda child: -score[child])[: max(2, len(considered) >> phase)]
    return min(candidates, key=tree.visits.__getitem__)  # of equal visits the first: the best score
