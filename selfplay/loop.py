"""The loop: play with search, learn from what a teacher approves, evaluate, keep the better policy; again.

A loop lives in one folder: `generation-G/run` (episodes), `generation-G/policy` and, with its own reward model,
`generation-G/prm`; `loop.jsonl` has one line per finished generation. Started again it goes on where it stopped:
episodes, training steps and whole generations that are there are not repeated. For the embedded models.
"""

from __future__ import annotations

import json
import math
import random
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from stepgym.agents.embedded import net
from stepgym.agents.embedded.policy import WEIGHTS, EmbeddedPolicy
from stepgym.agents.embedded.reward import EmbeddedRewardModel
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.registry import load_env
from stepgym.sandbox.plugins import unknown_name
from stepgym.selfplay.rows import path_to
from stepgym.selfplay.run_folder import RunFolder, read_episodes
from stepgym.selfplay.train import boards, examples
from stepgym.selfplay.train.examples import Choice, Labels, Replay, require, require_both_classes
from stepgym.selfplay.train.fit import Schedule, TrainingError
from stepgym.selfplay.types import RunConfig

Tell = Callable[[str], None]
PLAY_SEED, HELD_OUT_SEED = 500_000, 700_000
"""Problem seeds of self-play and of evaluation; no two sets of different seeds share their draws."""


class Teacher(StrEnum):
    """Who says which of the policy's own solutions it learns from."""

    VERIFIER = "verifier"
    """The environment's verifier."""
    VOTE = "vote"
    """The answer that most of the search's samples agree on; no label is used."""
    RANDOM = "random"
    """Any of the answers: the control that must not improve."""
    ORACLE = "oracle"
    """The step verifier, on every step: the ceiling."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Everything that decides what a loop does."""

    out: str
    env: str = "stepgym/Countdown-v0"
    level: int = 3
    init: str = "embedded"
    """`embedded`, or a folder with `policy/` (and `prm/` where `own_reward_model`)."""
    own_reward_model: bool = False
    """Search with a reward model, and train it on Monte-Carlo labels in every generation."""
    agent: str = "best_of_n"
    agent_settings: Mapping[str, Any] = field(default_factory=lambda: {"n": 16})
    temperature: float = 1.0
    """Of the policy's sampling, in play and in evaluation."""
    teacher: str = Teacher.VERIFIER
    min_agreement: float = 0.0
    """With `vote`: the least share of a problem's answers that must agree."""
    generations: int = 4
    episodes: int = 200
    replay: int = 2
    """How many generations' episodes are learned from."""
    steps: int = 300
    learning_rate: float = 2e-3
    batch: int = 128
    held_out: int = 200
    confidence: float = 0.95
    """The new policy is turned down when it is worse than the old at this confidence (exact McNemar test)."""
    seed: int = 0


def read_loop_config(file: Path, **given: Any) -> LoopConfig:
    """Read a TOML file. Raises `TrainingError` that names the setting."""
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8")) | {k: v for k, v in given.items() if v is not None}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{file}: {error}") from error
    known = {f.name for f in fields(LoopConfig)}
    for name in settings:
        if name not in known:
            raise TrainingError(f"{file}: {unknown_name('setting', name, known, dotted=False)}")
    config = LoopConfig(**{"out": str(file.with_suffix("")), **settings})
    if config.teacher not in list(Teacher):
        raise TrainingError(f"{file}: {unknown_name('teacher', config.teacher, list(Teacher), dotted=False)}")
    return config


def run_loop(config: LoopConfig, *, tell: Tell = lambda line: None) -> list[dict[str, Any]]:
    """Run the generations that are not there yet and return the line of each, the start as generation 0."""
    out = Path(config.out)
    _same_config(out, config)
    log = out / "loop.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    if not lines:
        lines.append(_log(log, {"generation": 0, "policy": _init(config), **evaluate(config, _init(config))}))
        tell(_told(lines[-1]))
    for generation in range(len(lines), config.generations + 1):
        lines.append(_log(log, _generation(config, generation, lines)))
        tell(_told(lines[-1]))
    return lines


