"""The dynamics of a task over a folder: tool calls change the folder, and the answer is the folder they leave.

A tool call is Python, or JSON `{"name": "write", "arguments": {...}}` for the functions of `session_tools`. Each state has an
interpreter and a folder of its own, forked from those of the state before. The episode ends with `<answer>`, with the
policy's own end, or with the step limit; whatever the answer says, what counts is the folder.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

from stepgym.envs.coding.repo.folder import (
    MAX_BYTES,
    MAX_FILES,
    Folder,
    FolderError,
    answer_of,
    checked_path,
    folder_of,
)
from stepgym.envs.illegal_steps import system_text
from stepgym.envs.text_domain import TextDomain, tool_source
from stepgym.envs.tokens import parse
from stepgym.envs.types import End, SegmentKind, State, Step
from stepgym.sandbox.types import ExecutionResult, Limits

TOOLS = ("files", "read", "write", "replace", "run", "test")
SETUP = """\
import sys, types
folder_tools = sys.modules["folder_tools"] = types.ModuleType("folder_tools")
exec(compile({source!r}, "<folder_tools>", "exec"), vars(folder_tools))
from folder_tools import {names}
"""
LOOK = f"__import__('folder_tools').look({MAX_FILES}, {MAX_BYTES})"
LOOK_LIMITS = Limits(cpu_s=5.0, wall_s=15.0, output_bytes=4 * MAX_BYTES, disk_mib=None)
REPO_LIMITS = Limits(cpu_s=10.0, wall_s=20.0, memory_mib=512, output_bytes=64 << 10, disk_mib=16)
UNREADABLE = "unreadable"


class RepoDomain(TextDomain):
    """Free text whose tool calls work on the folder in `State.public`."""

    def _opening(self, state: State) -> tuple[tuple[tuple[str, bytes], ...], tuple[str, ...]]:
        folder = state.public
        return folder.files if isinstance(folder, Folder) else (), (setup_source(),)

    def _calls(self, step: Step) -> list[str]:
        """Return the tool calls of a step; unlike in free text, those of the last step count too."""
        segments = parse(step.text)
        return [self._source(s.text) for s in segments if s.kind is SegmentKind.TOOL_CALL]

    def _source(self, call: str) -> str:
        return call_source(call)

    def _system(self) -> str:
        return system_text(
            "Work on the folder with tool calls, Python between <tool_call> and </tool_call>. Write short steps with an "
            "empty line between them. When you are done, write <answer>done</answer>.",
            "The answer ends the episode; what counts is the folder that you leave.",
            illegal_steps=self.illegal_steps,
            max_steps=self.max_steps,
        )

    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        """See `TextDomain.advance`; a state that ended gets its folder's changes as answer."""
        after = super().advance(states, steps)
        ended = [
            i
            for i, state in enumerate(after)
            if state.done and not states[i].done and not _ended_illegally(state)
        ]
        for i, answer in zip(ended, self._answers([after[i] for i in ended])):
            after[i] = replace(after[i], answer=answer, end=End.ANSWERED)
        return after

    def _answers(self, states: Sequence[State]) -> list[str]:
        called = [
            any(self._calls(step) for step in state.steps if not step.refused) for state in states
        ]
        looked = [state for state, some in zip(states, called) if some]
        results = iter(self._look(looked, LOOK, LOOK_LIMITS) if looked else ())
        return [
            changes_text(state.public, next(results)) if some else answer_of({})
            for state, some in zip(states, called)
        ]


def _ended_illegally(state: State) -> bool:
    return state.end is End.STUCK and state.steps[-1].refused


def setup_source() -> str:
    """Return the cell that defines the tools."""
    source = (files("stepgym.envs.coding.repo") / "session_tools.py").read_text("utf-8")
    return SETUP.format(source=source, names=", ".join(TOOLS))


def call_source(call: str) -> str:
    """Return the Python of a tool call; JSON that names a tool becomes a call of it."""
    if call.lstrip().startswith("{"):
        try:
            data = json.loads(call)
            name, arguments = data["name"], data.get("arguments", {})
            if name in TOOLS and isinstance(arguments, dict):
                return f"__import__('folder_tools').{name}(**{arguments!r})"
        except (ValueError, KeyError, TypeError, RecursionError):
            pass  # Python, or JSON of another form
    return tool_source(call)


def changes_text(folder: Any, result: ExecutionResult) -> str:
    """Return the answer that a look at the session's folder amounts to."""
    try:
        lines = result.stdout.strip().splitlines()
        data = json.loads(_decompressed(lines[-1] if lines else ""))
        if data.get("fault"):
            raise FolderError(str(data["fault"]))
        contents = {
            checked_path(path): base64.b64decode(text) for path, text in data["files"].items()
        }
        return answer_of(folder.changed_to(folder_of(contents).contents))
    except (FolderError, ValueError, KeyError, AttributeError, TypeError, zlib.error) as error:
        why = str(error) if isinstance(error, FolderError) else result.reason or result.stderr
        return json.dumps({UNREADABLE: why.strip()[-300:] or type(error).__name__})


def _decompressed(text: str) -> bytes:
    try:
        unzip = zlib.decompressobj()
        return unzip.decompress(base64.b64decode(text, validate=True), 2 * MAX_BYTES)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
