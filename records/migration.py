"""Rewriting a run folder of schema 1 as schema 2.

Records of schema 1 lack the state after each step. It is found by playing each record's steps again in its
environment, once, if the environment's states hold more than text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepgym.agents.record import NOT_JSON, public_json
from stepgym.agents.solving import verified_steps
from stepgym.agents.types import SCHEMA_VERSION, EpisodeRecord, NodeStatus, SearchTree
from stepgym.envs.types import End, State, Step
from stepgym.records.atomic import write_whole
from stepgym.records.loader import Environments
from stepgym.records.run_folder import episode_lines, lock_folder, read_header, write_header
from stepgym.records.schema import from_line, object_of, other_version, to_line
from stepgym.records.tree import children_of
from stepgym.records.types import RUN_FORMAT, RecordError, RunConfig, SchemaError


def migrate(path: str | Path) -> int:
    """Rewrite a run folder as this version's schema and return how many episodes were rewritten.

    A folder that has it already is left alone. Raises `RecordError` for a folder that is no run, of another schema,
    or whose environment makes other problems now; `RunBusyError` while another process writes.
    """
    folder = Path(path)
    header = read_header(folder)
    if header.get("format") == RUN_FORMAT:
        return 0
    if header.get("format") != 1:
        raise SchemaError(
            f"{folder / 'run.json'}: "
            + other_version("run format", header.get("format"), RUN_FORMAT, where=str(folder))
        )
    try:
        config = RunConfig(**header["config"])
    except (KeyError, TypeError) as error:
        raise RecordError(f"{folder / 'run.json'}: no usable 'config': {error}") from error
    lock = lock_folder(folder)
    environments = Environments()
    try:
        lines, count = [], 0
        file = folder / "episodes.jsonl"
        for where, line in episode_lines(file) if file.exists() else ():
            data = object_of(line, where)
            if data.get("schema") == 1:
                record = migrated(data, config.env_options, environments, where=where)
                line, count = to_line(record) + "\n", count + 1
            lines.append(line)
        # An interruption between the two leaves episodes of schema 2 under an old header: the next call accepts them.
        write_whole(file, "".join(lines))
        write_header(folder, config)
        return count
    finally:
        environments.close()
        os.close(lock)


def migrated(
    data: Mapping[str, Any],
    env_options: Mapping[str, Any],
    environments: Environments,
    *,
    where: str = "record",
) -> EpisodeRecord:
    """Return the record of a schema 1 object; `env_options` are those of its run."""
    options = {**env_options, "level": data.get("level"), "seed": data.get("seed")}
    known = {name: value for name, value in options.items() if value is not None}
    line = json.dumps({**data, "schema": SCHEMA_VERSION, "env_options": known})
    record = from_line(line, where=where)
    env, problem = environments.of(record), environments.problem(record)
    states: list[State] = []
    for node in record.nodes:
        if node.parent < 0:
            states.append(env.domain.initial(problem))
        elif problem.public is not None:
            states.append(env.domain.advance([states[node.parent]], [Step(node.text)])[0])
        else:
            ended = node.status == NodeStatus.ENDED.value
            end = End.ANSWERED if node.answer is not None else End.STUCK if ended else None
            steps = (*states[node.parent].steps, Step(node.text, reply=node.reply))
            states.append(State(record.prompt, steps, node.answer, end))
    tree = SearchTree(
        record.problem_id,
        states,
        parent=[node.parent for node in record.nodes],
        children=children_of(record),
    )
    [verdicts] = verified_steps(env.step_verifier, [problem], [tree])
    nodes = []
    for number, (node, state) in enumerate(zip(record.nodes, states)):
        public = public_json(state.public)
        nodes.append(
            replace(
                node,
                public=None if public is NOT_JSON else public,
                end=state.end.value if state.end else None,
                step_verdict=verdicts[number].value if number in verdicts else None,
            )
        )
    return replace(record, nodes=tuple(nodes))
