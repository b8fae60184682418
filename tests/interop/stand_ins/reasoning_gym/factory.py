from collections.abc import Callable
from typing import Any


def get_score_answer_fn(name: str) -> Callable[[str, dict[str, Any]], float]:
    return lambda answer, item: float(answer == str(item["metadata"]["index"] + 100))
