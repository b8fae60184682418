"""Agents of other packages play episodes, each through its own endpoint; skipped where a package is missing.

`make test-interop` installs the packages and runs these tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepgym.agents import solve
from stepgym.agents.episode import Episode
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.agents.types import EpisodeRecord, Policy
from stepgym.envs.families.words import same_word_env
from stepgym.envs.types import State, Step
from stepgym.records.schema import from_line, to_line


def play(agent: Any, policy: Policy, count: int = 4) -> list[EpisodeRecord]:
    records = solve(same_word_env(count=count), agent=agent, policy=policy, num_parallel=count)
    for record in records:
        assert record.verdict == "correct", record.note
        assert to_line(from_line(to_line(record))) == to_line(record)
        assert all(call["status"] == 200 for call in record.calls)
        assert record.usage["model_calls"] == len(record.calls)
    return records


def test_smolagents_code_agent() -> None:
    smolagents = pytest.importorskip("smolagents")

    def writes_code(state: State) -> list[Step]:
        code = "word = 'c' + 'a'\nprint(word)" if not state.steps else "final_answer(word + 'b')"
        return [Step(f"Thought: go.\n<code>\n{code}\n</code>", num_tokens=9, num_prompt_tokens=50)]

    def agent(episode: Episode) -> Any:
        model = smolagents.OpenAIServerModel(
            episode.model, api_base=episode.endpoint, api_key="none"
        )
        runner = smolagents.CodeAgent(tools=[], model=model, max_steps=4, verbosity_level=0)
        return runner.run(episode.prompt)

    for record in play(agent, ScriptedPolicy(writes_code)):
        assert len(record.calls) == 2
        assert "ca" in str(record.calls[1]["request"]["messages"][-1]), "foreign text is kept"


def next_letter(state: State) -> list[Step]:
    return [Step("cab"[len(state.steps) % 3], num_tokens=1)] * 4


def test_langgraph_graph() -> None:
    graphs = pytest.importorskip("langgraph.graph")
    openai = pytest.importorskip("langchain_openai")

    def agent(episode: Episode) -> None:
        model = openai.ChatOpenAI(
            model=episode.model, base_url=episode.endpoint, api_key="none", max_retries=0
        )

        def think(state: Any) -> Any:
            return {"messages": [model.invoke(state["messages"])]}

        def act(state: Any) -> Any:
            result = episode.step(state["messages"][-1].content)
            return {"messages": [("user", result.text or "ok")]}

        graph = graphs.StateGraph(graphs.MessagesState)
        graph.add_node("think", think)
        graph.add_node("act", act)
        graph.add_edge(graphs.START, "think")
        graph.add_edge("think", "act")
        graph.add_conditional_edges("act", lambda _: graphs.END if episode.done else "think")
        graph.compile().invoke({"messages": [("user", episode.prompt)]})

    for record in play(agent, ScriptedPolicy(next_letter)):
        assert [node.text for node in record.nodes] == ["", "c", "a", "b"]
        assert len(record.calls) == 3


def test_openai_agents() -> None:
    agents = pytest.importorskip("agents.run")
    sdk = pytest.importorskip("agents")
    openai = pytest.importorskip("openai")
    assert agents

    async def agent(episode: Episode) -> str:
        sdk.set_tracing_disabled(True)
        client = openai.AsyncOpenAI(base_url=episode.endpoint, api_key="none")
        model = sdk.OpenAIChatCompletionsModel(model=episode.model, openai_client=client)
        runner = sdk.Agent(name="speller", instructions="Spell the word.", model=model)
        result = await sdk.Runner.run(runner, episode.prompt)
        return str(result.final_output)

    records = play(agent, ScriptedPolicy(lambda state: ["cab"]))
    assert [len(record.calls) for record in records] == [1] * 4


def test_mini_swe_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs shell commands of its own; their output is text that no policy wrote."""
    monkeypatch.setenv("MSWEA_SILENT_STARTUP", "1")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    default = pytest.importorskip("minisweagent.agents.default")
    local = pytest.importorskip("minisweagent.environments.local")
    models = pytest.importorskip("minisweagent.models.litellm_textbased_model")

    def writes_commands(state: State) -> list[Step]:
        done = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && cat word"
        command = done if state.steps else "printf ca > word && printf b >> word && wc -c word"
        return [Step(f"THOUGHT: go.\n```mswea_bash_command\n{command}\n```", num_tokens=9)]

    def agent(episode: Episode) -> Any:
        folder = tmp_path / str(episode.prompt.split()[-1])
        folder.mkdir()
        model = models.LitellmTextbasedModel(
            model_name=f"openai/{episode.model}",
            model_kwargs={"api_base": episode.endpoint, "api_key": "none"},
            cost_tracking="ignore_errors",
        )
        runner = default.DefaultAgent(
            model,
            local.LocalEnvironment(cwd=str(folder)),
            system_template="You run shell commands.",
            instance_template="{{task}}",
        )
        return runner.run(episode.prompt)["submission"].strip()

    for record in play(agent, ScriptedPolicy(writes_commands)):
        assert len(record.calls) == 2
        assert "3 word" in str(record.calls[1]["request"]["messages"][-1]), "foreign text is kept"
        assert "3 word" not in str(record.nodes), "and no part of any step"
