"""The nouns of the agents: who proposes, who scores, which nodes grow, what it may cost, and its record.

Only the standard library (and the rooms below) is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, NamedTuple, Protocol

from stepgym.envs.types import Domain, State, Step, Verdict

ROOT = 0
NO_PARENT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one search has spent. Token classes are disjoint; `new_tokens` is visible + reasoning."""

    prompt_tokens: int = 0
    visible_tokens: int = 0
    reasoning_tokens: int = 0
    tool_tokens: int = 0
    model_calls: int = 0
    """Batched forward calls of policy and reward model that this search took part in."""
    flops: float = 0.0
    """2 x parameters x tokens processed (Kaplan et al. 2020); 0 where the parameters are unknown."""
    sandbox_s: float = field(default=0.0, compare=False)
    wall_s: float = field(default=0.0, compare=False)
    """From the start of the search to its last round, whatever ran beside it."""

    @property
    def new_tokens(self) -> int:
        return self.visible_tokens + self.reasoning_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one search may spend at most; `None` is no limit."""

    model_calls: int | None = None
    new_tokens: int | None = None
    flops: float | None = None
    sandbox_s: float | None = None
    wall_s: float | None = None


NO_LIMIT = Budget()


class NodeStatus(Enum):
    """What is known of a node."""

    OPEN = "open"
    """It can grow."""
    ENDED = "ended"
    """Its state is done, with or without an answer."""
    BARREN = "barren"
    """The policy was asked and gave nothing."""
    FAILED = "failed"
    """The policy, the reward model or the domain failed here; `SearchTree.notes` says how."""
    PRUNED = "pruned"
    """The search closed it: nothing below can change its choice."""


@dataclass(slots=True)
class SearchTree:
    """A grown tree as flat arrays, indexed by node; node 0 is the root and parents precede children.

    Arrays all have the length of `states`. `prior` is the search's own normalised prior among siblings; `score`
    the reward model's word on the last step, in [0, 1]; `value` the mean of what backup brought, in [0, 1].
    """

    problem_id: str
    states: list[State]
    parent: list[int] = field(default_factory=lambda: [NO_PARENT])
    children: list[list[int]] = field(default_factory=lambda: [[]])
    prior: list[float] = field(default_factory=lambda: [1.0])
    score: list[float | None] = field(default_factory=lambda: [None])
    visits: list[int] = field(default_factory=lambda: [0])
    value: list[float] = field(default_factory=lambda: [0.0])
    status: list[NodeStatus] = field(default_factory=lambda: [NodeStatus.OPEN])
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    """Node -> verdict, for ended nodes, where the run lets the search see verdicts."""
    notes: dict[int, str] = field(default_factory=dict)
    """Node -> what went wrong there."""
    asked: list[int] = field(default_factory=lambda: [0])
    """How many steps the policy was asked for here; the next proposal starts at this `State.draw`."""
    groups: dict[int, int] = field(default_factory=dict)
    """Ended node with an answer -> the first node with the same answer, as the verifier's `same` sees it."""
    sees_verdicts: bool = False
    memory: dict[str, Any] = field(default_factory=dict)
    """The search's own notes between rounds."""
    usage: Usage = Usage()

    def __len__(self) -> int:
        return len(self.states)

    def path(self, node: int) -> list[int]:
        """Return the nodes from the root to `node`, both included."""
        steps = [node]
        while (node := self.parent[node]) != NO_PARENT:
            steps.append(node)
        return steps[::-1]


class Request(NamedTuple):
    """Grow `n` children under `node`. `view` is what the policy sees in place of the node's own state."""

    node: int
    n: int
    view: State | None = None


class Search(Protocol):
    """A tree policy: which nodes grow next. Frozen data that never calls a model; what it must remember between
    rounds is in the tree."""

    def select(self, tree: SearchTree) -> list[Request]:
        """Return what to grow in this round; empty when the search is finished."""
        ...

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        """Take in what grew: parent -> the child that each proposed step led to, in order.

        Equal siblings are one node: a step drawn twice, now or in an earlier round, names its child twice.
        Parents that got nothing map to an empty sequence.
        """
        ...

    def best(self, tree: SearchTree) -> int:
        """Return the node whose answer the search stands by (an ended one where there is any)."""
        ...


