"""What TRL learns of an export is what the policy reads and writes in play, token by token."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents.policies.loading import LanguageModel
from stepgym.agents.policies.transformers_policy import TransformersPolicy
from stepgym.agents.search.best_of_n import BestOfN
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.envs.types import Problem
from stepgym.records.exports import export
from stepgym.records.loader import states_of
from stepgym.records.rollouts import rollouts_of
from stepgym.records.rows.tokens import IGNORED
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import ExportFormat, RunConfig, TextLayout

from .test_tokens import make_env, make_policy
from .trees import AGENT

trl = pytest.importorskip("trl", reason="pip install 'stepgym[train]'")


def play(policy: Any) -> list[EpisodeRecord]:
    env = make_env()
    problems = [env.problems[i] for i in range(2)]
    return list(
        iter_solve(
            problems,
            env=env,
            agent=BestOfN(n=8),
            policy=policy,
            see_verdicts=False,
            verify_all=True,
        )
    )


def run_of(records: list[EpisodeRecord], folder: Path) -> Path:
    config = RunConfig(env_id="stepgym/Math-v0", agent="best_of_n", policy="hf:tiny")
    with RunFolder(folder, config) as run:
        run.append(*records)
    return folder


def dataset(run: Path, **options: Any) -> Any:
    import datasets

    out = run / "rows.parquet"
    assert export([run], out, **options)
    return datasets.load_dataset(
        "parquet", data_files=str(out), split="train", cache_dir=str(run / "cache")
    )


def sft_trainer(model: LanguageModel, rows: Any, out: Path, **settings: Any) -> Any:
    return trl.SFTTrainer(
        model=model.model,
        args=trl.SFTConfig(
            output_dir=str(out),
            use_cpu=True,
            bf16=False,
            report_to="none",
            max_length=None,
            per_device_train_batch_size=4,
            disable_tqdm=True,
            save_strategy="no",
            **{"max_steps": 1, **settings},
        ),
        train_dataset=rows,
        processing_class=model.tokenizer,
    )


def batches(trainer: Any) -> list[tuple[list[int], list[int]]]:
    """Return the tokens and labels that the trainer's loss sees, without padding."""
    found = []
    for batch in trainer.get_train_dataloader():
        for ids, labels, mask in zip(
            batch["input_ids"].tolist(), batch["labels"].tolist(), batch["attention_mask"].tolist()
        ):
            kept = [i for i, shown in enumerate(mask) if shown]
            found.append(([ids[i] for i in kept], [labels[i] for i in kept]))
    return found


def test_token_rows_are_learned_as_they_were_played(
    language_model: LanguageModel, tmp_path: Path
) -> None:
    records = play(make_policy(language_model))
    rows = dataset(
        run_of(records, tmp_path / "run"),
        kind=ExportFormat.SFT,
        layout=TextLayout.TOKENS,
        dedup=False,
    )
    trainer = sft_trainer(language_model, rows.select_columns(["input_ids", "labels"]), tmp_path)
    played = {
        rollout.prompt_ids + rollout.ids: [
            token if own else IGNORED
            for token, own in zip(
                rollout.prompt_ids + rollout.ids,
                (False,) * len(rollout.prompt_ids) + rollout.is_own,
            )
        ]
        for record in records
        for rollout in rollouts_of(record)
        if rollout.verdict == "correct"
    }
    learned = batches(trainer)
    assert learned and len(learned) == len(rows)
    for ids, labels in learned:
        assert labels == played[tuple(ids)]
        own = language_model.tokenizer.decode([label for label in labels if label != IGNORED])
        assert "noted" not in own, "the environment's words are read and not learned"
        assert "noted abc" in language_model.tokenizer.decode(ids)


def test_the_tokens_that_chat_rows_train_are_read_again_in_play(
    language_model: LanguageModel, tmp_path: Path
) -> None:
    """Export, train with TRL, load the folder as `hf:` does, and play: the trained sequence is what is read."""
    env = make_env()
    nodes = (
        NodeRecord(parent=-1),
        NodeRecord(parent=0, text="<think>an idea</think>One step."),
        NodeRecord(parent=1, text="Another."),
        NodeRecord(
            parent=2, text="<answer>7</answer>", answer="7", verdict="correct", end="answered"
        ),
    )
    records = [record_of(env.problems[i], nodes) for i in range(3)]
    rows = dataset(run_of(records, tmp_path / "run"), kind=ExportFormat.SFT)
    model = copy.deepcopy(language_model.model)
    trainer = sft_trainer(
        LanguageModel(model, language_model.tokenizer),
        rows.select_columns(["prompt", "completion"]),
        tmp_path / "trl",
        max_steps=2,
    )
    learned = [tuple(ids) for ids, _ in batches(trainer)]
    trainer.train()
    trainer.save_model(str(tmp_path / "trained"))
    trainer.processing_class.save_pretrained(tmp_path / "trained")
    policy = TransformersPolicy(tmp_path / "trained", max_new_tokens=3, device="cpu")
    for record in records:
        states = states_of(record)[:-1]
        for state, [step] in zip(states, policy.propose(states, [1] * len(states))):
            context = step.context_ids or ()
            trained = [ids for ids in learned if ids[: len(context)] == context]
            assert trained, f"the tokens read after {len(state.steps)} steps are those trained"
            rest = policy.tokenizer.decode(trained[0][len(context) :])
            assert rest.startswith(record.nodes[len(state.steps) + 1].text)


