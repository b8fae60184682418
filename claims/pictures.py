"""Plots of the claims: small beats large, transfer. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_claim(file: Path, families: Sequence[Mapping[str, Any]]) -> None:
    """Write the picture; methods that cost nothing stand at the left edge."""
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


def draw_matrices(file: Path, matrices: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draw each matrix as a heat map: share solved, its interval below."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    most = max(len({cell["on"] for cell in cells}) for cells in matrices.values())
    figure, axes = pyplot.subplots(
        1, len(matrices), figsize=((2.5 + most) * len(matrices), 6), squeeze=False
    )
    for axis, (title, cells) in zip(axes.flat, matrices.items()):
        rows, columns = (
            list(dict.fromkeys(cell[side] for cell in cells)) for side in ("trained_on", "on")
        )
        shares = [
            [
                next(c["solved"] for c in cells if (c["trained_on"], c["on"]) == (r, k))
                for k in columns
            ]
            for r in rows
        ]
        axis.imshow(shares, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for cell in cells:
            low, high = cell["ci"]
            axis.text(
                columns.index(cell["on"]),
                rows.index(cell["trained_on"]),
                f"{cell['solved']:.2f}\n{low:.2f} to {high:.2f}",
                ha="center",
                va="center",
                fontsize=7,
                color="black" if cell["solved"] > 0.6 else "white",
            )
        axis.set_xticks(range(len(columns)), columns, rotation=35, ha="right", fontsize=8)
        axis.set_yticks(range(len(rows)), rows, fontsize=8)
        axis.set(xlabel="measured on", ylabel="trained on", title=title)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
