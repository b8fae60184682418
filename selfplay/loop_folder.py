"""A loop's folder: `config.json` holds it to its settings, `loop.jsonl` has a line for each finished generation.

Lines name policies as `generation-G` or `start`, so that a folder may be moved; loops of before wrote where they stood
then, which is understood too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stepgym.agents.embedded.policy import WEIGHTS
from stepgym.records.atomic import cut_torn_line, write_whole
from stepgym.selfplay.loop_config import LoopConfig
from stepgym.training.types import TrainingError

LOG, SETTINGS = "loop.jsonl", "config.json"
_OWN = re.compile(r"generation-[0-9]+")


START = "start"
"""What lines call the policy that the loop begins with."""


def check_settings(out: Path, config: LoopConfig) -> None:
    """Raise `TrainingError` for a folder with other settings. More generations are no other settings, and a start that
    lies beside the loop may have been moved with it."""
    file = out / SETTINGS
    if not file.is_file():
        return
    now = _plain(config)
    # A folder from before a setting came to be was made as that setting's default has it.
    before = {**_plain(LoopConfig(out="")), "beside": None, **_read_settings(file)}
    before["beside"] = before["beside"] or _beside_once(out, str(before["init"]))
    alike = {
        "generations",
        "beside",
        *(["init"] if now["beside"] and now["beside"] == before["beside"] else []),
    }
    changed = [
        f"{k} was {before.get(k)!r}, is now {v!r}"
        for k, v in now.items()
        if before.get(k) != v and k not in alike
    ]
    if changed:
        raise TrainingError(
            f"{out} holds a loop with other settings: {'; '.join(changed)}; choose another folder"
        )


def keep_settings(out: Path, config: LoopConfig) -> None:
    """Write the settings: with the first line, so that a mistake that shows before costs no folder."""
    file, text = out / SETTINGS, json.dumps(_plain(config), indent=2) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        write_whole(file, text)


def read_log(out: Path) -> list[dict[str, Any]]:
    """Return the lines; of one whose writer was killed nothing. Raises `TrainingError` for another broken line."""
    file = out / LOG
    lines = []
    for number, line in enumerate(
        file.read_bytes().splitlines(keepends=True) if file.is_file() else [], start=1
    ):
        if line.endswith(b"\n"):
            try:
                lines.append(json.loads(line))
            except ValueError as error:
                raise TrainingError(
                    f"{file}:{number}: not JSON: {error}; cut the file before this line to go on from there"
                ) from error
    return lines


def add_line(out: Path, line: Mapping[str, Any]) -> None:
    """Append a line; when this returns it is on the disk."""
    cut_torn_line(out / LOG)
    with (out / LOG).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")
        lines.flush()
        os.fsync(lines.fileno())


def policy_folder(config: LoopConfig, name: str) -> Path:
    """Return the folder of the policy that a line names: a generation of this loop, or else the start.

    Lines of before name the start as it was given, and their generations with the loop's folder in front.
    """
    own = Path(name).name
    if _OWN.fullmatch(own) and name not in (config.init, str(Path(config.init))):
        return Path(config.out) / own
    return WEIGHTS if config.init == "embedded" else Path(config.init)


def _plain(config: LoopConfig) -> dict[str, Any]:
    """Return the settings as JSON holds them, and where the start lies when it is beside the loop."""
    start, here = Path(config.init).absolute(), Path(config.out).absolute()
    beside = (
        os.path.relpath(start, here)
        if config.init != "embedded" and start.is_relative_to(here.parent)
        else None
    )
    plain: dict[str, Any] = json.loads(json.dumps({**asdict(config), "out": "", "beside": beside}))
    return plain


def _beside_once(out: Path, init: str) -> str | None:
    """Return where the start lay, seen from a loop of before, whose lines say where it stood itself."""
    policies = [Path(str(line["policy"])) for line in read_log(out)]
    own = [
        policy
        for policy in policies
        if _OWN.fullmatch(policy.name) and len(policy.parts) > 1 and policy != Path(init)
    ]
    return os.path.relpath(init, own[0].parent) if own and init != "embedded" else None


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(
            f"{file}: not JSON: {error}; delete it if this loop's settings are the ones given now"
        ) from error
    return found if isinstance(found, dict) else {}
