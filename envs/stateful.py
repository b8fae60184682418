"""Tree search over any stateful environment, which is forked by replaying its steps.

Its state becomes a function of the seed and the steps so far.

    env = from_stateful(partial(gymnasium.make, "FrozenLake-v1", is_slippery=False))
    env = load_env("gym:FrozenLake-v1", settings={"is_slippery": False})

A stateful environment has Gymnasium's `reset(seed=)` and `step(action)`, and observations that can be shown as text. It is
forked by playing its steps again from the same seed, or by `copy.deepcopy` if that is faster and the first copies play like
their originals. The outcome of an episode is the sum of its rewards; it is no answer.

Not covered: environments that draw on randomness other than that of `reset(seed=)`. A replay that gives another
observation raises `ReplayError`, which fails the episode.
"""

from __future__ import annotations

import copy
import hashlib
import math
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, NamedTuple

from stepgym.envs.illegal_steps import RETRIES, IllegalSteps, num_illegal, system_text
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.session_cache import Calls, Job, SessionCache
from stepgym.envs.text_domain import BYTES_PER_TOKEN
from stepgym.envs.tokens import visible_text
from stepgym.envs.types import End, Problem, State, Status, Step, Verdict
from stepgym.plugins.errors import UserError
from stepgym.plugins.settings import SettingError

Forks = Literal["auto", "copy", "replay"]
"""How an episode forks: by `copy.deepcopy`, by playing its steps again, or by whichever is faster, copies being checked."""
NUM_CHECKED = 10
"""With `auto`, how many copies are compared with their originals before copies are trusted."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class ReplayError(RuntimeError):
    """The same steps from the same seed gave another result; the environment cannot be forked."""


class Turn(NamedTuple):
    """The result of one step in a stateful environment, or of its reset."""

    text: str
    """What the environment shows, as text."""
    total: float = 0.0
    """Sum of the rewards so far."""
    end: End | None = None
    """Why the episode ended; `None` until it has ended."""
    legal: tuple[str, ...] | None = None
    """The texts of all actions that are possible next; `None` if the environment does not list them."""
    refused: bool = False
    """The step was no action, and the environment did not see it."""


def shown(env: Any, observation: Any) -> str:
    """Return an observation as text.

    Text is returned as it is; anything else as the environment draws it in mode `ansi`, or by `str`.
    """
    if not isinstance(observation, str) and getattr(env, "render_mode", None) == "ansi":
        observation = env.render()
    return _COLOUR.sub(
        "", observation if isinstance(observation, str) else str(_plain(observation))
    )


def _plain(value: Any) -> Any:
    """Return a value of numpy, or a container of them, as plain Python."""
    if isinstance(value, tuple | list):
        return type(value)(map(_plain, value)) if type(value) in (tuple, list) else value
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


@dataclass(frozen=True, kw_only=True)
class Game:
    """How a stateful environment is made, shown and acted upon."""

    make: Callable[[], Any]
    """Makes a new environment with Gymnasium's `reset` and `step`."""
    show: Callable[[Any, Any], str] = shown
    """(environment, observation) -> text."""
    actions: tuple[str, ...] | None = None
    """Names of the actions of a discrete space, in order; by default their numbers."""
    forks: Forks = "auto"
    """How an episode is forked: `auto`, `copy` or `replay`; see `Forks`."""

    def reset(self, env: Any, seed: str) -> Turn:
        """Begin an episode."""
        observation, info = env.reset(seed=int(seed))
        return Turn(self.show(env, observation), legal=self._legal(env, info))

    def play(self, env: Any, text: str, before: Turn) -> Turn:
        """Take one action, given as text, after the turn `before`."""
        names = self._names(env)
        if names is not None and text not in names:
            known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            return before._replace(
                text=f"{text[:80]!r} is no action; actions: {known}", refused=True
            )
        action: Any = text
        if names is not None:
            action = names.index(text) + int(getattr(env.action_space, "start", 0))
        observation, reward, terminated, truncated, info = env.step(action)
        end = End.OUTCOME if terminated else End.STEP_LIMIT if truncated else None
        legal = () if end else self._legal(env, info)
        return Turn(self.show(env, observation), before.total + float(reward), end, legal)

    def _names(self, env: Any) -> tuple[str, ...] | None:
        """Return the texts of a discrete space's actions in order; `None` if actions are free text."""
        count = getattr(getattr(env, "action_space", None), "n", None)
        if count is None:
            return None
        if self.actions is None:
            start = int(getattr(env.action_space, "start", 0))
            return tuple(str(start + i) for i in range(int(count)))
        if len(self.actions) != count:
            raise UserError(
                f"actions has {len(self.actions)} names, the environment {count} actions"
            )
        return self.actions

    def _legal(self, env: Any, info: Mapping[str, Any]) -> tuple[str, ...] | None:
        names, mask = self._names(env), info.get("action_mask")
        if names is None:
            listed = info.get("admissible_commands")
            return None if listed is None else tuple(dict.fromkeys(listed))
        return names if mask is None else tuple(n for n, on in zip(names, mask) if on)


