"""The policy on whatever accelerator is here: the same tokens as on the CPU in float32, nearly the same log-probabilities in bfloat16."""

from __future__ import annotations

import copy

import pytest
import torch

from stepgym.agents.policies.loading import LanguageModel
from stepgym.agents.policies.transformers_policy import TransformersPolicy
from stepgym.envs.types import State, Step

DEVICES = [
    name
    for name, there in (
        ("cuda", torch.cuda.is_available()),
        ("mps", torch.backends.mps.is_available()),
    )
    if there
]
STATES = [
    State("2 + 2?"),
    State("A much longer prompt than the other one has, so that the batch is padded."),
    State("2 + 2?", (Step("first"), Step("second", reply="7"))),
]
pytestmark = pytest.mark.skipif(not DEVICES, reason="no accelerator here")


def policy(language_model: LanguageModel, device: str, dtype: torch.dtype) -> TransformersPolicy:
    moved = LanguageModel(
        copy.deepcopy(language_model.model).to(device, dtype), language_model.tokenizer
    )
    return TransformersPolicy(moved, max_new_tokens=12, seed=3, temperature=1.0)


@pytest.mark.parametrize("device", DEVICES)
def test_float32_gives_the_same_steps_as_the_cpu(
    language_model: LanguageModel, device: str
) -> None:
    here, there = (
        policy(language_model, name, torch.float32).propose(STATES, [4, 2, 3])
        for name in ("cpu", device)
    )
    for a, b in zip(here, there):
        assert [step.text for step in a] == [step.text for step in b]
        assert [step.log_prob for step in a] == pytest.approx(
            [step.log_prob for step in b], abs=1e-2
        )


@pytest.mark.parametrize("device", DEVICES)
def test_half_precision_scores_what_it_drew_as_a_plain_pass_does(
    language_model: LanguageModel, device: str
) -> None:
    half = policy(language_model, device, torch.bfloat16)
    for state, steps in zip(STATES[:2], half.propose(STATES[:2], [6, 6])):
        ids = half.tokenizer("".join(half.head(state.prompt))).input_ids
        for step in steps:
            new = half.tokenizer(step.text).input_ids
            if len(new) != step.num_tokens:
                continue  # its delimiter or end-of-sequence token is not in its text
            with torch.inference_mode():
                logits = (
                    half.model(torch.tensor([ids + new], device=device))
                    .logits[0, len(ids) - 1 : -1]
                    .float()
                )
            plain = (
                logits.log_softmax(-1)
                .gather(-1, torch.tensor(new, device=device)[:, None])
                .sum()
                .item()
            )
            assert step.log_prob == pytest.approx(plain, abs=0.05 * len(new))
