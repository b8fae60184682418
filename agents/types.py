"""The data types of agents: budgets, search trees, records, and the protocols of plug-ins.

Only the standard library (and the rooms below) is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from stepgym.envs.types import Domain, State, Step, Verdict

ROOT = 0
NO_PARENT = -1
M = TypeVar("M")


@dataclass(slots=True, kw_only=True)
class Usage:
    """What a search has spent so far. The four token classes are disjoint."""

    prompt_tokens: int = 0
    """Tokens that models read and had not read before."""
    visible_tokens: int = 0
    """New tokens outside internal reasoning."""
    reasoning_tokens: int = 0
    """New tokens of internal reasoning."""
    tool_tokens: int = 0
    """Tokens of the environment's replies."""
    model_calls: int = 0
    """Batched forward calls of policy and reward model that this search took part in."""
    flops: float = 0.0
    """2 x parameters x tokens processed (Kaplan et al. 2020); 0 if the number of parameters is unknown."""
    usd: float = 0.0
    """US dollars paid to a server; 0 if the policy has no price."""
    sandbox_s: float = field(default=0.0, compare=False)
    """Seconds in the sandbox; those of a shared batch are divided among its searches."""
    wall_s: float = field(default=0.0, compare=False)
    """Seconds from the start of the search to its last round, including waits for other searches."""

    @property
    def new_tokens(self) -> int:
        """Tokens that the policy generated: visible and reasoning tokens."""
        return self.visible_tokens + self.reasoning_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            visible_tokens=self.visible_tokens + other.visible_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            tool_tokens=self.tool_tokens + other.tool_tokens,
            model_calls=self.model_calls + other.model_calls,
            flops=self.flops + other.flops,
            usd=self.usd + other.usd,
            sandbox_s=self.sandbox_s + other.sandbox_s,
            wall_s=self.wall_s + other.wall_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that a search may spend on one problem; `None` is no limit.

    `model_calls` counts batched calls of policy and reward model, and `new_tokens` the tokens that the policy
    generates. `flops`, `sandbox_s` and `wall_s` are FLOPs, seconds in the sandbox, and elapsed seconds. No round
    starts once a limit is reached, so that a budget is exceeded by one round at most.
    """

    model_calls: int | None = None
    new_tokens: int | None = None
    flops: float | None = None
    sandbox_s: float | None = None
    wall_s: float | None = None

    def is_spent(self, usage: Usage) -> bool:
        """Return whether any limit is reached, so that no further round may start."""
        return (
            (self.model_calls is not None and usage.model_calls >= self.model_calls)
            or (self.new_tokens is not None and usage.new_tokens >= self.new_tokens)
            or (self.flops is not None and usage.flops >= self.flops)
            or (self.sandbox_s is not None and usage.sandbox_s >= self.sandbox_s)
            or (self.wall_s is not None and usage.wall_s >= self.wall_s)
        )


NO_LIMIT = Budget()


class NodeStatus(Enum):
    """Whether a node can grow, and if not, why."""

    OPEN = "open"
    """It can grow."""
    ENDED = "ended"
    """Its episode is over, with or without an answer."""
    BARREN = "barren"
    """The policy was asked and proposed nothing."""
    FAILED = "failed"
    """A plug-in failed here; `SearchTree.notes` has the reason. If the root failed, the whole search did."""
    PRUNED = "pruned"
    """The search closed it: nothing below can change its choice."""


@dataclass(slots=True)
class SearchTree:
    """A search tree as flat arrays, indexed by node.

    Node 0 is the root, and parents precede their children. All arrays are as long as `states`.
    """

    problem_id: str
    """`Problem.id` of the problem that is solved."""
    states: list[State]
    """The state at each node; `states[0]` has no steps."""
    parent: list[int] = field(default_factory=lambda: [NO_PARENT])
    """The parent's index; `NO_PARENT` for the root."""
    children: list[list[int]] = field(default_factory=lambda: [[]])
    """The children's indices, in the order in which they were added."""
    prior: list[float] = field(default_factory=lambda: [1.0])
    """The search's prior of a node, normalised among its siblings."""
    score: list[float | None] = field(default_factory=lambda: [None])
    """The reward model's score of a node's last step, in [0, 1]."""
    visits: list[int] = field(default_factory=lambda: [0])
    """How often a search went through a node or evaluated it."""
    value: list[float] = field(default_factory=lambda: [0.0])
    """The mean of the values that were backed up through a node, in [0, 1]."""
    status: list[NodeStatus] = field(default_factory=lambda: [NodeStatus.OPEN])
    """Whether a node can grow."""
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    """Node -> verdict on its answer. While the search runs, only if it may see verdicts."""
    notes: dict[int, str] = field(default_factory=dict)
    """Node -> what went wrong there."""
    asked: list[int] = field(default_factory=lambda: [0])
    """How many steps the policy was asked for at a node; the next proposal starts at this `State.draw`."""
    groups: dict[int, int] = field(default_factory=dict)
    """Node with an answer -> the first node with the same answer, as the verifier compares answers."""
    sees_verdicts: bool = False
    """Whether the search may see verdicts while it runs."""
    memory: dict[type, Any] = field(default_factory=dict)
    """What searches remember between rounds, by the type of the memory; see `recall`."""
    usage: Usage = field(default_factory=Usage)
    """What the search has spent so far."""

    def __len__(self) -> int:
        return len(self.states)

    def path(self, node: int) -> list[int]:
        """Return the nodes from the root to `node`, both included."""
        steps = [node]
        while (node := self.parent[node]) != NO_PARENT:
            steps.append(node)
        return steps[::-1]

    def recall(self, kind: type[M]) -> M:
        """Return this tree's memory of the type `kind`; made with its defaults on first use."""
        memory: M | None = self.memory.get(kind)
        if memory is None:
            memory = self.memory[kind] = kind()
        return memory


