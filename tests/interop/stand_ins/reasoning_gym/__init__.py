"""The part of reasoning-gym 0.1 that the adapter uses, with a data set `mixed` whose odd items have no reference."""

from typing import Any


class Mixed:
    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        answer = None if index % 2 else str(index + 100)
        return {"question": f"{index} + 100?", "answer": answer, "metadata": {"index": index}}


def create_dataset(name: str, *, size: int, seed: int) -> Mixed:
    if name != "mixed":
        raise ValueError(f"Dataset {name} not registered")
    return Mixed(size, seed)
