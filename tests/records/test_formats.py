"""Formats of other libraries: their published rules hold, and nothing that the policy did not write is learned."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.agents import solve
from stepgym.agents.episode import Episode
from stepgym.agents.policies.layout import DELIMITER
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.envs.families.words import same_word_env
from stepgym.envs.tokens import shown_reply
from stepgym.envs.types import Step
from stepgym.records.formats import FORMATS, format_in
from stepgym.records.rows import preference
from stepgym.records.rows.options import RowOptions
from stepgym.records.rows.steps import PLACEHOLDER
from stepgym.records.schema import from_line, to_line
from stepgym.records.tree import path_to
from stepgym.records.types import ExportFormat, TextLayout

from .trees import AGENT, ASKED, CALLED, RESULT, SAID, TOOL, TREE, call

DECIDED = st.sampled_from(["correct", "incorrect", "undecided", None])


def rows_of(
    kind: ExportFormat, record: EpisodeRecord = TREE, **options: Any
) -> list[dict[str, Any]]:
    chosen = RowOptions(**options)
    return list(format_in(kind, chosen.layout).rows(record, chosen))


@st.composite
def trees(draw: st.DrawFn) -> EpisodeRecord:
    """Trees of two levels whose ends have any verdict; texts hold what formats take for marks."""
    texts = st.text(max_size=8) | st.sampled_from(
        [
            PLACEHOLDER,
            "Step 1: x",
            "a\nb",
            "<think>hidden</think>c",
            "<tool_call>t</tool_call>",
            " +",
        ]
    )
    nodes = [NodeRecord(parent=-1)]
    for _ in range(draw(st.integers(1, 3))):
        nodes.append(NodeRecord(parent=0, text=draw(texts), reply=draw(st.sampled_from(["", "r"]))))
        parent = len(nodes) - 1
        for _leaf in range(draw(st.integers(0, 2))):
            verdict = draw(DECIDED)
            nodes.append(
                NodeRecord(
                    parent=parent,
                    text=draw(texts),
                    answer="9" if verdict else None,
                    end="answered" if verdict else None,
                    verdict=verdict,
                )
            )
    return replace(TREE, nodes=tuple(nodes), path=(0, 1), prompt=draw(texts))


@pytest.mark.parametrize("kind", list(ExportFormat))
@settings(max_examples=25)
@given(record=trees())
def test_rows_have_the_columns_that_the_format_names(
    kind: ExportFormat, record: EpisodeRecord
) -> None:
    if kind is ExportFormat.TOKENS:
        return  # these need tokens
    made = FORMATS[kind]
    for layout in set(made.layouts) - {TextLayout.TOKENS}:
        for row in rows_of(kind, record, layout=layout):
            columns = made.columns_in(layout)
            assert json.dumps(row) and (columns is None or set(row) == set(columns))


TWO_RIGHT = replace(AGENT, nodes=(*AGENT.nodes, replace(AGENT.nodes[1], text="It is 10.")))


@pytest.mark.parametrize("kind", [kind for kind in ExportFormat if kind is not ExportFormat.TOKENS])
@pytest.mark.parametrize("record", [TREE, AGENT, TWO_RIGHT], ids=["tree", "agent", "two right"])
def test_a_stored_record_gives_the_same_rows(kind: ExportFormat, record: EpisodeRecord) -> None:
    if record.calls and "PREFERENCE" in kind.name:
        return  # refused
    stored = from_line(to_line(record))
    for layout in set(FORMATS[kind].layouts) - {TextLayout.TOKENS}:
        assert rows_of(kind, stored, layout=layout) == rows_of(kind, record, layout=layout)


def test_an_agents_calls_are_its_conversation() -> None:
    first, second = rows_of(ExportFormat.SFT, AGENT)
    assert [m["content"] for m in first["prompt"]] == [
        "You add.",
        "Make 3.",
        "EXAMPLE of another author",
        "Make 10.",
    ]
    [asked] = first["completion"]
    assert asked["content"] == "<think>six and four</think>"
    assert asked["tool_calls"] == CALLED["tool_calls"]
    assert second["prompt"][-1] == RESULT and second["completion"] == [SAID]
    assert json.loads(first["tools"]) == [TOOL]
    assert rows_of(ExportFormat.SFT, AGENT, layout=TextLayout.PLAIN) == []


@pytest.mark.parametrize("verdict", ["incorrect", "undecided"])
@pytest.mark.parametrize(
    "end", [{"answer": "7"}, {"answer": None, "outcome": 0.0}], ids=["answer", "outcome"]
)
def test_a_call_that_forks_with_other_verdicts_share_is_not_learned(
    verdict: str, end: dict[str, Any]
) -> None:
    fork = replace(AGENT.nodes[1], text="another end", verdict=verdict, **end)
    record = replace(with_tokens(AGENT), nodes=(*AGENT.nodes, fork))
    for kind in (ExportFormat.SFT, ExportFormat.KTO, ExportFormat.OPENAI, ExportFormat.TOKENS):
        assert rows_of(kind, record) == []


def with_tokens(record: EpisodeRecord) -> EpisodeRecord:
    """Return an agent's record whose calls hold tokens: call `n` read the token 10 n and wrote 10 n + 1."""
    calls = [
        {
            **call,
            "response": {**call["response"], "prompt_token_ids": [10 * n]},
            "token_ids": [10 * n + 1],
        }
        for n, call in enumerate(record.calls)
    ]
    return replace(record, calls=tuple(calls))


