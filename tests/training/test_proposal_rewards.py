"""A proposed problem's reward is its score, in records, exports and GRPO; any other correct answer's is 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepgym.agents import solve
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.agents.propose_solve import TemplateProposer
from stepgym.agents.search.best_of_n import BestOfN
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.registry import load_env
from stepgym.records.rollouts import mean_rewards, reward_of, tree_advantages
from stepgym.records.run_folder import read_episodes
from stepgym.records.schema import from_line, to_line
from stepgym.selfplay.play import selfplay
from stepgym.training.grpo import learned_paths, play
from stepgym.training.types import Baseline


@pytest.fixture(scope="module")
def record() -> EpisodeRecord:
    """Two proposals that count and one that does not, under one request."""
    env = load_env("ProposeSolve-v0", kinds="expression", skill=0.8, attempts=16)
    texts = ("expression: 3 * 4 + 5", "expression: 7 * 8 - 2 * 3 + 4 * 5 - 6", "expression: 1 + 1")
    policy = ScriptedPolicy({(): [f"<answer>{text}</answer>" for text in texts]})
    played = play([env.problems[0]], env=env, policy=policy, search=BestOfN(n=3))
    [found] = played.records
    ends = [n for n, node in enumerate(found.nodes) if node.end]
    assert played.reward == pytest.approx(sum(reward_of(found, n) or 0 for n in ends) / 3)
    return found


def scores(record: EpisodeRecord) -> list[float | None]:
    return [reward_of(record, n) for n, node in enumerate(record.nodes) if node.end]


def test_rewards_are_the_scores_of_the_proposals(record: EpisodeRecord) -> None:
    easy, hard, refused = scores(record)
    assert easy is not None and hard is not None and 0 < easy < 1 and easy != hard and refused == 0
    assert record.nodes[1].verdict == "correct" and record.nodes[1].reward == easy


def test_they_survive_a_line_of_the_run(record: EpisodeRecord) -> None:
    assert scores(from_line(to_line(record))) == scores(record)


def test_the_group_is_centred_on_them(record: EpisodeRecord) -> None:
    rewards = [reward or 0.0 for reward in scores(record)]
    mean = sum(rewards) / 3
    assert mean_rewards([record])[record.problem_id] == pytest.approx(mean)
    paths = learned_paths(record, baseline=Baseline.GROUP, scaled=False)
    assert [path.advantages[0] for path in paths] == pytest.approx([r - mean for r in rewards])
    assert sorted(tree_advantages(record).values()) == pytest.approx(
        sorted(r - mean for r in rewards)
    )


def test_other_answers_are_paid_one_or_nothing() -> None:
    env = load_env("Countdown-v0", level=1)
    for record in solve(env, agent="best_of_n", policy="random", episodes=3):
        assert set(scores(record)) <= {0.0, 1.0}
        assert all(node.reward is None for node in record.nodes)


def test_selfplay_keeps_them(tmp_path: Path) -> None:
    selfplay(
        "ProposeSolve-v0",
        out=tmp_path / "run",
        policy=TemplateProposer(),
        env_options={"kinds": "countdown"},
        episodes=4,
    )
    for record in read_episodes(tmp_path / "run"):
        assert reward_of(record, record.path[-1]) == record.score
