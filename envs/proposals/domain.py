"""The dynamics of a request for a problem: free text without tools, whose system text shows what counted before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stepgym.envs.illegal_steps import system_text
from stepgym.envs.proposals.seen import Seen
from stepgym.envs.text_domain import TextDomain
from stepgym.envs.types import Problem, State


class ProposalDomain(TextDomain):
    """Shows a chat model the last problems of the asked kind that counted, so that it states others.

    What is shown depends on earlier proposals; it stands in the system text, and the prompt of a request never changes.
    """

    def __init__(self, seen: Seen, *, shown: int, **options: Any) -> None:
        super().__init__(sandbox=None, **options)
        self.seen = seen
        self.shown = shown

    def _system(self) -> str:
        return system_text(
            "You write problems for others to solve, and you do not solve them. Write one new problem of the asked kind, with "
            "other numbers than the examples. Write nothing else: <answer>kind: problem</answer>.",
            "The answer ends the episode.",
            illegal_steps=self.illegal_steps,
            max_steps=self.max_steps,
        )

    def initial(self, problem: Problem) -> State:
        state = super().initial(problem)
        last = self.seen.last(str(problem.public), self.shown)
        if not last:
            return state
        listed = "\n\n".join(last)
        return replace(
            state, system=f"{state.system} These problems counted; state another one:\n\n{listed}"
        )
