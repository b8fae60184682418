"""Language models in training, on a tiny Llama of single characters: what is written is what policies and reward models load."""

from __future__ import annotations

import copy
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

from stepgym.agents.policies.layout import describe_tokenizer
from stepgym.agents.policies.loading import load_language_model
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.agents.policies.transformers_policy import TransformersPolicy
from stepgym.agents.policies.transformers_reward import TransformersRewardModel
from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.claims.llm_generation import claim as llm_generation
from stepgym.cli import main
from stepgym.envs.registry import load_env
from stepgym.envs.tokens import SPECIAL_TOKENS, STEP_END
from stepgym.envs.types import Problem, State, Step
from stepgym.records.near_duplicates import likeness
from stepgym.records.run_folder import RunFolder, read_episodes
from stepgym.records.tree import path_to
from stepgym.records.types import RunConfig
from stepgym.training import fit, grpo, language_grpo
from stepgym.training.config import TrainConfig, read_config
from stepgym.training.language_examples import preference_rows, verified_rows
from stepgym.training.language_grpo import token_units
from stepgym.training.language_models import learned_log_probs
from stepgym.training.tool_tokens import add_tool_tokens
from stepgym.training.train import train, training_env
from stepgym.training.types import Baseline, LossNotFinite, Progress, TrainingError

ENV = "stepgym/Math-v0"
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
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", -1.0)  # after every step

    def stop(progress: Progress) -> None:
        if progress.done == 4:
            raise KeyboardInterrupt

    settings = config("sft", model, tmp_path / "cut", runs=(run,), lora=lora, steps=6, batch=2)
    with pytest.raises(KeyboardInterrupt):
        train(settings, progress=stop)
    seen: list[int] = []
    train(settings, progress=lambda progress: seen.append(progress.done))
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


@pytest.mark.parametrize("lora", [0, pytest.param(4, marks=needs_peft)])
def test_dpo_moves_the_chosen_over_the_rejected(
    model: str, run: str, tmp_path: Path, lora: int
) -> None:
    out = tmp_path / "out"
    settings = config("dpo", model, out, runs=(run,), lora=lora, steps=6, beta=0.1)
    figures = train(settings)
    assert figures["examples"] == 4
    assert figures["loss"] < math.log(2)
    assert figures["accuracy"] == 1
    assert moved(model, out) > 0
    assert train(settings)["steps"] == 6, "a finished run is not repeated"


def test_preferences_learn_neither_shared_steps_nor_replies(model: str, run: str) -> None:
    tokenizer = load_language_model(model.removeprefix("hf:"), device="cpu").tokenizer
    plain = next(iter(read_episodes(run)))
    first = replace(plain.nodes[1], reply="shared reply")
    more = (
        replace(plain.nodes[2], answer=None, verdict=None, text="So.", reply="own reply"),
        replace(plain.nodes[3]),
        replace(plain.nodes[2], parent=2),
    )
    record = replace(plain, nodes=(plain.nodes[0], first, *more))
    [pair] = preference_rows([record], tokenizer)
    texts = [tokenizer.decode(row.ids) for row in pair]
    learned = [
        tokenizer.decode([t for t, target in zip(row.ids, row.targets) if target == 1])
        for row in pair
    ]
    assert all("First." in text and "shared reply" in text for text in texts)
    assert "own reply" in texts[0]
    answer = f"<answer>{plain.reference}</answer>"
    assert learned == [f"So.\n\n{answer}<eos>", "<answer>77</answer><eos>"]


def odd_is_correct(record: EpisodeRecord, node: int) -> bool | None:
    """A random model solves nothing; paths of odd length count as correct to give the update something to do."""
    if record.nodes[node].end is None:
        return None
    return len("".join(record.nodes[at].text for at in path_to(record, node))) % 2 == 1


