"""Progress as lines of text: items done, rate, time left and the latest figures."""

from __future__ import annotations

import time
from collections.abc import Callable

from stepgym.training.types import OnProgress, Progress


def progress_lines(
    write: Callable[[str], object], *, prefix: str = "", every_s: float = 10.0
) -> OnProgress:
    """Return what calls `write` with a line at most every `every_s` seconds for each task, and at a task's end."""
    started: dict[str, tuple[float, int]] = {}
    last: dict[str, float] = {}

    def show(now: Progress) -> None:
        moment = time.monotonic()
        begun, first = started.setdefault(now.task, (moment, now.done - 1))
        finished = now.done >= now.total
        if finished or moment - last.get(now.task, begun) >= every_s:
            last[now.task] = moment
            write(prefix + _line(now, moment - begun, now.done - first))
        if finished:
            del started[now.task]
            last.pop(now.task, None)

    return show


def _line(now: Progress, seconds: float, done: int) -> str:
    line = f"{now.task}: {now.done} of {now.total} {now.unit}"
    if seconds >= 1:
        rate = done / seconds
        line += f", {rate:.3g}/s"
        if now.done < now.total and rate:
            line += f", {_duration((now.total - now.done) / rate)} left"
    return line + "".join(f", {name} {_figure(name, value)}" for name, value in now.figures.items())


def _figure(name: str, value: float) -> str:
    return f"{value:.0%}" if name == "solved" else f"{value:.4g}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
