"""`RecordEpisodes`: a Gymnasium wrapper that makes a record of every episode you play."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium

from stepgym.agents.description import describe
from stepgym.agents.expansion import add_child
from stepgym.agents.record import make_record
from stepgym.agents.types import ROOT, EpisodeRecord, SearchTree
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.plugins.errors import UserError


class RecordEpisodes(gymnasium.Wrapper[str, str, str, str]):
    """Records every episode that is played in the wrapped environment.

    A record is made when the next episode starts, and at `close`. If `state` is set back to an earlier one, what is
    played from there is another path in the same tree; the record's path is the last one. `on_record` is called with
    each record; without it, they are in `records`.
    """

    def __init__(
        self,
        env: gymnasium.Env[str, str],
        *,
        agent: str = "agent",
        on_record: Callable[[EpisodeRecord], object] | None = None,
    ) -> None:
        super().__init__(env)
        if not isinstance(env.unwrapped, ReasoningEnv):
            raise UserError(
                f"RecordEpisodes wraps a ReasoningEnv, not {type(env.unwrapped).__name__}"
            )
        self.inner: ReasoningEnv = env.unwrapped
        self.records: list[EpisodeRecord] = []
        self._agent = agent
        self._on_record = self.records.append if on_record is None else on_record
        self._tree: SearchTree | None = None
        self._last = ROOT

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Finish the record of the last episode and start the next; arguments as in Gymnasium."""
        self.finish()
        found = self.env.reset(seed=seed, options=options)
        self._tree, self._last = SearchTree(self.inner.problem.id, [self.inner.state]), ROOT
        return found

    def step(self, action: str) -> tuple[str, Any, bool, bool, dict[str, Any]]:
        """Take one step; returns observation, reward, terminated, truncated and `info`."""
        before = self.inner.state
        result = self.env.step(action)
        if self._tree is not None:
            node = self._tree.states.index(before)
            self._last = add_child(self._tree, node, self.inner.state)
            self._tree.visits[ROOT] += node == ROOT
            self._tree.visits[self._last] += 1
            if self.inner.verdict is not None:
                self._tree.verdicts[self._last] = self.inner.verdict
        return result

    def close(self) -> None:
        """Finish the record of the last episode and close the environment."""
        self.finish()
        self.env.close()

    def finish(self) -> None:
        """Make the record of the episode so far, if a step was taken."""
        tree, self._tree = self._tree, None
        if tree is None or len(tree) == 1:
            return
        record = make_record(
            tree,
            self.inner.problem,
            best=self._last,
            verdict=tree.verdicts.get(self._last),
            env_id=self.inner.env_id,
            env_options=describe(self.inner.env_options),
            agent={"agent": self._agent},
        )
        self._on_record(record)
