"""Tool calls of local models: reading them, and making them through the endpoint with a model that was trained to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents import solve
from stepgym.agents.episode import Episode
from stepgym.agents.policies.loading import LanguageModel
from stepgym.agents.policies.scripted import RandomLegalPolicy, ScriptedPolicy
from stepgym.agents.policies.tool_calls import ToolForm, form_of, read_turn, template_messages
from stepgym.agents.policies.transformers_policy import TransformersPolicy
from stepgym.agents.types import EpisodeRecord, Policy
from stepgym.envs.families.words import same_word_env

from .conftest import END, ascii_tokenizer, tiny_model

HERMES = (
    "{% if tools %}T{% for t in tools %}{{ t.function.name }}{% endfor %}"
    "{# calls are written <tool_call> JSON </tool_call> #}<eos>{% endif %}"
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
    "<eos>{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "step", "parameters": {"type": "object"}}}
CALL = 'ok\n\n<tool_call>{"name": "step", "arguments": {"text": "cab"}}</tool_call>'
scalars = st.none() | st.booleans() | st.integers() | st.text()
json_values = scalars | st.dictionaries(st.text(), scalars, max_size=2)
arguments_of_calls = st.lists(
    st.dictionaries(st.text(), json_values, max_size=3), min_size=1, max_size=3
)


def read(form: ToolForm, text: str) -> tuple[str, list[tuple[str, Any]]]:
    turn = read_turn(text, form, ["step"])
    functions = [call["function"] for call in turn.calls]
    return turn.content, [(f["name"], json.loads(f["arguments"])) for f in functions]


@given(arguments=arguments_of_calls)
def test_calls_are_read_as_they_were_written(arguments: list[dict[str, Any]]) -> None:
    """Any arguments but those that hold the closing mark itself."""
    if "</tool_call>" in json.dumps(arguments):
        return
    wanted = [("step", each) for each in arguments]
    hermes = [json.dumps({"name": "step", "arguments": each}) for each in arguments]
    text = "First.\n" + "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in hermes)
    assert read(ToolForm.HERMES, text)[1] == wanted
    llama = "; ".join(json.dumps({"name": "step", "parameters": each}) for each in arguments)
    assert read(ToolForm.LLAMA, f"<|python_tag|>{llama}") == ("", wanted)


@pytest.mark.parametrize("form", ToolForm)
@pytest.mark.parametrize(
    "text",
    [
        "The answer is 7.",
        '<tool_call>{"name": "step", "arguments": </tool_call>',  # no JSON
        '<tool_call>{"arguments": {}}</tool_call>',  # no name
        '<tool_call>{"name": "step", "arguments": 7}</tool_call>',  # arguments are an object
        '<tool_call>{"name": "step", "arguments": {}}',  # cut by length
        '{"name": "other", "parameters": {}}',  # JSON that is no call of an offered tool
        '{"name": "step", "parameters": {}} is what I would call',
        '<think><tool_call>{"name": "step", "arguments": {}}</tool_call></think> No.',
        "[" * 100_000,
        "",
    ],
)
def test_text_that_is_no_call_stays_text(form: ToolForm, text: str) -> None:
    assert read(form, text) == (text, [])


def test_a_thought_before_a_call_stays() -> None:
    content, calls = read(ToolForm.HERMES, f"<think>hm</think>{CALL}")
    assert (content, calls) == ("<think>hm</think>ok", [("step", {"text": "cab"})])


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("qwen2_5", ToolForm.HERMES),
        ("qwen3", ToolForm.HERMES),
        ("llama3_1", ToolForm.LLAMA),
        ("llama3_2", ToolForm.LLAMA),
        ("qwen3_6", None),
        ("glm4moe", None),
        ("gemma3", None),
    ],
)
def test_published_templates(name: str, form: ToolForm | None) -> None:
    """What the template writes for a call of the assistant is read as that call."""
    trl = pytest.importorskip("trl")
    template = Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja"
    tokenizer = ascii_tokenizer()
    tokenizer.chat_template = template.read_text()
    assert form_of(tokenizer.chat_template) is form
    if form is None:
        return
    function = {"name": "step", "arguments": '{"text": "cab"}'}
    call = {"id": "1", "type": "function", "function": function}
    talk: list[Mapping[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "go"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "ok"},
    ]
    before, after = (
        tokenizer.apply_chat_template(
            template_messages(talk[:size]), tools=[TOOL], tokenize=False, add_generation_prompt=own
        )
        for size, own in ((1, True), (2, False))
    )
    assert after.startswith(before) and "step" in before
    written = after[len(before) :].partition("<|im_end|>")[0].partition("<|eot_id|>")[0]
    assert read(form, written)[1] == [("step", {"text": "cab"})]


@pytest.fixture(scope="module")
def caller() -> LanguageModel:
    """A tiny model that was trained to write one tool call."""
    tokenizer = ascii_tokenizer()
    tokenizer.chat_template = HERMES
    with torch.random.fork_rng(), torch.enable_grad():
        model = tiny_model().train()
        own = [*tokenizer(CALL).input_ids, END]
        prompt = tokenizer("Tstep<eos>u:Spell cab, one letter a step.<eos>a:").input_ids
        ids = torch.tensor([prompt + own])
        labels = ids.clone()
        labels[0, : len(prompt)] = -100
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(200):
            loss = model(ids, labels=labels).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if loss < 0.003:
                break
    return LanguageModel(model.eval(), tokenizer)


def calls_tools(episode: Episode) -> None:
    """A tool-calling loop as users of the openai package write it."""
    client = openai.OpenAI(base_url=episode.endpoint, api_key="none", max_retries=0)
    talk: list[Any] = [{"role": "user", "content": "Spell cab, one letter a step."}]
    with client:
        reply = client.chat.completions.create(
            model=episode.model,
            messages=talk,
            tools=[TOOL],  # type: ignore[list-item]
        )
        choice = reply.choices[0]
        talk.append(choice.message.model_dump(exclude_none=True))
        for call in choice.message.tool_calls or ():
            for letter in json.loads(call.function.arguments)["text"]:  # type: ignore[union-attr]
                result = episode.step(letter)
            talk.append({"role": "tool", "tool_call_id": call.id, "content": result.text})
        client.chat.completions.create(
            model=episode.model,
            messages=talk,
            tools=[TOOL],  # type: ignore[list-item]
        )


def play(policy: Policy, agent: Callable[[Episode], Any]) -> EpisodeRecord:
    (record,) = solve(same_word_env(count=1), agent=agent, policy=policy)
    return record


def test_a_local_model_calls_tools_through_its_chat_template(caller: LanguageModel) -> None:
    """Its own tokens are recorded, and their recomputed log-probabilities are the recorded ones."""
    policy = TransformersPolicy(caller, max_new_tokens=90, temperature=0.0)
    record = play(policy, calls_tools)
    assert record.verdict == "correct", record.note
    first, second = record.calls
    choice = first["response"]["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", "ok")
    decode = policy.layout.decode
    assert decode(first["response"]["prompt_token_ids"]).startswith("Tstep<eos>u:Spell")
    assert decode(first["token_ids"]) == CALL + "<eos>"
    shown = decode(second["response"]["prompt_token_ids"])
    assert '"arguments": {"text": "cab"}' in shown, "arguments are no JSON text in JSON"
    assert "<eos>t:" in shown, "the tool's result is read as a turn of the tool"
    for call in record.calls:
        context, ids = call["response"]["prompt_token_ids"], list(call["token_ids"])
        with torch.inference_mode():
            logits = policy.model(torch.tensor([context + ids])).logits[0].float()
        rows = logits.log_softmax(-1)[len(context) - 1 : -1]
        again = rows.gather(-1, torch.tensor(ids)[:, None])[:, 0].tolist()
        assert again == pytest.approx(list(call["token_log_probs"]), abs=1e-4)


def test_a_scripted_policy_calls_tools() -> None:
    record = play(ScriptedPolicy(lambda state: [CALL] * 2), calls_tools)
    assert record.verdict == "correct", record.note


def with_template(template: str | None) -> TransformersPolicy:
    tokenizer = ascii_tokenizer()
    tokenizer.chat_template = template
    return TransformersPolicy(LanguageModel(tiny_model(), tokenizer))


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (lambda: RandomLegalPolicy(), "RandomLegalPolicy cannot be offered tools"),
        (lambda: with_template(None), "has no chat template"),
        (lambda: with_template("{% for m in messages %}{{ m.content }}{% endfor %}"), "no form"),
        (lambda: with_template("<tool_call>{{ messages[0].content }}"), "shows no tools"),
        (lambda: with_template("<tool_call>{{ raise_exception('odd') }}"), "refuses .*odd"),
    ],
)
def test_a_policy_without_tools_is_an_error_with_the_way_out(
    policy: Callable[[], Policy], says: str
) -> None:
    def asks(episode: Episode) -> str:
        client = openai.OpenAI(base_url=episode.endpoint, api_key="none", max_retries=0)
        with client, pytest.raises(openai.BadRequestError, match=says) as raised:
            client.chat.completions.create(
                model=episode.model,
                messages=[{"role": "user", "content": "go"}],
                tools=[TOOL],  # type: ignore[list-item]
            )
        assert "odd" in says or "chat:URL#MODEL" in str(raised.value)
        return "cab"

    record = play(policy(), asks)
    assert record.verdict == "correct", record.note
