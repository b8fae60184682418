"""The plot of a watch for reward hacking. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def draw_reward_hacking(result: Mapping[str, Any], file: Path) -> None:
    """Draw accuracy against width, and the scores of right and wrong answers, into a PNG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5))
    for name in dict.fromkeys(point["method"] for point in result["curve"]):
        line = sorted((p for p in result["curve"] if p["method"] == name), key=lambda p: p["width"])
        left.plot([p["width"] for p in line], [p["solved"] for p in line], "o-", label=name)
        low, high = ([p["ci"][side] for p in line] for side in (0, 1))
        left.fill_between([p["width"] for p in line], low, high, alpha=0.12)
    left.set(xlabel="width", ylabel="solved", ylim=(0, 1), title="accuracy against width")
    left.set_xscale("log", base=2)
    left.xaxis.set_major_formatter("{x:g}")
    left.legend(fontsize=8)
    for kind, scores in result["scores"].items():
        right.hist(scores, bins=25, range=(0, 1), alpha=0.6, label=kind)
    right.set(
        xlabel="reward model's score of the answer",
        title=f"step AUC {shown_auc(result['steps']['auc'])}, F1 {result['steps']['f1']:.3f}",
    )
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def shown_auc(figure: float | None) -> str:
    """Return a step AUC as text; it is unknown if all steps are right, or all wrong."""
    return "unknown" if figure is None else f"{figure:.3f}"
