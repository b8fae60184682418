"""What an illegal step does, and the system text that states the rule.

An illegal step changes nothing: its reply is the reason. With `end` it also ends the episode; with `retry` the episode
goes on until more than `max_retries` of its steps were illegal. It counts as a step towards `max_steps`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple, get_args

from stepgym.envs.types import End, State, Step
from stepgym.plugins.names import unknown_name
from stepgym.plugins.settings import SettingError

OnIllegal = Literal["end", "retry"]
MAX_RETRIES = 8


class IllegalSteps(NamedTuple):
    """The rule for illegal steps."""

    on_illegal: OnIllegal = "end"
    max_retries: int | None = MAX_RETRIES
    """With `retry`: how many illegal steps an episode may have; one more ends it. `None` is no limit."""

    def refuse(self, state: State, step: Step, reason: str) -> State:
        """Return the state after an illegal step."""
        steps = (*state.steps, replace(step, reply=reason, refused=True))
        end = End.STUCK if self.ends_after(num_illegal(state)) else None
        return State(state.prompt, steps, None, end, state.public, system=state.system)

    def ends_after(self, num_before: int) -> bool:
        """Return whether an illegal step ends the episode if there were `num_before` in it."""
        if self.on_illegal == "end":
            return True
        return self.max_retries is not None and num_before >= self.max_retries

    def sentence(self) -> str:
        """Return the rule as a sentence of the system text."""
        if self.on_illegal == "end":
            return "An illegal step ends the episode."
        again = "After an illegal step you are told why, and try again"
        if self.max_retries is None:
            return f"{again}."
        return f"{again}; more than {self.max_retries} illegal steps end the episode."


ENDS = IllegalSteps()
RETRIES = IllegalSteps("retry", None)


def read_rule(on_illegal: str, max_retries: int | None = MAX_RETRIES) -> IllegalSteps:
    """Return the rule that two options give. Raises `UnknownNameError` and `SettingError`."""
    if on_illegal not in get_args(OnIllegal):
        raise unknown_name(
            "value of on_illegal", str(on_illegal), get_args(OnIllegal), dotted=False
        )
    if max_retries is not None and (type(max_retries) is not int or max_retries < 0):
        raise SettingError(
            f"max_retries is a whole number, 0 or more, or None, not {max_retries!r}"
        )
    return IllegalSteps(on_illegal, max_retries)  # type: ignore[arg-type]


def num_illegal(state: State) -> int:
    """Return how many steps of an episode were illegal."""
    return sum(step.refused for step in state.steps)


def system_text(
    task: str, ends: str, *, illegal_steps: IllegalSteps | None = None, max_steps: int | None = None
) -> str:
    """Return the system text for chat models: the task with the form of steps and answers, then what ends the episode."""
    told = [task, ends]
    if illegal_steps is not None:
        told.append(illegal_steps.sentence())
    if max_steps is not None:
        told.append(limit_sentence(max_steps))
    return " ".join(filter(None, told))


def limit_sentence(max_steps: int) -> str:
    """Return a step limit as a sentence of the system text."""
    return f"The episode ends after {max_steps} step{'s' if max_steps > 1 else ''} at the latest."
