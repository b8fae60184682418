"""reasoning-gym (0.1): its data sets as environments, `load_env("reasoning-gym:chain_sum")`.

A score of 1 is CORRECT, less is INCORRECT. Two faults of its scorers are caught: some run the answer as code, so every
scorer works in a process of its own with limits on time and memory; some accept the answers of other items, so an answer
that scores 1 counts only if the answers of two other items do not. Some data sets have items without a reference (`None`);
there this check is impossible, so the item is UNDECIDED unless `trust_scorer` is set. Not covered: the process is no sandbox, and reads what
its user may read.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.text_domain import INSTRUCTIONS, TextDomain
from stepgym.envs.types import Fault, Problem, Status, Verdict
from stepgym.interop.peers import need
from stepgym.plugins.errors import UserError

SCORE_TIMEOUT_S = 10.0
START_TIMEOUT_S = 60.0
"""For the scorer's process to import reasoning-gym and to make the data set."""
NUM_RIVALS = 2


class ReasoningGymProblems:
    """The items of one data set.

    The generator is seeded by a hash of seed and index, so that no two seeds share items.
    """

    def __init__(self, dataset: str, size: int, seed: int, config: dict[str, Any]) -> None:
        need("reasoning-gym")
        import reasoning_gym

        # Item i is made from `seed + i` there, so neighbouring seeds would share all items but one.
        digest = hashlib.sha256(f"{dataset}/{seed}".encode()).digest()
        self.dataset, self.seed = dataset, seed
        self.settings = {"size": size, "seed": int.from_bytes(digest[:4], "big") // 2, **config}
        try:
            self.items = reasoning_gym.create_dataset(dataset, **self.settings)
        except (ValueError, TypeError, AssertionError) as error:
            raise UserError(f"reasoning-gym:{dataset}: {error}") from error
        self.name = f"reasoning-gym/{dataset}"

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} problems, not one at {index}")
        item = self.items[index]
        answer = item["answer"]
        return Problem(
            f"{self.name}/seed-{self.seed}/{index}",
            f"{item['question']}\n\n{INSTRUCTIONS}",
            "" if answer is None else str(answer),
            seed=self.seed,
            index=index,
            task={"has_reference": answer is not None},
        )


class ReasoningGymVerifier:
    """Scores answers in a process of its own."""

    def __init__(self, problems: ReasoningGymProblems, *, trust_scorer: bool = False) -> None:
        self.problems, self.trust_scorer = problems, trust_scorer
        self._scorer = ScorerProcess(problems.dataset, problems.settings)

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [self._one(p, a) for p, a in zip(problems, answers, strict=True)]

    def _one(self, problem: Problem, answer: str) -> Verdict:
        if not (self.trust_scorer or problem.task.get("has_reference", True)):
            reason = (
                f"item {problem.index} of {self.problems.name} (seed {problem.seed}) has no reference, "
                "so that its scorer cannot be checked; trust_scorer=true accepts the scorer's result"
            )
            return Verdict(Status.UNDECIDED, reason=reason, fault=Fault.OURS)
        try:
            score = self._scorer.score(problem.index, answer)
            if score < 1:
                return Verdict(Status.INCORRECT, max(0.0, min(score, 0.99)), decided_by="scorer")
            rival = self._accepted_rival(problem, answer)
        except ScorerError as error:
            return Verdict(Status.UNDECIDED, reason=str(error), fault=Fault.OURS)
        if rival is not None:
            reason = f"the scorer also accepts another item's answer, {rival!r:.80}"
            return Verdict(Status.UNDECIDED, reason=reason, fault=Fault.OURS)
        return Verdict(Status.CORRECT, 1.0, decided_by="scorer")

    def _accepted_rival(self, problem: Problem, answer: str) -> str | None:
        """Return the answer of another item that the scorer accepts for this one."""
        size, rivals = len(self.problems), 0
        for step in range(1, min(size, 20)):
            rival = self.problems[(problem.index + step) % size].reference
            if rival and rival.split() not in (answer.split(), problem.reference.split()):
                if self._scorer.score(problem.index, rival) >= 1:
                    return rival
                rivals += 1
                if rivals == NUM_RIVALS:
                    return None
        return None

    def close(self) -> None:
        """End the scorer's process."""
        self._scorer.close()


class ScorerError(RuntimeError):
    """The scorer raised, ran too long or died."""


class ScorerProcess:
    """A data set's scorer in a process of its own.

    It starts when it is needed, and is ended when it takes too long.
    """

    def __init__(self, dataset: str, settings: dict[str, Any]) -> None:
        self._begin = json.dumps({"dataset": dataset, "settings": settings})
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def score(self, index: int, answer: str) -> float:
        """Return the score of an answer to item `index`. Raises `ScorerError`."""
        with self._lock:
            reply = self._ask(json.dumps({"index": index, "answer": answer}))
        if "error" in reply:
            raise ScorerError(f"the scorer raised {reply['error']}")
        return float(reply["score"])

    def close(self) -> None:
        """End the process; a later score starts another one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _ask(self, line: str, timeout_s: float = SCORE_TIMEOUT_S) -> dict[str, Any]:
        process = self._process or self._started()
        assert process.stdin is not None and process.stdout is not None
        timer = threading.Timer(timeout_s, process.kill)
        timer.start()
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            reply = process.stdout.readline()
        except BrokenPipeError:
            reply = ""
        finally:
            timer.cancel()
        if not reply:
            self.close()
            raise ScorerError(f"the scorer died, or took over {timeout_s:g} s")
        found: dict[str, Any] = json.loads(reply)
        return found

    def _started(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stepgym.interop.reasoning_gym_scorer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._ask(self._begin, START_TIMEOUT_S)
        return self._process


def make(
    dataset: str,
    *,
    size: int = 1_000,
    seed: int = 0,
    config: dict[str, Any] | None = None,
    trust_scorer: bool = False,
    **common: Any,
) -> ReasoningEnv:
    """Return an environment over one data set; `config` has the data set's own settings.

    With `trust_scorer`, the scorer alone decides on items without a reference; otherwise they are UNDECIDED.
    Raises `ValueError` for an unknown data set or setting.
    """
    problems = ReasoningGymProblems(dataset, size, seed, config or {})
    verifier = ReasoningGymVerifier(problems, trust_scorer=trust_scorer)
    return ReasoningEnv(problems, domain=TextDomain(sandbox=None), verifier=verifier, **common)
