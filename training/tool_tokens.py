"""Tool and step delimiters as single tokens: abstract actions of a language model.

The delimiters (`<|step_end|>`, `<tool_call>`, `<answer>` and their like) become tokens of the tokenizer, so that opening a
tool call or ending a step is one choice of the model instead of several. They are added as ordinary tokens, not as
"special" ones, because servers leave special tokens out of the text that they return.
"""

from __future__ import annotations

from typing import Any

import torch

from stepgym.envs.tokens import SPECIAL_TOKENS


def add_tool_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Add the delimiters that are not single tokens yet, and return their ids.

    The embedding of a new token is at first the mean of the embeddings of the tokens that it replaces.
    """
    pieces = {
        text: ids
        for text in SPECIAL_TOKENS
        if len(ids := tokenizer(text, add_special_tokens=False).input_ids) != 1
    }
    tokenizer.add_tokens([_added(text) for text in pieces])
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    new: list[int] = tokenizer.convert_tokens_to_ids(list(pieces))
    weights = {
        id(layer.weight): layer.weight
        for layer in (model.get_input_embeddings(), model.get_output_embeddings())
        if layer is not None  # one and the same if they are tied
    }
    with torch.no_grad():
        for weight in weights.values():
            for token, ids in zip(new, pieces.values(), strict=True):
                weight[token] = weight[ids].mean(dim=0)
    return new


def token_layers(model: Any) -> list[str]:
    """Return the names of the layers with a row per token, for adapters that train single rows."""
    layers = [model.get_input_embeddings()]
    head = model.get_output_embeddings()
    if head is not None and head.weight is not layers[0].weight:
        layers.append(head)
    return [name for name, module in model.named_modules() if any(module is x for x in layers)]


def _added(text: str) -> Any:
    from transformers import AddedToken

    return AddedToken(text, normalized=False, special=False)
