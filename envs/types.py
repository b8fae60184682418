"""The data types of environments: problems, steps, states, verdicts, and their protocols.

Only the standard library is imported. What a part may offer besides its protocol is a protocol of its own, at the end.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol, runtime_checkable


class Status(Enum):
    """The result of a verification. UNDECIDED is not a kind of INCORRECT."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNDECIDED = "undecided"


class Fault(Enum):
    """Why a verdict is UNDECIDED: whose limit was met."""

    ANSWER = "answer"
    """The answer itself: too large, unreadable, or without end. A caller may count it as wrong."""
    OURS = "ours"
    """The verifier: a limit, an engine, a missing package, an unreadable reference. Never counts as wrong."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's decision on one answer."""

    status: Status
    """CORRECT, INCORRECT or UNDECIDED."""
    score: float = 0.0
    """In [0, 1]; 1 exactly when CORRECT, and in between only if a task gives partial credit (share of tests passed). A
    proposed problem that counts is CORRECT, and its score is the proposer's reward."""
    reason: str = ""
    """A sentence for people."""
    decided_by: str = ""
    """The check that decided: a rung of the ladder (`rational`), a rule about the question, or `tests`."""
    details: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)
    """JSON-able evidence: tests passed, a counterexample, the extracted span."""
    fault: Fault | None = None
    """Whose limit made the verdict UNDECIDED; `None` for a decided one, or if the verifier does not say."""

    def __post_init__(self) -> None:
        if self.fault is not None and self.status is not Status.UNDECIDED:
            raise ValueError(f"a {self.status.name} verdict has no fault, but got {self.fault!r}")

    @property
    def correct(self) -> bool:
        """Whether the status is CORRECT."""
        return self.status is Status.CORRECT


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with a machine-checkable reference, which never reaches the agent."""

    id: str
    """Unique over all sets, stable over versions: `stepgym/Countdown-v0/level-3/seed-0/17`."""
    prompt: str
    """What the agent reads."""
    reference: str = field(repr=False)
    """The right answer, or a text that the verifier can use as one."""
    level: int | None = None
    """Difficulty; `None` for data files."""
    seed: int | None = None
    """The problem set's seed; `None` for data files."""
    index: int = 0
    """Number of the problem in its set."""
    public: Hashable = None
    """The domain's own data that the agent may see (Countdown: the numbers and the target)."""
    task: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False, hash=False)
    """The verifier's own data (tests, entry point, options); JSON-able, hidden from the agent."""
    solution: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """A worked solution as texts of steps, the last of which gives the answer; empty if there is none. Hidden too."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action of the policy, what it cost, and the environment's reply to it.

    Equality and hash look at `text` and `reply` alone: two policies that take the same step reach the same state.
    """

    text: str
    """What the policy wrote, without the step delimiter."""
    log_prob: float | None = field(default=None, compare=False)
    """Sum over the step's tokens, natural logarithm; `None` if the policy gives none."""
    num_tokens: int = field(default=0, compare=False)
    """New tokens, internal reasoning included."""
    num_reasoning_tokens: int = field(default=0, compare=False)
    """New tokens of internal reasoning."""
    num_prompt_tokens: int = field(default=0, compare=False)
    """Tokens the model had to read for this step and had not read before (0 where a cache held them)."""
    reply: str = ""
    """The environment's reply to the step (a tool's output, a refusal); empty until `advance`."""
    num_reply_tokens: int = field(default=0, compare=False)
    """Tokens of `reply`."""
    cut_results: tuple[str, ...] = field(default=(), compare=False)
    """The tool results that `reply` shows only in part, whole and in order."""
    refused: bool = field(default=False, compare=False)
    """The step is illegal and changed nothing; `reply` has the reason."""
    final: bool = field(default=False, compare=False)
    """The policy itself ended here (end-of-sequence), so that no further step is to come."""
    token_ids: tuple[int, ...] | None = field(default=None, compare=False)
    """The tokens of the step as they were sampled, with the delimiter or end token that ended it; `None` if the
    policy does not give tokens."""
    token_log_probs: tuple[float | None, ...] | None = field(default=None, compare=False)
    """The model's log-probability of each token (temperature 1, no token cut off); `None` in place of a token that
    was forced on the model. Unlike `log_prob`, not rounded."""
    context_ids: tuple[int, ...] | None = field(default=None, compare=False)
    """All tokens that the policy read before it wrote this step."""
    usd: float = field(default=0.0, compare=False)
    """US dollars that a server was paid for this step; 0 without a price."""


