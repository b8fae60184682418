"""The embedded models: laws of their probabilities and draws, then what they must be good for."""

from __future__ import annotations

import itertools
import math
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.agents.embedded import net
from stepgym.agents.embedded.games import GAMES, MAX_NUMBERS, VOCABULARY_SIZE, move_tree
from stepgym.agents.embedded.policy import WEIGHTS, EmbeddedPolicy
from stepgym.agents.embedded.reward import EmbeddedRewardModel
from stepgym.agents.registry import load_policy, load_reward_model
from stepgym.agents.solving import solve
from stepgym.envs.families import countdown, modular_sums
from stepgym.envs.proposals.reading import Parts, split_proposal
from stepgym.envs.registry import load_env
from stepgym.envs.tokens import final_answer
from stepgym.envs.types import State, Step
from stepgym.training.embedded_trainers import step_log_probs, step_rows

POLICY = EmbeddedPolicy()
PRM = EmbeddedRewardModel()
SUMS = EmbeddedPolicy(model=net.build(net.POLICY, net.Shape(16, 1, 2), "modular_sums"))

positions = st.tuples(
    st.lists(st.integers(0, 300), min_size=2, max_size=5).map(lambda x: tuple(sorted(x))),
    st.integers(0, 999),
)
sums = st.tuples(
    st.lists(st.integers(0, 30), min_size=2, max_size=4).map(lambda x: tuple(sorted(x))),
    st.none() | st.integers(0, 30),
    st.just(31),
)


def state_of(public: object) -> State:
    return State(f"play {public}", public=public)  # type: ignore[arg-type]


@given(positions | sums)
@settings(max_examples=40, deadline=None)
def test_probabilities_of_all_legal_steps_sum_to_one(public: object) -> None:
    policy = POLICY if len(public) == 2 else SUMS  # type: ignore[arg-type]
    moves, log_probs = policy.log_probs(public)  # type: ignore[arg-type]
    assert math.fsum(map(math.exp, log_probs)) == pytest.approx(1, abs=1e-6)
    legal = countdown.CountdownDomain() if policy is POLICY else modular_sums.ModularSumsDomain()
    assert {move.text for move in moves.moves} == set(legal.legal_steps(state_of(public)))


