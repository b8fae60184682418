"""A tiny random Llama whose tokenizer has merges and a chat template, so that sampled tokens are seldom the tokens
that their text would be given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from stepgym.envs.types import End, Problem, State, Step

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def merging_tokenizer(*, chat: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    letters = [split.pre_tokenize_str(chr(code))[0][0] for code in range(128)]
    line = letters[10]
    printable = letters[33:127]
    merges = [(line, line), *((a, b) for a in printable for b in printable)]
    vocabulary = {letter: code for code, letter in enumerate(letters)}
    for a, b in merges:
        vocabulary.setdefault(a + b, len(vocabulary))
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    if chat:
        tokenizer.chat_template = CHAT
    return tokenizer


@pytest.fixture(scope="session")
def chat_tokenizer() -> Any:
    return merging_tokenizer(chat=True)


@pytest.fixture(scope="session")
def plain_tokenizer() -> Any:
    return merging_tokenizer(chat=False)


@pytest.fixture(scope="session")
def language_model(chat_tokenizer: Any) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from stepgym.agents.policies.loading import LanguageModel

    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(chat_tokenizer),
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=900,
                bos_token_id=None,
                eos_token_id=chat_tokenizer.eos_token_id,
            )
        ).eval()
        for parameter in model.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.2)
    return LanguageModel(model, chat_tokenizer)


class ReplyingDomain:
    """Replies to every other step, and ends after four with the last text as answer."""

    def initial(self, problem: Problem) -> State:
        return State(problem.prompt)

    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        found = []
        for state, step in zip(states, steps):
            steps_now = (*state.steps, step)
            if len(steps_now) % 2:
                steps_now = (*state.steps, replace(step, reply="noted abc"))
            done = len(steps_now) == 4
            answer = step.text if done else None
            found.append(State(state.prompt, steps_now, answer, End.ANSWERED if done else None))
        return found
