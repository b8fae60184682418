"""Seconds until the page of search trees shows a large tree, and until it follows a click, in headless Chromium.

Each time ends when a screenshot after the action has arrived, so it includes script, layout, painting, and what a
screenshot costs (`screenshot`, measured alone). `cpu_s` is the processor time of the page's process, which other work on
the machine changes little. Needs `pip install playwright` and a Chromium on this machine (`--chromium PATH`); no browser is downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, FloatRect, Page, sync_playwright

from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.serving.charts import Run
from stepgym.serving.page import page as write

DOT = FloatRect(x=0, y=0, width=1, height=1)
ACTIONS = {
    "screenshot": "0",
    "open": "document.getElementById('item-1').click()",
    "recolour_near": "recolour('s')",
    "fit": "document.getElementById('fit').click()",
    "recolour_fit": "recolour('v')",
    "collapse": "['Home', 'ArrowRight', 'x'].forEach(press)",
    "expand": "press('x')",
    "replay_half": "const made = document.getElementById('made'); made.value = made.max / 2;"
    " made.dispatchEvent(new Event('input'))",
    "path": "document.getElementById('path').click()",
}
HELPERS = """
const recolour = (by) => {
  const colour = document.getElementById('colour');
  colour.value = by; colour.dispatchEvent(new Event('change'));
};
const press = (key) => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
"""


def random_tree(num_nodes: int, *, seed: int = 0) -> EpisodeRecord:
    """Return an episode whose tree grew at random places, at most four children a node."""
    rng = random.Random(seed)
    nodes, places = [NodeRecord(parent=-1, visits=num_nodes)], [0] * 4
    for i in range(1, num_nodes):
        nodes.append(
            NodeRecord(
                parent=places.pop(rng.randrange(len(places))),
                text=f"step {i}: $\\frac{{{rng.randrange(100)}}}{{x^2}} \\cdot {rng.randrange(100)}$",
                score=rng.random(),
                value=rng.random(),
                visits=rng.randrange(1, 50),
                verdict=rng.choice(("correct", "incorrect", None)),
            )
        )
        places += [i] * 4
    path = [num_nodes - 1]
    while path[0] > 0:
        path.insert(0, nodes[path[0]].parent)
    return EpisodeRecord(
        env_id="stepgym/Countdown-v0",
        problem_id=f"problem-{seed}",
        level=1,
        seed=0,
        index=seed,
        prompt="Use 3, 5 and 9 to reach 24.",
        reference="24",
        nodes=tuple(nodes),
        path=tuple(path),
        answer="24",
        verdict="correct",
        score=1.0,
        agent={"agent": "mcts"},
    )


class Times(NamedTuple):
    """What one action took."""

    wall_s: float
    cpu_s: float


class Watch:
    """Measures actions on one page until they are drawn."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable")

    def measure(self, act: Callable[[], object]) -> Times:
        started, before = time.perf_counter(), self._cpu_s()
        act()
        self.page.screenshot(clip=DOT)
        wall_s = time.perf_counter() - started
        return Times(wall_s, self._cpu_s() - before)

    def _cpu_s(self) -> float:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return next(float(each["value"]) for each in metrics if each["name"] == "ProcessTime")


def first_drawing(browser: Browser, file: Path, ready: str) -> tuple[Watch, Times]:
    page = browser.new_page(viewport={"width": 1600, "height": 900})
    page.goto("file:///")  # the process that will show the page, so that its start is not measured
    page.screenshot(clip=DOT)
    watch = Watch(page)

    def opened() -> None:
        page.goto(f"file://{file}", wait_until="commit")
        page.wait_for_selector(ready)

    return watch, watch.measure(opened)


def spread(values: Sequence[float]) -> list[float]:
    return [round(each, 3) for each in (statistics.median(values), min(values), max(values))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument(
        "--episodes", type=int, default=100_000, help="in the page with a long list"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    options = parser.parse_args()
    times: dict[str, list[Times]] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        tree, long = Path(folder) / "tree.html", Path(folder) / "list.html"
        tree.write_text(
            write([Run("run", [random_tree(options.nodes), random_tree(options.nodes, seed=1)])])
        )
        small = [replace(random_tree(8, seed=i % 100), index=i) for i in range(options.episodes)]
        small = [
            replace(each, verdict="incorrect") if i % 3 else each for i, each in enumerate(small)
        ]
        long.write_text(write([Run("run", small)]))
        arguments = ["--no-sandbox", "--disable-gpu"]
        for _ in range(options.rounds):
            browser = driver.chromium.launch(executable_path=options.chromium, args=arguments)
            watch, found = first_drawing(browser, tree, ".n.on")
            page = watch.page
            times.setdefault("first_drawing", []).append(found)
            page.wait_for_load_state()
            for name, action in ACTIONS.items():
                script = f"() => {{ {HELPERS} {action}; }}"
                times.setdefault(name, []).append(watch.measure(partial(page.evaluate, script)))
                if name in ("collapse", "expand"):
                    folded = page.evaluate("active.folded.size")
                    assert folded == (name == "collapse"), "the key did nothing"
            watch, found = first_drawing(browser, long, "#episodes li")
            times.setdefault("list_first_drawing", []).append(found)
            watch.page.wait_for_load_state()
            press = "() => document.querySelector('#filters button').click()"
            found = watch.measure(partial(watch.page.evaluate, press))
            times.setdefault("list_filter", []).append(found)
            browser.close()
    result: dict[str, Any] = {
        name: {
            unit: dict(
                zip(("median", "least", "most"), spread([getattr(each, unit) for each in found]))
            )
            for unit in Times._fields
        }
        for name, found in times.items()
    }
    result["load"] = round(os.getloadavg()[0], 1)
    print(json.dumps(result, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