@pytest.mark.parametrize("num_answers", [0, 2])
def test_the_tokens_of_a_call_without_one_answer_are_not_learned(num_answers: int) -> None:
    """The agent's second call failed; here the third has no answer, or several of which one was used."""
    record = with_tokens(AGENT)
    rows = rows_of(ExportFormat.TOKENS, record)
    assert [row["input_ids"] for row in rows] == [[0, 1], [20, 21]]
    assert [row["labels"] for row in rows] == [[-100, 1], [-100, 21]]
    *others, last = record.calls
    answers = last["response"]["choices"] * num_answers
    last = {**last, "response": {**last["response"], "choices": answers}}
    [row] = rows_of(ExportFormat.TOKENS, replace(record, calls=(*others, last)))
    assert row["input_ids"] == [0, 1]


def test_a_conversation_that_was_changed_is_two() -> None:
    shorter = [{"role": "user", "content": "Make 10. So far: nothing."}]
    record = replace(AGENT, calls=(call(ASKED, CALLED), call(shorter, SAID)))
    assert [row["messages"][-1] for row in rows_of(ExportFormat.OPENAI, record)] == [
        {
            "role": "assistant",
            "content": "<think>six and four</think>",
            "tool_calls": CALLED["tool_calls"],
        },
        SAID,
    ]


def test_an_empty_message_hides_no_later_turn() -> None:
    empty = {"role": "assistant", "content": ""}
    again = {"role": "user", "content": "Nothing came."}
    record = replace(AGENT, calls=(call(ASKED, empty), call([*ASKED, empty, again], SAID)))
    for kind in (ExportFormat.SFT, ExportFormat.KTO):
        assert [row["completion"] for row in rows_of(kind, record)] == [[SAID]]


def test_unpaired_turns_are_labelled_by_what_follows() -> None:
    labels = {row["completion"][0]["content"]: row["label"] for row in rows_of(ExportFormat.KTO)}
    assert labels == {
        "<think>try 6</think>2 * 3": True,
        "6 + 4": True,
        "6 * 4": False,
        "2 + 3\n\n5 + 4": False,
    }
    assert [row["label"] for row in rows_of(ExportFormat.KTO, AGENT)] == [True, True]


def check_openai(row: dict[str, Any]) -> None:
    """Raise if OpenAI's fine-tuning refuses the row: its message types, and the rules of its guide."""
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
    from pydantic import TypeAdapter

    assert set(row) <= {"messages", "tools", "parallel_tool_calls"}
    for tool in row.get("tools", ()):
        TypeAdapter(ChatCompletionToolParam).validate_python(tool)
    for message in row["messages"]:
        known = {"role", "content", "name", "tool_calls", "tool_call_id", "weight"}
        assert set(message) <= known
        plain = {name: value for name, value in message.items() if name != "weight"}
        TypeAdapter(ChatCompletionMessageParam).validate_python(plain)
        if "weight" in message:
            assert message["role"] == "assistant" and message["weight"] in (0, 1)
        if message["role"] == "assistant":
            assert message["content"] or message.get("tool_calls")
    assert row["messages"][-1]["role"] == "assistant"


@pytest.mark.parametrize("record", [TREE, AGENT], ids=["search", "agent"])
def test_openai_rows_keep_its_rules(record: EpisodeRecord) -> None:
    rows = rows_of(ExportFormat.OPENAI, record)
    assert len(rows) == 1
    check_openai(rows[0])
    learned = [
        m["content"] for m in rows[0]["messages"] if m["role"] == "assistant" and m.get("weight", 1)
    ]
    assert learned == (
        ["<think>try 6</think>2 * 3", "6 + 4"]
        if record is TREE
        else ["<think>six and four</think>", "It is 10."]
    )


