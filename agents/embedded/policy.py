"""`EmbeddedPolicy`: a tiny transformer, shipped with the package, that plays Countdown without any download."""

from __future__ import annotations

import copy
import math
import random
import textwrap
from collections.abc import Hashable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any

from stepgym.agents.embedded import net
from stepgym.agents.embedded.games import GAMES, MoveTree, describe_vocabulary, move_tree
from stepgym.agents.embedded.token_sampler import TokenSampler
from stepgym.agents.randomness import proposal_seed
from stepgym.envs.types import State, Step
from stepgym.plugins.errors import UserError

WEIGHTS = Path(__file__).parent / "weights"
LEAST_TEMPERATURE = 0.01
"""What `temperature=0` is for steps that are written token by token."""
_REMEMBERED = 100_000
_BATCH = 256


class EmbeddedPolicy:
    """Proposes legal steps with the model's probabilities, one forward pass for all states.

    Scoring all legal steps of a state costs one short row (Countdown), so that steps can be drawn exactly. With
    `distinct` they are drawn without replacement, by Gumbel noise on the log-probabilities (Kool et al. 2019,
    arXiv:1903.06059), in one order, which the next `draw` of a state continues; once every legal step was given,
    further ones are independent samples. Without it all are, written token by token, `temperature` applying to each
    token as it does in language models. `temperature=0` is most likely first. Proposals, which are too many to list, are
    always sampled token by token.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        distinct: bool | None = None,
        model: Any = None,
    ) -> None:
        """Load `folder` (default: the shipped Countdown policy), or take a `model` that is in memory."""
        if temperature < 0:
            raise ValueError(f"temperature is 0 or larger, not {temperature!r}")
        loaded = (
            net.load(net.POLICY, Path(folder) if folder else WEIGHTS / net.POLICY)
            if model is None
            else model
        )
        self.model = copy.deepcopy(loaded).double()
        self.game = str(self.model.config.stepgym_game)
        self.num_parameters = net.num_parameters(self.model)
        self.seed = seed
        self.temperature = temperature
        self.distinct = GAMES[self.game].distinct if distinct is None else distinct
        self._known: dict[Hashable, list[float]] = {}
        self._samples = not self.distinct and temperature > 0
        self._sampler = TokenSampler(self.model, temperature or LEAST_TEMPERATURE)

    def describe(self) -> dict[str, Any]:
        """Return the policy's settings, as records keep them."""
        return {
            "kind": "embedded",
            "game": self.game,
            "seed": self.seed,
            "temperature": self.temperature,
            "distinct": self.distinct,
            "num_parameters": self.num_parameters,
            "tokenizer": describe_vocabulary(self.game),
        }

    def require_playable(self, state: State) -> None:
        """Raise `UserError` for a state that is no position of the model's game."""
        require_game(self.game, state.public)

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        """Return up to `counts[i]` steps; none for a state that is done. Raises `ValueError` for other games."""
        open_states = [i for i, state in enumerate(states) if not state.done]
        written = [i for i in open_states if self._writes(states[i])]
        scored = sorted({*open_states} - {*written})
        self.learn_probabilities([states[i].public for i in scored])
        steps = dict(
            zip(written, self._write([states[i] for i in written], [counts[i] for i in written]))
        )
        return [
            [] if state.done else steps[i] if i in steps else self._draw(state, count)
            for i, (state, count) in enumerate(zip(states, counts, strict=True))
        ]

    def _writes(self, state: State) -> bool:
        """Return whether steps are written token by token; otherwise all legal steps are scored, and some chosen."""
        require_game(self.game, state.public)
        sampled = self._samples and state.draw is not None
        return sampled or not GAMES[self.game].is_listed(state.public)

    def _write(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        """Return independent samples, written token by token."""
        if not states:
            return []
        game = GAMES[self.game]
        # A position without a legal step is asked for none.
        asked = [
            (state.draw or 0, count if game.following(state.public, ()) else 0)
            for state, count in zip(states, counts)
        ]
        streams = [
            random.Random(proposal_seed(self.seed, _at_first_draw(state), 1)) for state in states
        ]
        drawn = self._sampler.write([state.public for state in states], streams, asked)
        found = []
        for state, row in zip(states, drawn):
            position = game.prompt(state.public)
            found.append(
                [
                    Step(
                        game.text(draw.public, draw.tokens),
                        log_prob=math.fsum(draw.log_probs),
                        num_tokens=len(draw.tokens),
                        num_prompt_tokens=0 if k else len(position),
                        token_ids=draw.tokens,
                        token_log_probs=draw.log_probs,
                        context_ids=position,
                    )
                    for k, draw in enumerate(row)
                ]
            )
        return found

    def learn_probabilities(self, publics: Sequence[Hashable]) -> None:
        """Score all positions not scored before."""
        for public in publics:
            require_game(self.game, public)
        new = [public for public in dict.fromkeys(publics) if public not in self._known]
        if len(self._known) + len(new) > _REMEMBERED:
            self._known.clear()
            new = list(dict.fromkeys(publics))
        for at in range(0, len(new), _BATCH):
            part = new[at : at + _BATCH]
            with net.scoring():
                scored = net.move_log_probs(self.model, net.batch_moves(self.game, part))
            self._known.update(
                (public, [round(x, 9) for x in row.tolist()]) for public, row in zip(part, scored)
            )

    def log_probs(self, public: Hashable) -> tuple[MoveTree, list[float]]:
        """Return the legal moves of a position and the log-probability of each."""
        self.learn_probabilities([public])
        return move_tree(self.game, public), self._known[public]

    def _draw(self, state: State, count: int) -> list[Step]:
        moves, log_probs = self.log_probs(state.public)
        if not moves.moves:
            return []
        first = state.draw or 0
        if state.draw is None or self.temperature == 0:
            ranked = sorted(range(len(log_probs)), key=lambda m: -log_probs[m])
            chosen = ranked[first : first + count]
        else:
            chosen = list(islice(self._order(state, log_probs), first, first + count))
        position = GAMES[self.game].prompt(state.public)
        return [
            Step(
                moves.moves[m].text,
                log_prob=log_probs[m],
                num_tokens=len(moves.moves[m].tokens),
                num_prompt_tokens=0 if k else moves.num_prompt_tokens,
                token_ids=moves.moves[m].tokens,
                token_log_probs=_token_log_probs(moves, log_probs, m),
                context_ids=position,
            )
            for k, m in enumerate(chosen)
        ]

    def _order(self, state: State, log_probs: list[float]) -> Iterator[int]:
        """Yield moves without end in the order in which this state draws them."""
        stream = random.Random(proposal_seed(self.seed, _at_first_draw(state), 1))
        scaled = [x / self.temperature for x in log_probs]
        noisy = [x - math.log(-math.log(stream.random() or 1e-300)) for x in scaled]
        yield from sorted(range(len(noisy)), key=lambda m: -noisy[m])
        top = max(scaled)
        below = list(accumulate(math.exp(x - top) for x in scaled))
        while True:
            yield stream.choices(range(len(below)), cum_weights=below)[0]


def _token_log_probs(moves: MoveTree, log_probs: list[float], chosen: int) -> tuple[float, ...]:
    """Return the log-probability of each token of a move, out of those of whole moves.

    A prefix has the probability of all moves that begin with it, a token that of its prefix given the prefix before.
    """
    tokens = moves.moves[chosen].tokens
    below = [0.0]
    for length in range(1, len(tokens)):
        with_prefix = [
            log_prob
            for move, log_prob in zip(moves.moves, log_probs)
            if move.tokens[:length] == tokens[:length]
        ]
        top = max(with_prefix)
        below.append(top + math.log(math.fsum(math.exp(x - top) for x in with_prefix)))
    return tuple(after - before for before, after in pairwise([*below, log_probs[chosen]]))


def require_game(game: str, public: Hashable) -> None:
    """Raise `UserError` unless `public` is a position of the game."""
    if not GAMES[game].plays(public):
        other = (
            "free text" if public is None else f"states like {textwrap.shorten(repr(public), 40)}"
        )
        raise UserError(
            f"the embedded model only plays {GAMES[game].title}, not {other}; choose another policy: a language "
            "model (smollm2, hf:NAME_OR_FOLDER, chat:URL#MODEL), or `random` if the environment is a game"
        )


def _at_first_draw(state: State) -> State:
    return State(state.prompt, state.steps, public=state.public)
