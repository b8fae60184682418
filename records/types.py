"""The data types of records: the contents of a run folder, and the results of exports.

Only the standard library (and the rooms below) is imported. The record of one episode is
`stepgym.agents.types.EpisodeRecord`, because `stepgym.agents.solve` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from stepgym.plugins.errors import UserError

RUN_FORMAT = 2


class RecordError(UserError):
    """A record or run folder that cannot be read as one; the message names file, line and field."""


class SchemaError(RecordError):
    """A record or run folder of another schema; the message names the command that migrates it."""


class RunMismatchError(UserError):
    """A run folder that was started with other settings; the message shows both."""


class RunBusyError(RuntimeError):
    """Another process is writing to this run folder."""


class EpisodeKey(NamedTuple):
    """Which episode of a run it is: the `attempt`-th at a problem."""

    problem_id: str
    """`Problem.id`."""
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """The settings of a run. The number of episodes is not one of them: a run may be extended."""

    env_id: str
    """Id of the environment."""
    env_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of `load_env`, level included."""
    agent: Any
    """A name, or the description of an object, as for `policy` and `reward_model`."""
    agent_settings: Mapping[str, Any] = field(default_factory=dict)
    """The agent's settings."""
    policy: Any
    """As `agent`."""
    policy_settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a policy given by name."""
    reward_model: Any = None
    """As `agent`; `None` for a search without one."""
    budget: Mapping[str, float] = field(default_factory=dict)
    """The limited fields of `Budget`; a field that is absent has no limit."""
    seed: int = 0
    """Seeds the problems, and the policy and the search if they take a seed."""
    see_verdicts: bool | None = None
    """Whether the search may see verdicts; `None` allows it if the verifier needs no reference."""
    tokenizer: Mapping[str, str] | None = None
    """Name and hash of the policy's tokenizer, if its records hold tokens."""


VERDICTS_FILE = "verdicts.jsonl"
"""In a run folder: what verifying anew changed. The first line is a header, each further one a `VerdictChange`."""
RUN_FILES = ("run.json", "episodes.jsonl", "failed.jsonl", VERDICTS_FILE)
"""The files of a run folder."""


class VerdictChange(NamedTuple):
    """A new verdict on a recorded answer that differs from the recorded one."""

    problem_id: str
    """`EpisodeRecord.problem_id`."""
    attempt: int
    """Number of the attempt at the problem."""
    node: int
    """Index of the answer's node in `EpisodeRecord.nodes`."""
    answer: str
    """The recorded answer; empty for an outcome."""
    reference: str
    """The right answer."""
    before: str
    """The recorded verdict; `not verified` if there was none."""
    verdict: str
    """The new verdict."""
    score: float
    """The new score, in [0, 1]."""
    reason: str
    """Why the new verdict is what it is."""
    decided_by: str
    """The check that decided the new verdict."""
    fault: str | None
    """Whose limit made the new verdict undecided; `None` if it is decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverification:
    """What verifying a run anew found."""

    run: str
    """The run folder."""
    episodes: int
    """Episodes read."""
    answers: int
    """All answers in the trees."""
    changed: Mapping[str, int]
    """Kind of change (`incorrect -> correct`) -> answers, largest first."""
    changes: tuple[VerdictChange, ...]
    """Each changed verdict, in the order of the episodes."""
    seconds: float
    """Elapsed time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run folder in figures."""

    run: str
    """The folder."""
    episodes: int
    """Finished episodes."""
    verdicts: Mapping[str, int]
    """Verdict -> episodes, largest first."""
    solved: float | None
    """Share of episodes that are correct; `None` when there are none yet."""
    nodes: int
    """Nodes of all trees."""
    usage: Mapping[str, float]
    """Sums over the episodes, in the fields of `Usage`."""
    env_id: str
    """Id of the environment."""
    agent: Any
    """As in `RunConfig`."""
    policy: Any
    """As in `RunConfig`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One path of an episode as tokens.

    `ids`, `is_own` and `log_probs` have one entry per token after the prompt.

    A policy that reads each state anew gives one rollout per step; `nodes` says which step.
    """

    problem_id: str
    """`EpisodeRecord.problem_id`."""
    attempt: int = 0
    """Number of the attempt at the problem."""
    nodes: tuple[int, ...]
    """The record's node of each step in `ids`, in order."""
    prompt_ids: tuple[int, ...]
    """The tokens that the policy read before its first own token."""
    ids: tuple[int, ...]
    """The tokens after the prompt: the policy's own and all replies."""
    is_own: tuple[bool, ...]
    """Whether the policy sampled the token. All others (replies, forced tokens) are never learned."""
    log_probs: tuple[float | None, ...]
    """The policy's log-probability of each of its own tokens, if known."""
    step_ends: tuple[int, ...]
    """For each step the index in `ids` after its last token."""
    step_rewards: tuple[float | None, ...]
    """For each step 1 if the step verifier found it correct, 0 if incorrect, else `None`."""
    verdict: str
    """As in `EpisodeRecord.verdict`, of the path's end."""
    reward: float | None
    """See `stepgym.records.rollouts.reward_of`; `None` is undecided: to be masked."""
    fault: str | None = None
    """Whose limit made the verdict undecided (`EpisodeRecord.fault`)."""
    count: int = 1
    """How many samples took this path."""


