"""Self-play to training data: play, stop, go on, export, load."""

import tempfile
from pathlib import Path

import pyarrow.parquet as parquet

from stepgym.selfplay import ExportFormat, export, selfplay

with tempfile.TemporaryDirectory() as folder:
    run = Path(folder) / "run"
    settings = {"agent": "best_of_n", "policy": "random", "level": 1, "out": run}
    selfplay("stepgym/Countdown-v0", episodes=10, **settings)
    summary = selfplay("stepgym/Countdown-v0", episodes=30, **settings)  # the same run, extended
    print(f"{summary.episodes} episodes, {summary.verdicts}")

    for kind in (ExportFormat.SFT, ExportFormat.PREFERENCE, ExportFormat.STEPS):
        file = Path(folder) / f"{kind.value}.parquet"
        count = export([run], file, kind=kind)
        print(
            f"{kind.value}: {count} rows with columns {', '.join(parquet.read_schema(file).names)}"
        )

    row = parquet.read_table(Path(folder) / "steps.parquet").to_pylist()[0]
    for text, label, value in zip(row["completions"], row["labels"], row["values"]):
        print(f"  {text:12} {'good' if label else 'bad'} ({value:.2f})")