def test_openai_preferences_part_at_a_fork() -> None:
    first, _ = rows_of(ExportFormat.OPENAI_PREFERENCE)
    check_openai({"messages": [*first["input"]["messages"], *first["preferred_output"]]})
    assert first["non_preferred_output"] == [{"role": "assistant", "content": "2 + 3\n\n5 + 4"}]


def test_sharegpt_alternates_and_leaves_out_what_it_cannot_mask() -> None:
    [row] = rows_of(ExportFormat.SHAREGPT)
    assert [turn["from"] for turn in row["conversations"]] == [
        *("system", "human", "gpt", "human", "gpt")
    ]
    assert rows_of(ExportFormat.SHAREGPT, AGENT) == [], "its example would be learned"
    own, silent = ASKED[-1:], {**CALLED, "reasoning_content": None}
    assert rows_of(ExportFormat.SHAREGPT, replace(AGENT, calls=(call(own, CALLED),))) == []
    calls = (call(own, silent), call([*own, silent, RESULT], SAID))
    [row] = rows_of(ExportFormat.SHAREGPT, replace(AGENT, calls=calls))
    assert [(turn["from"], turn["value"]) for turn in row["conversations"]] == [
        ("human", "Make 10."),
        ("function_call", '[{"name": "add", "arguments": {"a": 6}}]'),
        ("observation", "FOREIGN 10"),
        ("gpt", "It is 10."),
    ]
    assert json.loads(row["tools"]) == [TOOL]


@given(trees())
def test_placeholders_and_labels_are_equally_many(record: EpisodeRecord) -> None:
    for row in rows_of(ExportFormat.OPENRLHF, record):
        assert row["input"].count(PLACEHOLDER) == len(row["label"])
    for row in rows_of(ExportFormat.MATH_SHEPHERD, record):
        pieces = row["input"].split(PLACEHOLDER)
        at, marks = 0, []
        for piece in pieces[:-1]:
            assert row["label"].startswith(piece, at)
            at += len(piece) + 1
            marks.append(row["label"][at - 1])
        assert set(marks) <= {"+", "-"} and row["label"][at:] == pieces[-1] == ""
        assert row["input"].count("Step 1:") == 1


def test_every_family_of_step_rows_has_the_same_labels() -> None:
    labels = [row["labels"] for row in rows_of(ExportFormat.STEPS)]
    assert labels == [row["labels"] for row in rows_of(ExportFormat.STEPWISE)]
    marks = [["+" if good else "-" for good in path] for path in labels]
    assert [row["label"] for row in rows_of(ExportFormat.OPENRLHF)] == marks
    shepherd = [row["label"].splitlines() for row in rows_of(ExportFormat.MATH_SHEPHERD)]
    assert [[line[-1] for line in lines] for lines in shepherd] == marks


def test_a_path_that_cannot_be_written_hides_no_later_one() -> None:
    for mark, kind in [
        ("Step 1:", ExportFormat.MATH_SHEPHERD),
        (PLACEHOLDER, ExportFormat.MATH_SHEPHERD),
        (PLACEHOLDER, ExportFormat.OPENRLHF),
    ]:
        marked = replace(TREE.nodes[2], text=f"{mark} 6 + 4")
        record = replace(TREE, nodes=(*TREE.nodes[:2], marked, *TREE.nodes[3:]))
        inputs = [row["input"] for row in rows_of(kind)]
        assert len(inputs) == 3
        assert [row["input"] for row in rows_of(kind, record)] == inputs[1:]


def test_prm800k_rates_the_alternatives_of_each_step() -> None:
    [row] = rows_of(ExportFormat.PRM800K)
    label = row["label"]
    rated = [
        {each["text"]: each["rating"] for each in step["completions"]} for step in label["steps"]
    ]
    assert rated == [{"<think>try 6</think>2 * 3": 1, "2 + 3": -1}, {"6 + 4": 1, "6 * 4": -1}]
    assert [step["chosen_completion"] for step in label["steps"]] == [0, 0]
    assert label["finish_reason"] == "solution"
    wrong = replace(
        TREE,
        nodes=(
            TREE.nodes[0],
            *(
                replace(n, verdict="incorrect", step_verdict=None) if n.verdict else n
                for n in TREE.nodes[1:]
            ),
        ),
    )
    [row] = rows_of(ExportFormat.PRM800K, wrong)
    [step] = row["label"]["steps"]
    assert step["chosen_completion"] is None and row["label"]["finish_reason"] == "found_error"


