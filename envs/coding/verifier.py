"""The verifier of coding problems: extract the program of an answer and run the tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from stepgym.envs.coding.extraction import solution_source
from stepgym.envs.coding.grading import LIMITS, grade
from stepgym.envs.types import Fault, Problem, Status, Verdict
from stepgym.sandbox import open_sandbox
from stepgym.sandbox.packages import Packages, lacking
from stepgym.sandbox.types import Limits, Sandbox


class CodingVerifier:
    """Ground truth for problems whose `task` has tests.

    It opens its sandbox with the first answer, and is pickled without it.

    `sandbox` is a name for `open_sandbox`, or a sandbox that the caller opened and will close.
    """

    def __init__(
        self,
        sandbox: str | Sandbox = "auto",
        *,
        limits: Limits = LIMITS,
        strict: bool = False,
        **options: Any,
    ) -> None:
        self.sandbox = sandbox
        self.limits = limits
        self.strict = strict
        self.options = options
        self._opened: Sandbox | None = None

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        """Grade all answers in one batch. A task whose tests are of no known form is UNDECIDED."""
        if not problems:
            return []
        sources = [
            solution_source(answer, problem)
            for problem, answer in zip(problems, answers, strict=True)
        ]
        verdicts = self._lacking_packages(problems)
        for one_process in (False, True):
            chosen = [
                i
                for i, p in enumerate(problems)
                if i not in verdicts and bool(p.task.get("one_process")) is one_process
            ]
            verdicts |= zip(chosen, self._grade(problems, sources, chosen, one_process))
        return [
            verdict
            if verdict.status is not Status.INCORRECT or answer.strip()
            else _nothing(verdict)
            for answer, verdict in zip(answers, (verdicts[i] for i in range(len(problems))))
        ]

    def _lacking_packages(self, problems: Sequence[Problem]) -> dict[int, Verdict]:
        """Return verdicts on the problems that need a package which the sandbox does not carry."""
        asked = {
            i: list(p.task["packages"]) for i, p in enumerate(problems) if p.task.get("packages")
        }
        carried = getattr(self._open(), "packages", None) if asked else None
        if not isinstance(carried, Packages):
            return {}
        return {
            i: Verdict(
                Status.UNDECIDED,
                reason="; ".join(
                    f"the task needs the package {name!r}, which the sandbox does not have"
                    for name in missing
                ),
                decided_by="packages",
                fault=Fault.OURS,
            )
            for i, names in asked.items()
            if (missing := lacking(names, carried))
        }

    def _grade(
        self,
        problems: Sequence[Problem],
        sources: Sequence[str],
        chosen: Sequence[int],
        one_process: bool,
    ) -> list[Verdict]:
        """Grade the chosen answers; a task says by `one_process` that its tests run beside the answer."""
        if not chosen:
            return []
        tasks = [problems[i].task for i in chosen]
        return grade(
            [sources[i] for i in chosen],
            tests=[task["tests"] for task in tasks],
            entry_points=[task.get("entry_point") for task in tasks],
            prompts=[task.get("prompt") for task in tasks],
            styles=[task.get("style") for task in tasks],
            preambles=[task.get("preamble") for task in tasks],
            strict=self.strict,
            one_process=one_process,
            sandbox=self._open(),
            limits=[replace(self.limits, **task.get("limits", {})) for task in tasks],
        )

    def close(self) -> None:
        """Close the sandbox if it was opened here; the next answer opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _open(self) -> Sandbox:
        if not isinstance(self.sandbox, str):
            return self.sandbox
        if self._opened is None:
            self._opened = open_sandbox(self.sandbox, **self.options)
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _nothing(verdict: Verdict) -> Verdict:
    return Verdict(Status.INCORRECT, 0.0, "the answer is empty", "source", verdict.details)
