"""`EmbeddedRewardModel`: a tiny transformer that says, after each step, how likely the game can still be won."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import torch

from stepgym.agents.embedded import net, value_head
from stepgym.agents.embedded.games import GAMES
from stepgym.agents.embedded.policy import WEIGHTS, require_game
from stepgym.envs.types import State

_REMEMBERED = 200_000
_BATCH = 1024


class EmbeddedRewardModel:
    """Scores each step in [0, 1] by what the game says shows its worth; a refused step scores 0.

    Countdown: the position after the step. Modular sums: the addition. Each is read once and
    remembered.
    """

    def __init__(self, folder: str | Path | None = None, *, model: Any = None) -> None:
        """Load `folder`, a reward model or a policy that has a value head (default: the shipped Countdown reward model),
        or take a `model` that is in memory."""
        loaded = (
            value_head.load_scorer(Path(folder) if folder else WEIGHTS / net.PRM)
            if model is None
            else model
        )
        self.model = copy.deepcopy(loaded).double()
        self.game = str(self.model.config.stepgym_game)
        self.num_parameters = net.num_parameters(self.model)
        self._known: dict[Hashable, float] = {}

    def describe(self) -> dict[str, Any]:
        """Return the reward model's settings, as records keep them."""
        return {"kind": "embedded", "game": self.game, "num_parameters": self.num_parameters}

    def require_playable(self, state: State) -> None:
        """Raise `UserError` for a state that is no position of the model's game."""
        require_game(self.game, state.public)

    def score(self, states: Sequence[State]) -> list[list[float]]:
        """Return one score per step. Raises `ValueError` for states of other games."""
        for state in states:
            require_game(self.game, state.public)
        positions = [GAMES[self.game].readings(state) for state in states]
        self.score_positions(
            [position for row in positions for position in row if position is not None]
        )
        return [
            [0.0 if position is None else self._known[position] for position in row]
            for row in positions
        ]

    def tokens_read(self, states: Sequence[State]) -> list[int]:
        """Return how many tokens show the last step of each state; earlier steps were read when they were the last."""
        game = GAMES[self.game]
        lasts = [game.readings(state)[-1] if state.steps else None for state in states]
        return [0 if last is None else len(game.reading_tokens(last)) for last in lasts]

    def score_positions(self, positions: Sequence[Hashable]) -> list[float]:
        """Return the score of each position (of each reading, as `Game.readings` gives them)."""
        new = [position for position in dict.fromkeys(positions) if position not in self._known]
        if len(self._known) + len(new) > _REMEMBERED:
            self._known.clear()
            new = list(dict.fromkeys(positions))
        for at in range(0, len(new), _BATCH):
            part = new[at : at + _BATCH]
            with net.scoring():
                scores = torch.sigmoid(net.position_logits(self.model, part)).tolist()
            self._known.update((position, round(score, 9)) for position, score in zip(part, scores))
        return [self._known[position] for position in positions]
