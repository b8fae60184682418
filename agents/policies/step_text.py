"""From new token ids to a step: whether it is complete, its text, and how many of its tokens are internal reasoning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stepgym.envs.tokens import ANSWER_END, STEP_END, THINK, THINK_END, parse
from stepgym.envs.types import SegmentKind


class Cut(NamedTuple):
    """Where a step ends in its text, and the mark that ended it."""

    at: int
    mark: str


@dataclass(frozen=True, slots=True)
class StepReader:
    """Reads new ids as text. `delimiters` end a step outside internal reasoning, `closers` end it and stay in it."""

    tokenizer: Any
    end_ids: frozenset[int]
    delimiters: tuple[str, ...]
    closers: tuple[str, ...] = (ANSWER_END,)
    _pieces: dict[int, str] = field(default_factory=dict, compare=False)

    def piece(self, token: int) -> str:
        """Return the text of one token by itself."""
        if token not in self._pieces:
            self._pieces[token] = self.decode([token])
        return self._pieces[token]

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def ended(self, ids: Sequence[int], *, thinking: bool, stops: tuple[str, ...] = ()) -> bool:
        """Return whether these ids complete a step. `thinking` means that they begin inside internal reasoning."""
        last = self.piece(ids[-1])
        if not any(
            stop[-1] in last for stop in (STEP_END, *self.delimiters, *self.closers, *stops)
        ):
            return False
        return self.cut(self.decode(ids), thinking=thinking, stops=stops) is not None

    def cut(self, text: str, *, thinking: bool, stops: tuple[str, ...] = ()) -> Cut | None:
        """Return where `find_cut` finds the end of the step."""
        return find_cut(
            text, delimiters=self.delimiters, closers=self.closers, thinking=thinking, stops=stops
        )

    def text(
        self, ids: Sequence[int], *, thinking: bool, stops: tuple[str, ...] = ()
    ) -> tuple[str, str]:
        """Return the step's text, without the end-of-sequence token, the delimiter and what follows, and its end mark."""
        whole = self.decode(ids[:-1] if ids and ids[-1] in self.end_ids else ids)
        cut = self.cut(whole, thinking=thinking, stops=stops)
        return (whole, "") if cut is None else (whole[: cut.at], cut.mark)

    def ids_up_to(self, ids: Sequence[int], text: str) -> int | None:
        """Return how many of the ids make exactly this text, which they begin with; `None` if it ends within one."""
        for count in range(len(ids), -1, -1):
            whole = self.decode(ids[:count])
            if whole == text:
                return count
            if len(whole) < len(text):
                return None
        return None

    def num_reasoning(self, ids: Sequence[int], *, thinking: bool) -> int:
        """Count the tokens inside internal reasoning, its own tags included."""
        whole = _opened(self.decode(ids), thinking)
        if THINK not in whole:
            return 0
        at, count = (len(THINK) if thinking else 0), 0
        spans = [(s.start, s.end) for s in parse(whole) if s.kind is SegmentKind.REASONING]
        for token in ids:
            count += any(start <= at < end for start, end in spans)
            at += len(self.piece(token))
        return count


def find_cut(
    text: str,
    *,
    delimiters: Sequence[str],
    closers: Sequence[str] = (ANSWER_END,),
    thinking: bool = False,
    stops: Sequence[str] = (),
) -> Cut | None:
    """Return the offset of a step's end, before its delimiter; `None` if it is not complete.

    A delimiter before the first word ends nothing, and only `STEP_END` and `stops` end a step inside internal
    reasoning: a thought is not cut at its paragraphs. A closer ends a step and stays in it.
    """
    lead = len(text) - len(text.lstrip())
    hidden = [
        (s.start, s.end) for s in parse(_opened(text, thinking)) if s.kind is SegmentKind.REASONING
    ]
    shift = len(THINK) if thinking else 0
    cuts = [Cut(at, mark) for mark in (STEP_END, *stops) if (at := text.find(mark)) >= 0]
    for mark in (*delimiters, *closers):
        at = text.find(mark, lead)
        while at >= 0 and any(start <= at + shift < end for start, end in hidden):
            at = text.find(mark, at + 1)
        if at >= 0:
            cuts.append(Cut(at + (len(mark) if mark in closers else 0), mark))
    return min(cuts, default=None)


def reasoning_of(message: Mapping[str, Any]) -> str:
    """Return the internal reasoning of a chat message, under any of the names that servers give it."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(text := message.get(name), str) and text:
            return text
    details = message.get("reasoning_details")
    parts = (
        [part for part in details if isinstance(part, Mapping)] if isinstance(details, list) else []
    )
    texts = [part.get("text") or part.get("summary") for part in parts]
    return "".join(text for text in texts if isinstance(text, str))


def reasoning_share(text: str) -> float:
    """Return the share of a text's characters that is internal reasoning, its tags included.

    Text that ends a thought without having begun one was begun by the prompt, as some chat templates do.
    """
    if THINK not in text.partition(THINK_END)[0] and THINK_END in text:
        return _share(THINK + text)
    return _share(text)


def _share(text: str) -> float:
    spans = [s.end - s.start for s in parse(text) if s.kind is SegmentKind.REASONING]
    return sum(spans) / len(text) if spans else 0.0


def _opened(text: str, thinking: bool) -> str:
    return THINK + text if thinking else text


def is_thinking(text: str) -> bool:
    """Return whether a text ends inside internal reasoning."""
    segments = parse(text)
    return (
        bool(segments)
        and segments[-1].kind is SegmentKind.REASONING
        and not text.endswith(THINK_END)
    )
