"""Agents that drive themselves: every kind is solved and recorded, and whatever one does is a record."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents import Budget, load_search, solve
from stepgym.agents.episode import Episode, EpisodeOverError, StepResult
from stepgym.agents.policies.scripted import spelling_policy
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.families.words import WordsDomain, WordsVerifier, same_word_env
from stepgym.envs.types import Problem, State, Step, Verdict
from stepgym.plugins.errors import UserError
from stepgym.records.run_folder import read_episodes
from stepgym.records.schema import from_line, to_line
from stepgym.sandbox.types import SandboxError
from stepgym.selfplay.play import selfplay

BAD_PROMPT = "word 1"


class Speller:
    """Spells `cab`."""

    def __init__(self, word: str = "cab") -> None:
        self.word = word

    def act(self, episode: Episode) -> str | None:
        for letter in self.word:
            episode.step(letter)
        return None


class AsyncSpeller:
    async def act(self, episode: Episode) -> str | None:
        await asyncio.sleep(0)
        return "cab"


def answers(episode: Episode) -> str:
    return "cab"


async def answers_later(episode: Episode) -> str:
    await asyncio.sleep(0.001)
    return "cab"


def loops(env: Any) -> None:
    observation, _ = env.reset()
    assert "word" in observation
    rewards = [env.step(letter)[1] for letter in "cab"]
    assert rewards == [0.0, 0.0, 1.0]


def run(agent: Any, **settings: Any) -> list[EpisodeRecord]:
    env = settings.pop("env", None) or same_word_env()
    return solve(env, agent=agent, policy=spelling_policy(), **settings)


@pytest.mark.parametrize(
    "agent",
    [Speller, Speller(), AsyncSpeller, AsyncSpeller(), answers, answers_later, loops],
    ids=["class", "object", "async class", "async object", "function", "coroutine", "loop"],
)
def test_every_kind_of_agent_is_solved_and_recorded(agent: Any) -> None:
    records = run(agent)
    assert [(r.verdict, r.answer, r.problem_id) for r in records] == [
        ("correct", "cab", f"words/{i}") for i in range(3)
    ]
    for record in records:
        assert record.nodes[record.path[-1]].answer == "cab"
        assert from_line(to_line(record)) == record
        assert record.agent["agent"] in {
            "Speller",
            "AsyncSpeller",
            *"answers answers_later loops".split(),
        }


def test_a_fork_is_a_sibling_in_the_same_tree() -> None:
    def tries(episode: Episode) -> None:
        episode.step("c")
        other = episode.fork()
        assert other.step("d") == StepResult("", 0.0, False)
        assert other.step("d") == StepResult("incorrect", 0.0, True)
        episode.step("a")
        assert episode.step("b") == StepResult("correct", 1.0, True)

    (record,) = run(tries, episodes=1)
    texts = [(node.parent, node.text, node.visits) for node in record.nodes]
    assert texts == [(-1, "", 1), (0, "c", 1), (1, "d", 1), (2, "d", 1), (1, "a", 1), (4, "b", 1)]
    assert record.path == (0, 1, 4, 5)
    assert [node.verdict for node in record.nodes] == [
        None,
        None,
        None,
        "incorrect",
        None,
        "correct",
    ]


def test_forks_reveal_no_verdict_that_the_agent_must_not_use() -> None:
    seen: list[StepResult] = []

    def cheats(episode: Episode) -> None:
        start = episode.fork()
        for word in ("ddd", "cab"):
            fork = episode.fork()
            seen.extend([fork.step(letter) for letter in word][-1:])
        for letter in "cad":
            result = episode.step(letter)
        seen.append(result)
        start.step("c")

    (record,) = run(cheats, episodes=1, see_verdicts=False)
    assert seen == [
        StepResult("", 0.0, True),
        StepResult("", 0.0, True),
        StepResult("incorrect", 0.0, True),
    ]
    assert (record.verdict, record.answer) == ("incorrect", "cad")
    assert "the episode was stopped: the episode is over" in record.note


def test_forks_in_threads_keep_the_tree_whole() -> None:
    def floods(episode: Episode) -> None:
        def play(word: str) -> None:
            own = episode.fork()
            for letter in word:
                own.step(letter)

        words = [a + b + c for a in "abcd" for b in "abcd" for c in "abcd"]
        threads = [threading.Thread(target=play, args=(word,)) for word in words]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    (record,) = run(floods, episodes=1)
    assert len(record.nodes) == 1 + 4 + 16 + 64
    assert sum(node.verdict == "correct" for node in record.nodes) == 1
    for at, node in enumerate(record.nodes):
        below = sum(other.visits for other in record.nodes if other.parent == at)
        assert node.visits == below or node.answer is not None


def raises(episode: Episode) -> None:
    raise ValueError("boom")


def exits(episode: Episode) -> None:
    sys.exit(3)


def hangs(episode: Episode) -> None:
    time.sleep(60)


def never_ends(episode: Episode) -> None:
    while True:
        episode.fork().step("a")


def steps_after_the_end(episode: Episode) -> None:
    for letter in "abcd":
        episode.step(letter)


def gives_up(episode: Episode) -> None:
    episode.step("c")


def steps_a_number(episode: Episode) -> None:
    episode.step(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bad", "verdict", "note"),
    [
        (raises, "failed", "agent: ValueError: boom"),
        (exits, "failed", "agent: SystemExit: 3"),
        (hangs, "failed", "agent: no end after 1."),
        (never_ends, "failed", "agent: "),
        (steps_a_number, "failed", "TypeError: a step is text, a str, not 7"),
        (steps_after_the_end, "incorrect", "EpisodeOverError: the episode is over: answered"),
        (gives_up, "no_answer", ""),
    ],
)
def test_what_an_agent_gets_wrong_is_a_record_and_the_others_go_on(
    bad: Any, verdict: str, note: str
) -> None:
    def agent(episode: Episode) -> str | None:
        return bad(episode) if episode.prompt == BAD_PROMPT else answers(episode)  # type: ignore[no-any-return]

    started = time.perf_counter()
    first, failed, last = run(agent, budget=Budget(wall_s=1.0), num_parallel=2)
    assert time.perf_counter() - started < 55, "it waited for the agent that hangs"
    assert (first.verdict, last.verdict) == ("correct", "correct")
    assert failed.verdict == verdict
    assert note in failed.note


def test_a_hanging_agent_holds_no_place_for_ever() -> None:
    def agent(episode: Episode) -> str:
        if episode.prompt != "word 5":
            hangs(episode)
        return "cab"

    records = run(agent, env=same_word_env(count=6), budget=Budget(wall_s=0.3), num_parallel=1)
    assert [record.verdict for record in records] == ["failed"] * 5 + ["correct"]


def test_an_episode_that_was_stopped_takes_no_further_step() -> None:
    has_stopped, has_stepped = threading.Event(), threading.Event()
    late: list[BaseException] = []

    def agent(episode: Episode) -> None:
        has_stopped.wait(60)
        try:
            episode.step("c")
        except EpisodeOverError as error:
            late.append(error)
        has_stepped.set()

    (record,) = run(agent, episodes=1, budget=Budget(wall_s=0.2))
    assert len(record.nodes) == 1
    has_stopped.set()
    assert has_stepped.wait(60) and "the episode was stopped" in str(late[0])


def test_a_failing_environment_is_the_environments_failure() -> None:
    class Broken(WordsDomain):
        def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
            raise RuntimeError("no rules")

    class Undecided(WordsVerifier):
        def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
            raise RuntimeError("no verdict")

    (record,) = run(Speller, env=same_word_env(count=1, domain=Broken()))
    assert record.verdict == "failed" and "domain: RuntimeError: no rules" in record.note
    (record,) = run(Speller, env=same_word_env(count=1, verifier=Undecided()))
    assert record.verdict == "undecided" and "verifier: RuntimeError: no verdict" in record.note


def test_a_lost_sandbox_ends_the_run() -> None:
    class Gone(WordsDomain):
        def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
            raise SandboxError("gone")

    with pytest.raises(SandboxError, match="gone"):
        run(Speller, env=same_word_env(domain=Gone()))


def test_many_episodes_run_side_by_side_and_in_order() -> None:
    together = threading.Barrier(32)

    def agent(episode: Episode) -> str:
        together.wait(20)
        return "cab"

    records = run(agent, env=same_word_env(count=64), num_parallel=32)
    assert [record.index for record in records] == list(range(64))
    assert {record.verdict for record in records} == {"correct"}


@pytest.mark.parametrize("agent", [7, object(), len, int])
def test_what_is_no_agent_is_refused(agent: Any) -> None:
    with pytest.raises(UserError, match="agent"):
        run(agent)


def test_a_name_is_a_class_with_settings_or_a_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_agents.py").write_text(
        "class Fixed:\n"
        "    def __init__(self, word='cab'):\n"
        "        self.word = word\n"
        "    def act(self, episode):\n"
        "        return self.word\n"
        "def loop(env):\n"
        "    env.reset()\n"
        "    for letter in 'cab':\n"
        "        env.step(letter)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (record,) = run("my_agents:Fixed", episodes=1, agent_settings={"word": "dad"})
    assert (record.answer, record.agent["agent"]) == ("dad", "my_agents:Fixed")
    assert run("my_agents:loop", episodes=1)[0].verdict == "correct"
    with pytest.raises(UserError, match="wrod"):
        run("my_agents:Fixed", agent_settings={"wrod": "dad"})
    with pytest.raises(UserError, match="is a function"):
        run("my_agents:loop", agent_settings={"word": "dad"})
    out = tmp_path / "run"
    selfplay("stepgym/Words-v0", out=out, agent="my_agents:loop", policy="random", episodes=3)
    records = list(read_episodes(out))
    assert [len(record.nodes) for record in records] == [4, 4, 4]
    assert load_search("greedy") is not None
