"""Curves of loops: a PNG, and a page of it with the table of generations and the compute ledger."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Lines = Sequence[Mapping[str, Any]]


def write_curves(out: Path, arms: Mapping[str, Sequence[Lines]]) -> Path:
    """Write `curves.png` and `index.html`; `arms` is name -> one list of generations per seed. Returns the page."""
    out.mkdir(parents=True, exist_ok=True)
    _draw(out / "curves.png", arms)
    picture = base64.b64encode((out / "curves.png").read_bytes()).decode("ascii")
    tables = "".join(
        f"<h2>{html.escape(name)}, seed {seed}</h2>{_table(lines)}"
        for name, seeds in arms.items()
        for seed, lines in enumerate(seeds)
    )
    page = out / "index.html"
    page.write_text(
        "<!doctype html><meta charset=utf-8><title>Self-play curves</title>"
        "<style>body{font:15px sans-serif;margin:2em;max-width:60em}td,th{padding:.2em .8em;text-align:right}</style>"
        f'<h1>Self-play curves</h1><img alt="accuracy by generation" src="data:image/png;base64,{picture}">{tables}',
        encoding="utf-8",
    )
    return page


def bands(seeds: Sequence[Lines], figure: str) -> list[tuple[float, float, float]]:
    """Return (mean, lowest, highest) over the seeds for each generation that all have."""
    length = min(map(len, seeds))
    columns = [[float(lines[g][figure]) for lines in seeds] for g in range(length)]
    return [(sum(c) / len(c), min(c), max(c)) for c in columns]


def _draw(file: Path, arms: Mapping[str, Sequence[Lines]]) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for number, (name, seeds) in enumerate(arms.items()):
        for what, style in (("greedy", "-"), ("searched", "--")):
            points = bands(seeds, what)
            x = range(len(points))
            axes.plot(x, [p[0] for p in points], style, color=f"C{number}", label=f"{name}, {what}")
            axes.fill_between(x, [p[1] for p in points], [p[2] for p in points], color=f"C{number}", alpha=0.15)
    axes.set(xlabel="generation", ylabel="solved on held-out problems", ylim=(0, 1))
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def _table(lines: Lines) -> str:
    head = "<tr><th>generation<th>greedy<th>searched<th>kept<th>play s<th>play GFLOP<th>train s<th>train GFLOP<th>evaluate s"
    rows = []
    for line in lines:
        ledger = line.get("ledger", {})
        cells = [str(line["generation"]), f"{line['greedy']:.3f}", f"{line['searched']:.3f}"]
        cells.append("yes" if line.get("accepted", True) else "no")
        for phase in ("play", "train"):
            spent = ledger.get(phase, {})
            cells += [f"{spent.get('seconds', 0):.1f}", f"{spent.get('flops', 0) / 1e9:.1f}"]
        cells.append(f"{ledger.get('evaluate', {}).get('seconds', 0):.1f}")
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in cells))
    return f"<table>{head}{''.join(rows)}</table>"