def test_prm800k_follows_the_chosen_path_unless_only_another_is_correct() -> None:
    correct = replace(TREE.nodes[5], verdict="correct")
    two = replace(TREE, nodes=(*TREE.nodes[:5], correct, *TREE.nodes[6:]))
    for path, texts in [
        ((0, 1, 2), ["<think>try 6</think>2 * 3", "6 + 4"]),
        ((0, 4, 5), ["2 + 3", "5 + 4"]),
        ((0, 1, 3), ["<think>try 6</think>2 * 3", "6 + 4"]),
    ]:
        [row] = rows_of(ExportFormat.PRM800K, replace(two, path=path))
        steps = row["label"]["steps"]
        assert [s["completions"][s["chosen_completion"]]["text"] for s in steps] == texts


@given(trees(), st.data())
def test_tree_rows_are_the_nodes_with_the_text_before_them(
    record: EpisodeRecord, data: st.DataObject
) -> None:
    path = path_to(record, data.draw(st.integers(0, len(record.nodes) - 1)))
    rows = rows_of(ExportFormat.TREE, replace(record, path=tuple(path)))
    for number, (row, node) in enumerate(zip(rows, record.nodes, strict=True)):
        assert (row["node"], row["parent"], row["text"]) == (number, node.parent, node.text)
        assert row["selected"] is (number in path)
        if node.parent < 0:
            assert row["depth"] == 0 and row["prompt"] == rows[-1]["prompt"][: len(row["prompt"])]
            continue
        before = rows[node.parent]
        assert row["depth"] == before["depth"] + 1
        read = before["text"] + DELIMITER if node.parent else ""
        read += shown_reply(before["reply"]) + DELIMITER if before["reply"] else ""
        assert row["prompt"] == before["prompt"] + read


RATED = st.builds(
    NodeRecord,
    parent=st.just(0),
    value=st.sampled_from([0.0, 0.5]),
    score=st.sampled_from([None, 0.0, 0.5]),
    verdict=st.sampled_from(["correct", "incorrect"]),
)


@given(st.lists(st.lists(RATED, min_size=2, max_size=4), min_size=2, max_size=4))
def test_a_fork_compares_the_most_valued_of_both_kinds(families: list[list[NodeRecord]]) -> None:
    """By definition: of each kind the branch with the highest value, and in it the answer with the highest value.

    Of equal values the reward model's score decides.
    """
    nodes = [TREE.nodes[0]]
    for branch, *leaves in families:
        nodes += [replace(branch, verdict=None), *(replace(x, parent=len(nodes)) for x in leaves)]
    record = replace(TREE, nodes=tuple(nodes))
    paths = [path_to(record, node) for node in range(len(nodes))]

    def below(branch: int, verdict: str) -> list[int]:
        return [n for n, path in enumerate(paths) if branch in path and nodes[n].verdict == verdict]

    def best(found: list[int]) -> int:
        return max(found, key=lambda node: (nodes[node].value, nodes[node].score or 0.0, -node))

    expected = []
    for fork, path in enumerate(paths):
        branches = [child for child, node in enumerate(nodes) if node.parent == fork]
        good = [child for child in branches if below(child, "correct")]
        bad = [child for child in branches if child not in good and below(child, "incorrect")]
        if good and bad:
            chosen, rejected = below(best(good), "correct"), below(best(bad), "incorrect")
            expected.append((path, paths[best(chosen)], paths[best(rejected)]))
    assert list(preference.forks(record)) == expected


@given(trees(), st.data())
def test_the_chosen_answer_comes_first_and_is_marked(
    record: EpisodeRecord, data: st.DataObject
) -> None:
    right = [n for n, node in enumerate(record.nodes) if node.verdict == "correct"]
    chosen = data.draw(st.sampled_from(right)) if right else 0
    record = replace(record, path=tuple(path_to(record, chosen)))
    rows = rows_of(ExportFormat.SFT, record, layout=TextLayout.PLAIN)
    marks = [row["selected"] for row in rows]
    assert marks == sorted(marks, reverse=True)
    learned = "".join(row["completion"] for row in rows if row["selected"])
    of_path = [record.nodes[n] for n in record.path[1:]]
    if right:
        assert [c for c in learned if c not in DELIMITER] == [
            c for node in of_path for c in node.text if c not in DELIMITER
        ]