class Advantage(Enum):
    """What the advantage of a token is measured against."""

    GROUP = "group"
    """The end's reward minus the mean over all rollouts of the problem (GRPO, Shao et al. 2024)."""
    TREE = "tree"
    """At each fork, the mean reward below the step minus the mean below the fork; each step is learned once."""


class TextLayout(Enum):
    """How an export lays out what a policy reads and writes."""

    CHAT = "chat"
    """Messages; a policy with a chat template reads the same."""
    PLAIN = "plain"
    """One text; a policy without a chat template reads the same."""
    TOKENS = "tokens"
    """Token ids with labels."""


class ExportFormat(Enum):
    """What a run folder can be turned into; `stepgym.records.formats` has a line on each."""

    SFT = "sft"
    PREFERENCE = "preference"
    KTO = "kto"
    TOKENS = "tokens"
    STEPS = "steps"
    STEPWISE = "stepwise"
    MATH_SHEPHERD = "math-shepherd"
    PRM800K = "prm800k"
    OPENRLHF = "openrlhf"
    TREE = "tree"
    OPENAI = "openai"
    OPENAI_PREFERENCE = "openai-preference"
    SHAREGPT = "sharegpt"
    PROMPTS = "prompts"
    VERL = "verl"
    VERIFIERS = "verifiers"


class View(Enum):
    """How much of an episode is shown."""

    OPERATOR = "operator"
    """All of it."""
    USER = "user"
    """What an end user sees: no internal reasoning, no tool calls and no tool results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """A problem of a run that is also in a benchmark."""

    problem_id: str
    """`EpisodeRecord.problem_id`."""
    file: str
    """The benchmark's file."""
    line: int
    """The benchmark's row."""
    shared: str
    """The shared n-gram, or the whole question if both are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What an export wrote, and what it left out."""

    format: str
    """The format, such as `sft`."""
    rows: int
    """Rows in all files."""
    files: Mapping[str, int]
    """File -> rows."""
    episodes: int
    """Episodes read."""
    verdicts: Mapping[str, int]
    """Verdict -> episodes."""
    contaminated: tuple[Contamination, ...] = ()
    """Problems left out because a benchmark has them, each once."""
    decontaminated: tuple[str, ...] = ()
    """The benchmark files that the problems were compared with."""
    ngram: int = 0
    """How many words in a row counted as overlap."""
    why_empty: str = ""
    """Why there is no row, or none in one of the files; empty if all files have rows."""


class Span(NamedTuple):
    """A stretch of a completion, by character offsets; `learn` is the loss mask."""

    start: int
    """Offset of the first character."""
    end: int
    """Offset after the last character."""
    kind: str
    """The value of a `SegmentKind`, or `delimiter`."""
    learn: bool
