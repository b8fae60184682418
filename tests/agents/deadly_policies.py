"""Policies that end their process, or show how they are called; worker processes name them `deadly_policies:Name`."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from stepgym.agents.policies.scripted import RandomLegalPolicy, ScriptedPolicy
from stepgym.envs.types import State, Step


class KillsOnce(RandomLegalPolicy):
    """Kills its process at the first problem, once for each file `DEADLY_FILE`."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        mark = Path(os.environ["DEADLY_FILE"])
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().propose(states, counts)


class KillsAt(RandomLegalPolicy):
    """Kills its process whenever it sees the prompt `DEADLY_PROMPT`."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        if any(state.prompt == os.environ["DEADLY_PROMPT"] for state in states):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().propose(states, counts)


class Hungry(RandomLegalPolicy):
    """Needs more memory than its process may have whenever it sees the prompt `DEADLY_PROMPT`."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        if any(state.prompt == os.environ["DEADLY_PROMPT"] for state in states):
            _, hard = limits = resource.getrlimit(resource.RLIMIT_AS)
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (64 << 20), hard))
            try:
                bytearray(256 << 20)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limits)
        return super().propose(states, counts)


class Slow(RandomLegalPolicy):
    """Takes its time."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        time.sleep(float(os.environ.get("SLOW_S", "0")))
        return super().propose(states, counts)


class LogsBatches(RandomLegalPolicy):
    """Writes its process and the number of states of each call as a line of the file `BATCH_FILE`."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        with Path(os.environ["BATCH_FILE"]).open("a") as file:
            file.write(f"{os.getpid()} {len(states)}\n")
        return super().propose(states, counts)


class Verbose(ScriptedPolicy):
    """Writes steps of 150,000 characters, each of them different."""

    def __init__(self) -> None:
        super().__init__(
            lambda state: [Step(f"{state.prompt} {k} " + "x" * 150_000) for k in range(8)]
        )


class Programs(ScriptedPolicy):
    """Answers with a short program."""

    def __init__(self) -> None:
        super().__init__(lambda state: [Step("```python\ndef solve(*_):\n    return 1\n```")])
