"""TRL (1.16): stepgym's problems, verifiers and searches in `GRPOTrainer`.

    GRPOTrainer(model=..., args=..., **spec("stepgym/Countdown-v0", level=3))     # the model calls a tool `step`
    GRPOTrainer(model=..., args=..., **spec(ID, agent="mcts"))                    # a group is the paths of a search tree
    GRPOTrainer(..., reward_funcs=maths_reward())                                 # columns: prompt, answer
    GRPOTrainer(..., reward_funcs=code_reward())                                  # columns: prompt, tests, entry_point

An episode or answer that no verifier decided has the reward `None`, which TRL leaves out of group and loss.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from stepgym.agents import solve
from stepgym.agents.policies.layout import Layout
from stepgym.agents.randomness import derive_seed
from stepgym.agents.run_setup import make_agent
from stepgym.agents.types import EpisodeRecord, RewardModel, Search
from stepgym.envs.coding import grade
from stepgym.envs.coding.extraction import extract_code
from stepgym.envs.maths import verify_answers
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.session import EnvSession, shared_env
from stepgym.envs.types import Problem, State, Status, Verdict
from stepgym.interop.peers import need
from stepgym.plugins.errors import UserError
from stepgym.records.rollouts import ended_rollouts
from stepgym.sandbox import open_sandbox

if TYPE_CHECKING:
    from datasets import Dataset

    # Imports torch.
    from stepgym.agents.policies.transformers_policy import TransformersPolicy

Completion = str | list[dict[str, Any]]
"""A completion as TRL passes it: text, or messages of which the last one is the model's answer."""
RewardFunction = Callable[..., list[float | None]]
MAX_PROBLEMS = 1_000
"""Rows of the data set of an endless problem set, unless `num_problems` says otherwise."""


