"""The space of all texts, for observations and actions.

`gymnasium.spaces.Text` needs a character set and a length, excludes spaces and punctuation by default, and returns
outdated text from `AsyncVectorEnv` with shared memory. This space contains every `str`. In shared memory each environment
has a slot of `SLOT_BYTES`, which is read when the observation is copied.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from typing import Any

import gymnasium
from gymnasium.vector.utils import (
    create_shared_memory,
    read_from_shared_memory,
    write_to_shared_memory,
)

SLOT_BYTES = 1 << 20
_HEADER_BYTES = 8
_ALPHABET = "0123456789 +-*/=()abcdefghijklmnopqrstuvwxyz\n"


class AnyText(gymnasium.Space[str]):
    """Every `str`. Two such spaces are equal; samples are short and printable."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(shape=None, dtype=str, seed=seed)

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> str:
        length = int(self.np_random.integers(0, 33))
        return "".join(_ALPHABET[i] for i in self.np_random.integers(0, len(_ALPHABET), length))

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyText)

    def __hash__(self) -> int:
        return hash(AnyText)

    def __repr__(self) -> str:
        return "AnyText()"


class SharedTexts(Sequence[str]):
    """The texts of all environments in one shared buffer, decoded at each access.

    `AsyncVectorEnv` makes its observation object once and deep-copies it at every step; the copy is a plain tuple.
    """

    def __init__(self, buffer: Any, num_slots: int) -> None:
        self._buffer = buffer
        self._num_slots = num_slots

    def __len__(self) -> int:
        return self._num_slots

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        if not -self._num_slots <= index < self._num_slots:
            raise IndexError(f"environment {index} of {self._num_slots}")
        start = (index % self._num_slots) * SLOT_BYTES
        view = memoryview(self._buffer.get_obj()).cast("B")
        size = int.from_bytes(view[start : start + _HEADER_BYTES], "little")
        return bytes(view[start + _HEADER_BYTES : start + _HEADER_BYTES + size]).decode(
            "utf-8", "surrogatepass"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[str, ...]:
        return tuple(self)


@create_shared_memory.register(AnyText)
def _create(space: AnyText, n: int = 1, ctx: Any = multiprocessing) -> Any:
    return ctx.Array("B", n * SLOT_BYTES)


@read_from_shared_memory.register(AnyText)
def _read(space: AnyText, shared_memory: Any, n: int = 1) -> SharedTexts:
    return SharedTexts(shared_memory, n)


@write_to_shared_memory.register(AnyText)
def _write(space: AnyText, index: int, value: str, shared_memory: Any) -> None:
    data = value.encode("utf-8", "surrogatepass")
    room = SLOT_BYTES - _HEADER_BYTES
    if len(data) > room:
        raise ValueError(
            f"an observation of {len(data)} bytes does not fit the {room} bytes of shared memory per environment; "
            "use AsyncVectorEnv(..., shared_memory=False)"
        )
    start = index * SLOT_BYTES
    view = memoryview(shared_memory.get_obj()).cast("B")
    view[start : start + _HEADER_BYTES] = len(data).to_bytes(_HEADER_BYTES, "little")
    view[start + _HEADER_BYTES : start + _HEADER_BYTES + len(data)] = data