def record_of(problem: Problem, nodes: tuple[NodeRecord, ...]) -> EpisodeRecord:
    return EpisodeRecord(
        env_id="stepgym/Math-v0",
        problem_id=problem.id,
        level=problem.level,
        seed=problem.seed,
        index=problem.index,
        prompt=problem.prompt,
        reference=problem.reference,
        nodes=nodes,
        path=tuple(range(len(nodes))),
        answer="7",
        verdict="correct",
        score=1.0,
    )


def test_preferences_go_into_dpo(language_model: LanguageModel, tmp_path: Path) -> None:
    records = play(make_policy(language_model))
    run = run_of(records, tmp_path / "run")
    for layout in (TextLayout.CHAT, TextLayout.PLAIN):
        rows = dataset(run, kind=ExportFormat.PREFERENCE, layout=layout)
        trainer = trl.DPOTrainer(
            model=copy.deepcopy(language_model.model),
            ref_model=copy.deepcopy(language_model.model),
            args=trl.DPOConfig(
                output_dir=str(tmp_path / layout.value),
                use_cpu=True,
                bf16=False,
                report_to="none",
                max_steps=1,
                per_device_train_batch_size=2,
                save_strategy="no",
                disable_tqdm=True,
            ),
            train_dataset=rows.select_columns(["prompt", "chosen", "rejected"]),
            processing_class=language_model.tokenizer,
        )
        for batch in trainer.get_train_dataloader():
            ids = batch["input_ids"][batch["completion_mask"] == 1].tolist()
            assert "noted" not in language_model.tokenizer.decode(ids)


def settings_for(out: Path) -> dict[str, Any]:
    return {
        "output_dir": str(out),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "max_steps": 1,
        "per_device_train_batch_size": 4,
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def test_an_agents_tool_results_and_examples_are_not_learned(
    language_model: LanguageModel, tmp_path: Path
) -> None:
    run = run_of([AGENT], tmp_path / "run")
    out = tmp_path / "rows.jsonl"
    assert export([run], out) == 2
    with pytest.raises(ValueError, match=r"write a \.jsonl file"):
        export([run], tmp_path / "rows.parquet")
    import datasets

    rows = datasets.load_dataset(
        "json", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    model = LanguageModel(copy.deepcopy(language_model.model), language_model.tokenizer)
    trainer = sft_trainer(model, rows.select_columns(["prompt", "completion"]), tmp_path)
    decode = language_model.tokenizer.decode
    read = [decode(ids) for ids, _ in batches(trainer)]
    learned = {decode([x for x in labels if x != IGNORED]) for _, labels in batches(trainer)}
    assert learned == {"<think>six and four</think><|im_end|>\n", "It is 10.<|im_end|>\n"}
    assert all("EXAMPLE" in text for text in read) and any("FOREIGN" in text for text in read)
    trainer.train()


def test_labelled_turns_go_into_kto(language_model: LanguageModel, tmp_path: Path) -> None:
    rows = dataset(
        run_of(play(make_policy(language_model)), tmp_path / "run"), kind=ExportFormat.KTO
    )
    assert set(rows["label"]) == {True, False}
    trainer = trl.KTOTrainer(
        model=copy.deepcopy(language_model.model),
        ref_model=copy.deepcopy(language_model.model),
        args=trl.KTOConfig(**settings_for(tmp_path)),
        train_dataset=rows.select_columns(["prompt", "completion", "label"]),
        processing_class=language_model.tokenizer,
    )
    written = {row["completion"][0]["content"] for row in rows}
    seen = 0
    for batch in trainer.get_train_dataloader():
        for ids, mask in zip(batch["input_ids"], batch["completion_mask"]):
            text = language_model.tokenizer.decode(ids[mask == 1].tolist())
            assert text.removesuffix("\n").removesuffix("<|im_end|>") in written
            assert "noted" not in text
            seen += 1
    assert seen == len(rows)
    trainer.train()


def test_preferences_go_into_a_reward_model(language_model: LanguageModel, tmp_path: Path) -> None:
    from transformers import LlamaForSequenceClassification

    rows = dataset(
        run_of(play(make_policy(language_model)), tmp_path / "run"), kind=ExportFormat.PREFERENCE
    )
    config = copy.deepcopy(language_model.model.config)
    config.num_labels, config.pad_token_id = 1, language_model.tokenizer.pad_token_id
    trainer = trl.RewardTrainer(
        model=LlamaForSequenceClassification(config),
        args=trl.RewardConfig(**settings_for(tmp_path)),
        train_dataset=rows.select_columns(["prompt", "chosen", "rejected"]),
        processing_class=language_model.tokenizer,
    )
    assert len(trainer.train_dataset) == len(rows)
    trainer.train()
    assert trainer.state.global_step == 1
