"""Policies as a user might write them on a bad day, named on the command line as `odd_policies:Name`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from stepgym.agents.policies.scripted import RandomLegalPolicy
from stepgym.agents.types import PolicyError
from stepgym.envs.types import State, Step
from stepgym.sandbox.types import SandboxError


class Silent:
    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        return [[] for _ in states]


class Rubbish:
    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        return [[Step("\ud800<answer><think>\x00 3 ** 9 ☃ </script>")] * count for count in counts]


class Megabyte:
    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        return [[Step("9" * 1_000_000)] * count for count in counts]


class Raises:
    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        raise RuntimeError("the model fell over")


class NotSteps:
    def propose(self, states: Sequence[State], counts: Sequence[int]) -> object:
        return 17


class RaisesOnce(RandomLegalPolicy):
    """Fails on the first problem only: the others must not suffer."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        steps = [
            super(RaisesOnce, self).propose([state], [count])[0]
            for state, count in zip(states, counts)
        ]
        bad = [
            i for i, state in enumerate(states) if state.prompt.startswith(os.environ["ODD_PROMPT"])
        ]
        if bad:
            raise PolicyError(
                "no",
                steps=[[] if i in bad else s for i, s in enumerate(steps)],
                failures=dict.fromkeys(bad, "no"),
            )
        return steps


class LosesSandbox(RandomLegalPolicy):
    """Uses a tool whose engine dies on one problem."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        if any(state.prompt == os.environ["ODD_PROMPT"] for state in states):
            raise SandboxError("no engine answers")
        return super().propose(states, counts)


class Slow(RandomLegalPolicy):
    """Random play that takes its time, so that a test can interrupt it; the file ODD_BEGUN says that it plays."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        if begun := os.environ.get("ODD_BEGUN"):
            Path(begun).touch()
        time.sleep(float(os.environ.get("ODD_SLEEP", "0")))
        return super().propose(states, counts)


class Needy(Silent):
    """Cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("no weights here")


class Short(Silent):
    """Gives a list less than it was asked for."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        return [[] for _ in states][1:]


class Speaker:
    """Thinks, and answers 42."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        step = Step(
            "<think>hidden</think>So <answer>42</answer>", num_tokens=5, num_reasoning_tokens=2
        )
        return [[step] * count for count in counts]


def gives_up(episode: object) -> str:
    """Answer every problem with 0: an agent that is a function."""
    return "0"