def _generation(config: LoopConfig, generation: int, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    folder = Path(config.out) / f"generation-{generation}"
    before = str(lines[-1]["policy"])
    clock = [time.monotonic()]
    records = play(config, generation, before)
    clock.append(time.monotonic())
    first = max(1, generation - config.replay + 1)
    seen = [r for g in range(first, generation) for r in read_episodes(folder.parent / f"generation-{g}" / "run")]
    choices = lessons(config, [*seen, *records])
    schedule = Schedule(config.steps, config.learning_rate, warmup=20, checkpoint_every=200)
    model = net.load(net.POLICY, Path(before) / net.POLICY)
    boards.train_choices(
        model, choices, schedule=schedule, batch=config.batch, seed=generation, out=folder / net.POLICY
    )
    if config.own_reward_model:
        judged = require_both_classes(examples.judged_steps(records, Replay(), labels=Labels.MONTE_CARLO))
        prm = net.load(net.PRM, Path(before) / net.PRM)
        boards.train_judged(prm, judged, schedule=schedule, seed=generation, out=folder / net.PRM)
    clock.append(time.monotonic())
    figures = evaluate(config, str(folder))
    best = next(line for line in reversed(lines) if line.get("accepted", True))
    worse = worse_p_value(best["solved"], figures["solved"])
    accepted = worse > 1 - config.confidence
    params = net.num_parameters(model)
    rows, _ = boards.choice_rows(model.config.stepgym_game, choices[:200])
    width = sum(len(row.tokens) for row in rows) / len(rows)
    return {
        "generation": generation,
        "policy": str(folder) if accepted else before,
        "accepted": accepted,
        "p_worse": worse,
        **figures,
        "play_solved": sum(r.verdict == "correct" for r in records) / len(records),
        "lessons": len(choices),
        "ledger": {
            "play": {"seconds": clock[1] - clock[0], "flops": sum(r.usage.get("flops", 0.0) for r in records),
                     "tokens": sum(r.usage.get("visible_tokens", 0) for r in records)},
            "train": {"seconds": clock[2] - clock[1], "flops": 6.0 * params * width * config.batch * config.steps,
                      "tokens": width * config.batch * config.steps},
            "evaluate": {"seconds": time.monotonic() - clock[2]},
        },
    }  # fmt: skip


def play(config: LoopConfig, generation: int, start: str) -> list[EpisodeRecord]:
    """Play the generation's problems into its run folder and return all episodes."""
    seed = PLAY_SEED + 1000 * config.seed + generation
    env = load_env(config.env, level=config.level, seed=seed)
    folder = Path(config.out) / f"generation-{generation}" / "run"
    about = RunConfig(
        env_id=env.env_id, env_options={"level": config.level}, agent=config.agent,
        agent_settings=dict(config.agent_settings), policy=start, seed=seed,
        policy_settings={"temperature": config.temperature},
        reward_model=start if config.own_reward_model else None,
    )  # fmt: skip
    with RunFolder(folder, about) as run:
        problems = [env.problems[i] for i in range(config.episodes)]
        left = [problem for problem in problems if problem.id not in run.done]
        for record in iter_solve(
            left, env=env, agent=config.agent, agent_settings=config.agent_settings, seed=seed,
            policy=_policy(config, start, seed), reward_model=_reward_model(config, start),
            see_verdicts=False, verify_all=True,
        ):  # fmt: skip
            run.append(record)
    return list(read_episodes(folder))


def lessons(config: LoopConfig, records: Sequence[EpisodeRecord]) -> list[Choice]:
    """Return what the teacher lets the policy learn from these episodes, each step on a board once."""
    replay, teacher = Replay(), Teacher(config.teacher)
    if teacher is Teacher.VERIFIER:
        found = examples.verified_choices(records, replay)
    elif teacher is Teacher.ORACLE:
        found = _right_steps(records, replay)
    else:
        rng = random.Random(config.seed)
        chosen = {r.problem_id: _answer(r, teacher, config.min_agreement, rng) for r in records}
        found = examples.path_choices(records, replay, answer_of={k: v for k, v in chosen.items() if v is not None})
    unique = {(c.board, tuple(sorted(c.target.items()))): c for c in found}
    return require(list(unique.values()), f"nothing that teacher {teacher} approves")


def _answer(record: EpisodeRecord, teacher: Teacher, min_agreement: float, rng: random.Random) -> str | None:
    """Return the answer to learn from: the largest vote, samples counted by visits, or any."""
    votes: Counter[str] = Counter()
    for node in record.nodes:
        if node.answer is not None:
            votes[node.answer] += max(1, node.visits)
    if not votes:
        return None
    if teacher is Teacher.RANDOM:
        return rng.choice(sorted(votes))
    answer, count = votes.most_common(1)[0]
    return answer if count >= min_agreement * votes.total() else None


def _right_steps(records: Sequence[EpisodeRecord], replay: Replay) -> list[Choice]:
    """Return the steps of paths on which the step verifier finds nothing wrong."""
    found = []
    for record in records:
        states = replay.states(record)
        right = examples.step_labels(record, replay, states, Labels.VERIFIER)
        for end, node in enumerate(record.nodes):
            path = path_to(record, end)
            if node.answer is not None and all(right.get(step, 0.0) > 0 for step in path[1:]):
                found += [
                    Choice(states[a].public, {record.nodes[b].text: 1.0}) for a, b in pairwise(path)
                ]
    return found


def evaluate(config: LoopConfig, folder: str) -> dict[str, Any]:
    """Return accuracy on the held-out problems, greedy and under the loop's own search, and which ones greedy solves."""
    env = load_env(config.env, level=config.level, seed=HELD_OUT_SEED + config.seed)
    problems = [env.problems[i] for i in range(config.held_out)]
    policy = _policy(config, folder, config.seed)

    def solved(agent: str, settings: Mapping[str, Any]) -> list[bool]:
        records = iter_solve(
            problems, env=env, agent=agent, agent_settings=settings, policy=policy, seed=config.seed,
            reward_model=_reward_model(config, folder), see_verdicts=False,
        )  # fmt: skip
        return [record.verdict == "correct" for record in records]

    greedy = solved("greedy", {})
    searched = solved(config.agent, config.agent_settings)
    share = {"greedy": sum(greedy) / len(greedy), "searched": sum(searched) / len(searched)}
    return {**share, "solved": [int(one) for one in greedy]}


def worse_p_value(old: Sequence[int], new: Sequence[int]) -> float:
    """Return the chance of the new one doing this badly if both were equal: exact McNemar, one side."""
    lost = sum(o > n for o, n in zip(old, new, strict=True))
    won = sum(o < n for o, n in zip(old, new, strict=True))
    n = lost + won
    return math.fsum(math.comb(n, k) for k in range(lost, n + 1)) / 2.0**n


def _policy(config: LoopConfig, folder: str, seed: int) -> EmbeddedPolicy:
    return EmbeddedPolicy(Path(folder) / net.POLICY, seed=seed, temperature=config.temperature)


def _reward_model(config: LoopConfig, folder: str) -> EmbeddedRewardModel | None:
    return EmbeddedRewardModel(Path(folder) / net.PRM) if config.own_reward_model else None


def _init(config: LoopConfig) -> str:
    return str(WEIGHTS if config.init == "embedded" else Path(config.init))


def _same_config(out: Path, config: LoopConfig) -> None:
    """Write the settings; raises `TrainingError` for a folder with others. More generations are no other settings."""
    file = out / "config.json"
    plain = json.loads(json.dumps({**asdict(config), "out": ""}))
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else plain
    changed = [f"{k} was {before.get(k)!r}, is now {v!r}" for k, v in plain.items() if before.get(k) != v and k != "generations"]
    if changed:
        raise TrainingError(f"{out} holds a loop with other settings: {'; '.join(changed)}; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def _log(file: Path, line: dict[str, Any]) -> dict[str, Any]:
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")
    return line


def _told(line: Mapping[str, Any]) -> str:
    verdict = "" if line.get("accepted", True) else "  (turned down)"
    return f"generation {line['generation']}: greedy {line['greedy']:.3f}  searched {line['searched']:.3f}{verdict}"