class PolicyError(RuntimeError):
    """A policy could not serve all of a batch; what it could give comes along, so that no other problem is lost.

    `steps` is what `propose` would have returned (fewer, or none, where it failed), or `None` when the whole batch
    failed; `failures` says, by position in the batch, what went wrong. A driver takes the steps and notes the failures.
    """

    def __init__(
        self,
        message: str,
        *,
        steps: list[list[Step]] | None = None,
        failures: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.steps = steps
        self.failures = dict(failures or {})


class Policy(Protocol):
    """Proposes next steps for many states at once."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        """Return up to `counts[i]` steps for `states[i]`, in order; may return fewer. Raises `PolicyError`."""
        ...


class RewardModel(Protocol):
    """Scores the steps of many states at once (PRM); an outcome model (ORM) fills only the last."""

    def score(self, states: Sequence[State]) -> list[list[float]]:
        """Return one list per state: one score in [0, 1] per step of that state."""
        ...


class Sized(Protocol):
    """What a policy or reward model may offer besides, so that its FLOPs are known."""

    @property
    def num_parameters(self) -> int: ...


class Reader(Protocol):
    """What a reward model may offer besides, where it does not read the problem and all steps of every state."""

    def tokens_read(self, states: Sequence[State]) -> list[int]:
        """Return the tokens it reads to score each state by itself."""
        ...


class Bindable(Protocol):
    """What a policy or reward model may offer besides, when it needs the domain (random legal play)."""

    def bind(self, domain: Domain) -> Any:
        """Return the same thing for this domain; raises `ValueError` when the domain lacks what it needs."""
        ...


SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """One node of the tree, and the step that led to it; `parent` is an index into the record's nodes, -1 for the root."""

    parent: int
    text: str = ""
    reply: str = ""
    """What the environment added after the step; no trainer learns it."""
    log_prob: float | None = None
    num_tokens: int = 0
    num_reasoning_tokens: int = 0
    num_reply_tokens: int = 0
    final: bool = False
    """The policy itself ended here (end-of-sequence)."""
    token_ids: tuple[int, ...] | None = None
    """The step's tokens as sampled; `None` if the policy gave none."""
    token_log_probs: tuple[float | None, ...] | None = None
    """One per token, `None` for a token that was forced on the policy (never learned)."""
    context_ids: tuple[int, ...] | None = None
    """What the policy read after this node's own tokens and before those of a child: at the root the prompt, elsewhere
    the reply and delimiters that it did not write. `None` if no child was sampled here, or without tokens."""
    public: Any = None
    """`State.public` as JSON: tuples are lists. `None` also if it cannot be JSON."""
    prior: float = 1.0
    score: float | None = None
    """The reward model's score of the step."""
    visits: int = 0
    value: float = 0.0
    status: str = "open"
    end: str | None = None
    """Why the episode was over here (`stepgym.envs.types.End`); `None` if it was not."""
    answer: str | None = None
    verdict: str | None = None
    """The verifier's status of this node's answer; `None` without an answer, or if it was not asked."""
    fault: str | None = None
    """Whose limit made `verdict` undecided: `answer` or `ours` (`stepgym.envs.types.Fault`)."""
    step_verdict: str | None = None
    """The step verifier's status of the step; `None` if the environment has no step verifier."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRecord:
    """One finished episode: all that training needs, so that no environment is played again."""

    schema: int = SCHEMA_VERSION
    env_id: str
    env_options: Mapping[str, Any] = field(default_factory=dict)
    """What `load_env(env_id, **env_options)` takes to make the same environment; level and seed are among them."""
    problem_id: str
    attempt: int = 0
    """Number of this attempt at the problem: `k` attempts are `k` records."""
    level: int | None
    seed: int | None
    index: int
    prompt: str
    reference: str
    nodes: tuple[NodeRecord, ...]
    path: tuple[int, ...]
    """Indices from the root to the node that the search chose."""
    answer: str | None
    verdict: str
    """`correct`, `incorrect`, `undecided`; `no_answer` if the search ended without one; `failed` if the policy, the
    reward model or the domain failed (then `note` says how)."""
    fault: str | None = None
    """Whose limit made `verdict` undecided: `answer` or `ours` (`stepgym.envs.types.Fault`)."""
    score: float
    reason: str = ""
    decided_by: str = ""
    """The check that decided the verdict (`Verdict.decided_by`)."""
    note: str = ""
    usage: Mapping[str, float] = field(default_factory=dict)
    agent: Mapping[str, Any] = field(default_factory=dict)
    """Name and every setting of agent, policy (with its tokenizer's name and hash), reward model and budget."""
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
