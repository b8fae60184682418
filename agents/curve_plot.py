"""The plot of a `Curve`: share solved against new tokens and against FLOPs, both on log axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepgym.agents.curve import Curve, Point


def draw_curve(curve: Curve, path: str | Path) -> None:
    """Write the plot to `path`; the suffix chooses the format."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(13, 5.5), sharey=True)
    for axis, measure, label in zip(
        axes, ("new_tokens", "flops"), ("new tokens per problem", "FLOPs per problem")
    ):
        _draw_lines(axis, curve.points, measure)
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share solved")
    axes[0].set_ylim(0, 1.03)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center right", fontsize=8)
    figure.suptitle(f"{curve.env_id}, {curve.episodes} problems, 95% bootstrap intervals")
    figure.tight_layout(rect=(0, 0, 0.82, 1))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw_lines(axis: Any, points: tuple[Point, ...], measure: str) -> None:
    """Draw one line per method; a method without cost in this measure is a horizontal line."""
    lines: dict[str, list[Point]] = {}
    for point in points:
        lines.setdefault(point.method, []).append(point)
    for at, (name, line) in enumerate(lines.items()):
        colour, style = f"C{at % 10}", "--" if line[0].control or at >= 10 else "-"
        costs = [getattr(point, measure) for point in line]
        if min(costs) <= 0:
            for point in line:
                axis.axhline(point.solved, color=colour, linestyle=":", linewidth=0.8)
            axis.plot([], [], color=colour, linestyle=":", label=name)
            continue
        low = [point.solved - point.ci.low for point in line]
        high = [point.ci.high - point.solved for point in line]
        shares = [point.solved for point in line]
        axis.errorbar(
            costs,
            shares,
            yerr=[low, high],
            label=name,
            color=colour,
            linestyle=style,
            marker="o",
            markersize=3,
            capsize=2,
            linewidth=1.2,
        )
    if any(getattr(point, measure) > 0 for point in points):
        axis.set_xscale("log")
