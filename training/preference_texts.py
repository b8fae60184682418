"""Direct preference optimisation of language models (Rafailov et al. 2023), by TRL, on verified forks of search trees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stepgym.agents.policies import prompts
from stepgym.envs.types import State, Step
from stepgym.records.rows.preference import forks
from stepgym.training import trl_run
from stepgym.training.examples import require
from stepgym.training.fit import Progress
from stepgym.training.language import POLICY_CLASS, adapters, load
from stepgym.training.played import Played
from stepgym.training.text import POLICY_DELIMITER

if TYPE_CHECKING:
    from stepgym.training.run import TrainConfig


def train_preference_texts(
    config: TrainConfig, runs: Sequence[Played], *, progress: Progress | None = None
) -> dict[str, Any]:
    """Train a language model on the records' forks and save it where `hf:FOLDER` finds it."""
    trl_run.require_trl("dpo")
    if done := trl_run.finished(config):
        return done
    import datasets
    from trl import DPOConfig, DPOTrainer

    loaded = load(config, POLICY_CLASS)
    pairs = require(
        preference_texts(runs, loaded.tokenizer),
        "no fork of a correct and an incorrect way without replies",
    )
    with trl_run.quietly():
        trainer = DPOTrainer(
            model=loaded.model,
            # With adapters TRL switches them off for the reference; else the reference is the model as it is now.
            ref_model=None if config.lora else load(config, POLICY_CLASS).model,
            args=DPOConfig(
                **trl_run.arguments(config, loaded),
                beta=config.beta,
                per_device_train_batch_size=config.batch,
                max_length=loaded.context,
            ),
            train_dataset=datasets.Dataset.from_list(pairs),
            processing_class=loaded.tokenizer,
            peft_config=adapters(config, POLICY_CLASS) if config.lora else None,
        )
    return trl_run.run(trainer, loaded, config, num_examples=len(pairs), progress=progress)


def preference_texts(runs: Sequence[Played], tokenizer: Any) -> list[dict[str, str]]:
    """Return one prompt with a chosen and a rejected completion per fork, laid out as the policy reads it.

    Left out are ways with a reply of the environment: what it says is not the policy's, and a completion that stopped
    before it would teach stopping there, because TRL ends every completion with the end of the text. Left out are also
    completions that begin with a line break: TRL reads prompt and completion as one text, and it would merge.
    """
    found = []
    for record in (record for run in runs for record in run.records):
        head = prompts.head(tokenizer, record.prompt, system=prompts.SYSTEM, template=None)

        for shared, good, bad in forks(record):
            steps = tuple(
                Step(record.nodes[i].text, reply=record.nodes[i].reply) for i in shared[1:]
            )
            before = prompts.segments(head, State(record.prompt, steps), delimiter=POLICY_DELIMITER)
            ways = [[record.nodes[i] for i in way[len(shared) :]] for way in (good, bad)]
            chosen, rejected = (POLICY_DELIMITER.join(node.text for node in way) for way in ways)
            replied = any(node.reply for way in ways for node in way)
            if not replied and not chosen[:1].isspace() and not rejected[:1].isspace():
                found.append({"prompt": "".join(before), "chosen": chosen, "rejected": rejected})
    return found
