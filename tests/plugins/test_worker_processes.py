"""Results of worker processes come in order, errors are raised here, and a dead worker is reported."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest

from stepgym.plugins.errors import UserError
from stepgym.plugins.worker_processes import map_in_order


def square(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_in_mid_write(number: int) -> bytes:
    def write_half(connection: Connection, data: bytes) -> None:
        os.write(connection.fileno(), data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    if number == 3:
        Connection._send = write_half  # type: ignore[attr-defined]
    return bytes(100_000)


def test_workers_return_what_this_process_returns_in_order() -> None:
    numbers = [*range(18), -1, 5]
    for num_workers in (None, 2):
        found = map_in_order(square, iter(numbers), num_workers=num_workers)
        assert [next(found) for _ in range(18)] == [number * number for number in range(18)]
        with pytest.raises(ValueError, match="-1 is negative"):
            next(found)


@pytest.mark.parametrize("function", [die, die_in_mid_write])
def test_a_worker_that_dies_is_reported(function: Callable[[int], object]) -> None:
    with pytest.raises(UserError, match="fewer --workers"):
        list(map_in_order(function, range(6), num_workers=1))
