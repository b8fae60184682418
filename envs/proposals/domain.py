"""The dynamics of a request for a problem: free text without tools, whose system text shows what counted before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stepgym.envs.proposals.seen import Seen
from stepgym.envs.text_domain import TextDomain
from stepgym.envs.types import Problem, State


class ProposalDomain(TextDomain):
    """Shows a chat model the last problems of the asked kind that counted, so that it states others.

    What is shown depends on earlier proposals; it stands in the system text, and the prompt of a request never changes.
    """

    def __init__(self, seen: Seen, *, shown: int, **options: Any) -> None:
        super().__init__(sandbox=None, answer_form="<answer>problem</answer>", **options)
        self.seen = seen
        self.shown = shown

    def initial(self, problem: Problem) -> State:
        state = super().initial(problem)
        last = self.seen.last(str(problem.public), self.shown)
        if not last:
            return state
        listed = "\n\n".join(last)
        return replace(
            state, system=f"{state.system} These problems counted; state another one:\n\n{listed}"
        )
