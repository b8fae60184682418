"""A run folder of schema 1 becomes one of schema 2 and says all that a new run says; until then it is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents.types import EpisodeRecord
from stepgym.records.migration import migrate
from stepgym.records.run_folder import RunFolder, read_config, read_episodes
from stepgym.records.schema import to_line
from stepgym.records.types import RecordError, RunConfig, SchemaError
from stepgym.selfplay import selfplay

NEW_IN_RECORD = {"env_options", "attempt", "fault", "decided_by", "details"}
NEW_IN_NODE = {
    *("num_reasoning_tokens", "num_reply_tokens", "final", "token_ids", "token_log_probs"),
    *("context_ids", "context_restarts", "own_context_ids"),
    *("public", "end", "fault", "step_verdict"),
}


def old_line(record: EpisodeRecord) -> str:
    """Return the record as schema 1 wrote it."""
    data = {k: v for k, v in asdict(record).items() if k not in NEW_IN_RECORD}
    data["schema"] = 1
    data["nodes"] = [
        {k: v for k, v in node.items() if k not in NEW_IN_NODE} for node in data["nodes"]
    ]
    return json.dumps(data) + "\n"


def make_old(folder: Path) -> None:
    lines = [old_line(record) for record in read_episodes(folder)]
    (folder / "episodes.jsonl").write_text("".join(lines))
    header = json.loads((folder / "run.json").read_text())
    del header["config"]["tokenizer"]
    (folder / "run.json").write_text(json.dumps({**header, "format": 1}))


@pytest.mark.parametrize("env", ["stepgym/Countdown-v0", "stepgym/ModularSums-v0"])
def test_an_old_run_becomes_what_a_new_one_is(env: str, tmp_path: Path) -> None:
    selfplay(env, out=tmp_path, agent="best_of_n", policy="random", episodes=3, level=2, seed=4)
    new = list(read_episodes(tmp_path))
    make_old(tmp_path)
    with pytest.raises(SchemaError, match="stepgym migrate"):
        read_config(tmp_path)
    with pytest.raises(SchemaError, match="stepgym migrate"):
        list(read_episodes(tmp_path))
    assert migrate(tmp_path) == 3
    assert migrate(tmp_path) == 0
    for old, record in zip(read_episodes(tmp_path), new, strict=True):
        unknown: dict[str, Any] = {"decided_by": record.decided_by, "details": record.details}
        nodes = tuple(
            replace(node, final=was.final, num_reply_tokens=was.num_reply_tokens)
            for node, was in zip(old.nodes, record.nodes)
        )
        assert replace(old, nodes=nodes, **unknown) == record
    selfplay(env, out=tmp_path, agent="best_of_n", policy="random", episodes=4, level=2, seed=4)


def test_a_half_migrated_folder_goes_on(tmp_path: Path) -> None:
    selfplay("stepgym/Countdown-v0", out=tmp_path, policy="random", episodes=2, level=1)
    new = [to_line(record) for record in read_episodes(tmp_path)]
    header = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**header, "format": 1}))
    assert migrate(tmp_path) == 0
    assert [to_line(record) for record in read_episodes(tmp_path)] == new


def test_what_is_no_run_of_a_known_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="not a run folder"):
        migrate(tmp_path)
    RunFolder(tmp_path, RunConfig(env_id="e", agent="a", policy="p")).close()
    header = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**header, "format": 7}))
    with pytest.raises(RecordError, match=r"run format 7, .* a newer stepgym wrote it"):
        migrate(tmp_path)


@pytest.mark.parametrize("config", [None, {"no_setting": 1}, {}])
def test_a_run_without_a_usable_config_is_refused(config: Any, tmp_path: Path) -> None:
    RunFolder(tmp_path, RunConfig(env_id="e", agent="a", policy="p")).close()
    header = json.loads((tmp_path / "run.json").read_text())
    del header["config"]
    more = {} if config is None else {"config": config}
    (tmp_path / "run.json").write_text(json.dumps({**header, **more, "format": 1}))
    with pytest.raises(RecordError, match=r"run\.json: no usable 'config'"):
        migrate(tmp_path)
