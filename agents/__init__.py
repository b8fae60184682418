"""Agents: policies propose steps, reward models score them, searches choose which to take.

Names are imported on first use, so that `import stepgym.agents` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepgym.agents.registry import load_policy, load_reward_model, load_search
    from stepgym.agents.searching import run_search
    from stepgym.agents.solving import iter_solve, solve
    from stepgym.agents.types import Budget, EpisodeRecord, Request, SearchTree, Usage

_MODULES = {
    "Budget": "types",
    "EpisodeRecord": "types",
    "Request": "types",
    "SearchTree": "types",
    "Usage": "types",
    "iter_solve": "solving",
    "load_policy": "registry",
    "load_reward_model": "registry",
    "load_search": "registry",
    "run_search": "searching",
    "solve": "solving",
}

__all__ = [
    "Budget",
    "EpisodeRecord",
    "Request",
    "SearchTree",
    "Usage",
    "iter_solve",
    "load_policy",
    "load_reward_model",
    "load_search",
    "run_search",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