class Request(NamedTuple):
    """A request to grow `n` children under `node`.

    If `view` is given, the policy sees it in place of the node's state.
    """

    node: int
    n: int
    view: State | None = None


@runtime_checkable
class Search(Protocol):
    """A tree policy: it decides which nodes grow next, and never calls a model.

    It is frozen data. What it must remember between rounds is in the tree (`SearchTree.recall`).
    """

    def select(self, tree: SearchTree) -> list[Request]:
        """Return what to grow in this round; empty if the search is finished."""
        ...

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        """Update the tree after growth.

        `grown` maps each parent to the child of each drawn step, in order. Equal siblings are one node: if a step is
        drawn twice, now or in an earlier round, its child is listed twice. Parents that got no step map to an empty
        sequence.
        """
        ...

    def best(self, tree: SearchTree) -> int:
        """Return the node whose answer the search chooses (an ended one if there is any)."""
        ...


@runtime_checkable
class SharesBudget(Protocol):
    """A search that divides one budget among many problems."""

    def allocate(self, trees: Sequence[SearchTree]) -> bool:
        """Plan the next stage once all trees have stopped; return False if there is none."""
        ...


class PolicyError(RuntimeError):
    """A policy could not serve all of a batch; it brings the steps that it has.

    `steps` is what `propose` would have returned, with fewer or no steps for the states that failed; `None` if the
    whole batch failed. `failures` maps positions in the batch to reasons. The driver uses the steps and records the
    failures.
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


class RunStopped(RuntimeError):
    """An error of a plug-in that ends the run: its server is gone, or its money is spent.

    It stops the run, and no episode counts as failed. Finished episodes are kept, and the same command continues the
    run. The message says what to do.
    """


class Policy(Protocol):
    """Proposes next steps for many states at once."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        """Return up to `counts[i]` steps for `states[i]`, in order. Raises `PolicyError`."""
        ...


class RewardModel(Protocol):
    """Scores the steps of many states at once.

    A process reward model (PRM) scores every step, an outcome reward model (ORM) only the last one.
    """

    def score(self, states: Sequence[State]) -> list[list[float]]:
        """Return a list of scores in [0, 1] for each state.

        A list has one score per step of the state, or a single one for the last step.
        """
        ...


@runtime_checkable
class HasParameters(Protocol):
    """A policy or reward model whose FLOPs can be computed."""

    @property
    def num_parameters(self) -> int:
        """Number of parameters; 0 if there is no neural network."""
        ...


@runtime_checkable
class CountsTokensRead(Protocol):
    """A reward model that counts the tokens it reads.

    Offered by models that do not read the problem and all steps of every state, which is what is assumed otherwise.
    """

    def tokens_read(self, states: Sequence[State]) -> list[int]:
        """Return how many tokens it reads to score each state by itself."""
        ...


@runtime_checkable
class NamesServedModels(Protocol):
    """A policy in front of a server that says which model answers; records keep it."""

    @property
    def served(self) -> Sequence[str]:
        """Names that the server gave for its model so far, each once.

        There is more than one if the weights changed during the run.
        """
        ...


@runtime_checkable
class ServesConcurrently(Protocol):
    """A policy or reward model in front of a server; it takes calls from many threads.

    Each search then calls it by itself, and no search waits for another one's requests.
    """

    @property
    def concurrency(self) -> int:
        """How many requests it sends at once, over all calls."""
        ...


@runtime_checkable
class CountsRetries(Protocol):
    """A policy that sends requests again after a server's errors."""

    @property
    def num_retries(self) -> int:
        """Number of requests that were sent again so far."""
        ...