@pytest.mark.parametrize(
    ("variant", "baseline", "lora"),
    [
        ("grpo", "group", 0),
        ("dr_grpo", "fork", 0),
        ("dapo", "group", 0),
        pytest.param("dapo", "group", 4, marks=needs_peft),
    ],
)
def test_grpo_plays_an_environment(
    model: str,
    tmp_path: Path,
    variant: str,
    baseline: str,
    lora: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpo, "is_correct", odd_is_correct)
    monkeypatch.setattr(grpo, "reward_of", lambda *at: float(bool(odd_is_correct(*at))))
    out = tmp_path / "out"
    given = {
        "variant": variant,
        "baseline": baseline,
        "group": 4,
        "batch": 8,
        "steps": 2,
        "max_new_tokens": 6,
        "max_steps": 2,
    }
    figures = train(config("grpo", model, out, env=ENV, lora=lora, **given))
    assert 0 < figures["reward"] < 1
    assert figures["undecided"] == figures["failed"] == 0
    assert moved(model, out) > 0
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2


def test_refill_replaces_problems_whose_answers_agree(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        grpo, "is_correct", lambda record, node: False if record.nodes[node].end else None
    )
    given = {"group": 4, "batch": 8, "steps": 1, "max_new_tokens": 4, "max_steps": 1}
    asked = {
        refill: train(
            config("grpo", model, tmp_path / str(refill), env=ENV, refill=refill, **given)
        )["examples"]
        for refill in (False, True)
    }
    assert asked == {False: 2, True: 6}, "up to three times as many problems"