@given(positions, st.integers(1, 8), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_a_later_draw_goes_on_where_the_first_stopped(
    public: object, count: int, first: int
) -> None:
    start, later = state_of(public), State(f"play {public}", public=public, draw=first)  # type: ignore[arg-type]
    every = POLICY.propose([start], [first + count])[0]
    assert POLICY.propose([later], [count])[0] == every[first:]


@given(st.lists(positions, min_size=1, max_size=5), st.integers(0, 3))
@settings(max_examples=10, deadline=None)
def test_a_proposal_does_not_depend_on_the_batch(publics: list[object], seed: int) -> None:
    states = [state_of(public) for public in publics]
    together = EmbeddedPolicy(seed=seed, model=POLICY.model).propose(states, [3] * len(states))
    alone = [
        EmbeddedPolicy(seed=seed, model=POLICY.model).propose([state], [3])[0] for state in states
    ]
    assert together == alone
    assert [s.log_prob for row in together for s in row] == [
        s.log_prob for row in alone for s in row
    ]


def test_draws_are_distinct_until_every_legal_step_was_given() -> None:
    state = state_of(((2, 3, 7), 20))
    legal = len(countdown.CountdownDomain().legal_steps(state))
    texts = [step.text for step in POLICY.propose([state], [legal + 3])[0]]
    assert len(texts) == legal + 3
    assert len(set(texts[:legal])) == legal


def test_draw_none_is_the_most_likely_step_whatever_the_seed() -> None:
    public = ((2, 3, 5, 9), 31)
    moves, log_probs = POLICY.log_probs(public)
    best = moves.moves[max(range(len(log_probs)), key=log_probs.__getitem__)].text
    for seed in range(5):
        greedy = EmbeddedPolicy(seed=seed, model=POLICY.model).propose(
            [State("p", public=public, draw=None)], [1]
        )
        assert [step.text for step in greedy[0]] == [best]
    assert (
        EmbeddedPolicy(temperature=0).propose([State("p", public=public)], [1])[0][0].text == best
    )


def test_sampling_follows_the_probabilities() -> None:
    public = ((4, 6), 24)
    moves, log_probs = POLICY.log_probs(public)
    policy = EmbeddedPolicy(distinct=False)
    drawn = [step.text for step in policy.propose([State("p", public=public)], [4000])[0]]
    for move, log_prob in zip(moves.moves, log_probs):
        assert drawn.count(move.text) / 4000 == pytest.approx(math.exp(log_prob), abs=0.04)


@given(st.lists(sums, min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 4))
@settings(max_examples=20, deadline=None)
def test_written_steps_go_on_where_they_stopped_whatever_the_batch(
    publics: list[object], count: int, first: int
) -> None:
    """Steps written token by token: legal, with the log-probability of the whole step, a function of position and draw."""
    fresh = EmbeddedPolicy(model=SUMS.model)
    later = [State(f"play {public}", public=public, draw=first) for public in publics]  # type: ignore[arg-type]
    for state, steps in zip(later, fresh.propose(later, [count] * len(later))):
        start = State(state.prompt, public=state.public)
        assert (
            steps == EmbeddedPolicy(model=SUMS.model).propose([start], [first + count])[0][first:]
        )
        moves, log_probs = SUMS.log_probs(state.public)
        whole = {move.text: log_prob for move, log_prob in zip(moves.moves, log_probs)}
        assert [step.log_prob for step in steps] == pytest.approx(
            [whole[step.text] for step in steps], abs=1e-6
        )


@given(st.lists(sums, min_size=1, max_size=3))
@settings(max_examples=20, deadline=None)
def test_greedy_steps_have_the_log_probs_that_the_same_tokens_get_when_sampled(
    publics: list[object],
) -> None:
    states = [State(f"play {public}", public=public) for public in publics]  # type: ignore[arg-type]
    sampled = {
        (state.public, step.token_ids): step.token_log_probs
        for state, steps in zip(
            states, EmbeddedPolicy(model=SUMS.model).propose(states, [40] * len(states))
        )
        for step in steps
    }
    cold = EmbeddedPolicy(model=SUMS.model, temperature=0)
    seen = 0
    for state, steps in zip(states, cold.propose(states, [200] * len(states))):
        for step in steps:
            assert step.token_ids is not None and step.token_log_probs is not None
            assert math.fsum(step.token_log_probs) == pytest.approx(step.log_prob, abs=1e-6)  # type: ignore[arg-type]
            if known := sampled.get((state.public, step.token_ids)):
                assert step.token_log_probs == pytest.approx(known, abs=1e-5)
                seen += 1
    assert seen or not any(cold.propose(states, [1] * len(states)))


def test_written_steps_follow_the_probabilities() -> None:
    public = ((1, 4), 2, 5)
    moves, log_probs = SUMS.log_probs(public)
    drawn = [step.text for step in SUMS.propose([State("p", public=public)], [4000])[0]]
    for move, log_prob in zip(moves.moves, log_probs):
        assert drawn.count(move.text) / 4000 == pytest.approx(math.exp(log_prob), abs=0.04)


@given(positions | sums)
@settings(max_examples=40, deadline=None)
def test_what_may_be_written_token_by_token_are_the_legal_steps(public: object) -> None:
    game = GAMES["countdown" if len(public) == 2 else "modular_sums"]  # type: ignore[arg-type]
    written, open_ = [], [()]
    while open_:
        tokens: tuple[int, ...] = open_.pop()
        more = game.following(public, tokens)  # type: ignore[arg-type]
        open_ += [(*tokens, token) for token in more]  # type: ignore[misc]
        if tokens and not more:
            written.append(game.text(public, tokens))  # type: ignore[arg-type]
    assert sorted(written) == sorted(move.text for move in game.moves(public))  # type: ignore[arg-type]


@given(positions | sums, st.integers(0, 3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_game_of_mixtures_plays_as_the_game_of_each_member(
    public: object, member: int, is_alone: bool
) -> None:
    name = "countdown" if len(public) == 2 else "modular_sums"  # type: ignore[arg-type]
    game, mixed = GAMES[name], GAMES["mixed"]
    tagged = public if is_alone else (member, public)
    assert mixed.plays(tagged)  # type: ignore[arg-type]
    assert mixed.moves(tagged) == game.moves(public)  # type: ignore[arg-type]
    assert mixed.prompt(tagged)[1:] == game.prompt(public)  # type: ignore[arg-type]
    assert mixed.prompt(tagged)[0] >= VOCABULARY_SIZE  # type: ignore[arg-type]
    for move in game.moves(public):  # type: ignore[arg-type]
        assert mixed.read(tagged, move.text) == move.tokens  # type: ignore[arg-type]


@pytest.mark.parametrize("env_id", ["Mixture-v0", "Countdown-v0", "ModularSums-v0"])
def test_a_reward_model_of_mixtures_reads_what_each_game_shows(env_id: str) -> None:
    """Of a mixture's states and of those of each environment alone."""
    members = {"members": {"Countdown-v0": 1, "ModularSums-v0": 1}}
    env = load_env(env_id, **(members if env_id == "Mixture-v0" else {}))
    model = EmbeddedRewardModel(model=net.build(net.PRM, net.Shape(8, 1, 1), "mixed"))
    for index in range(6):
        state = env.domain.initial(env.problems[index])
        text = env.domain.legal_steps(state)[0]  # type: ignore[attr-defined]
        state = env.domain.advance([state], [Step(text)])[0]
        [reading] = GAMES["mixed"].readings(state)
        assert GAMES["mixed"].positions(state) == [state.public]
        assert model.tokens_read([state]) == [len(GAMES["mixed"].reading_tokens(reading))]
        assert 0 < model.score([state])[0][0] < 1


@given(st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_proposals_are_written_and_read_back(seed: int) -> None:
    """A proposal that was sampled has the tokens of its text, and its log-probability is what training computes."""
    model = net.build(net.POLICY, net.Shape(8, 1, 1), "mixed", seed=seed)
    game = GAMES["mixed"]
    for draw in (0, None):
        [steps] = EmbeddedPolicy(model=model, seed=seed).propose(
            [State("p", public="countdown", draw=draw)], [3]
        )
        for step in steps:
            assert game.read("countdown", step.text) == step.token_ids
            assert isinstance(split_proposal(final_answer(step.text) or ""), Parts)
        found = step_log_probs(model, step_rows("mixed", [("countdown", s.text) for s in steps]))
        assert found.tolist() == pytest.approx([s.log_prob for s in steps], abs=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "<answer>countdown: 3, 5 -> 8</answer>",  # too few numbers
        "<answer>countdown: 5, 3, 7 -> 8</answer>",  # not ascending
        "<answer>countdown: 3, 5, 26 -> 8</answer>",  # too large
        "<answer>countdown: 3, 5, 7 -> 0</answer>",
        "<answer>expression: 3 + 5 + 7</answer>",
        "",
    ],
)
def test_other_proposals_are_no_steps_of_the_model(text: str) -> None:
    assert GAMES["proposals"].read("countdown", text) is None


@pytest.mark.parametrize(
    ("env_id", "steps", "positions"),
    [
        ("Countdown-v0", [], []),
        ("Countdown-v0", ["LEGAL"], ["position"]),
        (
            "Countdown-v0",
            ["LEGAL", "1 + 99999"],
            ["position", None],
        ),  # refused: the position stays, the step scores 0
        (
            "Countdown-v0",
            ["LEGAL", "<answer>1</answer>"],
            ["position", None],
        ),  # an answer is no move
        ("ModularSums-v0", ["LEGAL", "LEGAL"], ["position", "position"]),
        ("ModularSums-v0", ["LEGAL", "LEGAL", "x"], ["position", "position", None]),
    ],
)
def test_boards_are_those_the_domain_went_through(
    env_id: str, steps: list[str], positions: list[str | None]
) -> None:
    env = load_env(env_id, level=3)
    game = GAMES["countdown" if env_id.startswith("C") else "modular_sums"]
    for index in range(20):
        state, passed = env.domain.initial(env.problems[index]), []
        for text, position in zip(steps, positions):
            legal = env.domain.legal_steps(state)  # type: ignore[attr-defined]
            state = env.domain.advance(
                [state], [Step(legal[index % len(legal)] if text == "LEGAL" else text)]
            )[0]
            passed.append(state.public if position else None)
        assert game.positions(state) == passed


@pytest.mark.parametrize("agent", ["best_of_n", "beam", "mcts"])
def test_every_node_is_charged_what_was_read_for_it(agent: str) -> None:
    """Positions asked once each, every step drawn, and the position behind every node, siblings too: nothing is free."""
    env = load_env("Countdown-v0", level=3)
    (record,) = solve(
        env, agent=agent, policy=POLICY, reward_model=PRM, episodes=1, see_verdicts=False
    )
    positions = [env.problems[0].public[0]]  # type: ignore[index]
    for node in record.nodes[1:]:
        position = countdown.play(positions[node.parent], node.text)
        assert not isinstance(position, str)
        positions.append(position)
    judged = 2.0 * PRM.num_parameters * sum(1 + len(position) for position in positions[1:])
    asked = {node.parent for node in record.nodes[1:]}
    drawn = sum(record.usage[name] for name in ("prompt_tokens", "visible_tokens"))
    assert record.usage["prompt_tokens"] >= sum(1 + len(positions[node]) for node in asked)
    assert record.usage["flops"] == pytest.approx(judged + 2.0 * POLICY.num_parameters * drawn)


def test_a_reward_model_of_sums_reads_the_addition() -> None:
    env = load_env("ModularSums-v0", level=2)
    before = env.domain.initial(env.problems[0])
    a, b = before.public[0][:2]  # type: ignore[index]
    one, two = (env.domain.advance([before], [Step(f"{a} + {b} = {c}")])[0] for c in (3, 4))
    model = EmbeddedRewardModel(model=net.build(net.PRM, net.Shape(8, 1, 1), "modular_sums"))
    assert GAMES["modular_sums"].readings(one) == [(a, b, 3)]
    assert model.score([one]) != model.score([two])
    assert model.tokens_read([one, before]) == [3, 0]


def test_a_refused_step_scores_zero_and_each_step_has_a_score_in_range() -> None:
    env = load_env("Countdown-v0")
    state = env.domain.initial(env.problems[0])
    state = env.domain.advance([state], [Step(env.domain.legal_steps(state)[0])])[0]  # type: ignore[attr-defined]
    state = env.domain.advance([state], [Step("nonsense")])[0]
    first, second = PRM.score([state])[0]
    assert 0 < first < 1
    assert second == 0


def test_other_problems_are_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"only plays Countdown.*hf:NAME_OR_FOLDER"):
        POLICY.propose([State("What is 2 + 2?")], [1])
    with pytest.raises(ValueError, match="only plays Countdown"):
        PRM.score([State("What is 2 + 2?", (Step("4"),))])


def test_a_board_without_moves_and_a_done_state_get_nothing() -> None:
    env = load_env("Countdown-v0")
    assert POLICY.propose([State("p", public=((7,), 7))], [3]) == [[]]
    stuck = env.domain.advance([env.domain.initial(env.problems[0])], [Step("x")])
    assert POLICY.propose(stuck, [3]) == [[]]
    assert len(move_tree("countdown", (tuple(range(1, MAX_NUMBERS + 1)), 5)).rows) == 1


def test_the_shipped_weights_are_small() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json"}
    assert sum(path.stat().st_size for path in files) < 1_500_000


@pytest.mark.parametrize("kind", [net.POLICY, net.PRM])
def test_transformers_loads_what_is_saved_and_computes_the_same(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

    foreign = AutoModelForCausalLM if kind == net.POLICY else AutoModelForTokenClassification
    own = net.build(kind, net.Shape(16, 2, 2), "countdown", seed=4)
    net.save(own, tmp_path)
    again = net.load(kind, tmp_path)
    tokens = torch.arange(24).reshape(3, 8) * 11
    for folder, ours in ((tmp_path, own), (tmp_path, again), (WEIGHTS / kind, None)):
        ours = ours or net.load(kind, folder)
        theirs = foreign.from_pretrained(folder, dtype=torch.float32).eval()
        assert net.num_parameters(theirs) == net.num_parameters(ours)
        head = ours.lm_head if kind == net.POLICY else ours.score
        with torch.inference_mode():
            expected = theirs(tokens, use_cache=False).logits
            torch.testing.assert_close(head(ours.model(tokens)), expected)
            torch.testing.assert_close(
                head(ours.double().model(tokens)), theirs.double()(tokens, use_cache=False).logits
            )


def test_the_embedded_models_do_not_import_transformers() -> None:
    code = (
        "import sys; from stepgym.agents.embedded.policy import EmbeddedPolicy; EmbeddedPolicy();"
        "assert 'torch' in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_resolve() -> None:
    assert load_policy("embedded", seed=3).seed == 3  # type: ignore[attr-defined]
    assert isinstance(load_reward_model("embedded"), EmbeddedRewardModel)
    assert pickle.loads(pickle.dumps(POLICY)).seed == POLICY.seed


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "no model.safetensors"),
        ("cut", "cut short"),
        ("foreign", "not an embedded model"),
        ("kind", "not a policy"),
    ],
)
def test_a_broken_folder_is_named(tmp_path: Path, damage: str, message: str) -> None:
    model = net.build(net.PRM if damage == "kind" else net.POLICY, net.Shape(8, 1, 1), "countdown")
    if damage == "foreign":
        del model.config.stepgym_game
    net.save(model, tmp_path)
    weights = tmp_path / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(net.CheckpointError, match=message):
        EmbeddedPolicy(tmp_path)


def test_the_shipped_models_are_worth_searching_with() -> None:
    """Floors well under the measured figures: greedy is fair, the reward model tells good positions from bad."""
    from stepgym.claims.shipped_models.training import measure

    figures = measure(POLICY, PRM, seed=3, num_problems=150)
    assert 0.2 < figures["greedy"] < 0.8
    assert figures["prm_auc"] > 0.8


def test_models_of_one_seed_are_equal() -> None:
    one, two = (net.build(net.POLICY, net.Shape(8, 1, 1), "countdown", seed=5) for _ in range(2))
    pairs = itertools.zip_longest(one.parameters(), two.parameters())
    assert all(torch.equal(a, b) for a, b in pairs)


@given(positions | sums, st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_log_probs_recomputed_from_a_steps_tokens_are_its_own(public: object, seed: int) -> None:
    """In single precision, over what may be written next: as a trainer recomputes them from a record."""
    source = POLICY if len(public) == 2 else SUMS  # type: ignore[arg-type]
    policy = EmbeddedPolicy(model=source.model.float(), seed=seed)
    game, model = GAMES[policy.game], source.model.float()
    try:
        for step in policy.propose([state_of(public)], [3])[0]:
            assert step.context_ids == game.prompt(public)  # type: ignore[arg-type]
            assert step.token_ids is not None and step.token_log_probs is not None
            assert math.fsum(x or 0.0 for x in step.token_log_probs) == pytest.approx(step.log_prob)
            for at, recorded in enumerate(step.token_log_probs):
                before = step.token_ids[:at]
                options = game.following(public, before)  # type: ignore[arg-type]
                with torch.no_grad():
                    [logits] = net.last_outputs(model, [(*step.context_ids, *before)])
                again = logits[list(options)].log_softmax(-1)[options.index(step.token_ids[at])]
                assert recorded == pytest.approx(float(again), abs=1e-4)
    finally:
        source.model.double()
