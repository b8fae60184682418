"""The process in which a reasoning-gym scorer runs: JSON lines in, JSON lines out.

The first line names data set and settings; each further one an item's index and an answer.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO

MEMORY_BYTES = 4 * 2**30


def main() -> None:
    """Answer until the input ends."""
    import resource

    # What a scorer prints must not be taken for a reply.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    import reasoning_gym
    from reasoning_gym.factory import get_score_answer_fn

    begin = json.loads(sys.stdin.readline())
    items = reasoning_gym.create_dataset(begin["dataset"], **begin["settings"])
    score = get_score_answer_fn(begin["dataset"])
    _reply(replies, {"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            _reply(replies, {"score": float(score(asked["answer"], items[asked["index"]]))})
        except Exception as error:  # noqa: BLE001 (somebody's scorer on somebody's answer)
            _reply(replies, {"error": f"{type(error).__name__}: {error}"})


def _reply(stream: TextIO, reply: dict[str, Any]) -> None:
    print(json.dumps(reply), file=stream, flush=True)


if __name__ == "__main__":
    main()
