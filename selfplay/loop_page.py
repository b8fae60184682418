"""A page of one or more loops: accuracy by generation (mean and extremes over seeds) and tables of costs."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepgym.records.atomic import write_whole
from stepgym.selfplay.costs import total_costs

Lines = Sequence[Mapping[str, Any]]


def write_loop_page(out: Path, arms: Mapping[str, Sequence[Lines]]) -> Path:
    """Write `curves.png` and `index.html`; `arms` maps a name to one list of generations per seed. Returns the page."""
    out.mkdir(parents=True, exist_ok=True)
    _draw(out / "curves.png", arms)
    picture = base64.b64encode((out / "curves.png").read_bytes()).decode("ascii")
    tables = "".join(
        f"<h2>{html.escape(name)}, seed {seed}</h2>{_table(lines)}{_environments(lines)}{_proposals(lines)}"
        for name, seeds in arms.items()
        for seed, lines in enumerate(seeds)
    )
    page = out / "index.html"
    write_whole(
        page,
        "<!doctype html><meta charset=utf-8><title>Self-play curves</title>"
        "<style>body{font:15px sans-serif;margin:2em;max-width:60em}td,th{padding:.2em .8em;text-align:right}</style>"
        f'<h1>Self-play curves</h1><img alt="accuracy by generation" src="data:image/png;base64,{picture}">{tables}',
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

    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    for axes, what in zip(panels, ("greedy", "searched")):
        for number, (name, seeds) in enumerate(arms.items()):
            points = bands(seeds, what)
            x = range(len(points))
            axes.plot(x, [p[0] for p in points], color=f"C{number}", label=name)
            axes.fill_between(
                x, [p[1] for p in points], [p[2] for p in points], color=f"C{number}", alpha=0.15
            )
        axes.set(title=what, xlabel="generation", ylim=(0, 1))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("solved on held-out problems")
    panels[0].legend(fontsize=8)
    figure.savefig(file, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def _table(lines: Lines) -> str:
    spent = total_costs(lines)
    head = "<tr><th>generation<th>level<th>greedy<th>searched<th>accepted<th>targets"
    head += "".join(f"<th>{phase} s<th>GFLOP" for phase in spent)
    rows = []
    for line in lines:
        cells = [
            str(line["generation"]),
            str(line.get("level", "")),
            f"{line['greedy']:.3f}",
            f"{line['searched']:.3f}",
        ]
        cells += ["yes" if line.get("accepted", True) else "no", str(line.get("targets", ""))]
        for phase in spent:
            cells += _cost(line.get("costs", {}).get(phase, {}))
        rows.append(_row(cells))
    rows.append(
        _row(
            ["sum", "", "", "", "", "", *(cell for cost in spent.values() for cell in _cost(cost))]
        )
    )
    return f"<table>{head}{''.join(rows)}</table>"


def _environments(lines: Lines) -> str:
    """Return the table of a mixture's environments: what was played, and what was solved of the held-out problems."""
    rows = []
    for line in lines:
        for env_id, found in line.get("environments", {}).items():
            played = line.get("played", {}).get(env_id, {})
            rows.append(
                [
                    str(line["generation"]),
                    env_id,
                    f"{played['weight']:.2f}" if played else "",
                    str(played.get("level", "")),
                    *(_with_interval(found, side) for side in ("greedy", "searched")),
                    str(found["problems"]),
                ]
            )
    if not rows:
        return ""
    head = "<tr><th>generation<th>environment<th>weight<th>level played<th>greedy<th>searched<th>held-out problems"
    return f"<h3>By environment, with 95% intervals</h3><table>{head}{''.join(map(_row, rows))}</table>"


def _proposals(lines: Lines) -> str:
    """Return the table of what the policy proposed, and of what was solved of it."""
    names = ("made", "counted", "undecided", "reward", "problems", "solved")
    rows = [
        [str(line["generation"]), *(_plain(line["proposals"][name]) for name in names)]
        for line in lines
        if "proposals" in line
    ]
    if not rows:
        return ""
    head = "<tr><th>generation<th>proposals<th>counted<th>undecided<th>mean reward<th>problems<th>solved"
    return f"<h3>Proposals</h3><table>{head}{''.join(map(_row, rows))}</table>"


def _plain(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.3f}" if isinstance(figure, float) else str(figure)


def _with_interval(found: Mapping[str, Any], side: str) -> str:
    low, high = found[f"{side}_interval"]
    return f"{found[side]:.3f} ({low:.3f} to {high:.3f})"


def _cost(cost: Mapping[str, Any]) -> list[str]:
    return [f"{cost['seconds']:.1f}", f"{cost['flops'] / 1e9:.1f}"] if cost else ["", ""]


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in cells)
