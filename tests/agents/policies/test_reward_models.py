"""Reward models over transformers against one plain forward pass per step; the oracles against the verifiers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForTokenClassification

from stepgym.agents.policies.loading import LanguageModel
from stepgym.agents.policies.reward_models import LogProbReward, StepVerifierReward, VerifierReward
from stepgym.agents.policies.transformers_reward import TransformersRewardModel
from stepgym.agents.registry import load_reward_model
from stepgym.envs.registry import load_env
from stepgym.envs.types import State, Step

from .conftest import CONTEXT, END, ascii_tokenizer, tiny_model

STATES = [
    State("1 + 1 + 1", (Step("1 + 1 = 2"), Step("2 + 1 = 3"))),
    State("1 + 1 + 1", (Step("1 + 1 = 2"), Step("2 + 1 = 4", reply="no"), Step("so 4"))),
    State("a longer prompt than the others, for the padding", (Step("x"),)),
    State("no steps yet"),
]


def classifier(num_labels: int = 2) -> LanguageModel:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=END + 1,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        num_labels=num_labels,
    )
    return LanguageModel(LlamaForTokenClassification(config).eval(), ascii_tokenizer())


def plain_scores(model: TransformersRewardModel, state: State, read: Any) -> list[float]:
    text, out = f"Problem: {state.prompt}\nSolution:\n", []
    for step in state.steps:
        text += step.text + model.separator
        with torch.no_grad():
            logits = model.model(torch.tensor([model.tokenizer(text).input_ids])).logits[0, -1]
        out.append(float(read(logits)))
        text += f"<tool_result>{step.reply}</tool_result>\n" if step.reply else ""
    return out


@pytest.mark.parametrize("labels", [1, 2])
@pytest.mark.parametrize("batch_tokens", [1, 100_000])
def test_classifier_reads_each_step_at_its_last_token(labels: int, batch_tokens: int) -> None:
    model = TransformersRewardModel(classifier(labels), batch_tokens=batch_tokens)
    read = (
        (lambda logits: logits.sigmoid()[0])
        if labels == 1
        else (lambda logits: logits.softmax(-1)[1])
    )
    for _ in range(2):
        for state, scores in zip(STATES, model.score(STATES)):
            assert scores == pytest.approx(plain_scores(model, state, read), abs=1e-5)
            assert all(0 <= score <= 1 for score in scores)


def test_words_model_weighs_two_tokens_at_the_marker() -> None:
    language_model = LanguageModel(tiny_model(), ascii_tokenizer())
    model = TransformersRewardModel(language_model, head="words", separator=" ?")
    plus, minus = ord("+"), ord("-")
    for state, scores in zip(STATES, model.score(STATES)):
        want = plain_scores(model, state, lambda logits: logits[[plus, minus]].softmax(-1)[0])
        assert scores == pytest.approx(want, abs=1e-5)


def test_score_of_a_step_does_not_depend_on_what_follows_or_stands_beside() -> None:
    together = TransformersRewardModel(classifier()).score(STATES)
    alone = [TransformersRewardModel(classifier()).score([state])[0] for state in STATES]
    assert together == [pytest.approx(scores, abs=1e-5) for scores in alone]
    assert together[0][0] == together[1][0]


def test_folder_and_name_lead_to_the_same(tmp_path: Path) -> None:
    loaded = classifier()
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    by_name = load_reward_model(f"hf:{tmp_path}", device="cpu")
    assert by_name.score(STATES) == TransformersRewardModel(loaded).score(STATES)


def test_state_longer_than_the_context_is_an_error_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=rf"does not fit the reward model's context of {CONTEXT}"):
        TransformersRewardModel(classifier()).score([State("x" * 500, (Step("y"),))])


def test_confidence_is_the_mean_probability_of_a_token() -> None:
    state = State(
        "p", (Step("a", log_prob=-2.0, num_tokens=4), Step("b", log_prob=0.0, num_tokens=1))
    )
    assert load_reward_model("log_prob").score([state]) == [[pytest.approx(math.exp(-0.5)), 1.0]]
    with pytest.raises(ValueError, match="needs a policy that gives them"):
        LogProbReward().score([State("p", (Step("a"),))])


def test_step_oracle_follows_the_step_verifier() -> None:
    env = load_env("stepgym/Countdown-v0", level=1, seed=0)
    problem = env.problems[0]
    state = env.domain.initial(problem)
    good = env.domain.advance([state], [Step(env.domain.legal_steps(state)[0])])[0]
    bad = env.domain.advance([state], [Step("7777 + 1")])[0]
    oracle = StepVerifierReward(env.step_verifier, [problem])
    want = [
        [verdict.score for verdict in each]
        for each in env.step_verifier.verify_steps([problem] * 2, [good, bad])
    ]
    assert oracle.score([good, bad]) == want
    assert oracle.score([bad]) == [[0.0]]
    with pytest.raises(ValueError, match="was given to this oracle"):
        oracle.score([State("another prompt", (Step("a"),))])


def test_answer_oracle_speaks_on_answers_alone() -> None:
    env = load_env("stepgym/Math-v0", level=1, seed=0)
    problem = env.problems[0]
    state = env.domain.initial(problem)
    open_, right, wrong = env.domain.advance(
        [state] * 3,
        [Step("hm"), Step(f"<answer>{problem.reference}</answer>"), Step("<answer>12345</answer>")],
    )
    assert VerifierReward(env.verifier, [problem]).score([open_, right, wrong, state]) == [
        [0.5],
        [1.0],
        [0.0],
        [],
    ]