def spec(
    env_id: str,
    *,
    num_problems: int | None = None,
    agent: str | Search | None = None,
    agent_settings: Mapping[str, Any] | None = None,
    reward_model: str | RewardModel | None = None,
    policy_settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return the arguments of `GRPOTrainer` for an environment: data set, and how to play it.

    Without an `agent` the model plays through a tool (`environment_factory`). With one, a search plays with the model as its
    policy, and a group consists of paths of its tree (`SearchRollouts`, with the next three arguments). The data set has a row
    per problem, so that all members of a group play the same one. `options` go to the environment. The reward is the
    environment's own. Raises `PeerError` for an unsupported version of TRL.
    """
    need("trl")
    env = shared_env(env_id, **options)
    size = len(env.problems)
    count = min(size, MAX_PROBLEMS) if num_problems is None else num_problems
    if count > size:
        raise UserError(f"num_problems={num_problems}, but {env_id} has {size} problems")
    if agent is None:
        prompt = [{"role": "user", "content": ""}]  # TRL appends what `reset` returns
        rows = [{"prompt": prompt, "index": index} for index in range(count)]
        return {
            "train_dataset": _data_set(rows),
            "environment_factory": lambda: StepTool(env_id, options),
        }
    problems = [env.problems[index] for index in range(count)]
    return {
        "train_dataset": _data_set([{"prompt": problem.prompt} for problem in problems]),
        "rollout_func": SearchRollouts(
            env, problems, agent, agent_settings or {}, reward_model, policy_settings or {}
        ),
        "reward_funcs": search_reward,
    }


def _data_set(rows: list[dict[str, Any]]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_list(rows)


class SearchRollouts:
    """TRL's `rollout_func`: paths of search trees that the trained model grew.

    They carry the tokens that the model sampled.

    A prompt's completions are the path that the search chose, then further ended paths of the same tree, the most visited
    first; if there are fewer than TRL asks for, they repeat. Tokens that the model did not write are masked (`env_mask`).
    """

    def __init__(
        self,
        env: ReasoningEnv,
        problems: Sequence[Problem],
        agent: str | Search,
        agent_settings: Mapping[str, Any],
        reward_model: str | RewardModel | None,
        policy_settings: Mapping[str, Any],
    ) -> None:
        """`policy_settings` go to `TransformersPolicy`; by default tokens are drawn at the trainer's temperature."""
        make_agent(agent, seed=0, settings=agent_settings)  # raises for a wrong name or setting
        self.env = env
        self.problems = {problem.prompt: problem for problem in problems}
        self.agent, self.agent_settings = agent, agent_settings
        self.reward_model, self.policy_settings = reward_model, policy_settings
        self.policy: TransformersPolicy | None = None
        self.records: list[EpisodeRecord] = []
        """The trees of the last call."""

    def __call__(self, prompts: Sequence[str], trainer: Any) -> dict[str, list[Any]]:
        """Return the completions of all prompts in order; equal prompts share one tree."""
        policy = self._policy(trainer)
        asked = list(dict.fromkeys(prompts))
        was_training = policy.model.training
        policy.model.eval()
        try:
            self.records = solve(
                [self.problems[prompt] for prompt in asked],
                env=self.env,
                agent=self.agent,
                agent_settings=self.agent_settings,
                policy=policy,
                reward_model=self.reward_model,
                seed=policy.seed,
            )
        finally:
            policy.model.train(was_training)
        drawn = {
            prompt: itertools.cycle(completions(record, policy.layout))
            for prompt, record in zip(asked, self.records)
        }
        rows = [next(drawn[prompt])._asdict() for prompt in prompts]
        return {name: [row[name] for row in rows] for name in Drawn._fields}

    def _policy(self, trainer: Any) -> TransformersPolicy:
        """Return a policy over the trainer's model as it is now."""
        # Imports torch, which the rest of this file does not need.
        from stepgym.agents.policies.loading import LanguageModel
        from stepgym.agents.policies.transformers_policy import TransformersPolicy

        if self.policy is None:
            args = trainer.args
            settings = {
                "temperature": args.temperature,
                "top_p": args.top_p,
                "max_new_tokens": args.max_completion_length,
                **self.policy_settings,
            }
            model = trainer.accelerator.unwrap_model(trainer.model)
            self.policy = TransformersPolicy(
                LanguageModel(model, trainer.processing_class), **settings
            )
        self.policy.store.clear()  # the weights have changed
        self.policy.seed = derive_seed(trainer.state.global_step, trainer.accelerator.process_index)
        return self.policy


class Drawn(NamedTuple):
    """One completion as TRL reads it; `stepgym_reward` goes to the reward function."""

    prompt_ids: list[int]
    """Token ids of the prompt."""
    completion_ids: list[int]
    """Token ids of the completion: the policy's own and the environment's replies."""
    logprobs: list[float]
    """Log-probability of each token of the completion; 0 for a masked one."""
    env_mask: list[int]
    """For each token of the completion: 1 if the policy wrote it, else 0."""
    stepgym_reward: float | None


def completions(record: EpisodeRecord, layout: Layout) -> list[Drawn]:
    """Return the ended paths of a record as completions, the chosen one first.

    If no path ended, there is one completion, and it is masked. The log-probability of a masked token is 0.
    """
    found = dict(ended_rollouts(record))
    order = sorted(found, key=lambda end: (end != record.path[-1], -found[end].count))
    drawn = [
        Drawn(
            list(one.prompt_ids),
            list(one.ids),
            [0.0 if value is None else value for value in one.log_probs],
            [int(own) for own in one.is_own],
            one.reward,
        )
        for one in (found[end] for end in order)
    ]
    if not drawn:  # the search was stopped, or the policy failed: nothing is learned from it
        prompt = layout.segments(State(record.prompt, system=record.system))
        ids = [token for segment in prompt for token in segment.ids]
        drawn.append(Drawn(ids, [min(layout.end_ids)], [0.0], [0], None))
    return drawn


def search_reward(
    completions: Sequence[Any], stepgym_reward: Sequence[float | None], **_: Any
) -> list[float | None]:
    """Return the verdicts that `SearchRollouts` found."""
    return list(stepgym_reward)


class StepTool:
    """What TRL's `environment_factory` returns: one pooled episode, reset for each rollout."""

    def __init__(self, env_id: str, options: dict[str, Any]) -> None:
        self._env_id = env_id
        self._options = options
        self._session: EnvSession | None = None

    def reset(self, index: int = 0, **row: Any) -> str:
        """Begin problem `index` and return its prompt."""
        self._session = EnvSession(self._env_id, index, **self._options)
        return self._session.prompt

    def step(self, text: str) -> str:
        """Take one step of the solution.

        Args:
            text: The step.

        Returns:
            What the environment answers.
        """
        assert self._session is not None
        return self._session.say(text).text

    def get_reward(self) -> float | None:
        """Return the sum of the episode's rewards; `None` if its answer could not be decided."""
        if self._session is None or self._session.undecided:
            return None
        return self._session.reward


def maths_reward(*, reference_column: str = "answer") -> RewardFunction:
    """Return a reward function that compares a completion's answer with the reference.

    The reward is 1 if they are equal, 0 if not, and `None` (left out of the loss) if undecided. `reference_column` is
    the column of the data set with the references.
    """

    def maths(completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        references = _column(columns, reference_column)
        return _rewards(verify_answers(_texts(completions), references=references))

    return maths


def code_reward(*, sandbox: str = "auto") -> RewardFunction:
    """Return a reward function over hidden tests: the share that passes; `None` if undecided.

    The data set's columns are `tests` and `entry_point`. `sandbox` is a name for `stepgym.sandbox.open_sandbox`; the
    sandbox opens at the first call and stays open until the process ends.
    """
    opened: list[Any] = []

    def code(completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        import atexit

        if not opened:
            opened.append(open_sandbox(sandbox))
            atexit.register(opened[0].close)
        texts = _texts(completions)
        entry_points = columns.get("entry_point") or [None] * len(texts)
        verdicts = grade(
            [extract_code(text, name) for text, name in zip(texts, entry_points)],
            tests=_column(columns, "tests"),
            entry_points=entry_points,
            sandbox=opened[0],
        )
        return _rewards(verdicts)

    return code


def _texts(completions: Sequence[Completion]) -> list[str]:
    return [c if isinstance(c, str) else str(c[-1].get("content") or "") for c in completions]


def _rewards(verdicts: Sequence[Verdict]) -> list[float | None]:
    return [None if verdict.status is Status.UNDECIDED else verdict.score for verdict in verdicts]


def _column(columns: dict[str, Any], name: str) -> Any:
    if name not in columns:
        known = ", ".join(sorted(columns))
        raise UserError(f"the data set has no column {name!r}; it has: {known}")
    return columns[name]
