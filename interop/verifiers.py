"""verifiers (0.4, `import verifiers.v1`): environments and tasksets in both directions.

stepgym's environments become tasksets, its searches a harness, and tasksets become environments.

    from stepgym.interop.verifiers import StepgymEnv, StepgymTaskset, __all__    # all of my_taskset.py
    vf-eval my_taskset --env.taskset.env-id stepgym/Countdown-v0

`StepgymTaskset` and `StepgymEnv` are what `vf-eval` finds in such a module. `StepgymHarness` lets a stepgym search answer
a taskset through the harness's endpoint. `make` is `load_env("verifiers:ID")`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from stepgym.interop.peers import need

need("verifiers")

import verifiers.v1 as vf

from stepgym.agents import solve
from stepgym.agents.policies.chat_policy import ChatPolicy
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.session import EnvSession, shared_env
from stepgym.envs.text_domain import INSTRUCTIONS, TextDomain
from stepgym.envs.types import Fault, Problem, Status, Verdict


class StepgymConfig(vf.TasksetConfig):
    """Which environment the tasks come from."""

    env_id: str = "stepgym/Countdown-v0"
    """The environment's id, dotted path or other name."""
    env_options: dict[str, Any] = {}  # noqa: RUF012 (pydantic copies defaults)
    """Its options, as `load_env` takes them."""


class StepgymData(vf.TaskData):
    """One problem, by environment and index."""

    env_id: str
    """`StepgymConfig.env_id`."""
    env_options: dict[str, Any]
    """`StepgymConfig.env_options`."""
    index: int
    """Index of the problem in the environment's problem set."""


class StepgymTask(vf.Task[StepgymData, vf.State, vf.TaskConfig]):
    """One problem as a task."""


class StepgymTaskset(vf.Taskset[StepgymTask, StepgymConfig]):
    """An environment's problems in order."""

    INFINITE = True

    def load(self) -> Iterator[StepgymTask]:
        config = self.config
        problems = shared_env(config.env_id, **config.env_options).problems
        for index in itertools.islice(itertools.count(), len(problems)):
            data = StepgymData(
                prompt=problems[index].prompt,
                env_id=config.env_id,
                env_options=config.env_options,
                index=index,
            )
            yield StepgymTask(data, config.task)


class StepgymEnvConfig(vf.EnvConfig):
    """One agent plays."""

    player: vf.AgentConfig = vf.AgentConfig()
    """The agent, with verifiers' own settings; its harness may be a `StepgymHarness`."""


class StepgymHarnessConfig(vf.HarnessConfig):
    """Which search answers, with which settings."""

    agent: str = "best_of_n"
    """Name of the search."""
    settings: dict[str, Any] = {}  # noqa: RUF012 (pydantic copies defaults)
    """The search's settings, by name."""


class StepgymEnv(vf.Env[StepgymEnvConfig]):
    """Plays one episode as a conversation, or by a search (`StepgymHarness`).

    The reward is the environment's.
    """

    async def run(self, task: StepgymTask, agents: Any) -> None:
        data = task.data
        if isinstance(self.config.player.harness, StepgymHarnessConfig):
            trace = await agents.player.run(task)
            record = trace.info.get("stepgym_record")
            if trace.ok and record:
                _reward(trace, record["score"], undecided=record["verdict"] == "undecided")
            return
        session = EnvSession(data.env_id, data.index, **data.env_options)
        async with agents.player.interaction(task) as talk:
            segment = await talk.turn()
            while not segment.terminated:
                reply = await asyncio.to_thread(session.say, segment.last_reply)
                if reply.done:
                    break
                segment = await talk.turn(reply.text)
        _reward(talk.trace, session.reward, undecided=session.undecided)


def _reward(trace: Any, reward: float, *, undecided: bool) -> None:
    trace.info["undecided"] = undecided
    trace.record_reward("verdict", reward, 1.0)


class StepgymHarness(vf.Harness[StepgymHarnessConfig]):
    """A stepgym search as a harness over stepgym's tasks."""

    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: Any,
        trace: Any,
        runtime: Any,
        endpoint: str,
        secret: str,
        mcp_urls: Any,
        data: StepgymData,
    ) -> Any:
        env = shared_env(data.env_id, **data.env_options)
        # The harness's endpoint gives one choice per request.
        policy = ChatPolicy(f"{endpoint}#{ctx.model}", api_key=secret, options={"n": None})
        [record] = await asyncio.to_thread(
            solve,
            [env.problems[data.index]],
            env=env,
            agent=self.config.agent,
            policy=policy,
            agent_settings=self.config.settings,
            continuous=True,
        )
        # Otherwise the last model call would be taken for the answer, also if the search chose another path.
        trace.root_reply = record.answer or ""
        trace.info["stepgym_record"] = {
            "verdict": record.verdict,
            "score": record.score,
            "answer": record.answer,
            "note": record.note,
            "num_nodes": len(record.nodes),
        }
        failed = record.verdict == "failed"
        return vf.ProgramResult(
            exit_code=int(failed), stdout=record.answer or "", stderr=record.note
        )


class TasksetProblems:
    """The tasks of a verifiers taskset as problems."""

    def __init__(self, taskset_id: str, num_problems: int) -> None:
        self.name = f"verifiers/{taskset_id}"
        taskset = vf.load_taskset(vf.taskset_config_type(taskset_id)(id=taskset_id))
        self.tasks = list(itertools.islice(taskset, num_problems))

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, index: int) -> Problem:
        data = self.tasks[index].data
        words = (data.system_prompt, data.prompt_text, INSTRUCTIONS)
        return Problem(f"{self.name}/{index}", "\n\n".join(filter(None, words)), "", index=index)


class TasksetVerifier:
    """Scores an answer with the task's own rewards; a score of 1 and more is correct."""

    def __init__(self, problems: TasksetProblems) -> None:
        self.problems = problems

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [self._one(p, a) for p, a in zip(problems, answers, strict=True)]

    def _one(self, problem: Problem, answer: str) -> Verdict:
        task = self.problems.tasks[problem.index]
        trace = vf.Trace(
            task=vf.TraceTask(type=type(task).__name__, data=task.data),
            agent=vf.AgentInfo(config=vf.AgentConfig()),
            root_reply=answer,
        )
        try:
            asyncio.run(task.score(trace))
        except Exception as error:  # noqa: BLE001 (somebody's reward function)
            reason = f"the task's reward raised {type(error).__name__}: {error}"
            return Verdict(Status.UNDECIDED, reason=reason, fault=Fault.OURS)
        score = sum(reward.value for reward in trace.rewards.values() if reward)
        status = Status.CORRECT if score >= 1 else Status.INCORRECT
        return Verdict(status, max(0.0, min(1.0, score)), decided_by="verifiers")


def make(taskset: str, *, num_problems: int = 1_000, **common: Any) -> ReasoningEnv:
    """Return an environment over the first `num_problems` tasks of a taskset.

    The rewards of the taskset must depend on the last reply alone. `taskset` is the id that verifiers knows it by.
    """
    problems = TasksetProblems(taskset, num_problems)
    domain = TextDomain(sandbox=None)
    return ReasoningEnv(problems, domain=domain, verifier=TasksetVerifier(problems), **common)


__all__ = ["StepgymEnv", "StepgymTaskset"]
