"""A tiny Llama with random weights and a tokenizer of single characters: quick, and exact enough to compare two ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stepgym.agents.policies.loading import LanguageModel
from stepgym.agents.policies.transformers_policy import TransformersPolicy

CONTEXT = 400


END = 128


def ascii_tokenizer() -> Any:
    """One token per ASCII character, so that any sampled text gives its tokens back, and `<eos>` as token 128."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    letters = [split.pre_tokenize_str(chr(code))[0][0] for code in range(END)]
    inner = Tokenizer(
        models.BPE(vocab={letter: code for code, letter in enumerate(letters)}, merges=[])
    )
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>")


def tiny_model(**changes: Any) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=END + 1,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=END,
        **changes,
    )
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.4)
    return model


@pytest.fixture(scope="session")
def language_model() -> LanguageModel:
    torch.set_num_threads(1)
    return LanguageModel(tiny_model(), ascii_tokenizer())


@pytest.fixture
def make_policy(language_model: LanguageModel) -> Callable[..., TransformersPolicy]:
    def make(**settings: Any) -> TransformersPolicy:
        return TransformersPolicy(
            language_model, **{"max_new_tokens": 12, "seed": 3, "temperature": 1.0, **settings}
        )

    return make
