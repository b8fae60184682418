r"""Free text, for mathematics and code: a step is the text up to the step delimiter.

`<answer>` or `\boxed{}` in visible text ends the episode with that answer; so does a step that the policy itself
called its last. Python between `<tool_call>` and `</tool_call>` is run in a sandbox and its output comes back as the
step's reply, between `<tool_result>` and `</tool_result>`. The interpreter stays from call to call, as in a notebook. A
tool result in the policy's own text is plain text. Long results are shown in part (`stepgym.envs.tool_results`).

Every text is a step, unless a rule for illegal steps is given; `TextDomain.illegal` lists what is illegal then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

from stepgym.envs.illegal_steps import IllegalSteps, system_text
from stepgym.envs.session_cache import Job
from stepgym.envs.tokens import (
    TOOL_CALL,
    TOOL_RESULT,
    TOOL_RESULT_END,
    final_answer,
    parse,
    visible_text,
)
from stepgym.envs.tool_results import (
    DEFAULT_CHARS,
    ReadRequest,
    ToolResults,
    middle_left_out,
    read_on,
    read_request,
    summary,
)
from stepgym.envs.tool_sessions import Files, ToolSessions
from stepgym.envs.types import End, Problem, SegmentKind, State, Step
from stepgym.plugins.errors import UserError
from stepgym.plugins.names import unknown_name
from stepgym.sandbox import open_sandbox
from stepgym.sandbox.types import ExecutionResult, Limits, Outcome, Program, Sandbox

ToolKind = Literal["python", "python_fresh"]
INSTRUCTIONS = "Reason step by step. Give the final answer as <answer>...</answer>."
TOOL_LIMITS = Limits(wall_s=5.0, memory_mib=256, output_bytes=64 << 10)
ANSWER_FORM = "<answer>result</answer>"
MAX_STEP_CHARS = 65_536
"""A longer step is illegal."""
BYTES_PER_TOKEN = 4
"""The rule of thumb by which a reply's tokens are counted, as no tokenizer is known here."""

_CLOSED_BLOCK = re.compile(
    r"^[ \t]*```(?:python|py)?3?[ \t]*\n.*?^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL
)
_FENCE = re.compile(r"\s*```(?:python|py)?[ \t]*\n(.*?)(?:\n```.*)?\s*", re.DOTALL)