def test_grpo_follows_the_schedule_of_a_mixture_and_goes_on_with_it(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", -1.0)  # after every step
    monkeypatch.setattr(grpo, "is_correct", odd_is_correct)
    members = {
        "Math-v0": {"weight": 3, "sandbox": None},
        "Fractions-v0": {"weight": 1, "end_weight": 3, "sandbox": None},
    }
    settings = config(
        "grpo",
        model,
        tmp_path / "cut",
        env="Mixture-v0",
        env_options={"members": members, "rule": "progress"},
        level=None,
        group=4,
        batch=8,
        steps=3,
        max_new_tokens=6,
        max_steps=1,
    )

    def stop(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, progress=stop)
    train(settings)
    train(replace(settings, out=str(tmp_path / "whole")))
    cut, whole = (
        [json.loads(line) for line in (tmp_path / run / "mixture.jsonl").read_text().splitlines()]
        for run in ("cut", "whole")
    )
    assert [row["next"] for row in whole] == [2, 4, 6] and cut == whole
    assert whole[-1]["schedule"]["num_seen"] == 3 * 8
    assert len({str(row["schedule"]["courses"]) for row in whole}) == 3, "rates move"


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


def prompts_of(problems: list[Problem]) -> list[str]:
    return [problem.prompt for problem in problems]


def test_grpo_excludes_held_out_problems(model: str, tmp_path: Path) -> None:
    env, file = load_env(ENV, level=1, seed=4), tmp_path / "apart.json"
    settings = config("grpo", model, tmp_path, env=ENV)
    all_of_them = prompts_of(language_grpo.playable(env, settings, 100))
    apart = sorted(all_of_them)[:30]
    a, b = next(prompt.split()[1:4:2] for prompt in apart if "+" in prompt)
    file.write_text(json.dumps(apart))
    left = prompts_of(
        language_grpo.playable(env, replace(settings, exclude_prompts=str(file)), 100)
    )
    assert len(all_of_them) == 100
    assert not set(apart) & set(left)
    assert not [prompt for prompt in left if prompt.startswith(f"Compute {b[:-1]} + {a}.")], (
        "nor the twin of one"
    )
    seeds = {training_env(replace(settings, seed=seed)).problems[0].prompt for seed in (0, 1)}
    assert not seeds & {load_env(ENV, level=1, seed=seed).problems[0].prompt for seed in (0, 1)}, (
        "what others measure on"
    )


@pytest.mark.parametrize("baseline", list(Baseline))
def test_grpo_learns_the_tokens_that_were_sampled_and_no_others(
    model: str, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy's own log-probabilities are found again; replies are read but not learned."""
    monkeypatch.setattr(grpo, "is_correct", odd_is_correct)
    env = load_env(ENV, level=1, seed=4)
    env.domain = Verbose()
    loaded = load_language_model(model.removeprefix("hf:"), device="cpu")
    policy = TransformersPolicy(
        loaded, temperature=1.0, top_p=1.0, max_new_tokens=5, delimiters=("q",)
    )
    problems = [env.problems[i] for i in range(2)]
    played = grpo.play(problems, env=env, policy=policy, search=grpo.sampler(4, baseline))
    for record in played.records:
        paths = grpo.learned_paths(record, baseline=baseline, scaled=False)
        assert len(paths) >= 3, "all that did not end before the second step"
        for path, (units,) in zip(paths, token_units(record, paths), strict=True):
            row = units.sample
            text = loaded.tokenizer.decode(row.ids)
            own = [t for t, target in zip(row.ids, row.targets) if target == 1]
            assert "noted" in text, "the reply to the first step stands there"
            assert "noted" not in loaded.tokenizer.decode(own), "and is not learned"
            assert text.startswith("".join(policy.layout.head(record.prompt)))
            nodes = [record.nodes[at] for at in path.nodes]
            assert own == [token for node in nodes for token in node.token_ids]
            assert units.sizes == tuple(len(node.token_ids) for node in nodes)
            with torch.no_grad():
                found = learned_log_probs(loaded.model, [row])
            sampled = [x for node in nodes for x in node.token_log_probs]
            assert torch.allclose(found, torch.tensor(sampled), atol=1e-4)


def test_grpo_that_was_cut_short_goes_on(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", -1.0)  # after every step
    monkeypatch.setattr(grpo, "is_correct", odd_is_correct)
    settings = config(
        "grpo", model, tmp_path / "cut", group=4, batch=4, steps=4, max_new_tokens=6, max_steps=1
    )

    def stop(progress: Progress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, progress=stop)
    seen: list[int] = []
    train(settings, progress=lambda progress: seen.append(progress.done))
    assert seen == [3, 4]
    whole = tmp_path / "whole"
    train(replace(settings, out=str(whole)))
    assert weights(whole).keys() == weights(tmp_path / "cut").keys()
    for name, weight in weights(tmp_path / "cut").items():
        assert torch.allclose(weight, weights(whole)[name], atol=1e-5), name


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", -1.0)  # after every step
    monkeypatch.setattr(grpo, "is_correct", odd_is_correct)
    objective, calls = grpo.objective, []

    def poisoned(*given: Any, **settings: Any) -> torch.Tensor:
        calls.append(1)
        return objective(*given, **settings) * (math.nan if len(calls) == 3 else 1.0)

    monkeypatch.setattr(grpo, "objective", poisoned)
    out = tmp_path / "out"
    settings = config("grpo", model, out, group=4, batch=4, steps=8, max_new_tokens=6, max_steps=1)
    with pytest.raises(LossNotFinite, match="last good checkpoint is in"):
        train(settings)
    assert all(torch.isfinite(weight).all() for weight in weights(out).values())


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
    settings = llm_generation.LlmGenerationConfig(
        out=str(tmp_path / "g"),
        init=model,
        arms=("sft", "unverified"),
        episodes=12,
        samples=4,
        steps=2,
        lora=0,
        device="cpu",
    )
    results = llm_generation.run_generation(settings, write_line=lambda line: None)
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
    again = llm_generation.run_generation(settings, write_line=lambda line: None)
    assert len(asked) == seen, "nothing is played or measured twice"
    assert again == results, "what play took, too"
    part = llm_generation.run_generation(
        replace(settings, arms=("sft",)), write_line=lambda line: None
    )
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
    settings = llm_generation.LlmGenerationConfig(
        out=str(tmp_path), init=model, episodes=4, samples=4, held_out=4, device="cpu"
    )
    for arms in (("dpo", "unverified"), ("sft", "dpo")):
        llm_generation.run_generation(replace(settings, arms=arms), write_line=lambda line: None)
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
        ("prm", "correct", "labels are good"),  # nothing to tell apart
        ("orm", "incorrect", "labels are bad"),
        ("dpo", "correct", "no fork"),  # nothing to prefer over anything
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
    with pytest.raises(TrainingError, match="only embedded models"):
        train(config("alphazero", model, tmp_path, runs=(run,)))


def test_language_models_have_defaults_of_their_own() -> None:
    config = read_config("sft", None, {"init": "smollm2", "out": "x", "lora": 8})
    assert (config.steps, config.batch, config.learning_rate) == (100, 16, 2e-4)
    assert read_config("sft", None, {"init": "smollm2", "out": "x", "steps": 7}).steps == 7
    assert read_config("sft", None, {"out": "x"}).batch == 128


@pytest.mark.parametrize("lora", [0, pytest.param(4, marks=needs_peft)])
def test_delimiters_become_single_tokens_that_are_trained_saved_and_played(
    model: str, run: str, tmp_path: Path, lora: int
) -> None:
    out, before = tmp_path / "sft", load_language_model(model.removeprefix("hf:"))
    config = TrainConfig(
        kind="sft", runs=(run,), init=model, out=str(out), steps=4, batch=2, learning_rate=1e-2
    )
    train(replace(config, tool_tokens=True, lora=lora))
    after = load_language_model(out)
    size = len(before.tokenizer)
    ids = {text: after.tokenizer(text).input_ids for text in SPECIAL_TOKENS}
    assert sorted(i for own in ids.values() for i in own) == [*range(size, size + 9)]
    assert (
        describe_tokenizer(after.tokenizer)["hash"] != describe_tokenizer(before.tokenizer)["hash"]
    )

    records = list(read_episodes(Path(run)))
    rows = verified_rows(records, after.tokenizer)
    layout = TransformersPolicy(after).layout
    [step_end], [answer] = ids[STEP_END], ids["<answer>"]
    for row, record in zip(rows, records):
        steps = tuple(Step(record.nodes[at].text) for at in (1, 2))
        read = layout.ids(State(record.prompt, steps[:1]))
        assert row.ids[: len(read)] == read, "what was trained is what is read in play"
        assert read[-1] == step_end and row.ids[len(read)] == answer
        assert row.targets[len(read) - 1] == 1.0, "the delimiter is learned"
        assert len(row.ids) < len(verified_rows([record], before.tokenizer)[0].ids)

    start = copy.deepcopy(before.model)
    add_tool_tokens(start, load_language_model(model.removeprefix("hf:")).tokenizer)
    moved = (after.model.get_input_embeddings().weight - start.get_input_embeddings().weight).abs()
    assert moved[step_end].max() > 1e-4 and moved[answer].max() > 1e-4
    if lora:
        assert moved[:size].max() < 1e-6, "the rows of other tokens are frozen"


def test_a_step_of_a_model_with_tool_tokens_ends_at_its_token(model: str) -> None:
    loaded = load_language_model(model.removeprefix("hf:"))
    new = add_tool_tokens(*loaded)
    assert add_tool_tokens(*loaded) == [], "they are there already"
    end = new[SPECIAL_TOKENS.index(STEP_END)]
    with torch.no_grad():
        loaded.model.lm_head.weight.zero_()
        loaded.model.lm_head.weight[end] = 50.0 * loaded.model.model.norm.weight.sign()
    policy = TransformersPolicy(loaded, temperature=1.0, max_new_tokens=5)
    assert policy.delimiters == (STEP_END,)
    (steps,) = policy.propose([State("Compute 1 + 1.")], [3])
    for step in steps:
        assert step.token_ids is not None
        if end in step.token_ids:
            assert step.token_ids[-1] == end and STEP_END not in step.text


def test_steps_of_another_tokenizer_are_tokenised_anew(model: str, run: str) -> None:
    loaded = load_language_model(model.removeprefix("hf:"))
    mine = describe_tokenizer(loaded.tokenizer)
    (record, *_) = read_episodes(Path(run))
    odd = (*loaded.tokenizer("First.").input_ids, *loaded.tokenizer("\n\n").input_ids)
    nodes = [
        replace(node, token_ids=odd if node.text == "First." else None) for node in record.nodes
    ]
    own = replace(record, nodes=tuple(nodes), agent={"policy": {"tokenizer": mine}})
    add_tool_tokens(*loaded)
    (row,) = verified_rows([own], loaded.tokenizer)
    assert loaded.tokenizer.convert_tokens_to_ids(STEP_END) in row.ids
