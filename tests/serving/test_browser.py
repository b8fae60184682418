"""The page of search trees in a real browser: what is drawn, what clicks and keys do, what a link shows again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.serving.page import page as write

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

WIDTH = 3
"""Children of a node in the test's trees: node i is a child of node (i - 1) // WIDTH."""
Show = Callable[..., "playwright.Page"]


def episode(number: int, num_nodes: int, *, verdict: str = "correct") -> EpisodeRecord:
    nodes = [NodeRecord(parent=-1)]
    for i in range(1, num_nodes):
        text = f"step {i} of <b>episode</b> {number}"
        nodes.append(
            NodeRecord(parent=(i - 1) // WIDTH, text=text, visits=i % 7, value=i % 10 / 10)
        )
    path = [num_nodes - 1]
    while path[0] > 0:
        path.insert(0, nodes[path[0]].parent)
    return EpisodeRecord(
        env_id="stepgym/Countdown-v0",
        problem_id=f"p{number}",
        level=1,
        seed=0,
        index=number,
        prompt=f"Problem {number}",
        reference="24",
        nodes=tuple(nodes),
        path=tuple(path),
        answer="24",
        verdict=verdict,
        score=1.0,
        agent={"agent": "mcts"},
    )


EPISODES = [
    episode(0, 13),
    episode(1, 5, verdict="incorrect"),
    episode(2, 40),
    replace(episode(3, 4, verdict="failed"), prompt="Another one"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield found
        found.close()


@pytest.fixture
def show(browser: playwright.Browser, tmp_path: Path) -> Iterator[Show]:
    """Return a function that opens a page; the test fails if the page's console shows an error."""
    errors: list[str] = []
    pages = []

    def opened(
        episodes: Sequence[EpisodeRecord] = EPISODES,
        place: str = "",
        *,
        size: tuple[int, int] = (1600, 900),
        theme: str = "light",
    ) -> playwright.Page:
        file = tmp_path / "page.html"
        file.write_text(write(episodes), encoding="utf-8")
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"file://{file}{place}")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert errors == []


def titles(page: playwright.Page) -> list[str]:
    return list(page.locator("#episodes .line").all_text_contents())


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(400, 800), (1600, 900)])
def test_every_node_is_drawn_in_every_size_and_theme(
    show: Show, size: tuple[int, int], theme: str
) -> None:
    page = show(size=size, theme=theme)
    assert (
        page.locator(".n").count() == 13 and page.locator("#panes .tree > g > .edge").count() == 12
    )
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= size[0], "the page scrolls sideways"
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", paper))) < 128) is (theme == "dark")
    assert page.locator("b", has_text="episode").count() == 0, "a model's text became markup"


def test_clicks_and_keys_select_nodes(show: Show) -> None:
    page = show()
    page.click('.n[data-node="1"] > text')
    assert "node 1" in page.inner_text("#node .top")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#node .top").startswith("The problem")
    page.keyboard.press("End")
    assert "step 12 of <b>episode</b> 0" in page.inner_text("#node pre")
    page.keyboard.press("j")
    assert page.inner_text("#name") == "p1" and page.locator(".n").count() == 5


def test_a_collapsed_subtree_stays_so_for_its_episode(show: Show) -> None:
    page = show()
    page.click('.n[data-node="1"] .handle')
    assert page.locator(".n").count() == 10
    assert page.locator('.n[data-node="1"]').get_attribute("aria-expanded") == "false"
    assert page.text_content('.n[data-node="1"] .handle') == "+3"
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.locator(".n").count() == 10
    page.click('.n[data-node="1"] > text')
    page.keyboard.press("x")
    assert page.locator(".n").count() == 13
    page.keyboard.press("End")
    page.click('.n[data-node="0"] .handle')  # hides the selected node, so its ancestor is selected
    assert page.locator(".n").count() == 1 and "node 0" in page.inner_text("#node .top")


def test_a_link_shows_the_same_view(show: Show) -> None:
    page = show()
    page.fill("#find", "problem")
    page.click("#filters button >> text=incorrect")
    page.select_option("#sort", "nodes")
    page.select_option("#colour", "v")
    page.click("#episodes li >> nth=0")
    page.click('.n[data-node="7"] > text')
    expect(page).to_have_url(re.compile("node=7"))
    place = page.evaluate("location.hash")
    again = show(place=place)
    for each in (page, again):
        assert titles(each) == ["Problem 2", "Problem 0"]
        assert each.inner_text("#name") == "p2" and "node 7" in each.inner_text("#node .top")
        assert each.input_value("#colour") == "v" and each.input_value("#find") == "problem"
    assert show(place="#3").inner_text("#name") == "p3", "an address of the older form"
    odd = show(place="#episode=99&node=x&sort=nothing&hide=all,&with=-1&find=%00")
    assert odd.input_value("#sort") == "order"


