"""Language models in training, on a tiny Llama of single characters: what is written is what policies and reward models load."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stepgym.agents.policies.loading import load_language_model
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.agents.policies.transformers_policy import TransformersPolicy
from stepgym.agents.policies.transformers_reward import TransformersRewardModel
from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.claims.llm_generation import claim as llm_generation
from stepgym.cli import main
from stepgym.envs.registry import load_env
from stepgym.envs.types import State, Step
from stepgym.records.near_duplicates import likeness
from stepgym.records.run_folder import RunFolder, read_episodes
from stepgym.records.types import RunConfig
from stepgym.training import fit, rollouts
from stepgym.training.fit import LossNotFinite, TrainingError
from stepgym.training.played import Played, read_runs
from stepgym.training.preference_texts import preference_texts
from stepgym.training.run import TrainConfig, playground, read_config, train

ENV = "stepgym/Math-v0"
needs_trl = pytest.mark.skipif(
    importlib.util.find_spec("trl") is None, reason="pip install 'stepgym[train]'"
)
needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="pip install 'stepgym[train]'"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a random Llama that reads and writes single characters."""
    torch.set_num_threads(1)
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    letters = [split.pre_tokenize_str(chr(code))[0][0] for code in range(128)]
    inner = Tokenizer(
        models.BPE(vocab={letter: code for code, letter in enumerate(letters)}, merges=[])
    )
    inner.pre_tokenizer, inner.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<eos>"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        llama = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=129,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=400,
                bos_token_id=None,
                eos_token_id=128,
            )
        )
    folder = tmp_path_factory.mktemp("model")
    llama.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"hf:{folder}"


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run folder: of each problem one way that is right and one that is wrong, parting at the second step."""
    env = load_env(ENV, level=1, seed=4)
    with RunFolder(
        tmp_path / "run", RunConfig(env_id=ENV, agent="best_of_n", policy="smollm2")
    ) as folder:
        for i in range(4):
            problem = env.problems[i]
            answer = problem.reference
            nodes = (
                NodeRecord(parent=-1, text=""),
                NodeRecord(parent=0, text="First."),
                NodeRecord(
                    parent=1, text=f"<answer>{answer}</answer>", answer=answer, verdict="correct"
                ),
                NodeRecord(parent=1, text="<answer>77</answer>", answer="77", verdict="incorrect"),
            )
            folder.append(record_of(problem, nodes))
    return str(tmp_path / "run")


def record_of(problem: Any, nodes: tuple[NodeRecord, ...]) -> EpisodeRecord:
    return EpisodeRecord(
        env_id=ENV,
        problem_id=problem.id,
        index=problem.index,
        seed=4,
        level=1,
        prompt=problem.prompt,
        reference=problem.reference,
        nodes=nodes,
        path=(0, 1, 2),
        answer=problem.reference,
        verdict="correct",
        score=1.0,
    )


def config(kind: str, model: str, out: Path, **changes: Any) -> TrainConfig:
    settings = {
        "steps": 4,
        "batch": 4,
        "learning_rate": 1e-3,
        "device": "cpu",
        "level": 1,
        **changes,
    }
    return TrainConfig(kind=kind, init=model, out=str(out), **settings)


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    loaded = load_language_model(str(folder).removeprefix("hf:"), device="cpu").model
    return dict(loaded.state_dict())


def moved(model: str, out: Path) -> float:
    before, after = weights(model), weights(out)
    return max(float((before[name] - after[name]).abs().max()) for name in before)


@pytest.mark.parametrize("lora", [0, pytest.param(4, marks=needs_peft)])
def test_sft_writes_a_policy(model: str, run: str, tmp_path: Path, lora: int) -> None:
    out = tmp_path / "out"
    figures = train(config("sft", model, out, runs=(run,), lora=lora, steps=30, learning_rate=1e-2))
    assert figures["examples"] == 4
    losses = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 30
    assert losses[-1] < losses[0] - (0.1 if lora else 0.5)
    if importlib.util.find_spec("tensorboard") is not None:
        assert list((out / "tensorboard").glob("events.*"))
    assert not list(out.glob("*.bin")) and not list(out.glob("*.pt")), "safetensors only"
    [steps] = TransformersPolicy(out, device="cpu", max_new_tokens=4).propose(
        [State("2 + 2?")], [2]
    )
    assert len(steps) == 2


@pytest.mark.parametrize("lora", [0, pytest.param(4, marks=needs_peft)])
def test_a_run_cut_short_ends_as_the_one_that_was_not(
    model: str, run: str, tmp_path: Path, lora: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "_CHECKPOINT_SECONDS", -1.0)  # after every step

    def stop(step: int, steps: int, values: dict[str, float]) -> None:
        if step == 4:
            raise KeyboardInterrupt

    settings = config("sft", model, tmp_path / "cut", runs=(run,), lora=lora, steps=6, batch=2)
    with pytest.raises(KeyboardInterrupt):
        train(settings, progress=stop)
    seen: list[int] = []
    train(settings, progress=lambda step, steps, values: seen.append(step))
    assert seen == [4, 5, 6]
    train(replace(settings, out=str(tmp_path / "whole")))
    whole = weights(tmp_path / "whole")
    for name, weight in weights(tmp_path / "cut").items():
        assert torch.allclose(weight, whole[name], atol=1e-6), name


@pytest.mark.parametrize(
    ("kind", "lora"), [("prm", 0), ("orm", 0), pytest.param("prm", 4, marks=needs_peft)]
)
def test_reward_trainers_write_a_reward_model(
    model: str, run: str, tmp_path: Path, kind: str, lora: int
) -> None:
    out = tmp_path / "out"
    train(config(kind, model, out, runs=(run,), lora=lora))
    [scores] = TransformersRewardModel(out, device="cpu").score(
        [State("2 + 2?", (Step("First."), Step("4")))]
    )
    assert len(scores) == 2
    assert all(0 < score < 1 for score in scores)


@needs_trl
@pytest.mark.parametrize("lora", [0, pytest.param(4, marks=needs_peft)])
def test_dpo_moves_the_chosen_over_the_rejected(
    model: str, run: str, tmp_path: Path, lora: int
) -> None:
    out = tmp_path / "out"
    figures = train(config("dpo", model, out, runs=(run,), lora=lora, steps=6, beta=0.1))
    assert figures["examples"] == 4
    assert figures["loss"] < math.log(2)
    assert moved(model, out) > 0
    assert not (out / "trl").exists(), "what TRL resumes from is gone when it is done"
    assert train(config("dpo", model, out, runs=(run,), lora=lora, steps=6, beta=0.1)) == figures


def test_preferences_leave_out_what_stops_for_a_reply(model: str, run: str) -> None:
    tokenizer = load_language_model(model.removeprefix("hf:"), device="cpu").tokenizer
    [played] = read_runs([run])
    silent, *_ = played.records
    nodes = [*silent.nodes[:2], replace(silent.nodes[2], reply="noted"), *silent.nodes[3:]]
    said = Played([silent, replace(silent, nodes=tuple(nodes))], played.replay)
    [pair] = preference_texts([said], tokenizer)
    assert pair["chosen"] == f"<answer>{silent.reference}</answer>" and pair["prompt"].endswith(
        "First.\n\n"
    )


@needs_trl
@pytest.mark.parametrize(
    ("variant", "lora"),
    [("grpo", 0), ("dr_grpo", 0), ("dapo", 0), pytest.param("dapo", 4, marks=needs_peft)],
)
def test_grpo_plays_an_environment(
    model: str, tmp_path: Path, variant: str, lora: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A random model solves nothing; a reward for the even lengths gives the update something to do.
    monkeypatch.setattr(
        rollouts, "rewards", lambda env, episodes: [float(len(e.ids) % 2) for e in episodes]
    )
    out = tmp_path / "out"
    given = {
        "variant": variant,
        "group": 4,
        "batch": 8,
        "steps": 2,
        "max_new_tokens": 6,
        "max_steps": 2,
    }
    figures = train(config("grpo", model, out, env=ENV, lora=lora, **given))
    assert 0 <= figures["reward"] <= 1
    assert moved(model, out) > 0
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2


class Verbose:
    """A domain that answers each step and ends after the second."""

    def initial(self, problem: Any) -> State:
        return State(problem.prompt)

    def advance(self, states: list[State], steps: list[Step]) -> list[State]:
        from stepgym.envs.types import End

        found = []
        for state, step in zip(states, steps):
            after = (*state.steps, replace(step, reply="noted"))
            full = len(after) == 2
            found.append(
                replace(
                    state,
                    steps=after,
                    answer=step.text if full else None,
                    end=End.ANSWERED if full else None,
                )
            )
        return found


def test_grpo_keeps_problems_apart(model: str, tmp_path: Path) -> None:
    env, file = load_env(ENV, level=1, seed=4), tmp_path / "apart.json"
    settings = config("grpo", model, tmp_path, env=ENV)
    all_of_them = rollouts.playable(env, settings, 100)
    apart = sorted(all_of_them)[:30]
    a, b = next(prompt.split()[1:4:2] for prompt in apart if "+" in prompt)
    file.write_text(json.dumps(apart))
    left = rollouts.playable(env, replace(settings, apart=str(file)), 100)
    assert len(all_of_them) == 100
    assert not set(apart) & set(left)
    assert not [prompt for prompt in left if prompt.startswith(f"Compute {b[:-1]} + {a}.")], (
        "nor the twin of one"
    )
    seeds = {playground(replace(settings, seed=seed)).problems[0].prompt for seed in (0, 1)}
    assert not seeds & {load_env(ENV, level=1, seed=seed).problems[0].prompt for seed in (0, 1)}, (
        "what others measure on"
    )


def test_episodes_are_the_text_that_the_policy_read(model: str) -> None:
    env = load_env(ENV, level=1, seed=4)
    env.domain = Verbose()
    loaded = load_language_model(model.removeprefix("hf:"), device="cpu")
    policy = TransformersPolicy(
        loaded, temperature=1.0, top_p=1.0, max_new_tokens=5, delimiters=("q",)
    )
    problems = [env.problems[0]] * 3 + [env.problems[1]] * 3
    episodes = rollouts.play(policy, env, problems, max_steps=4)
    assert len({tuple(episode.ids) for episode in episodes}) == 6, "each is a sample of its own"
    for episode in episodes:
        text = loaded.tokenizer.decode(episode.ids)
        assert "noted" in text, "the reply to the first step stands there"
        learned = loaded.tokenizer.decode([t for t, own in zip(episode.ids, episode.own) if own])
        assert "noted" not in learned, "and is not learned"
        assert loaded.tokenizer.decode(episode.prompt_ids) == "".join(
            policy.layout.head(episode.problem.prompt)
        )
        first, second = episode.state.steps
        assert learned.startswith(first.text) and text.rstrip("q").endswith(second.text.rstrip("q"))


@needs_trl
def test_grpo_that_was_cut_short_goes_on(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        rollouts, "rewards", lambda env, episodes: [float(len(e.ids) % 2) for e in episodes]
    )
    out = tmp_path / "out"
    settings = config("grpo", model, out, group=4, batch=4, steps=8, max_new_tokens=6, max_steps=1)

    def stop(step: int, steps: int, values: dict[str, float]) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, progress=stop)
    kept = out / "trl" / "checkpoint-4" / "model.safetensors"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-100])
    with pytest.raises(TrainingError, match="checkpoint-4 is cut short"):
        train(settings)
    kept.write_bytes(whole)
    seen: list[int] = []
    train(settings, progress=lambda step, steps, values: seen.append(step))
    assert seen[0] == 5, "step 4 was the last checkpoint"
    assert seen[-1] == 8


@needs_trl
def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play, calls = rollouts.play, []

    def poisoned(policy: TransformersPolicy, *args: Any, **given: Any) -> Any:
        episodes = play(policy, *args, **given)
        calls.append(1)
        if len(calls) == 6:
            policy.model.lm_head.weight.data[:] = math.nan
        return episodes

    monkeypatch.setattr(rollouts, "play", poisoned)
    out = tmp_path / "out"
    settings = config("grpo", model, out, group=4, batch=4, steps=8, max_new_tokens=6, max_steps=1)
    with pytest.raises(LossNotFinite, match="last good checkpoint is in"):
        train(settings)
    assert all(torch.isfinite(weight).all() for weight in weights(out).values())


def test_a_missing_package_names_the_extra(
    model: str, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "trl" else there(name, *a)
    )
    for kind in ("dpo", "grpo"):
        with pytest.raises(
            TrainingError, match=r"needs the package trl: pip install 'stepgym\[train\]'"
        ):
            train(config(kind, model, tmp_path / kind, runs=(run,)))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_broken_checkpoint_is_named(model: str, run: str, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(model.removeprefix("hf:"), folder)
    (folder / name).write_bytes(b"\0" * 40)
    with pytest.raises(TrainingError, match="cannot load hf:"):
        train(config("sft", f"hf:{folder}", tmp_path / "out", runs=(run,)))


def answers(state: State) -> list[Step]:
    """Right where the first number is even; otherwise one wrong answer before a right one."""
    a, op, b = state.prompt.split("\n")[0].removeprefix("Compute ").rstrip(".").split()
    right = int(a) + int(b) if op == "+" else int(a) - int(b)
    said = [right] * 4 if int(a) % 2 == 0 else [99, right, 99, 99]
    return [Step(f"<answer>{one}</answer>", num_tokens=3) for one in said]


def test_a_generation_is_measured_on_problems_that_it_never_played(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def policy(config: Any, name: str, seed: int, **settings: Any) -> ScriptedPolicy:
        asked.append(name)
        return ScriptedPolicy(answers)

    monkeypatch.setattr(llm_generation, "_policy", policy)
    settings = llm_generation.Generation(
        out=str(tmp_path / "g"),
        init=model,
        arms=("sft", "unverified"),
        episodes=12,
        samples=4,
        steps=2,
        lora=0,
        device="cpu",
    )
    results = llm_generation.run_generation(settings, tell=lambda line: None)
    assert [row["name"] for row in results["methods"]] == [
        "before",
        "after sft",
        "after unverified",
    ]
    assert results["play"]["solved_by_any_sample"] == 1
    test = {likeness(problem.prompt) for problem in llm_generation.held_out(settings)}
    played = {record.prompt for record in read_episodes(tmp_path / "g" / "run")}
    assert len(test) == 60, "two thirds of the level's problems, no two alike"
    assert len(played) == 12
    assert not test & {likeness(prompt) for prompt in played}
    approved = list(read_episodes(tmp_path / "g" / "run-unverified"))
    assert any(
        node.answer == "99" and node.verdict == "correct"
        for record in approved
        for node in record.nodes
    )
    seen = len(asked)
    again = llm_generation.run_generation(settings, tell=lambda line: None)
    assert len(asked) == seen, "nothing is played or measured twice"
    assert again == results, "what play took, too"
    part = llm_generation.run_generation(replace(settings, arms=("sft",)), tell=lambda line: None)
    assert part == results, "an arm that is not asked for again stays"
    with pytest.raises(TrainingError, match="samples was 4, is now 5"):
        llm_generation.run_generation(replace(settings, samples=5))
    (Path(settings.out) / "held-out.json").write_text("[]")
    with pytest.raises(TrainingError, match="measured on other problems"):
        llm_generation.run_generation(settings)


def test_arms_are_trained_in_an_order_of_their_own(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dpo` goes on from `sft`, whichever is named first and whether `sft` is named at all."""
    inits: list[tuple[str, str]] = []
    monkeypatch.setattr(
        llm_generation, "_policy", lambda *given, **settings: ScriptedPolicy(answers)
    )
    monkeypatch.setattr(
        llm_generation,
        "train",
        lambda config, progress: inits.append((Path(config.out).name, config.init)),
    )
    settings = llm_generation.Generation(
        out=str(tmp_path), init=model, episodes=4, samples=4, held_out=4, device="cpu"
    )
    for arms in (("dpo", "unverified"), ("sft", "dpo")):
        llm_generation.run_generation(replace(settings, arms=arms), tell=lambda line: None)
    after = f"hf:{tmp_path / 'sft'}"
    assert inits == [
        ("sft", model),
        ("unverified", model),
        ("dpo", after),
        ("sft", model),
        ("dpo", after),
    ]