class LiveEpisode:
    """One episode kept live.

    The first call is the seed, each further one a step; see `ForkableSession`.
    """

    def __init__(
        self, episodes: Episodes, *, env: Any, history: tuple[tuple[str, Turn], ...]
    ) -> None:
        self._episodes = episodes
        self._env = env
        """`None` if it must be made and played to here first."""
        self._history = history
        self._original: Any = None
        """What the environment was copied from, if it is to take the same step for comparison."""
        self._is_copy = self._was_forked = False
        self._lock = threading.Lock()

    def run(self, code: str, /) -> Turn:
        """Reset with a seed, or take a step.

        Raises `ReplayError`, and whatever the environment raises.
        """
        with self._lock:
            if self._env is None:
                self._env = self._episodes.replay(self._history)
            before = self._history[-1][1] if self._history else None
            turn = self._episodes.take(self._env, code, before)
            history = (*self._history, (code, turn))
            if self._original is not None and before is not None:
                if not self._episodes.is_like_copy(self._original, code, before, turn):
                    self._env, self._is_copy = self._episodes.replay(self._history), False
                    turn = self._episodes.take(self._env, code, before)
                    history = (*self._history, (code, turn))
                self._original = None
            self._history = history
            if turn.end is not None:
                self._close()
            return turn

    def fork(self) -> LiveEpisode:
        """Return an episode in the same state.

        The environment itself moves to the first fork, since most states have one child. For a second one it is played to
        here again, and copied if a copy takes less time than a replay.
        """
        with self._lock:
            other = LiveEpisode(self._episodes, env=None, history=self._history)
            if self._was_forked and self._env is None:
                self._env = self._episodes.replay(self._history)
            num_calls = len(self._history)
            copied = self._episodes.copy(self._env, num_calls) if self._was_forked else None
            if copied is not None:
                other._env, other._is_copy = copied, True
                if self._episodes.copies_left_to_check:
                    other._original, self._env = self._env, None
            else:
                other._env, self._env = self._env, None
                other._is_copy = self._is_copy
            self._was_forked = True
            return other

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        # What a copy holds may belong to the original, so copies are only dropped.
        env, self._env = self._env, None
        if env is not None and not self._is_copy and not self._episodes.copies:
            env.close()


