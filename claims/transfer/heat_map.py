"""The heat map of this claim: what each model solves on each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_heat_map(file: Path, matrices: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draw each matrix: the share solved, with its interval below."""
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