class SegmentKind(Enum):
    """What a stretch of a step is."""

    VISIBLE = "visible"
    REASONING = "reasoning"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    ANSWER = "answer"


class Segment(NamedTuple):
    """A part of a step's text without its special tokens.

    `start` and `end` are offsets in the step that include the special tokens.
    """

    kind: SegmentKind
    """What the part is."""
    text: str
    """The part's text."""
    start: int
    end: int


class End(Enum):
    """Why an episode is over."""

    ANSWERED = "answered"
    """A final answer was given; the verifier decides on it."""
    STUCK = "stuck"
    """No legal step is left, or an illegal one was taken and the domain ends the episode then."""
    STEP_LIMIT = "step_limit"
    OUTCOME = "outcome"
    """The environment itself ended the episode; `State.outcome` is what it paid."""


@dataclass(frozen=True, slots=True)
class State:
    """All that a policy may see: the prompt and the steps so far. Immutable."""

    prompt: str
    """`Problem.prompt`."""
    steps: tuple[Step, ...] = ()
    """The steps so far."""
    answer: str | None = None
    """The answer that the last step gave; `None` without one."""
    end: End | None = None
    """Why the episode is over; `None` until then."""
    public: Hashable = None
    """The domain's own data that the agent may see (Countdown: the numbers left and the target).

    If it changes along an episode, equal data at equal depth must mean an equal future, because searches merge such
    states.
    """
    draw: int | None = field(default=0, compare=False)
    """How many steps a policy has drawn from this state before; part of the sampling seed, so a repeated request
    gives new steps. `None` asks for the most likely step instead of a sample."""
    outcome: float | None = None
    """What the environment paid for the whole episode, in its own unit, if it pays and does not ask for an answer."""
    system: str | None = field(default=None, compare=False)
    """The system text of a chat model, which stands before the prompt: the form of steps and answers, and what ends the episode. `None` if
    the environment does not say."""

    @property
    def done(self) -> bool:
        """Whether the episode is over."""
        return self.end is not None

    @property
    def has_result(self) -> bool:
        """Whether there is something to verify: an answer or an outcome."""
        return self.answer is not None or self.outcome is not None


class ProblemSet(Protocol):
    """Problems by index.

    Item `i` is a pure function of `(seed, level, i)`, or row `i` of a data file.
    """

    @property
    def name(self) -> str:
        """Name of the set; problem ids begin with it."""
        ...

    def __len__(self) -> int:
        """Return the number of problems; `sys.maxsize` for a procedural set."""
        ...

    def __getitem__(self, index: int) -> Problem:
        """Return the problem at an index; the same one at each call."""
        ...


class Verifier(Protocol):
    """Ground truth for answers; deterministic; never raises on any answer.

    `needs_reference = False` says that the verdict follows from the prompt alone (Countdown), so that a search may
    use verdicts without cheating.
    """

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        """Return one verdict per answer, in order; `problems[i]` belongs to `answers[i]`."""
        ...


@runtime_checkable
class OutcomeVerifier(Protocol):
    """A verifier of outcomes: of episodes that ended without an answer. Optional."""

    def verify_outcomes(
        self, problems: Sequence[Problem], outcomes: Sequence[float]
    ) -> list[Verdict]:
        """Return one verdict per outcome, in order; an outcome is what the environment paid."""
        ...


class StepVerifier(Protocol):
    """Ground truth for single steps; not every environment has one."""

    def verify_steps(
        self, problems: Sequence[Problem], states: Sequence[State]
    ) -> list[list[Verdict]]:
        """Return one list per state, holding one verdict per step of that state."""
        ...


class Domain(Protocol):
    """An environment's dynamics as pure functions. It decides when an episode ends."""

    def initial(self, problem: Problem) -> State:
        """Return the state before the first step."""
        ...

    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        """Take one step from each state; never raises on any text. A finished state does not change."""
        ...


@runtime_checkable
class Environment(Protocol):
    """The parts of an environment that searches and records use.

    `stepgym.envs.reasoning_env.ReasoningEnv` is one.
    """

    problems: ProblemSet
    """What is asked."""
    domain: Domain
    """How steps change states."""
    verifier: Verifier
    """Which answers are right."""
    step_verifier: StepVerifier | None
    """Which steps are right; `None` if that cannot be decided."""

    @property
    def env_id(self) -> str:
        """The id that `load_env` takes, such as `stepgym/Countdown-v0`."""
        ...