class TextDomain:
    """The dynamics of free text.

    The sandbox opens with the first tool call, and `close` closes it.
    """

    def __init__(
        self,
        *,
        max_steps: int | None = 32,
        sandbox: str | Sandbox | None = "auto",
        tool_limits: Limits = TOOL_LIMITS,
        max_reply_chars: int | None = None,
        whole_answer: bool = False,
        tools: ToolKind = "python",
        tool_results: ToolResults = "full",
        sandbox_settings: Mapping[str, Any] = MappingProxyType({}),
        answer_form: str | None = None,
        illegal_steps: IllegalSteps | None = None,
    ) -> None:
        """`sandbox` is where tool calls run: a name, or one that the caller opened and closes; with `None` they are text.

        With `tools="python"`, variables and files of one call are there in the next, and the value of a call's last
        expression is shown. With `"python_fresh"`, each call is a program of its own.
        A result longer than `max_reply_chars` (4,000; 400 with `tool_results="short"`) is shown in part; if `"short"`,
        the policy can read on by a tool call. `sandbox_settings` are those with which a sandbox given by name opens.
        `whole_answer` is for code: an episode also ends with the first closed block of Python, and where the policy
        ends without marking an answer, all its visible text is the answer. Else its last step is.
        `answer_form` is the sentence of the system text about how to mark an answer: as code with `whole_answer`, else as `ANSWER_FORM`.
        `illegal_steps` is the rule for illegal steps; with
        `None` every text is a step.
        """
        if max_steps is not None and max_steps < 1:
            raise UserError(f"max_steps is at least 1 or None, not {max_steps!r}")
        self.max_steps = max_steps
        self.sandbox = sandbox
        self.tool_limits = tool_limits
        if tool_results not in get_args(ToolResults):
            raise unknown_name("value of tool_results", tool_results, get_args(ToolResults))
        self.tool_results = tool_results
        self.max_reply_chars = (
            DEFAULT_CHARS[tool_results] if max_reply_chars is None else max_reply_chars
        )
        self.whole_answer = whole_answer
        if tools not in get_args(ToolKind):
            raise unknown_name("kind of tools", tools, get_args(ToolKind))
        self.tools = tools
        self.sandbox_settings = dict(sandbox_settings)
        self.answer_form = answer_form
        self.illegal_steps = illegal_steps
        self._open: Sandbox | None = None
        self._sessions: ToolSessions | None = None
        self.system = self._system()

    def refusing(self, rule: IllegalSteps) -> Self:
        """Return the domain with a rule for illegal steps; for a domain that has no sandbox open."""
        other = copy(self)
        other._open, other._sessions = None, None
        other.illegal_steps = rule
        other.system = other._system()
        return other

    def _system(self) -> str:
        """Return the system text for chat models."""
        form = f"Finish with the result as {self.answer_form or ANSWER_FORM}"
        if self.whole_answer and self.answer_form is None:
            form = "Give all of the code in one block between lines of ```"
        return system_text(
            f"Solve the problem. Write short steps with an empty line between them. {form}.",
            "The answer ends the episode, and so does a closed block of Python."
            if self.whole_answer
            else "The answer ends the episode.",
            illegal_steps=self.illegal_steps,
            max_steps=self.max_steps,
        )

    def initial(self, problem: Problem) -> State:
        return State(problem.prompt, public=problem.public, system=self.system)

    def illegal(self, state: State, step: Step) -> str:
        """Return why a step is illegal, or an empty text.

        Illegal are: a step without any text (but a policy may end with one after others); one of more than
        `MAX_STEP_CHARS` characters; an empty tool call, one in JSON without the code, or any where there is no tool;
        and different answers in one step.
        """
        text = step.text
        if len(text) > MAX_STEP_CHARS:
            return f"the step has {len(text):,} characters; at most {MAX_STEP_CHARS:,} are allowed"
        if not text.strip():
            return "" if step.final and state.steps else "the step is empty"
        if "<" not in text:
            return ""
        segments = parse(text)
        answers = {s.text.strip() for s in segments if s.kind is SegmentKind.ANSWER} - {""}
        if len(answers) > 1:
            return f"the step gives {len(answers)} different answers; give one"
        calls = [s.text for s in segments if s.kind is SegmentKind.TOOL_CALL]
        return next((why for call in calls if (why := self._malformed(call))), "")

    def _malformed(self, call: str) -> str:
        """Return why a tool call cannot be run, or an empty text."""
        if self.sandbox is None:
            return "there is no tool to call here"
        if not call.strip():
            return "the tool call is empty"
        try:
            data = json.loads(call)
        except (ValueError, RecursionError):
            return ""  # Python
        is_call = isinstance(data, dict) and "arguments" in data
        if is_call and self._source(call) == call.strip("\n"):
            return "the tool call has no code and names no known tool"
        return ""

    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        """Take one step from each state; all tool calls run as one batch.

        Raises only `SandboxError`.
        """
        if self.illegal_steps is not None:
            return self._refuse_some(self.illegal_steps, states, steps)
        return self._take(states, steps)

    def _refuse_some(
        self, rule: IllegalSteps, states: Sequence[State], steps: Sequence[Step]
    ) -> list[State]:
        reasons = [
            "" if state.done else self.illegal(state, step)
            for state, step in zip(states, steps, strict=True)
        ]
        legal = [i for i, reason in enumerate(reasons) if not reason]
        taken = iter(self._take([states[i] for i in legal], [steps[i] for i in legal]))
        return [
            self._limited(rule.refuse(state, step, reason)) if reason else next(taken)
            for state, step, reason in zip(states, steps, reasons)
        ]

    def _take(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        calls = [
            [] if state.done else self._calls(step)
            for state, step in zip(states, steps, strict=True)
        ]
        outputs = iter(self._run(states, calls))
        replied = [
            self._with_reply(state, step, found, outputs)
            for state, step, found in zip(states, steps, calls)
        ]
        return [self._advance(state, step) for state, step in zip(states, replied)]

    def close(self) -> None:
        """Close the sandbox if a tool call opened it; the next one opens it again."""
        if self._sessions is not None:
            self._sessions.close()
            self._sessions = None
        if self._open is not None:
            self._open.close()
            self._open = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None, "_sessions": None}

    def _advance(self, state: State, step: Step) -> State:
        if state.done:
            return state
        steps = (*state.steps, step)
        said = [taken for taken in steps if not taken.refused] if self.illegal_steps else steps
        answer = final_answer(step.text)
        if answer is None and self.whole_answer and _CLOSED_BLOCK.search(words := spoken(said)):
            answer = words
        if answer is None and step.final and not step.reply:
            answer = self._closing_words(said)
            if answer is None:
                return State(
                    state.prompt, steps, None, End.STUCK, state.public, system=state.system
                )
        if answer is not None:
            return State(
                state.prompt, steps, answer, End.ANSWERED, state.public, system=state.system
            )
        return self._limited(State(state.prompt, steps, public=state.public, system=state.system))

    def _limited(self, state: State) -> State:
        """Return a state after a step; it has ended if the step was the last one."""
        if state.done or self.max_steps is None or len(state.steps) < self.max_steps:
            return state
        return State(
            state.prompt, state.steps, None, End.STEP_LIMIT, state.public, system=state.system
        )

    def _closing_words(self, steps: Sequence[Step]) -> str | None:
        """Return the text that is taken as the answer if the policy ended without marking one."""
        if self.whole_answer:
            words = spoken(steps)
            return words if words.strip() else None
        return next((text for step in reversed(steps) if (text := visible_text(step.text))), None)

    def _calls(self, step: Step) -> list[str]:
        if (
            self.sandbox is None
            or TOOL_CALL not in step.text
            or final_answer(step.text) is not None
        ):
            return []
        return [self._source(s.text) for s in parse(step.text) if s.kind is SegmentKind.TOOL_CALL]

    def _source(self, call: str) -> str:
        """Return the Python of a tool call."""
        return tool_source(call)

    def _run(
        self, states: Sequence[State], calls: Sequence[Sequence[str]]
    ) -> list[ExecutionResult]:
        """Run the calls of all states and return the results in order."""
        if self.sandbox is None or not any(calls):
            return []
        calls = [self._programs(found) for found in calls]
        if not any(calls):
            return []
        if self.tools == "python_fresh":
            sources = [source for found in calls for source in found]
            return self._sandbox().run(
                [Program(source, limits=self.tool_limits) for source in sources]
            )
        jobs = [self._job(state, tuple(found)) for state, found in zip(states, calls) if found]
        return [result for results in self._tool_sessions().run(jobs) for result in results]

    def _look(self, states: Sequence[State], call: str, limits: Limits) -> list[ExecutionResult]:
        """Run a call after those of each state, in a fork that is then dropped."""
        return self._tool_sessions().look([self._job(state, (call,)) for state in states], limits)

    def _job(self, state: State, new: tuple[str, ...]) -> Job:
        files, setup = self._opening(state)
        before = tuple(
            source
            for step in state.steps
            if not step.refused
            for source in self._programs(self._calls(step))
        )
        return Job(setup + before, new, files)

    def _opening(self, state: State) -> tuple[Files, tuple[str, ...]]:
        """Return the files with which a state's session begins, and the calls before the policy's own."""
        return (), ()

    def _tool_sessions(self) -> ToolSessions:
        if self._sessions is None:
            self._sessions = ToolSessions(self._sandbox(), self.tool_limits)
        return self._sessions

    def _programs(self, calls: Sequence[str]) -> list[str]:
        """Return the calls that are run; the others read on in an earlier result."""
        return [call for call in calls if self._read_request(call) is None]

    def _read_request(self, call: str) -> ReadRequest | None:
        return read_request(call) if self.tool_results == "short" else None

    def _sandbox(self) -> Sandbox:
        if isinstance(self.sandbox, str):
            if self._open is None:
                self._open = open_sandbox(self.sandbox, **self.sandbox_settings)
            return self._open
        assert self.sandbox is not None
        return self.sandbox

    def _with_reply(
        self, state: State, step: Step, calls: Sequence[str], outputs: Iterator[ExecutionResult]
    ) -> Step:
        if not calls:
            return step
        cut = [text for earlier in state.steps for text in earlier.cut_results]
        num_before, limit = len(cut), self.max_reply_chars
        shown = []
        for call in calls:
            request = self._read_request(call)
            if request is not None:
                shown.append(read_on(request, cut, limit))
                continue
            text = tool_text(next(outputs))
            if len(text) > limit:
                cut.append(text)
            if len(text) > limit and self.tool_results == "short":
                shown.append(summary(text, f"r{len(cut)}", limit))
            else:
                shown.append(middle_left_out(text, limit))
        reply = "\n".join(f"{TOOL_RESULT}{text}{TOOL_RESULT_END}" for text in shown)
        num_tokens = -(-len(reply.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)
        return replace(
            step, reply=reply, num_reply_tokens=num_tokens, cut_results=tuple(cut[num_before:])
        )


def spoken(steps: Sequence[Step]) -> str:
    """Return the visible text of all steps, indentation included.

    Indentation matters because the text may be a Python program.
    """
    return "\n\n".join(
        text for step in steps if (text := visible_text(step.text, strip=False)).strip()
    )


def tool_source(call: str) -> str:
    """Return the Python code of a tool call.

    The call is bare code, code in a Markdown fence, or JSON `{"name": ..., "arguments": {"code": ...}}`.
    """
    if call.lstrip().startswith("{"):
        try:
            arguments = json.loads(call)["arguments"]
            found = arguments["code"] if isinstance(arguments, dict) else arguments
            if isinstance(found, str):
                return found
        except (ValueError, KeyError, TypeError, RecursionError):
            pass  # a set or a dict display in bare Python
    fenced = _FENCE.fullmatch(call)
    return fenced.group(1) if fenced else call.strip("\n")


def tool_text(result: ExecutionResult) -> str:
    """Return a run as text: its output, the last line of its error, the limit that it exceeded."""
    lines = [result.stdout.rstrip()] if result.stdout.strip() else []
    if result.outcome is Outcome.ERROR:
        last = result.stderr.strip().splitlines()[-1:] or [f"exit status {result.exit_code}"]
        lines.append(f"error: {last[0]}")
    elif result.outcome is not Outcome.OK:
        lines.append(f"stopped: {result.outcome.value}")
    return "\n".join(lines) or "(no output; print what you want to see)"