@runtime_checkable
class WritesTokens(Protocol):
    """A reward model that writes text to find its scores (a judge), and says what that cost."""

    def take_usage(self, states: Sequence[State]) -> list[Usage]:
        """Return for each state what scoring it cost, once."""
        ...


@runtime_checkable
class Seeded(Protocol):
    """A policy or search that draws at random; another `seed` gives another attempt."""

    seed: int


@runtime_checkable
class Selective(Protocol):
    """A policy or reward model that can work on the states of some environments only."""

    def require_playable(self, state: State) -> None:
        """Raise `UserError` with the way out for a state that it cannot work on."""
        ...


@runtime_checkable
class NeedsDomain(Protocol):
    """A policy or reward model that needs the environment's domain (random legal play does)."""

    def bind(self, domain: Domain) -> Any:
        """Return a copy for this domain; raises `ValueError` if the domain lacks what is needed."""
        ...


SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """One node of a recorded tree, with the step that led to it.

    `parent` is an index into the record's nodes, -1 for the root.
    """

    parent: int
    text: str = ""
    """What the policy wrote (`Step.text`); empty at the root."""
    reply: str = ""
    """What the environment added after the step; no trainer learns it."""
    log_prob: float | None = None
    """Sum over the step's tokens, natural logarithm; `None` if the policy gave none."""
    num_tokens: int = 0
    """New tokens, internal reasoning included."""
    num_reasoning_tokens: int = 0
    """New tokens of internal reasoning."""
    num_reply_tokens: int = 0
    """Tokens of `reply`."""
    cut_results: tuple[str, ...] = ()
    """The tool results that `reply` shows only in part, whole and in order."""
    refused: bool = False
    """The environment refused the step as illegal."""
    final: bool = False
    """The policy itself ended here (end-of-sequence)."""
    token_ids: tuple[int, ...] | None = None
    """The step's tokens as sampled; `None` if the policy gave none."""
    token_log_probs: tuple[float | None, ...] | None = None
    """One per token, `None` for a token that was forced on the policy (never learned)."""
    context_ids: tuple[int, ...] | None = None
    """What the policy read between this node's own tokens and those of a child: at the root the prompt, elsewhere the
    reply, and delimiters that it did not write. `None` if the node has no child with tokens."""
    context_restarts: bool = False
    """`context_ids` is all that the policy read, and does not follow the tokens on the path to this node (a policy that
    reads each state anew, a served model)."""
    own_context_ids: tuple[int, ...] | None = None
    """All that the policy read before this node's own tokens, if that is not what the fields of the parent say (a
    search showed the policy another state)."""
    public: Any = None
    """`State.public` as JSON: tuples are lists. `None` also if it cannot be JSON."""
    prior: float = 1.0
    """The search's prior, normalised among siblings."""
    score: float | None = None
    """The reward model's score of the step."""
    visits: int = 0
    """How often the search went through this node or evaluated it."""
    value: float = 0.0
    """Mean of the values backed up through this node, in [0, 1]."""
    status: str = "open"
    """`open`, `ended`, `barren`, `failed` or `pruned` (`NodeStatus`)."""
    end: str | None = None
    """Why the episode was over here (`stepgym.envs.types.End`); `None` if it was not."""
    answer: str | None = None
    """The answer given here; `None` without one."""
    outcome: float | None = None
    """What the environment paid for an episode that ended here without an answer (`State.outcome`)."""
    verdict: str | None = None
    """The verifier's status of this node's answer or outcome; `None` without either, or if it was not asked."""
    reward: float | None = None
    """The score of a correct answer if it is not 1: the reward of a proposed problem."""
    fault: str | None = None
    """Whose limit made `verdict` undecided: `answer` or `ours` (`stepgym.envs.types.Fault`)."""
    step_verdict: str | None = None
    """The step verifier's status of the step; `None` if the environment has no step verifier."""
    note: str = ""
    """What went wrong here; empty if nothing did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRecord:
    """One finished episode: all that training needs, so that no environment is played again."""

    schema: int = SCHEMA_VERSION
    """Version of this format."""
    env_id: str
    """Id of the environment."""
    env_options: Mapping[str, Any] = field(default_factory=dict)
    """What `load_env(env_id, **env_options)` takes to make the same environment; level and seed are among them."""
    problem_id: str
    """`Problem.id`."""
    attempt: int = 0
    """Number of this attempt at the problem: `k` attempts are `k` records."""
    level: int | None
    """The problem's level; `None` for data files."""
    seed: int | None
    """The problem set's seed; `None` for data files."""
    index: int
    """Number of the problem in its set."""
    prompt: str
    """The problem as the policy read it."""
    system: str | None = None
    """What the environment tells a chat model before the prompt (`State.system`); `None` if it does not say."""
    reference: str
    """The right answer; no policy saw it."""
    nodes: tuple[NodeRecord, ...]
    """The search tree: the root first, parents before their children."""
    path: tuple[int, ...]
    """Indices from the root to the node that the search chose."""
    answer: str | None
    """The chosen answer; `None` without one."""
    outcome: float | None = None
    """What the environment paid for the chosen path, if it asks for no answer (`State.outcome`)."""
    verdict: str
    """`correct`, `incorrect`, `undecided`; `no_answer` if the search ended without one and without an outcome; `failed` if the policy, the
    reward model or the domain failed (then `note` says how)."""
    fault: str | None = None
    """Whose limit made `verdict` undecided: `answer` or `ours` (`stepgym.envs.types.Fault`)."""
    score: float
    """`Verdict.score` of the answer, in [0, 1]."""
    reason: str = ""
    """Why the verdict is what it is (`Verdict.reason`)."""
    decided_by: str = ""
    """The check that decided the verdict (`Verdict.decided_by`)."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """The evidence of the verdict (`Verdict.details`), say each test's outcome; long texts and lists are cut."""
    note: str = ""
    """What went wrong; empty if nothing did."""
    calls: tuple[Mapping[str, Any], ...] = ()
    """The model calls of an agent that drives itself, in order (`stepgym.agents.episode.ModelCall`). Tool results in
    their messages are foreign text; no trainer learns them."""
    usage: Mapping[str, float] = field(default_factory=dict)
    """What the episode spent, in the fields of `Usage`."""
    agent: Mapping[str, Any] = field(default_factory=dict)
    """Name and every setting of agent, policy (with its tokenizer's name and hash), reward model and budget."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of stepgym and Python."""
    created: str = ""
    """When the episode ended, in UTC: `2026-01-31T12:00:00+00:00`."""
