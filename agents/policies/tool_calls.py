"""Tool calls in the text of a language model: which form its chat template asks for, and reading them.

| form | the text | models |
|---|---|---|
| `HERMES` | `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, any number of them | Hermes, Qwen 2.5, Qwen 3 |
| `LLAMA` | `{"name": ..., "parameters": {...}}` alone, or several with semicolons between them | Llama 3.1, Llama 3.2 |

Not covered: other forms (Mistral's, DeepSeek's, XML parameters), and calls inside internal reasoning.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol, runtime_checkable

from stepgym.agents.types import Policy
from stepgym.envs.tokens import THINK_END
from stepgym.envs.types import State

_HERMES = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
_PYTHON_TAG = "<|python_tag|>"


class ToolForm(Enum):
    """How a model writes tool calls."""

    HERMES = "hermes"
    LLAMA = "llama"


class ToolRequest(NamedTuple):
    """What to ask for a turn of a conversation with tools."""

    policy: Policy
    state: State
    form: ToolForm


class Turn(NamedTuple):
    """What a model wrote in one turn."""

    content: str
    """The text without the tool calls."""
    calls: list[dict[str, Any]]
    """Tool calls in OpenAI's form; the arguments are JSON text."""


@runtime_checkable
class TakesTools(Protocol):
    """A policy that can be offered tools."""

    def tool_request(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], seen: State
    ) -> ToolRequest:
        """Return what to ask for the next turn; `seen` is the conversation as a state without tools.

        Raises `UserError` if the tools cannot be shown.
        """
        ...


def form_of(template: str) -> ToolForm | None:
    """Return the form of tool calls that a chat template asks for; `None` if it is not a known one."""
    if "<tool_call>" in template and "<function=" not in template and "<arg_key>" not in template:
        return ToolForm.HERMES
    has_parameters = '"parameters":' in template and "<|start_header_id|>" in template
    return ToolForm.LLAMA if has_parameters else None


def read_turn(text: str, form: ToolForm, names: Collection[str]) -> Turn:
    """Read the tool calls of a turn; `names` are those of the offered tools.

    A call that is not JSON, or of a tool without a name, stays text: the agent sees what the model wrote.
    """
    thought, end, visible = text.rpartition(THINK_END)
    if form is ToolForm.HERMES:
        calls: list[dict[str, Any]] = []

        def take(found: re.Match[str]) -> str:
            call = _call(_json(found[1]))
            if call is None:
                return found[0]
            calls.append(call)
            return ""

        rest = _HERMES.sub(take, visible)
        return Turn((thought + end + rest).strip() if calls else text, calls)
    alone = visible.strip().removeprefix(_PYTHON_TAG).strip()
    read = [_call(value) for value in _values(alone)]
    if not read or any(call is None or call["function"]["name"] not in names for call in read):
        return Turn(text, [])
    return Turn((thought + end).strip(), [call for call in read if call is not None])


def template_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a conversation as chat templates expect it: content is text, and arguments are objects."""
    found = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            parts = (part if isinstance(part, Mapping) else {"text": part} for part in content)
            content = "\n".join(str(part.get("text") or "") for part in parts)
        shown = {**message, "content": content or ""}
        calls = message.get("tool_calls")
        if isinstance(calls, list) and calls:
            shown["tool_calls"] = [_with_arguments(call) for call in calls]
        else:
            shown.pop("tool_calls", None)
        found.append(shown)
    return found


def _with_arguments(call: Any) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    read = _json(function["arguments"])
    return {**call, "function": {**function, "arguments": {} if read is None else read}}


def _call(value: Any) -> dict[str, Any] | None:
    """Return a call in OpenAI's form; `None` for a value that is none."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _json(arguments)
    if not isinstance(arguments, dict):
        return None
    function = {"name": value["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}


def _values(text: str) -> list[Any]:
    """Return JSON values with semicolons between them; none if there is anything else."""
    found, decoder = [], json.JSONDecoder()
    while text:
        try:
            value, end = decoder.raw_decode(text)
        except (ValueError, RecursionError):
            return []
        found.append(value)
        text = text[end:].strip()
        if text and not text.startswith(";"):
            return []
        text = text[1:].strip()
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
