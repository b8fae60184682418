"""Confidence intervals: Wilson's for one share, the bootstrap for means and for differences paired by problem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_DRAWN = 1 << 20
"""Values drawn at once; 16 MiB with their indices."""


class Interval(NamedTuple):
    """A 95% interval."""

    low: float
    high: float


def wilson(successes: int, trials: int) -> Interval:
    """Return Wilson's score interval for a share (Wilson 1927); (0, 1) without trials."""
    if trials == 0:
        return Interval(0.0, 1.0)
    z = 1.959964
    share = successes / trials
    middle = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return Interval(max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))


def bootstrap_mean(values: Sequence[float], *, seed: int = 0, resamples: int = 2000) -> Interval:
    """Return the percentile bootstrap interval of the mean (Efron 1979)."""
    if not values:
        return Interval(math.nan, math.nan)
    data = np.asarray(values, dtype=float)
    stream = np.random.default_rng(seed)
    low, high = np.percentile(_resampled_means(data, stream, resamples), [2.5, 97.5])
    return Interval(float(low), float(high))


def bootstrap_difference(
    first: Sequence[float], second: Sequence[float], *, seed: int = 0
) -> Interval:
    """Return the interval of mean(first) - mean(second); item i of both belongs to the same problem."""
    return bootstrap_mean([a - b for a, b in zip(first, second, strict=True)], seed=seed)


def bootstrap_groups(
    groups: Sequence[Sequence[float]], *, seed: int = 0, resamples: int = 2000
) -> Interval:
    """Return the interval of the mean over groups (training seeds) of values (problems), resampling both.

    Each resample draws groups and, within each, values, so that the interval includes the spread between trainings.
    """
    if not groups or not all(map(len, groups)):
        return Interval(math.nan, math.nan)
    stream = np.random.default_rng(seed)
    means = np.empty((len(groups), resamples))
    for row, group in enumerate(groups):
        data = np.asarray(group, dtype=float)
        means[row] = _resampled_means(data, stream, resamples)
    drawn = stream.integers(0, len(groups), size=(len(groups), resamples))
    low, high = np.percentile(np.take_along_axis(means, drawn, axis=0).mean(axis=0), [2.5, 97.5])
    return Interval(float(low), float(high))


def _resampled_means(
    data: NDArray[np.float64], stream: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    """Return the means of `resamples` samples drawn with replacement, `MAX_DRAWN` values at a time."""
    rows = max(1, MAX_DRAWN // len(data))
    return np.concatenate(
        [
            data[stream.integers(0, len(data), size=(min(rows, resamples - done), len(data)))].mean(
                axis=1
            )
            for done in range(0, resamples, rows)
        ]
    )
