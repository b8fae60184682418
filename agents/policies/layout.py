"""The one layout of text and tokens, for policies, exports and trainers.

A state is laid out as segments: the prompt, and for each step its own tokens and what separates it from the next
step. Each segment becomes tokens by itself, so that a child's tokens begin with its parent's. A step that carries the
tokens it was sampled as (`Step.token_ids`) is never tokenised anew.

- With a chat template, the steps up to a reply of the environment are one turn of the assistant, and the reply is a
  turn of the user. The turns' marks are those that the template itself writes.
- Without one, or with a `template` of one's own, all is one text: steps and replies end with the delimiter.

Not covered: templates that rewrite earlier turns (some drop the reasoning of earlier answers): the layout keeps what
was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from stepgym.agents.policies import prompts
from stepgym.agents.policies.tool_calls import ToolForm, form_of, template_messages
from stepgym.envs.tokens import STEP_END, parse, shown_reply
from stepgym.envs.types import SegmentKind, State, Step
from stepgym.plugins.errors import UserError

DELIMITER = "\n\n"
_MARKERS = ("stepgym first question", "stepgym first answer", "stepgym second question")


class Segment(NamedTuple):
    """A stretch of a laid out state."""

    ids: tuple[int, ...]
    """Token ids, in order."""
    is_own: bool
    """Whether the policy wrote it; everything else is never learned."""


class Turns(NamedTuple):
    """What the chat template puts between the text of an assistant and that of a user, and back."""

    to_user: str
    """From the end of the assistant's text to the start of the user's text."""
    to_assistant: str
    """From the end of the user's text to the start of the assistant's text."""


class Layout:
    """How a tokenizer's policy lays out states.

    `template` (with `{prompt}` in it) replaces the chat template; `examples` are (question, answer) pairs before the
    prompt; `end_ids` are the tokens that end a text (default: the tokenizer's own). `delimiter` is what ends a step
    (default: see `step_delimiter`). With `system="auto"` the system text is the environment's, `None` is no system text.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        delimiter: str | None = None,
        system: str | None = prompts.AUTO,
        template: str | None = None,
        examples: Sequence[tuple[str, str]] = (),
        end_ids: frozenset[int] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.delimiter = step_delimiter(tokenizer) if delimiter is None else delimiter
        self.system, self.template = system, template
        self.examples = tuple(examples)
        own_end = tokenizer.eos_token_id
        self.end_ids = (
            frozenset(() if own_end is None else (own_end,)) if end_ids is None else end_ids
        )
        is_chat = template is None and bool(getattr(tokenizer, "chat_template", None))
        self.turns = _turns(tokenizer, system) if is_chat else None
        self.ids_of = lru_cache(100_000)(partial(_text_ids, tokenizer))
        self._described: dict[str, str] | None = None
        self._sampled = lru_cache(100_000)(self._read_sampled)

    def head(self, prompt: str, told: str | None = None) -> tuple[str, str]:
        """Return the text up to the first step in two pieces: what all problems share, and the rest.

        `told` is the environment's system text.
        """
        return prompts.head(
            self.tokenizer,
            prompt,
            system=prompts.system_text(self.system, told),
            template=self.template,
            examples=self.examples,
        )

    def segments(self, state: State) -> list[Segment]:
        """Return all segments of a state; the first two are the head's.

        Only the segments of the head may be empty.
        """
        found = [
            Segment(self.ids_of(piece), False) for piece in self.head(state.prompt, state.system)
        ]
        for at, step in enumerate(state.steps):
            own, after = self._step(step)
            found.append(Segment(own, True))
            if after and (at + 1 < len(state.steps) or not state.done):
                found.append(Segment(after, False))
        return found

    def conversation(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> tuple[str, ToolForm]:
        """Return a conversation with tools as text, and the form of its tool calls.

        The text goes up to the assistant's next turn.

        Raises `UserError` if the tokenizer has no chat template that takes tools, or the form is not a known one.
        """
        way_out = (
            "; use a model whose template has tools (Qwen, Hermes, Llama 3.1), a server that reads tool calls "
            "(chat:URL#MODEL), or describe the tools in a message and leave `tools` out"
        )
        name = self.describe_tokenizer()["name"]
        if self.template is not None or not getattr(self.tokenizer, "chat_template", None):
            raise UserError(
                f"{name} has no chat template, so that it cannot be shown tools{way_out}"
            )
        form = form_of(self.tokenizer.get_chat_template(tools=list(tools)))
        if form is None:
            raise UserError(
                f"the chat template of {name} has no form of tool calls that is known{way_out}"
            )
        try:
            text, without = (
                self.tokenizer.apply_chat_template(
                    template_messages(messages),
                    tools=shown,
                    tokenize=False,
                    add_generation_prompt=True,
                )
                for shown in (list(tools), None)
            )
        except Exception as error:  # a template is a program of its own and may raise anything
            raise UserError(
                f"the chat template of {name} refuses these messages: {error}"
            ) from error
        if text == without:
            raise UserError(f"the chat template of {name} shows no tools{way_out}")
        return text, form

    def ids(self, state: State) -> tuple[int, ...]:
        """Return the tokens that a policy reads of a state."""
        return tuple(token for segment in self.segments(state) for token in segment.ids)

    def final_ids(self, step: Step) -> tuple[int, ...]:
        """Return the own tokens of a state's last step, ended by an end token.

        These are what supervised training learns.
        """
        if step.token_ids is not None and self._sampled(step.token_ids, step.text) is not None:
            ids = step.token_ids
        else:
            ids = tuple(self.tokenizer(_utf8(step.text), add_special_tokens=False).input_ids)
        end = self.tokenizer.eos_token_id
        return ids if end is None or (ids and ids[-1] in self.end_ids) else (*ids, end)

    def _step(self, step: Step) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return a step's own tokens, and what is read after them before the next step."""
        reply = shown_reply(step.reply) if step.reply else ""
        sampled = None if step.token_ids is None else self._sampled(step.token_ids, step.text)
        if sampled is None or step.token_ids is None:
            own, rest = self.ids_of(step.text + self.delimiter), self.delimiter
        else:
            own, rest = step.token_ids, sampled
        ended = own[-1:] and own[-1] in self.end_ids
        if reply and self.turns:
            after = self.ids_of(self.turns.to_user + reply + self.turns.to_assistant)
            return own, after[1:] if ended and after[0] in self.end_ids else after
        if ended:
            own = own[
                :-1
            ]  # the episode continues in this text, so it must not contain an end token
        missing = "" if self.delimiter in rest else self.delimiter
        text = missing + (reply + self.delimiter if reply else "")
        return own, self.ids_of(text) if text else ()

    def _read_sampled(self, ids: tuple[int, ...], text: str) -> str | None:
        """Return what follows the step's text in its tokens (delimiter, end token); `None` if they are not its tokens."""
        whole = self.decode(ids)
        return whole[len(text) :] if whole.startswith(text) else None

    def decode(self, ids: Sequence[int]) -> str:
        """Return tokens as text, special tokens included."""
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def is_reasoning(self, ids: Sequence[int]) -> list[bool]:
        """Return for each token whether it lies inside internal reasoning, its own tags included."""
        whole, at, found = self.decode(ids), 0, []
        spans = [(s.start, s.end) for s in parse(whole) if s.kind is SegmentKind.REASONING]
        for token in ids:
            found.append(any(start <= at < end for start, end in spans))
            at += len(self.decode([token]))
        return found

    def describe_tokenizer(self) -> dict[str, str]:
        """Return name and hash of the tokenizer; equal hashes mean equal tokens for equal texts."""
        if self._described is None:
            self._described = describe_tokenizer(self.tokenizer)
        return self._described


def step_delimiter(tokenizer: Any) -> str:
    """Return what ends a step: `STEP_END` or an empty line.

    It is `STEP_END` if that is a single token of the tokenizer (`stepgym train sft --tool-tokens`).
    """
    return STEP_END if STEP_END in tokenizer.get_added_vocab() else DELIMITER


def describe_tokenizer(tokenizer: Any) -> dict[str, str]:
    """Return name and hash of a tokenizer.

    The hash covers its vocabulary, rules and special tokens.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = (
        backend.to_str()
        if backend is not None
        else json.dumps(sorted(tokenizer.get_vocab().items()))
    )
    name = str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
    digest = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return {"name": name.rstrip("/").rpartition("/")[2], "hash": digest}


def _text_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return prompts.segment_ids(tokenizer, _utf8(text))


def _utf8(text: str) -> str:
    """Return the text with `?` for a half surrogate, which tokenizers refuse."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _turns(tokenizer: Any, system: str | None) -> Turns | None:
    """Return the marks between turns as the chat template writes them; `None` if it takes no second question."""
    first, answer, second = _MARKERS
    messages = [
        *prompts.messages(first, system=system),
        {"role": "assistant", "content": answer},
        {"role": "user", "content": second},
    ]
    try:
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
    except Exception:  # noqa: BLE001 - a template is a program of its own and may raise anything
        return None
    _, found, rest = text.rpartition(answer)
    between, again, after = rest.partition(second)
    return Turns(between, after) if found and again else None
