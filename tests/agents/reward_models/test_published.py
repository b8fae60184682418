"""Published reward models in their own formats against the computation of their cards; missing weights are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from stepgym.agents import solve
from stepgym.agents.registry import load_reward_model
from stepgym.envs.types import State, Step
from stepgym.plugins.errors import UserError

SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STATES = [
    State("What is 2 + 3 * 4?", (Step("3 * 4 = 12"), Step("2 + 12 = 14"), Step("\\boxed{14}"))),
    State("What is 2 + 3 * 4?", (Step("2 + 3 = 5"), Step("5 * 4 = 20"))),
    State("Nothing yet?"),
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    found = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    found.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<extra_0>"]})
    found.add_tokens(["ки"])
    found.chat_template = TEMPLATE
    return found


def save(
    tokenizer: Any, folder: Path, kind: Any, config: Any = transformers.Qwen2Config, **k: Any
) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = kind(
        config(vocab_size=len(tokenizer), max_position_embeddings=2048, **sizes, **heads, **k)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval()


def add_weights(folder: Path, **weights: torch.Tensor) -> None:
    file = folder / "model.safetensors"
    save_file({**load_file(file), **weights}, file, {"format": "pt"})


def check(name: str, card: list[list[float]]) -> None:
    model = load_reward_model(name, batch_tokens=300)
    scores = model.score(STATES)
    assert scores[2] == [] and len(scores) == 3
    for mine, theirs in zip(scores, card):
        assert mine == pytest.approx(theirs, abs=1e-5)
    assert model.tokens_read(STATES)[0] > 20  # type: ignore[attr-defined]


def qwen_card(tokenizer: Any, state: State) -> tuple[torch.Tensor, torch.Tensor]:
    said = "<extra_0>".join(step.text for step in state.steps) + "<extra_0>"
    talk = [("system", SYSTEM), ("user", state.prompt), ("assistant", said)]
    messages = [{"role": role, "content": content} for role, content in talk]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    ids = tokenizer.encode(text, return_tensors="pt", add_special_tokens=False)
    return ids, ids[0] == tokenizer.convert_tokens_to_ids("<extra_0>")


def test_qwen_prm_as_a_token_classifier(tokenizer: Any, tmp_path: Path) -> None:
    model = save(tokenizer, tmp_path, transformers.Qwen2ForTokenClassification, num_labels=2)
    card = []
    for state in STATES[:2]:
        ids, marks = qwen_card(tokenizer, state)
        card.append(model(ids).logits.softmax(-1)[0][marks][:, 1].tolist())
    check(f"qwen-prm:{tmp_path}", card)


def test_qwen_prm_with_its_own_two_layer_head(tokenizer: Any, tmp_path: Path) -> None:
    model = save(tokenizer, tmp_path, transformers.Qwen2ForCausalLM)
    first, second = torch.nn.Linear(32, 32), torch.nn.Linear(32, 2)
    head = {"score.0": first, "score.2": second}
    add_weights(
        tmp_path,
        **{f"{name}.weight": layer.weight.detach() for name, layer in head.items()},
        **{f"{name}.bias": layer.bias.detach() for name, layer in head.items()},
    )
    card = []
    for state in STATES[:2]:
        ids, marks = qwen_card(tokenizer, state)
        logits = second(first(model.model(ids).last_hidden_state).relu())
        card.append(logits.softmax(-1)[0][marks][:, 1].tolist())
    check(f"qwen-prm:{tmp_path}", card)


def test_math_shepherd(tokenizer: Any, tmp_path: Path) -> None:
    model = save(tokenizer, tmp_path, transformers.MistralForCausalLM, transformers.MistralConfig)
    card = []
    for state in STATES[:2]:
        steps = "\n".join(f"Step {i}: {s.text} ки" for i, s in enumerate(state.steps, start=1))
        ids = torch.tensor([tokenizer.encode(f"{state.prompt} {steps}")])
        candidates = tokenizer.encode("+") + tokenizer.encode("-")
        scores = model(ids).logits[:, :, candidates].softmax(-1)[:, :, 0]
        card.append(scores[ids == tokenizer.encode("ки")[-1]].tolist())
    check(f"math-shepherd:{tmp_path}", card)


def test_skywork_prm_and_its_missing_head(tokenizer: Any, tmp_path: Path) -> None:
    model = save(tokenizer, tmp_path, transformers.Qwen2ForCausalLM)
    with pytest.raises(UserError, match=r"lacks the weights v_head"):
        load_reward_model(f"skywork-prm:{tmp_path}")
    weight, bias = torch.randn(1, 32), torch.zeros(1)
    add_weights(tmp_path, **{"v_head.summary.weight": weight, "v_head.summary.bias": bias})
    card = []
    for state in STATES[:2]:
        ids = tokenizer.encode(state.prompt + "\n")
        ends = []
        for step in state.steps:
            ids += tokenizer.encode(step.text + "\n")
            ends.append(len(ids) - 1)
        hidden = model.model(torch.tensor([ids])).last_hidden_state[0, ends]
        card.append((hidden @ weight[0] + bias).sigmoid().tolist())
    check(f"skywork-prm:{tmp_path}", card)


def test_an_outcome_model_reads_the_chat_and_fills_one_score(
    tokenizer: Any, tmp_path: Path
) -> None:
    model = save(tokenizer, tmp_path, transformers.Qwen2ForSequenceClassification, num_labels=1)
    card = []
    for state in STATES[:2]:
        said = "\n\n".join(step.text for step in state.steps)
        talk = [{"role": "user", "content": state.prompt}, {"role": "assistant", "content": said}]
        text = tokenizer.apply_chat_template(talk, tokenize=False)
        ids = tokenizer.encode(text, return_tensors="pt", add_special_tokens=False)
        card.append(model(ids).logits[0].sigmoid().tolist())
    check(f"orm:{tmp_path}", card)


@pytest.mark.parametrize("name", ["qwen-prm", "orm", "math-shepherd", "hf"])
def test_weights_that_are_missing_are_never_random(
    tokenizer: Any, tmp_path: Path, name: str
) -> None:
    save(tokenizer, tmp_path, transformers.Qwen2ForCausalLM, tie_word_embeddings=False)
    file = tmp_path / "model.safetensors"
    kept = {k: v for k, v in load_file(file).items() if k != "lm_head.weight"}
    save_file(kept, file, {"format": "pt"})
    with pytest.raises(UserError, match="would be random"):
        load_reward_model(f"{name}:{tmp_path}")


def test_marks_in_a_steps_text_do_not_shift_the_scores(tokenizer: Any, tmp_path: Path) -> None:
    save(tokenizer, tmp_path, transformers.Qwen2ForTokenClassification, num_labels=2)
    model = load_reward_model(f"qwen-prm:{tmp_path}")
    marked = State("2<extra_0>?", (Step("3 * 4 <extra_0>= 12"), Step("<extra_0>x")))
    plain = State("2?", (Step("3 * 4 = 12"), Step("x")))
    assert model.score([marked]) == model.score([plain])


def test_a_search_uses_it_by_name(tokenizer: Any, tmp_path: Path) -> None:
    save(tokenizer, tmp_path, transformers.Qwen2ForTokenClassification, num_labels=2)
    [record] = solve(
        "stepgym/Countdown-v0", agent="beam", policy="random", reward_model=f"qwen-prm:{tmp_path}"
    )
    assert all(node.score is not None for node in record.nodes[1:])
    with pytest.raises(FileNotFoundError):
        load_reward_model("orm:/no/such/folder")
