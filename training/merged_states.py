"""Policy targets from what the paths of one search share: equal states are one state, however they were reached.

Merging makes a graph of the tree. A state that many samples passed is more likely to be right than one that a single
sample made up, and a legal step between two such states is worth learning even if no sample took it: that is how a
policy learns steps it never wrote, from nothing but its own votes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from stepgym.agents.answer_groups import AnswerComparison, group_texts
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.types import LegalSteps, State, Step
from stepgym.records.loader import Environments, states_of
from stepgym.training.examples import Answers
from stepgym.training.types import PolicyTarget, TrainingError

Place = tuple[int, Hashable]
"""Depth and public data: what makes two states one."""
IsWanted = Callable[[str | None], bool]


def merged_targets(
    records: Iterable[EpisodeRecord],
    environments: Environments,
    *,
    answers_of: Mapping[str, Answers],
    min_support: int,
) -> list[PolicyTarget]:
    """Return for each supported state its legal steps to supported states, with the support as shares.

    A state's support is the number of samples that passed it (visits), over all paths that lead to it; `min_support`
    is the least. Ends are supported if they give an answer that is the same as one in `answers_of`; problems that are
    not in it are left out. Raises `TrainingError` for a domain that does not list its legal steps.
    """
    found = []
    for record in records:
        if answers := answers_of.get(record.problem_id):
            domain = environments.of(record).domain
            if not isinstance(domain, LegalSteps):
                raise TrainingError(
                    f"{record.env_id} does not list its legal steps; learn from paths instead of merged states"
                )
            is_wanted = _is_one_of(answers, environments.comparison(record))
            states = states_of(record)
            found += _targets(record, states, is_wanted, min_support, domain)
    return found


def _is_one_of(answers: Answers, comparison: AnswerComparison) -> IsWanted:
    """Return a function that tests whether an answer is one of `answers`, in any spelling."""

    @cache
    def is_wanted(answer: str | None) -> bool:
        return answer is not None and (
            group_texts([*answers, answer], comparison)[-1] < len(answers)
        )

    return is_wanted


def _targets(
    record: EpisodeRecord,
    states: Sequence[State],
    is_wanted: IsWanted,
    min_support: int,
    domain: Any,
) -> list[PolicyTarget]:
    support: Counter[Place] = Counter()
    end_support: Counter[int] = Counter()
    """Depth -> samples that ended there with a wanted answer."""
    state_at: dict[Place, State] = {}
    for node, state in zip(record.nodes, states):
        place = len(state.steps), state.public
        if not state.done:
            support[place] += max(1, node.visits)
            state_at.setdefault(place, state)
        elif is_wanted(state.answer):
            end_support[len(state.steps)] += max(1, node.visits)
    supported = {place: n for place, n in support.items() if n >= min_support or not place[0]}
    found = []
    for depth, public in supported:
        state = state_at[depth, public]
        texts = domain.legal_steps(state)
        children = domain.advance([state] * len(texts), [Step(text) for text in texts])
        shares: dict[str, float] = {}
        for text, child in zip(texts, children):
            if not child.done:
                share = supported.get((depth + 1, child.public), 0)
            else:
                share = end_support.get(depth + 1, 0) if is_wanted(child.answer) else 0
            if share:
                shares[text] = float(share)
        total = sum(shares.values())
        if shares:
            found.append(PolicyTarget(public, {text: n / total for text, n in shares.items()}))
    return found
