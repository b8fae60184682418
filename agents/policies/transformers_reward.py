"""A process reward model of `transformers`; one forward pass per batch scores every step.

Two kinds of model are read. A *classifier* has a label per token (`AutoModelForTokenClassification`): a step's score is the probability of the positive label at the step's last
token. A *words* model is a language model that says after each step whether it was good: the probability of the
first of two tokens, over both.

| model | settings |
|---|---|
| a folder saved by `stepgym train` or by TRL's former PRM trainer | none: classifier, `separator="\\n"` |
| any other token classifier | `separator=`, `positive=` |
| a language model that says a word after each step | `head="words"`, `separator=`, `words=` |

Published models have names of their own, with the layout of their cards: `stepgym.agents.reward_models.published`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from stepgym.agents.policies import prompts
from stepgym.agents.policies.kv_store import chain_keys
from stepgym.agents.policies.loading import LanguageModel, load_model
from stepgym.envs.tokens import shown_reply
from stepgym.envs.types import State
from stepgym.plugins.errors import UserError

REMEMBERED = 200_000
"""Number of cached scores: a step's score depends on its prefix alone, and paths of a tree share prefixes."""


class TransformersRewardModel:
    """Scores each step in [0, 1] with a token classifier or a language model.

    The table above lists the settings for each kind.

    `separator` follows every step's text, and the score is read at its last token. `positive` is the index of the
    good label; a model with one label is read through the logistic function. `template` and `system` lay out the
    prompt as in `TransformersPolicy`. A state longer than the model's context is a `ValueError`.
    """

    def __init__(
        self,
        model: str | Path | LanguageModel,
        *,
        head: Literal["classifier", "words"] = "classifier",
        separator: str = "\n",
        positive: int = 1,
        words: tuple[str, str] = ("+", "-"),
        system: str | None = None,
        template: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        batch_tokens: int = 8192,
        trust_remote_code: bool = False,
    ) -> None:
        if head not in ("classifier", "words"):
            raise ValueError(f"unknown head {head!r}; known: classifier, words")
        if not isinstance(model, LanguageModel):
            kind = "AutoModelForCausalLM" if head == "words" else "AutoModelForTokenClassification"
            model = load_model(
                model,
                kind,
                device=device,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                complete=True,
            )
        self.model, self.tokenizer = model
        self.head, self.separator, self.positive = head, separator, positive
        self.system, self.template, self.batch_tokens = system, template, batch_tokens
        self._words = [self._one_token(word) for word in words] if head == "words" else []
        self._known: OrderedDict[bytes, float] = OrderedDict()

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the model."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def describe(self) -> dict[str, Any]:
        """Return the reward model's settings, as records keep them."""
        name = Path(str(self.model.config.name_or_path)).name
        return {
            "kind": "transformers",
            "model": name,
            "head": self.head,
            "num_parameters": self.num_parameters,
        }

    def score(self, states: Sequence[State]) -> list[list[float]]:
        """Return one score per step of each state."""
        keys = []
        missing: dict[bytes, tuple[list[bytes], tuple[str, ...]]] = {}
        for state in states:
            pieces = self._pieces(state)
            # A reply is in its step's piece: the pieces after the first two are the steps.
            chain = chain_keys(pieces)[2:]
            keys.append(chain)
            if any(key not in self._known for key in chain):
                missing[chain[-1]] = (chain, pieces)
        self._read(list(missing.values()))
        scores = [[self._known[key] for key in chain] for chain in keys]
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return scores

    def tokens_read(self, states: Sequence[State]) -> list[int]:
        """Return the tokens of each state as this model lays it out: prompt, steps and replies."""
        return [sum(map(len, self._token_ids(self._pieces(state)))) for state in states]

    def _token_ids(self, pieces: Sequence[str]) -> list[list[int]]:
        return [self.tokenizer(piece, add_special_tokens=False).input_ids for piece in pieces]

    def _pieces(self, state: State) -> tuple[str, ...]:
        first = prompts.head(
            self.tokenizer, state.prompt, system=self.system, template=self.template
        )
        pieces = list(first)
        reply = ""
        for step in state.steps:
            pieces.append(reply + step.text + self.separator)
            reply = shown_reply(step.reply) + "\n" if step.reply else ""
        return tuple(pieces)

    def _read(self, wanted: Sequence[tuple[list[bytes], tuple[str, ...]]]) -> None:
        """Score all steps of some states and remember them."""
        rows = []
        for chain, pieces in wanted:
            ids: list[int] = []
            ends = []
            for piece in self._token_ids(pieces):
                ids += piece
                ends.append(len(ids) - 1)
            context = getattr(self.model.config, "max_position_embeddings", None) or len(ids)
            if len(ids) > context:
                raise UserError(
                    f"a state of {len(ids)} tokens does not fit the reward model's context of {context}"
                )
            rows.append((ids, ends[2:], chain))
        rows.sort(key=lambda row: len(row[0]))
        for batch in self._batches(rows):
            length = max(len(ids) for ids, _, _ in batch)
            tokens = torch.zeros(len(batch), length, dtype=torch.long)
            mask = torch.zeros_like(tokens)
            for i, (ids, _, _) in enumerate(batch):
                tokens[i, : len(ids)], mask[i, : len(ids)] = torch.tensor(ids), 1
            device = self.model.device
            with torch.inference_mode():
                output = self.model(input_ids=tokens.to(device), attention_mask=mask.to(device))
            logits = output.logits if hasattr(output, "logits") else output[0]
            for i, (_, ends, chain) in enumerate(batch):
                self._known.update(zip(chain, self._good(logits[i, ends].float())))

    def _batches(self, rows: list[Any]) -> Iterator[list[Any]]:
        start = 0
        for stop in range(1, len(rows) + 1):
            if stop == len(rows) or len(rows[stop][0]) * (stop + 1 - start) > self.batch_tokens:
                yield rows[start:stop]
                start = stop

    def _good(self, logits: torch.Tensor) -> list[float]:
        """Return the probability of a good step from logits [steps, labels or vocabulary]."""
        if self._words:
            chances = logits[:, self._words].softmax(-1)[:, 0]
        elif logits.shape[-1] == 1:
            chances = logits[:, 0].sigmoid()
        else:
            chances = logits.softmax(-1)[:, self.positive]
        return [round(float(chance), 6) for chance in chances]

    def _one_token(self, word: str) -> int:
        """Return the token of a word after a space; the last one if there are several."""
        ids = self.tokenizer(" " + word, add_special_tokens=False).input_ids
        if not ids:
            raise ValueError(f"the tokenizer knows no token for the word {word!r}")
        return int(ids[-1])
