"""The figure of this claim: share solved against test-time FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_figure(file: Path, families: Sequence[Mapping[str, Any]]) -> None:
    """Draw one panel per family and level; methods without FLOPs are at the left edge."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    columns = 2
    names = dict.fromkeys(method["name"] for family in families for method in family["methods"])
    colors = {name: pyplot.colormaps["tab20"](number % 20) for number, name in enumerate(names)}
    figure, grid = pyplot.subplots(
        -(-len(families) // columns),
        columns,
        figsize=(14, 5 * -(-len(families) // columns)),
        squeeze=False,
    )
    for axes, family in zip(grid.flat, families):
        methods = family["methods"]
        least = min((m["mflop"] for m in methods if m["mflop"] > 0), default=1.0) / 2
        for method in methods:
            low, high = method["ci"]
            share = method["solved"]
            axes.errorbar(
                max(method["mflop"], least),
                share,
                yerr=[[max(0.0, share - low)], [max(0.0, high - share)]],
                fmt="x" if method["name"].startswith("control") else "o",
                color=colors[method["name"]],
                label=method["name"],
            )
        axes.axvline(methods[0]["mflop"], color="grey", linestyle=":")
        axes.axhline(methods[0]["solved"], color="grey", linestyle=":")
        axes.set(
            xscale="log",
            xlabel="test-time MFLOP a problem",
            ylabel="solved",
            ylim=(0, 1),
            title=f"{family['family']}, level {family['level']}",
        )
        axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    for axes in list(grid.flat)[len(families) :]:
        axes.axis("off")
    figure.tight_layout()
    figure.savefig(file, dpi=110, bbox_inches="tight")
    pyplot.close(figure)