class Episodes:
    """The episodes of one game, by seed and steps. Domain and problem set share one."""

    def __init__(self, game: Game, *, max_kept: int = 256, num_threads: int = 1) -> None:
        self.game = game
        self.max_kept = max_kept
        self.num_threads = num_threads
        self.copies = game.forks != "replay"
        """Whether copies are used; `auto` stops using them if one plays unlike a replay."""
        self.copies_left_to_check = NUM_CHECKED if game.forks == "auto" else 0
        self._copy_s = self._step_s = 0.0
        """How long the last copy and the last step took."""
        self._cache: SessionCache[Turn] | None = None

    @property
    def cache(self) -> SessionCache[Turn]:
        if self._cache is None:
            self._cache = SessionCache(
                lambda start: LiveEpisode(self, env=None, history=()),
                max_kept=self.max_kept,
                num_threads=self.num_threads,
            )
        return self._cache

    def start(self, seed: int) -> Turn:
        """Return the first turn of the episode with a seed."""
        [[turn]] = self.cache.run([Job((), (str(seed),))])
        return turn

    def after(self, jobs: Sequence[tuple[Calls, str]]) -> list[Turn]:
        """Return what each step gives after its chain of calls."""
        return [turn for [turn] in self.cache.run([Job(chain, (text,)) for chain, text in jobs])]

    def take(self, env: Any, call: str, before: Turn | None) -> Turn:
        """Reset an environment with the seed `call`, or take the step `call` after the turn before."""
        started = time.perf_counter()
        turn = self.game.reset(env, call) if before is None else self.game.play(env, call, before)
        self._step_s = time.perf_counter() - started
        return turn

    def replay(self, history: Sequence[tuple[str, Turn]]) -> Any:
        """Return a new environment in which some calls were made.

        Raises `ReplayError` if they give other turns.
        """
        env, before = self.game.make(), None
        for number, (call, known) in enumerate(history):
            before = self.take(env, call, before)
            if before != known:
                raise ReplayError(
                    f"step {number} {call[:40]!r} gave {before.text[:80]!r} when it was played again, and "
                    f"{known.text[:80]!r} before: the environment does not depend on its seed and the steps alone"
                )
        return env

    def copy(self, env: Any, num_calls: int) -> Any:
        """Return a deep copy of an environment; `None` if a replay of its calls is to be preferred."""
        is_slow = self.game.forks == "auto" and self._copy_s > num_calls * self._step_s
        if not self.copies or is_slow:
            return None
        started = time.perf_counter()
        try:
            copied = copy.deepcopy(env)
            self._copy_s = time.perf_counter() - started
            return copied
        except Exception as error:
            if self.game.forks == "copy":
                raise ReplayError(f'forks="copy", but {type(env).__name__}: {error}') from error
            self.copies = False
            return None

    def is_like_copy(self, original: Any, call: str, before: Turn, turn: Turn) -> bool:
        """Return whether an original gives the same turn as its copy gave.

        If not, copies are used no more.

        A copy that shares its state with the original has taken the step for both, which shows if the step changes anything.
        """
        try:
            found = self.take(original, call, before)
        except Exception:  # noqa: BLE001 (an original whose episode the copy has ended may raise anything)
            found = None
        if found != turn:
            self.copies, self.copies_left_to_check = False, 0
        elif turn.text != before.text:
            self.copies_left_to_check = max(0, self.copies_left_to_check - 1)
        return self.copies

    def close(self) -> None:
        """Close all environments; the next use makes others."""
        if self._cache is not None:
            self._cache.close()
            self._cache = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": None}


@dataclass(frozen=True)
class StatefulProblems:
    """Problem `i` is the episode that begins with a seed hashed from `(seed, i)`."""

    name: str
    """First part of every problem's id."""
    episodes: Episodes = field(compare=False)
    """The episodes of the game; the domain has the same object."""
    instructions: str = ""
    """Text before the first observation in each prompt; empty for none."""
    seed: int = 0
    """Seed of the set."""
    size: int = sys.maxsize
    """Number of problems."""

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < self.size:
            raise IndexError(f"{self.name} has {self.size} problems, not one at {index!r}")
        digest = hashlib.blake2b(f"{self.name}/{self.seed}/{index}".encode(), digest_size=4)
        # Gymnasium's seeds are signed in some environments.
        seed = int.from_bytes(digest.digest(), "big") // 2
        prompt = "\n\n".join(filter(None, (self.instructions, self.episodes.start(seed).text)))
        id = f"{self.name}/seed-{self.seed}/{index}"
        return Problem(id, prompt, "", seed=self.seed, index=index, public=("episode", seed))

    def with_seed(self, seed: int) -> StatefulProblems:
        return replace(self, seed=seed)