@pytest.mark.parametrize(
    ("kind", "verdict", "message"),
    [
        ("sft", "incorrect", "no correct episode"),  # nothing to imitate
        ("prm", "correct", "labels are of one class"),  # nothing to tell apart
        ("orm", "incorrect", "labels are of one class"),
        pytest.param(
            "dpo", "correct", "no fork", marks=needs_trl
        ),  # nothing to prefer over anything
    ],
)
def test_records_that_teach_nothing_are_named(
    model: str, run: str, tmp_path: Path, kind: str, verdict: str, message: str
) -> None:
    with RunFolder(
        tmp_path / "spoiled", RunConfig(env_id=ENV, agent="best_of_n", policy="smollm2")
    ) as folder:
        for record in read_episodes(run):
            nodes = tuple(
                replace(node, verdict=verdict if node.verdict else None) for node in record.nodes
            )
            folder.append(replace(record, nodes=nodes))
    with pytest.raises(TrainingError, match=message):
        train(config(kind, model, tmp_path / "out", runs=(str(tmp_path / "spoiled"),)))


@needs_peft
def test_the_command_trains_a_language_model(model: str, run: str, tmp_path: Path) -> None:
    call = [
        "train",
        "sft",
        "--init",
        model,
        "--runs",
        run,
        "--out",
        str(tmp_path / "out"),
        "--steps",
        "2",
        "--batch",
        "2",
    ]
    done = CliRunner().invoke(main, [*call, "--lora", "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "train.json").read_text())["lora"] == 16
    wrong = CliRunner().invoke(main, [*call, "--device", "cdua"])
    assert wrong.exit_code == 2
    assert "unknown device 'cdua'; did you mean 'cuda'?" in wrong.output


def test_alphazero_is_for_embedded_models(model: str, run: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="embedded models alone"):
        train(config("alphazero", model, tmp_path, runs=(run,)))


def test_language_models_have_defaults_of_their_own() -> None:
    config = read_config("sft", None, {"init": "smollm2", "out": "x", "lora": 8})
    assert (config.steps, config.batch, config.learning_rate) == (100, 16, 2e-4)
    assert read_config("sft", None, {"init": "smollm2", "out": "x", "steps": 7}).steps == 7
    assert read_config("sft", None, {"out": "x"}).batch == 128
