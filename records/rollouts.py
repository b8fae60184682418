"""Episodes as tokens: from records, or played for the purpose.

Tokens are the sampled ones; nothing is tokenised anew unless a layout is given for records without tokens.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from stepgym.agents.description import tokenizer_of
from stepgym.agents.policies.layout import Layout
from stepgym.agents.run_setup import choose_problems
from stepgym.agents.search.best_of_n import BestOfN
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord, Policy, Search
from stepgym.envs.types import Problem, State, Status
from stepgym.records.loader import contexts_of, states_of
from stepgym.records.tree import children_of, path_to
from stepgym.records.types import RecordError, Rollout

STEP_REWARDS = {Status.CORRECT.value: 1.0, Status.INCORRECT.value: 0.0}
_EPSILON = 1e-4
"""Added to a deviation before dividing by it."""


def rollouts(
    problems: str | Any | Sequence[Problem],
    *,
    env: Any = None,
    policy: str | Policy,
    group: int,
    search: Search | None = None,
    episodes: int | None = None,
    seed: int = 0,
) -> list[Rollout]:
    """Play each problem and return all finished paths as tokens, problem by problem.

    Without a `search`, `group` samples of each problem; with one, the paths of its tree (`group` is then not used).
    `problems`, `env` and `episodes` are as of `stepgym.agents.solve`. A policy that gives no tokens gives no rollouts.
    """
    chosen, where = choose_problems(problems, env, episodes=episodes, seed=seed)
    records = iter_solve(
        chosen,
        env=where,
        agent=BestOfN(n=group) if search is None else search,
        policy=policy,
        seed=seed,
        see_verdicts=None if search is not None else False,
        verify_all=True,
    )
    return [rollout for record in records for rollout in rollouts_of(record)]


def rollouts_of(record: EpisodeRecord) -> list[Rollout]:
    """Return the finished paths of a record's tree as tokens.

    Paths with a step that has no tokens are left out.
    """
    return [rollout for _, rollout in ended_rollouts(record)]


def ended_rollouts(
    record: EpisodeRecord, layout: Layout | None = None, *, ends: Iterable[int] | None = None
) -> list[tuple[int, Rollout]]:
    """Return the rollouts of finished paths, each with the node at which it ends.

    `ends` selects paths by their last node; by default all are returned.

    With a `layout` the paths' texts are tokenised by it.
    """
    wanted = finished(record) if ends is None else ends
    if layout is not None:
        states = states_of(record)
        return [(end, _laid_out(record, end, states[end], layout)) for end in wanted]
    contexts = contexts_of(record)
    return [(end, rollout) for end in wanted for rollout in _sampled(record, end, contexts)]


def check_tokenizer(record: EpisodeRecord, described: dict[str, str]) -> None:
    """Raise `RecordError` if a record was made with another tokenizer than the one described."""
    mine = tokenizer_of(record.agent.get("policy"))
    if mine is not None and mine.get("hash") != described["hash"]:
        raise RecordError(
            f"record {record.problem_id} has tokens of tokenizer {mine.get('name')!r} (hash {mine.get('hash')!r}), not "
            f"of {described['name']!r} (hash {described['hash']!r}); name the model that played, or tokenise its text anew"
        )


def mean_rewards(records: Iterable[EpisodeRecord]) -> dict[str, float]:
    """Return the mean reward of each problem's finished paths, by problem id.

    The mean is over all attempts; undecided paths are left out.
    """
    rewards: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for record in records:
        for end in finished(record):
            reward = reward_of(record, end)
            if reward is not None:
                rewards[record.problem_id].append((reward, num_samples(record, end)))
    return {problem: _mean(found) for problem, found in rewards.items()}


def group_advantages(rollout: Rollout, mean_reward: float) -> list[float | None]:
    """Return the advantage of each token: the reward minus the problem's mean reward.

    A token that is not learned has `None` (GRPO without division by the deviation).
    """
    advantage = None if rollout.reward is None else rollout.reward - mean_reward
    return [advantage if own else None for own in rollout.is_own]


def tree_token_advantages(
    rollouts: Sequence[Rollout], record: EpisodeRecord
) -> list[list[float | None]]:
    """Return `tree_advantages` for each token of a record's rollouts.

    A token that is not learned has `None`.

    A step that several paths share is learned in the first of them alone.
    """
    step_advantages = tree_advantages(record)
    seen: set[int] = set()
    found = []
    for rollout in rollouts:
        row: list[float | None] = []
        for node, end in zip(rollout.nodes, rollout.step_ends):
            advantage = None if node in seen else step_advantages.get(node)
            row += [advantage if own else None for own in rollout.is_own[len(row) : end]]
            seen.add(node)
        found.append(row)
    return found


def tree_advantages(record: EpisodeRecord) -> dict[int, float]:
    """Return the `fork_gains` of a record's decided ends, by node.

    The advantages on a path add up to the end's reward minus the mean over all ends. Nodes without a decided end below
    them are left out.
    """
    rewards = {end: reward_of(record, end) for end in finished(record)}
    return fork_gains(record, {end: r for end, r in rewards.items() if r is not None})


def fork_gains(
    record: EpisodeRecord, rewards: Mapping[int, float], *, scaled: bool = False
) -> dict[int, float]:
    """Return by node the mean reward of the ends below it, minus that below its parent.

    `rewards` has the reward of each end that counts; an end counts once for each of its samples. The gain of an only
    child is 0. `scaled` divides the gains of siblings by the deviation of their mean rewards.
    """
    below: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for end, reward in rewards.items():
        for node in path_to(record, end):
            below[node].append((reward, num_samples(record, end)))
    siblings: dict[int, list[int]] = defaultdict(list)
    for node in below:
        if record.nodes[node].parent >= 0:
            siblings[record.nodes[node].parent].append(node)
    found: dict[int, float] = {}
    for children in siblings.values():
        means = [_mean(below[child]) for child in children]
        counts = [sum(count for _, count in below[child]) for child in children]
        found |= zip(children, gains(means, counts, scaled=scaled))
    return found


def gains(rewards: Sequence[float], counts: Sequence[int], *, scaled: bool) -> list[float]:
    """Return each reward minus their mean, weighted by `counts`.

    `scaled` divides by the deviation.
    """
    if not rewards:
        return []
    mean = _mean(list(zip(rewards, counts)))
    variance = _mean([((reward - mean) ** 2, count) for reward, count in zip(rewards, counts)])
    unit = math.sqrt(variance) + _EPSILON if scaled else 1.0
    return [(reward - mean) / unit for reward in rewards]


def num_samples(record: EpisodeRecord, end: int) -> int:
    """Return how many samples ended at a node."""
    return max(1, record.nodes[end].visits)


def _mean(weighted: Sequence[tuple[float, int]]) -> float:
    return sum(x * count for x, count in weighted) / sum(count for _, count in weighted)


def finished(record: EpisodeRecord) -> list[int]:
    """Return the nodes at which an episode was over and to which a step led."""
    children = children_of(record)
    return [
        number
        for number, node in enumerate(record.nodes)
        if node.parent >= 0 and not children[number] and node.end is not None
    ]


def verdict_of(record: EpisodeRecord, end: int) -> str:
    """Return the verdict of a path's end, named as in `EpisodeRecord.verdict`."""
    node = record.nodes[end]
    if node.answer is None and node.outcome is None:
        return "no_answer"
    return node.verdict or Status.UNDECIDED.value