def test_traces_mark_what_was_sampled() -> None:
    [episode] = rows_of(ExportFormat.VERIFIERS, AGENT)
    [trace] = episode["traces"]
    sampled = [node["message"]["content"] for node in trace["nodes"] if node["sampled"]]
    assert sampled == ["<think>six and four</think>", "It is 10."]
    followed = [node["parent"] for node in trace["nodes"]]
    assert followed == [None, *range(len(followed) - 1)], "a message follows the one before"
    times = {trace["timing"]["start"], *(node["timestamp"] for node in trace["nodes"])}
    assert times == {0.0}, "records hold no times"
    [tree] = rows_of(ExportFormat.VERIFIERS)
    scores = [trace["rewards"]["verdict"]["score"] for trace in tree["traces"]]
    assert scores == [1.0, 0.0, 0.0], "the undecided path has no trace"
    assert [trace["id"] for trace in tree["traces"]] == ["p0#0/0", "p0#0/1", "p0#0/2"]
    assert {trace["version"] for trace in tree["traces"]} == {1}, "the schema that verifiers reads"
    assert tree["id"] == "p0#0" and {trace["stop_condition"] for trace in tree["traces"]} == {
        "answered"
    }


def test_traces_keep_whole_messages_and_tools() -> None:
    """Whole values are compared, because a field that is empty by default is easily lost."""
    described = {**TOOL, "function": {**TOOL["function"], "description": "Adds two numbers."}}
    calls = [{**c, "request": {**c["request"], "tools": [described]}} for c in AGENT.calls]
    [episode] = rows_of(ExportFormat.VERIFIERS, replace(AGENT, calls=tuple(calls)))
    [trace] = episode["traces"]
    assert trace["tools"] == [
        {"name": "add", "description": "Adds two numbers.", "parameters": {"type": "object"}}
    ]
    assert [node["message"] for node in trace["nodes"][-4:]] == [
        {"role": "user", "content": "Make 10."},
        {
            "role": "assistant",
            "content": "<think>six and four</think>",
            "tool_calls": [{"id": "c1", "name": "add", "arguments": '{"a": 6}'}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "FOREIGN 10"},
        {"role": "assistant", "content": "It is 10."},
    ]


def test_reasoning_that_a_server_sends_under_two_names_is_kept_once() -> None:
    twice = {**CALLED, "reasoning": "six and four"}
    record = replace(AGENT, calls=(call(ASKED, twice), call([*ASKED, twice, RESULT], SAID)))
    [episode] = rows_of(ExportFormat.VERIFIERS, record)
    assert str(episode["traces"]).count("six and four") == 1


def test_prompts_name_their_problem() -> None:
    [row] = rows_of(ExportFormat.PROMPTS, replace(TREE, env_options={"level": 1, "seed": 0}))
    assert row["answer"] == "10" and json.loads(row["env_options"]) == {"level": 1, "seed": 0}
    assert [message["role"] for message in row["prompt"]] == ["system", "user"]


def test_a_real_agents_episode_is_exported_by_its_calls() -> None:
    """The `openai` package in a loop, against an episode's endpoint; the results it reads are its own program's."""
    openai = pytest.importorskip("openai")

    def agent(episode: Episode) -> str:
        client = openai.OpenAI(base_url=episode.endpoint, api_key="none")
        messages: list[Any] = [{"role": "user", "content": episode.prompt}]
        for _ in range(3):
            given = client.chat.completions.create(model=episode.model, messages=messages)
            said = given.choices[0].message
            messages += [
                {"role": "assistant", "content": said.content},
                {"role": "user", "content": "FOREIGN result"},
            ]
        return "cab"

    policy = ScriptedPolicy(lambda state: [Step("cab"[len(state.steps) % 3], num_tokens=1)])
    [record] = solve(same_word_env(count=1), agent=agent, policy=policy)
    assert record.verdict == "correct" and len(record.calls) == 3, record.note
    rows = rows_of(ExportFormat.SFT, record)
    assert len(rows) == 3
    assert [len(row["prompt"]) for row in rows] == [1, 3, 5]
    assert not any("FOREIGN" in row["completion"][0]["content"] for row in rows)
    [dialogue] = rows_of(ExportFormat.OPENAI, record)
    check_openai(dialogue)
    assert not any("weight" in message for message in dialogue["messages"])
