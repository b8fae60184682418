"""What a record holds of tokens: exactly what was read and sampled, with the log-probabilities of a plain forward pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.episode import Episode
from stepgym.agents.policies.budget_forcing import BudgetForcingPolicy
from stepgym.agents.policies.layout import Layout
from stepgym.agents.policies.loading import LanguageModel
from stepgym.agents.policies.transformers_policy import TransformersPolicy
from stepgym.agents.search.best_of_n import BestOfN
from stepgym.agents.search.mcts import MCTS
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.envs.registry import load_env
from stepgym.envs.types import Status, Verdict
from stepgym.plugins.errors import UserError
from stepgym.records.loader import contexts_of, states_of
from stepgym.records.rollouts import (
    check_tokenizer,
    ended_rollouts,
    group_advantages,
    mean_rewards,
    rollouts,
    rollouts_of,
    tree_advantages,
    tree_token_advantages,
)
from stepgym.records.rows import preference, sft, tokens, traces
from stepgym.records.rows.options import RowOptions
from stepgym.records.run_folder import read_config
from stepgym.records.schema import from_line, to_line
from stepgym.records.tree import path_to
from stepgym.records.types import Advantage, RecordError, RunConfig, RunMismatchError, TextLayout
from stepgym.selfplay.play import play_into

from .conftest import ReplyingDomain


class LengthVerifier:
    """Correct if the answer has an even number of characters; undecided if it begins with a capital letter."""

    def verify(self, problems: Any, answers: Any) -> list[Verdict]:
        return [
            Verdict(Status.UNDECIDED)
            if answer[:1].isupper()
            else Verdict(Status.CORRECT, 1.0)
            if len(answer) % 2 == 0
            else Verdict(Status.INCORRECT)
            for answer in answers
        ]


def make_env() -> Any:
    env = load_env("stepgym/Math-v0", level=1, seed=4)
    env.domain, env.verifier = ReplyingDomain(), LengthVerifier()
    return env


def make_policy(language_model: LanguageModel, **settings: Any) -> TransformersPolicy:
    return TransformersPolicy(
        language_model, **{"temperature": 1.0, "max_new_tokens": 8, "seed": 1, **settings}
    )


def played(policy: Any, search: Any, num: int = 2) -> list[EpisodeRecord]:
    env = make_env()
    problems = [env.problems[i] for i in range(num)]
    records = iter_solve(
        problems, env=env, agent=search, policy=policy, see_verdicts=False, verify_all=True
    )
    return [from_line(to_line(record)) for record in records]


def plain_log_probs(model: Any, context: tuple[int, ...], ids: tuple[int, ...]) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(torch.tensor([context + ids])).logits[0].float()
    rows = logits.log_softmax(-1)[len(context) - 1 : -1]
    return rows.gather(-1, torch.tensor(ids)[:, None])[:, 0]


@pytest.mark.parametrize("search", [BestOfN(n=6), MCTS(simulations=8)], ids=["samples", "tree"])
@pytest.mark.parametrize(
    "template", [None, "Problem: {prompt}\nSolution:\n"], ids=["chat", "plain"]
)
def test_log_probs_recomputed_from_a_record_are_the_recorded_ones(
    language_model: LanguageModel, search: Any, template: str | None
) -> None:
    policy = make_policy(language_model, template=template)
    seen = 0
    for record in played(policy, search):
        assert record.nodes[0].context_ids == policy.layout.ids(states_of(record)[0])
        for node, context in zip(record.nodes[1:], contexts_of(record)[1:]):
            assert node.token_ids and context and node.token_log_probs
            again = plain_log_probs(policy.model, context, node.token_ids)
            assert again.tolist() == pytest.approx(node.token_log_probs, abs=1e-4)
            assert policy.layout.decode(node.token_ids).startswith(node.text)
            seen += 1
    assert seen > 20


def talks(episode: Episode) -> str:
    """An agent whose program takes the steps: the model is asked twice, in a conversation that no tree holds."""
    with openai.OpenAI(base_url=episode.endpoint, api_key="none", max_retries=0) as client:
        talk: list[Any] = [{"role": "user", "content": f"Think about: {episode.prompt}"}]
        for _ in range(2):
            reply = client.chat.completions.create(model=episode.model, messages=talk)
            text = reply.choices[0].message.content or ""
            talk += [{"role": "assistant", "content": text}, {"role": "user", "content": "Go on."}]
    episode.step("a step of the program")
    return "ab" if episode.prompt == make_env().problems[0].prompt else "abc"


def test_an_agents_calls_are_recomputed_and_exported_as_the_tokens_that_were_sampled(
    language_model: LanguageModel,
) -> None:
    policy = make_policy(language_model)
    records = played(policy, talks)
    assert [record.verdict for record in records] == ["correct", "incorrect"]
    for record in records:
        assert len(record.calls) == 2
        for call in record.calls:
            context, ids = tuple(call["response"]["prompt_token_ids"]), tuple(call["token_ids"])
            again = plain_log_probs(policy.model, context, ids).tolist()
            assert again == pytest.approx(list(call["token_log_probs"]), abs=1e-4)
        options = RowOptions(mean_rewards={record.problem_id: 0.5})
        rows = list(tokens.rows(record, options))
        whole = [[*c["response"]["prompt_token_ids"], *c["token_ids"]] for c in record.calls]
        assert [row["input_ids"] for row in rows] == whole
        for row, call in zip(rows, record.calls):
            own = len(call["token_ids"])
            assert row["labels"] == [-100] * (len(row["labels"]) - own) + row["input_ids"][-own:]
            sign = 0.5 if record.verdict == "correct" else -0.5
            assert set(row["advantages"][-own:]) == {sign}
            assert row["log_probs"][-own:] == list(call["token_log_probs"])
        learned = sft.rows(record, replace(options, layout=TextLayout.TOKENS))
        expected = whole if record.verdict == "correct" else []
        assert [row["input_ids"] for row in learned] == expected
        with pytest.raises(UserError, match="advantages tree"):
            list(tokens.rows(record, replace(options, advantages=Advantage.TREE)))
        with pytest.raises(UserError, match="drives itself"):
            list(preference.rows(record, options))
        without = tuple({**call, "token_ids": None} for call in record.calls)
        with pytest.raises(RecordError, match="holds no tokens"):
            list(tokens.rows(replace(record, calls=without), options))


def test_sampled_tokens_are_read_again_as_sampled(language_model: LanguageModel) -> None:
    policy = make_policy(language_model)
    retokenised = 0
    for record in played(policy, BestOfN(n=8)):
        for node in record.nodes[1:]:
            parent = record.nodes[node.parent]
            assert not parent.context_restarts
            assert node.token_ids
            retokenised += (
                policy.layout.ids_of(policy.layout.decode(node.token_ids)) != node.token_ids
            )
            if parent.reply:
                ids = parent.context_ids
                assert "noted abc" in policy.layout.decode(ids), "the reply is read"
                assert "<|im_start|>user" in policy.layout.decode(ids), "as a turn of the user"
    assert retokenised, "some tokens are not those that their text would be given"


@pytest.mark.parametrize("search", [BestOfN(n=6), MCTS(simulations=8)], ids=["samples", "tree"])
def test_a_rollout_is_what_was_played(language_model: LanguageModel, search: Any) -> None:
    policy = make_policy(language_model)
    judged = {"correct": 1.0, "incorrect": 0.0, "undecided": None, None: None}
    for record in played(policy, search):
        nodes = [replace(n, step_verdict=[*judged][i % 4]) for i, n in enumerate(record.nodes)]
        record = replace(record, nodes=tuple(nodes))
        contexts = contexts_of(record)
        for rollout in rollouts_of(record):
            rewards = tuple(judged[record.nodes[node].step_verdict] for node in rollout.nodes)
            assert rollout.step_rewards == rewards
            whole = rollout.prompt_ids + rollout.ids
            own: list[int] = []
            for node in rollout.nodes:
                ids = record.nodes[node].token_ids or ()
                assert whole[: len(contexts[node])] == contexts[node]
                own += ids
            assert [t for t, mine in zip(rollout.ids, rollout.is_own) if mine] == own
            read = [t for t, mine in zip(rollout.ids, rollout.is_own) if not mine]
            assert policy.layout.decode(read).count("noted abc") == 2
            assert "noted" not in policy.layout.decode(own), "a reply is never learned"
            assert rollout.step_ends[-1] == len(rollout.ids)
            assert rollout.nodes == tuple(path_to(record, rollout.nodes[-1])[1:])


def test_forced_tokens_are_read_and_never_learned(language_model: LanguageModel) -> None:
    inner = make_policy(language_model, max_new_tokens=4)
    policy = BudgetForcingPolicy(inner, max_thinking_tokens=6, num_waits=2)
    forced = 0
    for record in played(policy, BestOfN(n=4)):
        for node, context in zip(record.nodes[1:], contexts_of(record)[1:]):
            if node.token_ids is None:
                continue
            assert context and node.token_log_probs
            assert inner.layout.decode(node.token_ids).startswith(node.text)
            again = plain_log_probs(inner.model, context, node.token_ids).tolist()
            for recomputed, recorded in zip(again, node.token_log_probs):
                forced += recorded is None
                assert recorded is None or recomputed == pytest.approx(recorded, abs=1e-4)
        for rollout in rollouts_of(record):
            own = [t for t, mine in zip(rollout.ids, rollout.is_own) if mine]
            assert "<think>" not in inner.layout.decode(own)
            assert None not in [x for x, mine in zip(rollout.log_probs, rollout.is_own) if mine]
    assert forced > 10


@pytest.mark.parametrize("env_id", ["stepgym/Countdown-v0", "stepgym/ModularSums-v0"])
def test_a_policy_that_reads_boards_gives_a_rollout_per_step(env_id: str) -> None:
    weights = {} if "Countdown" in env_id else {"policy": "random"}
    found = rollouts(env_id, policy=weights.get("policy", "embedded"), group=4, episodes=2)
    if weights:
        assert found == [], "random play has no tokens"
        return
    assert found and all(len(rollout.nodes) == 1 for rollout in found)
    assert all(len(rollout.ids) == len(rollout.log_probs) == 1 for rollout in found)


def test_another_tokenizer_is_refused(language_model: LanguageModel, plain_tokenizer: Any) -> None:
    [record] = played(make_policy(language_model), BestOfN(n=1), 1)
    check_tokenizer(record, Layout(language_model.tokenizer).describe_tokenizer())
    other = replace_vocabulary(plain_tokenizer)
    with pytest.raises(RecordError, match=r"has tokens of tokenizer .* name the model that played"):
        check_tokenizer(record, Layout(other).describe_tokenizer())


RECORDED, FROM_TEXT, REFUSED = "recorded", "from the text", "refused"
WHICH_TOKENS = {
    # whose tokens a record holds: what is exported without a tokenizer, with that of the player, and with another
    "the player's": (RECORDED, RECORDED, REFUSED),
    "unknown": (RECORDED, RECORDED, RECORDED),
    "none": (REFUSED, FROM_TEXT, FROM_TEXT),
}


@pytest.mark.parametrize("retokenise", [False, True])
@pytest.mark.parametrize("held", WHICH_TOKENS)
def test_recorded_tokens_are_exported_unless_their_text_is_to_be_tokenised(
    language_model: LanguageModel, plain_tokenizer: Any, held: str, retokenise: bool
) -> None:
    """`retokenise` tokenises the text anew unless the record names the tokenizer asked for as that of its tokens."""
    [record] = played(make_policy(language_model), BestOfN(n=2), 1)
    if held != "the player's":
        record = replace(record, agent={})
    if held == "none":
        bare = [replace(n, token_ids=None, token_log_probs=None) for n in record.nodes]
        record = replace(record, nodes=tuple(bare))
    players, another = Layout(language_model.tokenizer), Layout(replace_vocabulary(plain_tokenizer))
    for layout, wanted in zip([None, players, another], WHICH_TOKENS[held]):
        options = RowOptions(tokens=layout, retokenise=retokenise)
        if retokenise and layout and (held != "the player's" or layout is another):
            wanted = FROM_TEXT
        if wanted is REFUSED:
            with pytest.raises(RecordError):
                tokens.token_rollouts(record, options)
            continue
        found = tokens.token_rollouts(record, options)
        expected = ended_rollouts(record, layout if wanted is FROM_TEXT else None)
        assert found == expected and found
        assert (found[0][1].log_probs[0] is None) is (wanted is FROM_TEXT)


def replace_vocabulary(tokenizer: Any) -> Any:
    import copy

    other = copy.deepcopy(tokenizer)
    other.add_tokens(["another"])
    return other


REWARDS = {"correct": 1.0, "incorrect": 0.0}


@st.composite
def decided_trees(draw: st.DrawFn) -> EpisodeRecord:
    """A record whose leaves are ends with a verdict, or none."""
    size = draw(st.integers(2, 10))
    parents = [-1, *(draw(st.integers(0, i - 1)) for i in range(1, size))]
    nodes = [NodeRecord(parent=-1, context_ids=(9,))]
    for i in range(1, size):
        is_leaf = i not in parents
        verdict = draw(st.sampled_from(["correct", "incorrect", "undecided"]))
        visits = draw(st.integers(0, 3))
        node = NodeRecord(
            parent=parents[i], text=str(i), token_ids=(i, i), context_ids=(), visits=visits
        )
        if is_leaf:
            node = replace(node, end="answered", answer="a", verdict=verdict)
        nodes.append(node)
    return replace(
        EMPTY, nodes=tuple(nodes), path=(0,), problem_id=draw(st.sampled_from(["p0", "p1"]))
    )


EMPTY = EpisodeRecord(
    env_id="e",
    problem_id="p0",
    level=None,
    seed=None,
    index=0,
    prompt="p",
    reference="r",
    nodes=(),
    path=(),
    answer=None,
    verdict="correct",
    score=0.0,
)


@given(decided_trees())
def test_tree_advantages_on_a_path_add_up_to_its_reward_over_the_mean(
    record: EpisodeRecord,
) -> None:
    steps, means = tree_advantages(record), mean_rewards([record])
    for rollout in rollouts_of(record):
        if rollout.reward is None:
            continue
        total = sum(steps[node] for node in rollout.nodes)
        assert total == pytest.approx(rollout.reward - means[record.problem_id])
        assert group_advantages(rollout, means[record.problem_id])[0] == pytest.approx(total)


@given(decided_trees())
def test_token_rows_are_the_decided_rollouts_in_order(record: EpisodeRecord) -> None:
    rows = list(tokens.rows(record, RowOptions()))
    learned = [rollout for rollout in rollouts_of(record) if rollout.reward is not None]
    assert len(rows) == len(learned)
    for row, rollout in zip(rows, learned):
        assert row["input_ids"] == [*rollout.prompt_ids, *rollout.ids]
        assert (row["reward"], row["verdict"]) == (rollout.reward, rollout.verdict)
        assert row["count"] == rollout.count
        advantages = [a for a, x in zip(row["advantages"], row["labels"]) if x != tokens.IGNORED]
        assert set(advantages) == {rollout.reward}, "no mean reward is known"


@given(decided_trees(), st.data())
def test_fine_tuning_learns_the_verified_rollouts_the_chosen_one_first(
    record: EpisodeRecord, data: st.DataObject
) -> None:
    right = [rollout for rollout in rollouts_of(record) if rollout.verdict == "correct"]
    chosen = data.draw(st.sampled_from(right)) if right else None
    if chosen:
        record = replace(record, path=(0, *chosen.nodes))
    rows = sft.rows(record, RowOptions(layout=TextLayout.TOKENS))
    expected = sorted(right, key=lambda rollout: rollout is not chosen)
    assert [(row["input_ids"], row["selected"]) for row in rows] == [
        ([*rollout.prompt_ids, *rollout.ids], rollout is chosen) for rollout in expected
    ]


@given(decided_trees())
def test_each_step_of_a_tree_is_learned_once_and_undecided_paths_are_not(
    record: EpisodeRecord,
) -> None:
    found = rollouts_of(record)
    learned = [
        token
        for rollout, row in zip(found, tree_token_advantages(found, record))
        for token, advantage in zip(rollout.ids, row)
        if advantage is not None
    ]
    decided = set(tree_advantages(record))
    assert sorted(learned) == sorted(2 * list(decided))
    undecided_alone = {
        node
        for rollout in found
        if rollout.reward is None
        for node in rollout.nodes
        if all(r.reward is None for r in found if node in r.nodes)
    }
    assert not undecided_alone & decided


@given(st.lists(decided_trees(), min_size=1, max_size=4))
def test_attempts_at_a_problem_share_their_baseline(records: list[EpisodeRecord]) -> None:
    means = mean_rewards(records)
    for problem in means:
        rewards = [
            rollout.reward
            for record in records
            if record.problem_id == problem
            for rollout in rollouts_of(record)
            for _ in range(rollout.count)
            if rollout.reward is not None
        ]
        assert means[problem] == pytest.approx(sum(rewards) / len(rewards))


def test_a_run_names_its_tokenizer_and_refuses_another(
    language_model: LanguageModel, plain_tokenizer: Any, tmp_path: Path
) -> None:
    env = make_env()
    config = RunConfig(env_id="stepgym/Math-v0", agent="greedy", policy="hf:somewhere")
    play_into_folder(tmp_path, config, env, make_policy(language_model))
    found = read_config(tmp_path).tokenizer
    assert found == Layout(language_model.tokenizer).describe_tokenizer()
    other = LanguageModel(language_model.model, replace_vocabulary(plain_tokenizer))
    with pytest.raises(RunMismatchError, match="tokenizer was"):
        play_into_folder(tmp_path, config, env, make_policy(other))


def play_into_folder(folder: Path, config: RunConfig, env: Any, policy: Any) -> None:
    list(play_into(folder, config, [env.problems[0]], env=env, policy=policy))


def test_exported_traces_hold_the_sampled_tokens(language_model: LanguageModel) -> None:
    """The nodes of a trace of verifiers, one after the other, are what the policy read and wrote."""
    for record in played(make_policy(language_model), BestOfN(n=6)):
        wanted = {
            (*rollout.prompt_ids, *rollout.ids): rollout
            for rollout in rollouts_of(record)
            if rollout.reward is not None
        }
        for episode in traces.rows(record, RowOptions()):
            for trace in episode["traces"]:
                nodes = [node for node in trace["nodes"] if "token_ids" in node]
                ids = tuple(token for node in nodes for token in node["token_ids"])
                rollout = wanted.pop(ids)
                mask = [own for node in nodes for own in node["mask"]]
                assert mask == [False] * len(rollout.prompt_ids) + list(rollout.is_own)
                log_probs = [x for node in nodes for x in node.get("logprobs", ())]
                assert log_probs == [x for x in rollout.log_probs if x is not None]
                assert trace["rewards"]["verdict"]["score"] == rollout.reward
        assert not wanted