def reward_of(record: EpisodeRecord, end: int) -> float | None:
    """Return the reward of a path's end; `None` if it is undecided, to be masked.

    An incorrect or a missing answer is 0; a correct one is 1, or its score if it is a proposed problem.
    """
    verdict, paid = verdict_of(record, end), record.nodes[end].reward
    if verdict == Status.CORRECT.value:
        return 1.0 if paid is None else paid
    return 0.0 if verdict in (Status.INCORRECT.value, "no_answer") else None


class _Piece(NamedTuple):
    """A step on its way into a rollout: the tokens read before it that are not there yet, and its own."""

    node: int
    read: tuple[int, ...]
    ids: tuple[int, ...]
    log_probs: tuple[float | None, ...] | None
    is_forced: tuple[bool, ...]


def _sampled(
    record: EpisodeRecord, end: int, contexts: Sequence[tuple[int, ...] | None]
) -> Iterator[Rollout]:
    """Yield a path's rollout; several if the policy did not go on from the tokens before."""
    prompt: tuple[int, ...] | None = None
    pieces: list[_Piece] = []
    before: tuple[int, ...] = ()
    for number in path_to(record, end)[1:]:
        node, context = record.nodes[number], contexts[number]
        if node.token_ids is None or context is None:
            return
        if prompt is None or context[: len(before)] != before:
            if prompt is not None:
                yield _join(record, end, prompt, pieces)
            prompt, pieces, before = context, [], context
        read = context[len(before) :]
        log_probs = node.token_log_probs
        forced = tuple(log_probs is not None and x is None for x in log_probs or node.token_ids)
        pieces.append(_Piece(number, read, node.token_ids, log_probs, forced))
        before = context + node.token_ids
    if prompt is not None:
        yield _join(record, end, prompt, pieces)


def _laid_out(record: EpisodeRecord, end: int, state: State, layout: Layout) -> Rollout:
    """Return a path's rollout as a layout tokenises its text, ended by an end token."""
    steps = tuple(replace(step, token_ids=None) for step in state.steps)
    segments = layout.segments(replace(state, steps=steps))
    prompt = segments[0].ids + segments[1].ids
    path = path_to(record, end)[1:]
    pieces: list[_Piece] = []
    read: tuple[int, ...] = ()
    for segment in segments[2:]:
        if not segment.is_own:
            read += segment.ids
            continue
        is_last = len(pieces) == len(path) - 1
        ids = layout.final_ids(steps[-1]) if is_last else segment.ids
        pieces.append(_Piece(path[len(pieces)], read, ids, None, (False,) * len(ids)))
        read = ()
    return _join(record, end, prompt, pieces)


def _join(
    record: EpisodeRecord, end: int, prompt: tuple[int, ...], pieces: Sequence[_Piece]
) -> Rollout:
    ids: list[int] = []
    own: list[bool] = []
    log_probs: list[float | None] = []
    ends: list[int] = []
    for piece in pieces:
        ids += [*piece.read, *piece.ids]
        own += [False] * len(piece.read) + [not forced for forced in piece.is_forced]
        log_probs += [None] * len(piece.read)
        log_probs += piece.log_probs or [None] * len(piece.ids)
        ends.append(len(ids))
    node = record.nodes[end]
    return Rollout(
        problem_id=record.problem_id,
        attempt=record.attempt,
        nodes=tuple(piece.node for piece in pieces),
        prompt_ids=prompt,
        ids=tuple(ids),
        is_own=tuple(own),
        log_probs=tuple(log_probs),
        step_ends=tuple(ends),
        step_rewards=tuple(
            STEP_REWARDS.get(record.nodes[piece.node].step_verdict or "") for piece in pieces
        ),
        verdict=verdict_of(record, end),
        reward=reward_of(record, end),
        fault=node.fault,
        count=max(1, node.visits),
    )
