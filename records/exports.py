"""Run folders to training data on disk: Parquet or JSONL that `datasets.load_dataset` reads.

Episodes are read one at a time. What grows with the run is a digest of each different row (some 90 bytes), and in format
tokens each problem's mean reward.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from stepgym.agents.policies.layout import Layout
from stepgym.agents.policies.loading import load_tokenizer
from stepgym.agents.types import EpisodeRecord
from stepgym.plugins.errors import UserError
from stepgym.records.decontamination import NGRAM, Benchmarks
from stepgym.records.formats import Format, format_in
from stepgym.records.near_duplicates import likeness
from stepgym.records.rollouts import mean_rewards
from stepgym.records.rows.options import Row, RowOptions
from stepgym.records.run_folder import read_config, read_episodes
from stepgym.records.types import (
    Advantage,
    Contamination,
    ExportFormat,
    ExportReport,
    TextLayout,
    View,
)
from stepgym.records.views import view_of
from stepgym.records.writers import RowFile, check_output

TRAIN, TEST = "train", "test"


def export(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    kind: ExportFormat = ExportFormat.SFT,
    layout: TextLayout = TextLayout.CHAT,
    model: str | None = None,
    retokenise: bool = False,
    advantages: Advantage = Advantage.GROUP,
    dedup: bool = True,
    learn_reasoning: bool = True,
) -> int:
    """Write training data from all `runs` to `out`; return the number of rows.

    `out` ends in `.parquet` or `.jsonl`. `kind` is the format, `layout` the form of the texts. `model`
    (`hf:NAME_OR_FOLDER`, `smollm2`) names the tokenizer for rows of tokens; recorded tokens need none, and
    `retokenise` replaces them unless they are of that tokenizer. `advantages` go into rows of tokens. `dedup` drops
    equal rows, and `learn_reasoning=False` masks internal reasoning. Raises `UserError` for what cannot work, before an episode is
    read.
    """
    return write_export(
        runs,
        out,
        kind=kind,
        layout=layout,
        model=model,
        retokenise=retokenise,
        advantages=advantages,
        dedup=dedup,
        learn_reasoning=learn_reasoning,
    ).rows


def write_export(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    kind: ExportFormat = ExportFormat.SFT,
    layout: TextLayout = TextLayout.CHAT,
    model: str | None = None,
    retokenise: bool = False,
    advantages: Advantage = Advantage.GROUP,
    dedup: bool = True,
    learn_reasoning: bool = True,
    view: View = View.OPERATOR,
    test_share: float | None = None,
    decontaminate: Sequence[str | Path] = (),
    ngram: int = NGRAM,
    progress: Callable[[int], object] | None = None,
) -> ExportReport:
    """Write the rows of all `runs` to `out` (`.parquet` or `.jsonl`) and return what was written.

    `model` (`hf:NAME_OR_FOLDER`, `smollm2`) names the tokenizer for token rows; recorded tokens need none. With
    `test_share`, `out` becomes two files, `NAME-train` and `NAME-test`; a problem is in one of them, which one depends
    on its text alone. Problems in the benchmark files `decontaminate` are left out. `progress` is called with the
    number of episodes read. Files appear when they are whole. What cannot work is refused before an episode is read.
    """
    made = format_in(kind, layout)
    columns = made.columns_in(layout)
    files = _files(Path(out), test_share)
    for file in files.values():
        check_output(file, columns)
    for run in runs:
        read_config(run)
    benchmarks = Benchmarks(decontaminate, ngram=ngram)
    is_grouped = kind is ExportFormat.TOKENS and advantages is Advantage.GROUP
    options = RowOptions(
        layout=layout,
        tokens=None if model is None else Layout(load_tokenizer(model)),
        retokenise=retokenise,
        learn_reasoning=learn_reasoning,
        advantages=advantages,
        mean_rewards=mean_rewards(_episodes(runs)) if is_grouped else {},
    )
    is_new = _new_rows(made.identity_in(layout) if dedup else ())
    verdicts: Counter[str] = Counter()
    contaminated: dict[str, Contamination] = {}
    num_left_out = 0
    with ExitStack() as stack:
        targets = {
            side: stack.enter_context(RowFile(file, columns)) for side, file in files.items()
        }
        for number, record in enumerate(_episodes(runs), start=1):
            verdicts[record.verdict] += 1
            if progress is not None:
                progress(number)
            if found := benchmarks.find(record.problem_id, record.prompt):
                contaminated.setdefault(record.prompt, found)
                num_left_out += 1
                continue
            target = targets[TRAIN if test_share is None else side_of(record.prompt, test_share)]
            for row in made.rows(view_of(record, view), options):
                if is_new(row):
                    target.add(row)
    counts = {side: target.count for side, target in targets.items()}
    report = ExportReport(
        format=kind.value,
        rows=sum(counts.values()),
        files={str(file): counts[side] for side, file in files.items()},
        episodes=verdicts.total(),
        verdicts=dict(verdicts.most_common()),
        contaminated=tuple(contaminated.values()),
        decontaminated=tuple(map(str, decontaminate)),
        ngram=ngram,
    )
    return replace(report, why_empty=_why_empty(report, made, counts, num_left_out))


def side_of(prompt: str, test_share: float) -> str:
    """Return the side of a split for a problem: `train` or `test`, the latter with probability `test_share`.

    It depends on the words and numbers of the prompt alone, without order, case and spacing, so that near-duplicates
    are on one side in every run and with every seed, and a larger share only adds problems to the test side.
    """
    digest = hashlib.blake2b(repr(likeness(prompt)).encode("utf-8", "replace"), digest_size=8)
    return TEST if int.from_bytes(digest.digest(), "big") < test_share * 2**64 else TRAIN


def _files(out: Path, test_share: float | None) -> dict[str, Path]:
    if test_share is None:
        return {TRAIN: out}
    if not 0 < test_share < 1:
        raise UserError(f"the share of test problems is {test_share}; it must lie between 0 and 1")
    return {side: out.with_name(f"{out.stem}-{side}{out.suffix}") for side in (TRAIN, TEST)}


def _why_empty(
    report: ExportReport, made: Format, counts: dict[str, int], num_left_out: int
) -> str:
    """Return why a file has no rows; empty if all have some."""
    if all(counts.values()):
        return ""
    if report.rows:
        [side] = [side for side, count in counts.items() if not count]
        return f"no problem with a row fell on the {side} side; choose another share, or play more problems"
    if not report.episodes:
        return "no rows: the run has no finished episode yet"
    left_out = (
        f"; {num_left_out:,} were left out because a benchmark has their problem"
        if num_left_out
        else ""
    )
    if num_left_out == report.episodes:
        return f"no rows: a benchmark has the problems of all {num_left_out:,} episodes"
    shown = ", ".join(f"{count:,} {verdict}" for verdict, count in report.verdicts.items())
    return (
        f"no rows: format {report.format} needs {made.needs}, and none of the {report.episodes:,} episodes has it "
        f"({shown}){left_out}"
    )


def _episodes(runs: Sequence[str | Path]) -> Iterator[EpisodeRecord]:
    for run in runs:
        yield from read_episodes(run)


def _new_rows(names: Sequence[str]) -> Callable[[Row], bool]:
    """Return a function that says whether a row is seen for the first time; equal in columns `names` are equal rows."""
    seen: set[bytes] = set()

    def is_new(row: Row) -> bool:
        identity = json.dumps([row[name] for name in names], sort_keys=True)
        key = hashlib.blake2b(identity.encode("ascii"), digest_size=16).digest()
        if key in seen:
            return False
        seen.add(key)
        return True

    return is_new if names else lambda row: True
