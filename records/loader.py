"""From a record back to objects: the states of its nodes, its environment, its problem.

States come from the record alone; nothing is played again. The environment is only needed for its functions (legal
steps, equality of answers), and for verifying anew.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from stepgym.agents.answer_groups import AnswerComparison
from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.envs.mixture import MixedProblems
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import declares_environment, load_env
from stepgym.envs.types import End, Problem, State, Step
from stepgym.records.types import RecordError


def states_of(record: EpisodeRecord) -> list[State]:
    """Return the state of every node, with the tokens and costs of its steps."""
    states: list[State] = []
    for node, context in zip(record.nodes, contexts_of(record)):
        steps: tuple[Step, ...] = ()
        if node.parent >= 0:
            steps = (*states[node.parent].steps, step_of(node, context))
        end = None if node.end is None else End(node.end)
        public = public_data(node.public)
        states.append(
            State(
                record.prompt,
                steps,
                node.answer,
                end,
                public,
                outcome=node.outcome,
                system=record.system,
            )
        )
    return states


def contexts_of(record: EpisodeRecord) -> list[tuple[int, ...] | None]:
    """Return for each node all tokens that the policy read before the node's own.

    `None` for a node without tokens.
    """
    found: list[tuple[int, ...] | None] = []
    for node in record.nodes:
        parent = record.nodes[node.parent] if node.parent >= 0 else None
        if parent is None or node.token_ids is None:
            found.append(None)
        elif node.own_context_ids is not None or parent.context_ids is None:
            found.append(node.own_context_ids)
        elif parent.context_restarts or parent.parent < 0:
            found.append(parent.context_ids)
        else:
            before = found[node.parent] or ()
            found.append(before + (parent.token_ids or ()) + parent.context_ids)
    return found


def step_of(node: NodeRecord, context_ids: tuple[int, ...] | None = None) -> Step:
    """Return the step that led to a node."""
    return Step(
        node.text,
        log_prob=node.log_prob,
        num_tokens=node.num_tokens,
        num_reasoning_tokens=node.num_reasoning_tokens,
        reply=node.reply,
        num_reply_tokens=node.num_reply_tokens,
        cut_results=node.cut_results,
        refused=node.refused,
        final=node.final,
        token_ids=node.token_ids,
        token_log_probs=node.token_log_probs,
        context_ids=context_ids,
    )


def public_data(value: Any) -> Hashable:
    """Return `State.public` from its JSON: lists are tuples."""
    return tuple(map(public_data, value)) if isinstance(value, list | tuple) else value


class Environments:
    """Makes the environments of records, each once."""

    def __init__(self) -> None:
        self._made: dict[str, ReasoningEnv] = {}

    def of(self, record: EpisodeRecord) -> ReasoningEnv:
        """Return the record's environment.

        Raises `RecordError` if it cannot be made from the record.
        """
        key = repr((record.env_id, sorted(record.env_options.items())))
        if key not in self._made:
            try:
                # Records may come from strangers, and a name is made into an environment by calling it.
                if declared := declares_environment(record.env_id):
                    self._made[key] = load_env(record.env_id, **record.env_options)
            except (ValueError, TypeError, OSError) as error:
                raise RecordError(
                    f"record {record.problem_id}: its environment {record.env_id!r} cannot be made with options "
                    f"{dict(record.env_options)!r}: {error}"
                ) from error
            if not declared:
                raise RecordError(
                    f"record {record.problem_id}: {record.env_id!r} is not called, because nothing says that it makes an "
                    "environment; annotate its result: `-> ReasoningEnv`"
                )
        return self._made[key]

    def problem(self, record: EpisodeRecord) -> Problem:
        """Return the record's problem.

        Raises `RecordError` if the environment has another problem at its index.
        """
        problems = self.of(record).problems
        if not 0 <= record.index < len(problems):
            raise RecordError(
                f"record {record.problem_id}: {record.env_id} has {len(problems)} problems, none with index {record.index}"
            )
        if isinstance(problems, MixedProblems):  # a schedule may have drawn it
            problem = problems.drawn_before(record.problem_id, record.index, record.level)
        else:
            problem = problems[record.index]
        if problem.prompt != record.prompt:
            raise RecordError(
                f"record {record.problem_id}: {record.env_id} has another problem at index {record.index} now, "
                f"which begins {problem.prompt[:60]!r}"
            )
        return problem

    def comparison(self, record: EpisodeRecord) -> AnswerComparison:
        """Return how the verifier of the record's environment compares answers."""
        return AnswerComparison.of(self.of(record).verifier)

    def close(self) -> None:
        """Close all environments."""
        for env in self._made.values():
            env.close()
        self._made.clear()
