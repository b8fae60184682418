"""From an answer to a verdict: take the program out of the words, add the task's own code, grade it by its tests.

Nothing here parses Python: what an answer says is handled as lines of text, since a parser can be made to crash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from stepgym.envs.coding.grading import LIMITS, grade
from stepgym.envs.types import Problem, Status, Verdict
from stepgym.sandbox.types import Limits, Sandbox

FENCE = re.compile(
    r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL
)
CODE_LINE = re.compile(r"(?:async\s+def|def|class|import|from|@|[)\]}])")
SPEAKING = ("python", "py", "python3", "")


class CodingVerifier:
    """Ground truth for problems whose `task` carries tests. Opens its sandbox with the first answer; pickles closed.

    `sandbox` is a name for `open_sandbox`, or a sandbox that the caller opened and will close.
    """

    def __init__(
        self, sandbox: str | Sandbox = "auto", *, limits: Limits = LIMITS, **options: Any
    ) -> None:
        self.sandbox = sandbox
        self.limits = limits
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
        tasks = [problem.task for problem in problems]
        return [
            verdict
            if verdict.status is not Status.INCORRECT or answer.strip()
            else _nothing(verdict)
            for verdict, answer in zip(
                grade(
                    sources,
                    tests=[task["tests"] for task in tasks],
                    entry_points=[task.get("entry_point") for task in tasks],
                    prompts=[task.get("prompt") for task in tasks],
                    styles=[task.get("style") for task in tasks],
                    sandbox=self._open(),
                    limits=self.limits,
                ),
                answers,
            )
        ]

    def close(self) -> None:
        """Close the sandbox if it was opened here; the next answer opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _open(self) -> Sandbox:
        if not isinstance(self.sandbox, str):
            return self.sandbox
        if self._opened is None:
            from stepgym.sandbox import open_sandbox

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


def solution_source(answer: str, problem: Problem) -> str:
    """Return the program that an answer stands for.

    An answer is a fenced block, a whole function or program, or the body that completes the task's prompt. What the
    prompt has before the asked function (imports, helpers) stands before the answer.
    """
    prompt, entry_point = problem.task.get("prompt") or "", problem.task.get("entry_point")
    code = extract_code(answer, entry_point)
    if not entry_point or not re.search(
        rf"^(?:def|class)\s+{re.escape(entry_point)}\b", prompt, re.MULTILINE
    ):
        return code
    if defines(code, entry_point):
        preamble = re.split(
            rf"^(?:def|class)\s+{re.escape(entry_point)}\b", prompt, maxsplit=1, flags=re.MULTILINE
        )[0]
        return f"{preamble}\n{code}"
    return f"{prompt}{'' if prompt.endswith(chr(10)) else chr(10)}{_body(code)}"


def defines(code: str, name: str) -> bool:
    """Whether a text defines a function, class or name at the left margin."""
    pattern = rf"^(?:async\s+def\s+|def\s+|class\s+){re.escape(name)}\b|^{re.escape(name)}\s*[:=]"
    return re.search(pattern, code, re.MULTILINE) is not None


def extract_code(answer: str, entry_point: str | None = None) -> str:
    """Return the code of an answer: the last fenced block that defines the entry point, else the longest, else all."""
    blocks = [(language.lower(), body) for language, body in FENCE.findall(answer)]
    python = [body for language, body in blocks if language in SPEAKING] or [
        body for _, body in blocks
    ]
    if python:
        defining = [body for body in python if entry_point and defines(body, entry_point)]
        return _dedent(defining[-1] if defining else max(python, key=len))
    if entry_point and defines(answer, entry_point):
        return _cut(answer, entry_point)
    return answer


def _dedent(code: str) -> str:
    """Take away the margin of a block that was fenced inside a list, but not that of a function's body."""
    first = next((line for line in code.split("\n") if line.strip()), "")
    margin = first[: len(first) - len(first.lstrip())]
    if not margin or not CODE_LINE.match(first.strip()):
        return code
    return "\n".join(line.removeprefix(margin) for line in code.split("\n"))


def _cut(answer: str, entry_point: str) -> str:
    """Leave out words before the first line of code and after the function."""
    lines = answer.split("\n")
    start = next(
        i for i, line in enumerate(lines) if CODE_LINE.match(line) or defines(line, entry_point)
    )
    kept = lines[start:]
    defined = next(i for i, line in enumerate(kept) if defines(line, entry_point))
    for i in range(defined + 1, len(kept)):
        words = kept[i]
        if (
            words[:1].isalpha()
            and re.match(r"[A-Z][\w']*,? [a-z]", words)
            and not CODE_LINE.match(words)
        ):
            return "\n".join(kept[:i])
    return "\n".join(kept)


def _body(code: str) -> str:
    """Indent a completion as a function body, and end it where text at the margin is no code of its own."""
    lines = code.split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    if not lines:
        return ""
    if not lines[0].startswith((" ", "\t")):
        rest = [line for line in lines[1:] if line.strip()]
        indents = [len(line) - len(line.lstrip()) for line in rest]
        first_was_stripped = (
            bool(indents)
            and min(indents) >= 4
            and not (lines[0].rstrip().endswith(":") and indents[0] < 8)
        )
        if first_was_stripped:
            lines[0] = "    " + lines[0]
        else:
            lines = ["    " + line if line.strip() else line for line in lines]
    kept = lines[:1]
    for line in lines[1:]:
        if line.strip() and not line.startswith((" ", "\t", "#")) and not CODE_LINE.match(line):
            break
        kept.append(line)
    return "\n".join(kept) + "\n"