@runtime_checkable
class Reproducible(Protocol):
    """An environment that can be made again from its id and its options."""

    @property
    def env_options(self) -> Mapping[str, Any]:
        """What `load_env(env_id, **env_options)` takes to make the same environment."""
        ...


def options_of(env: Environment) -> Mapping[str, Any]:
    """Return the options that make an environment again; empty if it has no `env_options`."""
    return env.env_options if isinstance(env, Reproducible) else {}


@runtime_checkable
class Wrapped(Protocol):
    """A Gymnasium environment, perhaps inside wrappers."""

    @property
    def unwrapped(self) -> Any:
        """The environment without wrappers."""
        ...


@runtime_checkable
class LegalSteps(Protocol):
    """A domain that lists its legal steps, for random play and controls. Optional."""

    def legal_steps(self, state: State) -> list[str]:
        """Return the texts of all legal steps from a state; empty if there are none."""
        ...


@runtime_checkable
class RefusesSteps(Protocol):
    """A domain that tells illegal steps from legal ones. Optional."""

    def refusing(self, rule: Any) -> Domain:
        """Return a copy with another rule for illegal steps.

        The rule is a `stepgym.envs.illegal_steps.IllegalSteps`.
        """
        ...


@runtime_checkable
class AnswerEquivalence(Protocol):
    """A verifier that decides whether two answers count as one vote. Optional.

    Without it, equal texts count as one.
    """

    def same(self, a: str, b: str) -> bool:
        """Return whether two answers are the same."""
        ...


@runtime_checkable
class AnswerPairEquivalence(Protocol):
    """A verifier that compares many pairs of answers in one call. Optional."""

    def same_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Return for each pair whether both answers are the same."""
        ...


@runtime_checkable
class AnswerKeys(Protocol):
    """A verifier with keys of answers, so that a vote needs fewer comparisons. Optional."""

    def answer_key(self, answer: str) -> Hashable:
        """Return a key: equal keys mean the same answer, different keys different answers.

        `None` means that only a comparison can tell.
        """
        ...


@runtime_checkable
class UsesSandbox(Protocol):
    """A domain or a verifier that runs programs in a sandbox. Optional."""

    @property
    def sandbox(self) -> Any:
        """The sandbox that runs the programs; `None` if it runs none."""
        ...


@runtime_checkable
class WithSeed(Protocol):
    """A problem set that can be drawn from another seed. Optional."""

    def with_seed(self, seed: int) -> ProblemSet:
        """Return the same set with another seed."""
        ...


@runtime_checkable
class WithLevel(Protocol):
    """A problem set of a family with levels. Optional."""

    def with_level(self, level: int) -> ProblemSet:
        """Return the same set at another level."""
        ...


@runtime_checkable
class Closeable(Protocol):
    """A domain or a verifier that holds a sandbox or worker processes. Optional."""

    def close(self) -> None:
        """Release everything; a second call does nothing."""
        ...


def needs_reference(verifier: Verifier) -> bool:
    """Return whether a verifier's verdicts depend on the reference.

    They do, unless the verifier says `needs_reference = False`.
    """
    return bool(getattr(verifier, "needs_reference", True))


def verify_states(
    verifier: Verifier, problems: Sequence[Problem], states: Sequence[State]
) -> list[Verdict]:
    """Return the verdict on each state's result, its answer or its outcome; every state has one.

    Raises `TypeError` if a state has an outcome and the verifier takes none, `ValueError` for a wrong number of verdicts.
    """
    found: dict[int, Verdict] = {}
    answered = [i for i, state in enumerate(states) if state.answer is not None]
    others = [i for i, state in enumerate(states) if state.answer is None]
    if answered:
        answers = [str(states[i].answer) for i in answered]
        given = verifier.verify([problems[i] for i in answered], answers)
        found |= zip(answered, _as_many(given, answered, "answers"))
    if others:
        if not isinstance(verifier, OutcomeVerifier):
            raise TypeError(f"{type(verifier).__name__} has no verify_outcomes(problems, outcomes)")
        outcomes = [float(states[i].outcome or 0.0) for i in others]
        given = verifier.verify_outcomes([problems[i] for i in others], outcomes)
        found |= zip(others, _as_many(given, others, "outcomes"))
    return [found[i] for i in range(len(states))]


def _as_many(verdicts: Sequence[Verdict], asked: Sequence[int], what: str) -> Sequence[Verdict]:
    if len(verdicts) != len(asked):
        raise ValueError(f"returned {len(verdicts)} verdicts for {len(asked)} {what}")
    return verdicts