class StatefulDomain:
    """The dynamics of a stateful environment as pure functions.

    `legal_steps` exists if the environment lists its actions.
    """

    def __init__(
        self,
        episodes: Episodes,
        *,
        max_steps: int | None,
        lists_actions: bool,
        illegal_steps: IllegalSteps = RETRIES,
    ) -> None:
        self.episodes = episodes
        self.max_steps = max_steps
        self.lists_actions = lists_actions
        self.illegal_steps = illegal_steps
        if lists_actions:
            self.legal_steps = self._legal_steps
        self.system = system_text(
            "Act in the environment that the problem describes. Each step is one action, as plain text, and nothing else. "
            "Write an empty line after each step.",
            "The environment ends the episode.",
            illegal_steps=illegal_steps if lists_actions else None,
            max_steps=max_steps,
        )

    def refusing(self, rule: IllegalSteps) -> StatefulDomain:
        """Return the domain with another rule for texts that are no action."""
        return StatefulDomain(
            self.episodes,
            max_steps=self.max_steps,
            lists_actions=self.lists_actions,
            illegal_steps=rule,
        )

    def initial(self, problem: Problem) -> State:
        return State(problem.prompt, public=problem.public, system=self.system)

    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        """Take one step from each state. Raises `ReplayError`, and whatever the environment raises."""
        live = [i for i, state in enumerate(states) if not state.done]
        for state in (states[i] for i in live):
            self._restore(state)
        jobs = [(_chain(states[i]), visible_text(steps[i].text)) for i in live]
        turns = dict(zip(live, self.episodes.after(jobs)))
        return [
            self._after(state, step, turns[i]) if i in turns else state
            for i, (state, step) in enumerate(zip(states, steps, strict=True))
        ]

    def close(self) -> None:
        """Close all environments."""
        self.episodes.close()

    def _legal_steps(self, state: State) -> list[str]:
        if state.done:
            return []
        self._restore(state)
        *before, last = _chain(state)
        [[turn]] = self.episodes.cache.run([Job(tuple(before), (last,))])
        return list(turn.legal or ())

    def _restore(self, state: State) -> None:
        """Play a state's steps if no live episode is there. Raises `ReplayError` if they give other replies now."""
        chain = _chain(state)
        if self.episodes.cache.holds(chain):
            return
        [turns] = self.episodes.cache.run([Job((), chain)])
        for number, (step, turn) in enumerate(zip(state.steps, turns[1:])):
            if step.reply != turn.text:
                raise ReplayError(
                    f"step {number} {step.text[:40]!r} gives {turn.text[:80]!r} now, and gave {step.reply[:80]!r}"
                )

    def _after(self, state: State, step: Step, turn: Turn) -> State:
        tokens = -(-len(turn.text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)
        taken = replace(step, reply=turn.text, num_reply_tokens=tokens, refused=turn.refused)
        steps = (*state.steps, taken)
        end = turn.end
        if turn.refused and self.illegal_steps.ends_after(num_illegal(state)):
            end = End.STUCK
        if end is None and self.max_steps is not None and len(steps) >= self.max_steps:
            end = End.STEP_LIMIT
        outcome = None if end is None else turn.total
        return State(
            state.prompt, steps, None, end, state.public, outcome=outcome, system=state.system
        )


def _chain(state: State) -> Calls:
    """Return the calls that lead to a state: its seed, then its steps."""
    assert isinstance(state.public, tuple)
    return (str(state.public[1]), *(visible_text(step.text) for step in state.steps))


@dataclass(frozen=True, kw_only=True)
class OutcomeScale:
    """A verifier of outcomes with a scale from `failure` to `success`.

    An outcome of `success` or more is CORRECT. Below, the verdict is INCORRECT, and its score falls linearly to 0 at
    `failure`.
    """

    success: float = 1.0
    failure: float = 0.0
    needs_reference = False

    def __post_init__(self) -> None:
        if not self.failure < self.success:
            raise SettingError(
                f"failure={self.failure} must be below success={self.success}; use rewards of another sign, or a wrapper"
            )

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        """Return INCORRECT for each: an answer is no outcome."""
        reason = "the environment's outcome counts, not an answer"
        return [Verdict(Status.INCORRECT, reason=reason) for _ in answers]

    def verify_outcomes(
        self, problems: Sequence[Problem], outcomes: Sequence[float]
    ) -> list[Verdict]:
        """Return one verdict per outcome, in order; see the class."""
        return [self._verdict(outcome) for outcome in outcomes]

    def _verdict(self, outcome: float) -> Verdict:
        if math.isnan(outcome):
            return Verdict(Status.UNDECIDED, reason="the environment paid NaN")
        if outcome >= self.success:
            return Verdict(Status.CORRECT, 1.0, decided_by="outcome")
        score = max(0.0, (outcome - self.failure) / (self.success - self.failure))
        return Verdict(Status.INCORRECT, min(score, 0.9999), decided_by="outcome")


def from_stateful(
    make: Callable[[], Any],
    *,
    name: str | None = None,
    instructions: str | None = None,
    show: Callable[[Any, Any], str] = shown,
    actions: Sequence[str] | None = None,
    forks: Forks = "auto",
    success: float = 1.0,
    failure: float = 0.0,
    max_steps: int | None = 100,
    seed: int = 0,
    size: int = sys.maxsize,
    max_kept: int = 256,
    num_threads: int = 1,
    **common: Any,
) -> ReasoningEnv:
    """Return an environment over a stateful one, which `make()` makes anew at each call.

    An episode is CORRECT if its rewards sum up to `success`. `show(env, observation)` gives the text of an observation, and
    `actions` the names of a discrete space's actions. Up to `max_kept` episodes stay live. Give `forks="replay"` for an
    environment whose copies share something with the original (a connection), and `num_threads` for one that waits.
    """
    game = Game(
        make=make, show=show, actions=None if actions is None else tuple(actions), forks=forks
    )
    episodes = Episodes(game, max_kept=max_kept, num_threads=num_threads)
    legal = episodes.start(0).legal
    if instructions is None:
        listed = f" Actions: {', '.join(legal[:20])}." if legal and actions is not None else ""
        listed = listed or (
            f" It is a number, such as {legal[0]}." if legal and legal[0].isdecimal() else ""
        )
        instructions = f"Each step is one action.{listed}"
    problems = StatefulProblems(name or _name_of(make), episodes, instructions, seed, size)
    domain = StatefulDomain(episodes, max_steps=max_steps, lists_actions=legal is not None)
    scale = OutcomeScale(success=success, failure=failure)
    return ReasoningEnv(problems, domain=domain, verifier=scale, **common)


def _name_of(make: Callable[[], Any]) -> str:
    if isinstance(make, partial):
        return next((arg for arg in make.args if isinstance(arg, str)), _name_of(make.func))
    return str(getattr(make, "__qualname__", type(make).__name__))


def make(env_id: str, *, settings: Mapping[str, Any] | None = None, **options: Any) -> ReasoningEnv:
    """Return `from_stateful` of an environment that is registered with Gymnasium.

    `settings` go to `gymnasium.make`: `load_env("gym:FrozenLake-v1", settings={"is_slippery": False})`. `options` are
    those of `from_stateful`.
    """
    import gymnasium

    try:
        keywords = dict(settings or {})
        made = gymnasium.make(env_id, **keywords)
        if "ansi" in made.metadata.get("render_modes", ()):
            keywords.setdefault("render_mode", "ansi")
        made.close()
        maker = partial(gymnasium.make, env_id, **keywords)
    except (gymnasium.error.Error, TypeError) as error:
        raise UserError(f"gym:{env_id}: {error}") from error
    return from_stateful(maker, name=f"gym/{env_id}", **options)
