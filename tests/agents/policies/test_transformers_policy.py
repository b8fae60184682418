"""The policy against a plain loop that reads everything anew for every token: same tokens, same log-probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepgym.agents.policies.continuation import PartialStep
from stepgym.agents.policies.loading import LanguageModel, load_language_model
from stepgym.agents.policies.sampling import stream
from stepgym.agents.policies.transformers_policy import TransformersPolicy
from stepgym.agents.types import PolicyError
from stepgym.envs.tokens import STEP_END
from stepgym.envs.types import State, Step

from .conftest import END

Make = Callable[..., TransformersPolicy]
STATES = [
    State("2 + 2?"),
    State("A much longer prompt than the other one has, so that the batch is padded."),
    State("2 + 2?", (Step("first"), Step("second", reply="7"))),
    State("", (Step("a"),)),
]
law = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def ids_of(policy: TransformersPolicy, state: State) -> list[int]:
    text = f"Problem: {state.prompt}\nSolution:\n"
    for step in state.steps:
        text += (
            step.text
            + "\n\n"
            + (f"<tool_result>{step.reply}</tool_result>\n\n" if step.reply else "")
        )
    return list(policy.tokenizer(text).input_ids)


def plain_step(policy: TransformersPolicy, state: State, child: int) -> tuple[list[int], float]:
    """Sample one step with a full forward pass per token and a sort of the whole vocabulary."""
    pieces = ["Problem: ", f"{state.prompt}\nSolution:\n"]
    for step in state.steps:
        pieces.append(step.text + "\n\n")
        if step.reply:
            pieces.append(f"<tool_result>{step.reply}</tool_result>\n\n")
    uniforms = stream(policy.seed, state.draw, child, *pieces, length=policy.max_new_tokens)
    ids, new, total = ids_of(policy, state), [], 0.0
    for uniform in uniforms:
        with torch.no_grad():
            logits = policy.model(torch.tensor([ids + new])).logits[0, -1]
        probabilities, tokens = torch.softmax(logits / policy.decoder.temperature, -1).sort(
            descending=True
        )
        before = probabilities.cumsum(-1) - probabilities
        kept = probabilities[before < policy.decoder.top_p]
        at = int((kept.cumsum(-1) <= uniform * kept.sum()).sum())
        new.append(int(tokens[at]))
        total += float(logits.log_softmax(-1)[new[-1]])
        written = policy.tokenizer.decode(new)
        if new[-1] == END or any(
            end in written.lstrip() for end in ("\n\n", STEP_END, "</answer>")
        ):
            break
    return new, total


@pytest.mark.parametrize("state", STATES, ids=["short", "long", "with steps", "empty prompt"])
def test_shared_prefix_samples_what_a_full_forward_samples(make_policy: Make, state: State) -> None:
    policy = make_policy(top_p=0.9)
    (steps,) = policy.propose([state], [4])
    for child, step in enumerate(steps):
        new, log_prob = plain_step(policy, state, child)
        assert step.num_tokens == len(new)
        assert policy.tokenizer.decode(new).startswith(step.text)
        assert step.log_prob == pytest.approx(log_prob, abs=1e-3)


@law
@given(
    order=st.permutations(range(4)),
    counts=st.lists(st.integers(0, 5), min_size=4, max_size=4),
    limit=st.sampled_from([0.0, 0.05, None]),
)
def test_steps_depend_on_neither_batch_nor_order_nor_cache(
    make_policy: Make, order: list[int], counts: list[int], limit: float | None
) -> None:
    alone = {i: make_policy().propose([STATES[i]], [5])[0] for i in range(4)}
    policy = make_policy(kv_mib=limit, max_children=7)
    for _ in range(2):
        together = policy.propose([STATES[i] for i in order], [counts[i] for i in order])
        for i, steps in zip(order, together):
            assert steps == alone[i][: counts[i]]
            assert [s.log_prob for s in steps] == pytest.approx(
                [s.log_prob for s in alone[i][: counts[i]]], abs=2e-4
            )


def test_child_reads_nothing_again(make_policy: Make) -> None:
    state = STATES[1]
    (unstopped,) = make_policy(max_new_tokens=60, delimiters=(STEP_END,)).propose([state], [6])
    ascii_only = [c for step in unstopped for c in step.text[5:] if c.isascii() and c.isprintable()]
    delimiter = max(ascii_only, key=ascii_only.count)
    policy = make_policy(delimiters=(delimiter,), max_new_tokens=60)
    (steps,) = policy.propose([state], [6])
    assert [step.num_prompt_tokens for step in steps] == [len(ids_of(policy, state)), 0, 0, 0, 0, 0]
    ended = [step for step in steps if not step.final and step.num_tokens < 60]
    assert ended
    children = [replace(state, steps=(step,)) for step in ended]
    fresh = make_policy(delimiters=(delimiter,), max_new_tokens=60)
    for child, kept in zip(children, policy.propose(children, [2] * len(children))):
        assert kept == fresh.propose([child], [2])[0]
        # A token that was sampled was charged when it was; the delimiter here is one of them.
        assert [step.num_prompt_tokens for step in kept] == [0, 0]


def test_very_many_children_take_several_rows_and_read_the_prefix_once(make_policy: Make) -> None:
    policy, one_row = make_policy(max_new_tokens=4), make_policy(max_new_tokens=4, kv_mib=0)
    (steps,) = policy.propose([STATES[1]], [70])
    assert [steps] == one_row.propose([STATES[1]], [70])
    assert sum(step.num_prompt_tokens for step in steps) == len(ids_of(policy, STATES[1]))


def test_eviction_keeps_the_limit_and_the_steps(make_policy: Make) -> None:
    policy, roomy = make_policy(kv_mib=0.1), make_policy(kv_mib=None)
    states = [State(f"Problem number {n}, with a prompt of its own.") for n in range(12)]
    for _ in range(2):
        assert policy.propose(states, [3] * 12) == roomy.propose(states, [3] * 12)
        assert policy.store.num_bytes <= 0.1 * 2**20
    assert policy.store.num_evicted > 0
    assert roomy.store.num_evicted == 0


def test_asking_again_draws_anew_and_none_takes_the_likeliest(make_policy: Make) -> None:
    policy = make_policy()
    first, again = policy.propose([STATES[0], replace(STATES[0], draw=4)], [4, 4])
    assert first != again
    (likeliest,) = policy.propose([replace(STATES[0], draw=None)], [3])
    (cold,) = make_policy(temperature=0).propose([STATES[0]], [3])
    assert likeliest == cold
    assert len(cold) == 1


def greedy_text(policy: TransformersPolicy, state: State, length: int) -> str:
    (steps,) = make_long(policy, length).propose([replace(state, draw=None)], [1])
    return steps[0].text


def make_long(policy: TransformersPolicy, length: int) -> TransformersPolicy:
    model = LanguageModel(policy.model, policy.tokenizer)
    return TransformersPolicy(model, max_new_tokens=length, delimiters=(STEP_END,))


def test_step_stops_at_its_delimiter_and_decodes_no_further(make_policy: Make) -> None:
    policy = make_policy()
    whole = greedy_text(policy, STATES[0], 40)
    delimiter = whole[20:22]
    assert delimiter.strip()
    stopping = make_policy(delimiters=(delimiter,), max_new_tokens=40)
    ((step,),) = stopping.propose([replace(STATES[0], draw=None)], [1])
    cut = whole.index(delimiter)
    assert step.text == whole[:cut]
    assert step.num_tokens <= len((whole[:cut] + delimiter).encode())
    assert not step.final


def test_prompt_longer_than_the_context_fails_alone(make_policy: Make) -> None:
    policy = make_policy()
    with pytest.raises(
        PolicyError, match=r"1 of 2 states failed.*no room in the model's context of 400"
    ) as caught:
        policy.propose([State("x" * 500), STATES[0]], [2, 2])
    assert set(caught.value.failures) == {0}
    assert caught.value.steps == [[], *policy.propose([STATES[0]], [2])]


def test_last_tokens_of_the_context_are_used_and_no_more(make_policy: Make) -> None:
    policy = make_policy(delimiters=(STEP_END,))
    length = len(ids_of(policy, State("")))
    ((step,),) = policy.propose([State("y" * (400 - length - 3))], [1])
    assert step.num_tokens == 3


def test_weights_that_are_not_numbers_are_a_recorded_failure() -> None:
    from .conftest import ascii_tokenizer, tiny_model

    policy = TransformersPolicy(LanguageModel(tiny_model(), ascii_tokenizer()), max_new_tokens=4)
    with torch.no_grad():
        policy.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(PolicyError, match="not finite"):
        policy.propose([STATES[0]], [2])


def test_internal_reasoning_is_one_step_and_counted(make_policy: Make) -> None:
    reader = make_policy()._reader
    text = "<think>a\n\nb</think> so\n\nmore"
    assert reader.text(reader.tokenizer(text).input_ids, thinking=False) == (
        "<think>a\n\nb</think> so",
        "\n\n",
    )
    open_thought = reader.tokenizer("a\n\nb</think> so\n\n").input_ids
    assert reader.text(open_thought, thinking=True) == ("a\n\nb</think> so", "\n\n")
    ids = reader.tokenizer("<think>ab</think> so").input_ids
    assert reader.num_reasoning(ids, thinking=False) == len("<think>ab</think>")
    assert reader.num_reasoning(reader.tokenizer("ab</think>c").input_ids, thinking=True) == len(
        "ab</think>"
    )


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("a\n\nb", "a"),  # the delimiter is not part of the step
        ("\n\na\n\nb", "\n\na"),  # a delimiter before the first word ends nothing
        ("a<|step_end|>b", "a"),  # the special token always ends a step
        ("<think>a<|step_end|>b", "<think>a"),  # even in internal reasoning
        ("<answer>7</answer> and", "<answer>7</answer>"),  # nothing follows an answer
        ("<answer>7", "<answer>7"),  # an open answer goes on
        ("", ""),  # a policy may say nothing
    ],
)
def test_where_a_step_ends(make_policy: Make, text: str, step: str) -> None:
    reader = make_policy()._reader
    assert reader.text(reader.tokenizer(text).input_ids, thinking=False)[0] == step


def test_opening_is_written_on_and_reads_only_what_was_forced(make_policy: Make) -> None:
    policy = make_policy(delimiters=(STEP_END,))
    ((first,),) = policy.continue_steps(
        [PartialStep(STATES[0], max_new_tokens=5, stops=("never",))]
    ).written
    again = PartialStep(STATES[0], texts=(first.step.text, " Wait"), max_new_tokens=4)
    ((more,),) = policy.continue_steps([again]).written
    assert more.step.num_tokens == 4
    assert more.step.num_prompt_tokens == len(" Wait")
    ((fresh,),) = make_policy(delimiters=(STEP_END,)).continue_steps([again]).written
    assert fresh.step == more.step
    ids = tuple(token for piece in (*more.begun_ids, more.step.token_ids or ()) for token in piece)
    whole = Step(first.step.text + " Wait" + more.step.text, token_ids=ids)
    state = replace(STATES[0], steps=(whole,))
    ((child,),) = policy.propose([state], [1])
    assert child.num_prompt_tokens == len(STEP_END), (
        "the step is read from the cache whole, forced words included"
    )
    assert child == make_policy(delimiters=(STEP_END,)).propose([state], [1])[0][0]


def test_folder_goes_in_and_gives_the_same(make_policy: Make, tmp_path: Any) -> None:
    policy = make_policy()
    policy.model.save_pretrained(tmp_path)
    policy.tokenizer.save_pretrained(tmp_path)
    again = TransformersPolicy(tmp_path, max_new_tokens=12, seed=3, temperature=1.0, device="cpu")
    assert again.propose(STATES, [2] * 4) == policy.propose(STATES, [2] * 4)
    assert again.num_parameters == sum(p.numel() for p in policy.model.parameters())


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("/no/such/folder", "no model folder at '/no/such/folder'"),
        ("nothing.gguf", "no GGUF file at 'nothing.gguf'"),
        ("no-such-owner/no-such-model", "no model to load from 'no-such-owner/no-such-model'"),
    ],
)
def test_missing_model_is_named(source: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=says):
        load_language_model(source)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"max_new_tokens": 0},
        {"delimiters": ()},
        {"delimiters": ("",)},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(make_policy: Make, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).removesuffix("s")):
        make_policy(**wrong)