def test_search_reaches_steps_and_episode_numbers(show: Show) -> None:
    page = show()
    page.fill("#find", "step 30 of")
    expect(page.locator("#episodes li")).to_have_count(1)
    assert titles(page) == ["Problem 2"]
    page.click("#episodes li")
    assert page.locator(".n.hit").count() == 1
    page.click(".n.root > text")
    page.keyboard.press("n")
    assert "node 30" in page.inner_text("#node .top")
    page.fill("#find", "#3")
    assert titles(page) == ["Another one"]
    page.fill("#find", "nothing has this text")
    page.wait_for_timeout(300)
    assert titles(page) == [] and page.is_visible("#none")


@pytest.mark.parametrize(
    "order, expected", [("order", [0, 1, 2, 3]), ("nodes", [2, 0, 1, 3]), ("verdict", [0, 2, 1, 3])]
)
def test_the_list_is_sorted(show: Show, order: str, expected: list[int]) -> None:
    page = show()
    page.select_option("#sort", order)
    assert titles(page) == [EPISODES[i].prompt for i in expected]


def test_a_long_list_grows_as_it_is_scrolled(show: Show) -> None:
    page = show([episode(i, 2) for i in range(1000)])
    assert page.locator("#episodes li").count() == 200
    page.evaluate("document.getElementById('episodes').scrollTop = 1e9")
    expect(page.locator("#episodes li")).to_have_count(400)
    page.fill("#find", "#999")
    assert titles(page) == ["Problem 999"]


def test_replay_shows_the_tree_as_it_grew(show: Show) -> None:
    page = show()
    for made in (1, 4, 13):
        page.fill("#made", str(made))
        assert page.locator(".n").count() == made
        assert page.inner_text("#made-count") == f"{made} of 13 nodes"
    page.fill("#made", "4")
    page.click("#play")
    expect(page.locator(".n")).to_have_count(13)
    page.fill("#made", "2")
    page.click("#node .path button >> nth=2")  # a node that was not made yet ends the replay
    assert page.locator(".n").count() == 13


def test_two_episodes_side_by_side(show: Show) -> None:
    page = show()
    page.click("#compare")
    page.click("#item-1")
    assert page.locator(".pane").count() == 2 and page.locator(".n").count() == 13 + 5
    page.click('.pane >> nth=0 >> .n[data-node="2"] > text')
    assert page.inner_text("#name") == "p0"
    expect(page).to_have_url(re.compile("node=2.*with=1"))
    again = show(place=page.evaluate("location.hash"))
    assert again.locator(".n").count() == 13 + 5 and "node 2" in again.inner_text("#node .top")
    page.click("#compare")
    assert page.locator(".pane").count() == 1 and page.locator(".n").count() == 13


def test_fit_shows_a_whole_large_tree_and_path_its_chosen_end(show: Show) -> None:
    page = show([episode(0, 5000)])
    assert 0 < page.locator(".n").count() < 500, "only the visible part is drawn node by node"
    assert page.locator('.n[data-node="4999"].on').is_visible() and page.is_visible(".minimap")
    page.click("#fit")
    paths = page.locator(".tree .box").evaluate_all(
        "all => all.map(each => each.getAttribute('d'))"
    )
    assert sum(path.count("M") for path in paths) == 5000
    page.select_option("#colour", "v")
    recoloured = page.locator(".tree .box").evaluate_all(
        "all => all.map(each => each.getAttribute('d'))"
    )
    assert sum(path.count("M") for path in recoloured) == 5000 and recoloured != paths
    stage = page.locator("#stage").bounding_box()
    for each in page.locator(".tree path:not([d=''])").all():
        drawn = each.bounding_box()
        assert drawn["x"] >= stage["x"] and drawn["y"] >= stage["y"]
        assert drawn["x"] + drawn["width"] <= stage["x"] + stage["width"]
        assert drawn["y"] + drawn["height"] <= stage["y"] + stage["height"]
    assert page.is_hidden(".minimap")
    page.mouse.click(stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)
    assert "node 4999" not in page.inner_text("#node .top"), "a click selects the nearest node"
    page.set_viewport_size({"width": 1500, "height": 700})
    expect(page.locator(".tree.far")).to_have_count(1)
    assert page.is_hidden(".minimap"), "another window size keeps the whole tree in view"
    page.click("#path")
    assert page.locator('.n[data-node="4999"]').is_visible()
    box = page.locator(".minimap").bounding_box()
    page.mouse.click(box["x"] + 5, box["y"] + 5)
    assert page.locator('.n[data-node="4999"]').count() == 0, "the minimap moves the view"


def test_an_empty_run_and_an_episode_without_nodes(show: Show) -> None:
    assert "No episodes yet" in show([]).inner_text("#name")
    page = show([replace(EPISODES[0], nodes=(), path=())])
    for key in ("x", "f", "p", "r", "n", "c", "+", "End"):
        page.keyboard.press(key)
    page.click("#compare")
