"""Token rows: what a policy read and wrote, for trainers that take ids (supervised, GRPO and its like)."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from stepgym.agents.description import tokenizer_of
from stepgym.agents.policies.layout import Layout
from stepgym.agents.types import EpisodeRecord
from stepgym.plugins.errors import UserError
from stepgym.records.rollouts import (
    check_tokenizer,
    ended_rollouts,
    finished,
    group_advantages,
    reward_of,
    tree_token_advantages,
    verdict_of,
)
from stepgym.records.rows.conversations import is_unanimous
from stepgym.records.rows.options import PROBLEM, Columns, Row, RowOptions, problem_columns
from stepgym.records.tree import path_to
from stepgym.records.types import Advantage, RecordError, Rollout

IGNORED = -100
"""The label of a token that is not learned, as PyTorch's cross-entropy and all trainers know it."""
COLUMNS: Columns = {
    **PROBLEM,
    "attempt": "int",
    "input_ids": ["int"],
    "labels": ["int"],
    "advantages": ["float"],
    "log_probs": ["float"],
    "step_ends": ["int"],
    "step_rewards": ["float"],
    "reward": "float",
    "verdict": "text",
    "count": "int",
}


def rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield one row per finished path that has something to learn; undecided paths have not.

    `labels`, `advantages` and `log_probs` have one entry per entry of `input_ids`; `step_ends` are indices into it.
    """
    if record.calls and options.advantages is Advantage.TREE:
        raise UserError(
            "advantages tree compare the steps of a search; those of an agent's model calls are group"
        )
    rollouts = [rollout for _, rollout in token_rollouts(record, options)]
    if options.advantages is Advantage.TREE:
        advantages = tree_token_advantages(rollouts, record)
    else:
        mean = options.mean_rewards.get(record.problem_id, 0.0)
        advantages = [group_advantages(rollout, mean) for rollout in rollouts]
    for rollout, row in zip(rollouts, advantages):
        labels = [
            IGNORED if advantage is None else label
            for label, advantage in zip(labelled(rollout, options), row)
        ]
        if all(label == IGNORED for label in labels):
            continue
        before = len(rollout.prompt_ids)
        yield {
            **problem_columns(record),
            "attempt": record.attempt,
            "input_ids": [*rollout.prompt_ids, *rollout.ids],
            "labels": [IGNORED] * before + labels,
            "advantages": [0.0] * before + [advantage or 0.0 for advantage in row],
            "log_probs": [None] * before + list(rollout.log_probs),
            "step_ends": [before + end for end in rollout.step_ends],
            "step_rewards": list(rollout.step_rewards),
            "reward": rollout.reward,
            "verdict": rollout.verdict,
            "count": rollout.count,
        }


def token_rollouts(
    record: EpisodeRecord, options: RowOptions, *, ends: Collection[int] | None = None
) -> list[tuple[int, Rollout]]:
    """Return the record's rollouts with their end nodes, only those in `ends` if given, in the order of `ends`.

    For an agent that drives itself they are its model calls, each a rollout of one step: its tree holds what the agent's
    program said. Recorded tokens are taken as they are. A layout tokenises the text of records without tokens; with
    `retokenise` also that of records whose tokens are not known to be of its tokenizer. Raises `RecordError` for records
    without tokens if there is no layout.
    """
    layout: Layout | None = options.tokens
    if record.calls:
        if layout is not None:
            check_tokenizer(record, layout.describe_tokenizer())
        return _call_rollouts(record, finished(record) if ends is None else ends)
    recorded = any(node.token_ids is not None for node in record.nodes)
    if recorded and layout is not None and not options.retokenise:
        check_tokenizer(record, layout.describe_tokenizer())
    if recorded and (layout is None or not options.retokenise or _has_tokens_of(record, layout)):
        layout = None
    elif layout is None and len(record.nodes) > 1:
        raise RecordError(
            f"record {record.problem_id} holds no tokens; name the model whose tokenizer makes them: --model hf:NAME"
        )
    return ended_rollouts(record, layout, ends=ends)


def _call_rollouts(record: EpisodeRecord, ends: Collection[int]) -> list[tuple[int, Rollout]]:
    """Return an agent's model calls as rollouts; raises `RecordError` if they hold no tokens.

    A call belongs to the first end below it, if all answers below have the same verdict.
    """
    paths = [(end, path_to(record, end)) for end in ends]
    found = []
    for call in record.calls:
        ids, read = call.get("token_ids"), call["response"].get("prompt_token_ids")
        if call["status"] != 200 or len(call["response"].get("choices") or ()) != 1:
            continue
        if not ids or not read:
            raise RecordError(
                f"record {record.problem_id}: a model call of its agent holds no tokens; play with hf:NAME, or with "
                "--policy-option return_token_ids=true on a server that gives them, or export layout chat"
            )
        end = next((end for end, path in paths if call["node"] in path), None)
        if end is None or not is_unanimous(record, call["node"], end):
            continue
        rollout = Rollout(
            problem_id=record.problem_id,
            attempt=record.attempt,
            nodes=(end,),
            prompt_ids=tuple(read),
            ids=tuple(ids),
            is_own=(True,) * len(ids),
            log_probs=tuple(call.get("token_log_probs") or (None,) * len(ids)),
            step_ends=(len(ids),),
            step_rewards=(None,),
            verdict=verdict_of(record, end),
            reward=reward_of(record, end),
            fault=record.nodes[end].fault,
        )
        found.append((end, rollout))
    return found


def labelled(rollout: Rollout, options: RowOptions) -> list[int]:
    """Return the label of each token after the prompt: the policy's own ones, with or without internal reasoning."""
    learned = list(rollout.is_own)
    if not options.learn_reasoning:
        if options.tokens is None:
            raise UserError(
                "to mask internal reasoning its tokens must be read: name the model that played, --model hf:NAME"
            )
        reasoning = options.tokens.is_reasoning(rollout.ids)
        learned = [own and not hidden for own, hidden in zip(learned, reasoning)]
    return [token if own else IGNORED for token, own in zip(rollout.ids, learned)]


def _has_tokens_of(record: EpisodeRecord, layout: Layout) -> bool:
    """Return whether a record names the layout's tokenizer as the one of its tokens."""
    mine = tokenizer_of(record.agent.get("policy"))
    return mine is not None and mine.get("hash") == layout.describe_tokenizer()["hash"]
