"""Independent trainings side by side: one process each, one thread per process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_jobs(function: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> list[Result]:
    """Return the results in order; with more than one job, function and items must be such as can be pickled."""
    if min(jobs, len(items)) <= 1:
        return [function(item) for item in items]
    with ProcessPoolExecutor(min(jobs, len(items)), multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        return list(pool.map(function, items))


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
