"""The dataset card of an export: a README.md with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepgym.agents.description import without_secrets
from stepgym.envs.registry import ENVIRONMENTS
from stepgym.records.atomic import write_whole
from stepgym.records.formats import FORMATS
from stepgym.records.run_folder import read_config, read_header
from stepgym.records.types import ExportFormat, ExportReport, TextLayout

LICENCES = {"Apache-2.0": "apache-2.0", "MIT": "mit", "CC-BY-4.0": "cc-by-4.0"}
"""Our names of licences -> the hub's."""
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
CARDS = {card.id: card for card in ENVIRONMENTS}


def write_card(
    report: ExportReport, runs: Sequence[str | Path], *, layout: TextLayout, command: str = ""
) -> Path:
    """Write the card beside the export's files and return its path; an earlier card there is replaced."""
    first = next(iter(report.files))
    target = Path(first).parent / "README.md"
    write_whole(target, card(report, runs, layout=layout, command=command))
    return target


def card(
    report: ExportReport, runs: Sequence[str | Path], *, layout: TextLayout, command: str = ""
) -> str:
    """Return the card's text."""
    sources = list(dict.fromkeys(_source(run) for run in runs))
    licences = {licence for _, licence in sources}
    known = {LICENCES.get(licence.partition(",")[0], "") for licence in licences}
    front: dict[str, Any] = {
        "license": known.pop() if len(known) == 1 and "" not in known else "other",
        "task_categories": ["text-generation"],
        "tags": ["reasoning", "stepgym", report.format],
        "size_categories": [next((name for top, name in SIZES if report.rows < top), "n>1M")],
        "configs": [
            {
                "config_name": report.format,
                "data_files": [
                    {"split": _split(file), "path": Path(file).name} for file in report.files
                ],
            }
        ],
    }
    made = FORMATS[ExportFormat(report.format)]
    columns = made.columns_in(layout)
    verdicts = ", ".join(f"{count:,} {name}" for name, count in report.verdicts.items())
    parts = [
        f"---\n{_yaml(front)}---",
        f"# Rows of format {report.format}",
        f"Each row comes from recorded episodes of reasoning: {made.summary}. The answers were verified by "
        "the environment's verifier; undecided ones give no row.",
        "## Rows\n\n"
        + _table(("file", "rows"), [(Path(f).name, f"{n:,}") for f, n in report.files.items()])
        + f"\n\nFrom {report.episodes:,} episodes: {verdicts or 'none'}.",
        "## Fields\n\n"
        + (
            _table(("column", "type"), [(name, _type(kind)) for name, kind in columns.items()])
            if columns
            else "Nested data; see the format's reader."
        ),
        "## Sources and licences\n\n" + _table(("problems", "licence"), sources),
        "## How it was made\n\n"
        + _table(("run", "environment", "agent", "policy", "stepgym"), [_made(r) for r in runs])
        + (f"\n\n```sh\n{command}\n```" if command else ""),
    ]
    if report.decontaminated:
        parts.append(
            "## Decontamination\n\n"
            f"Compared with {', '.join(Path(file).name for file in report.decontaminated)} by overlap of "
            f"{report.ngram} words in a row (Brown et al. 2020, appendix C); problems left out: "
            f"{len(report.contaminated):,}."
        )
    return "\n\n".join(parts) + "\n"


def _source(run: str | Path) -> tuple[str, str]:
    """Return what a run's problems are and their licence."""
    config = read_config(run)
    found = CARDS.get(config.env_id)
    file = config.env_options.get("file")
    if found is None or (file is not None and found.levels is not None):
        what = f"{config.env_id}" + (f", file {Path(str(file)).name}" if file is not None else "")
        return what, "unknown to stepgym; name it here"
    where = f" ({found.homepage})" if found.homepage else ""
    return f"{found.id}: {found.source.partition(';')[0]}{where}", found.licence


def _made(run: str | Path) -> tuple[str, ...]:
    config = read_config(run)
    versions = read_header(run).get("versions") or {}
    names = (_name(config.agent), _name(config.policy))
    return (Path(run).resolve().name, config.env_id, *names, str(versions.get("stepgym", "")))


def _name(thing: Any) -> str:
    plain = thing.get("kind", thing) if isinstance(thing, Mapping) else thing
    return without_secrets(str(plain))


def _split(file: str) -> str:
    return "test" if Path(file).stem.endswith("-test") else "train"


def _type(kind: Any) -> str:
    if isinstance(kind, list):
        return f"list of {_type(kind[0])}"
    return "{" + ", ".join(kind) + "}" if isinstance(kind, dict) else str(kind)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = ([" ".join(str(cell).split()).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def _yaml(data: Mapping[str, Any]) -> str:
    """Return YAML: each value as JSON, which YAML contains."""
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in data.items())
