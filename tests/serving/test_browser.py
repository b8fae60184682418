"""The page of search trees in a real browser: what is drawn, what clicks and keys do, what a link shows again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.serving.charts import Run
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
        runs: Sequence[Run] = (),
        loop: Sequence[dict[str, object]] = (),
        size: tuple[int, int] = (1600, 900),
        theme: str = "light",
    ) -> playwright.Page:
        file = tmp_path / "page.html"
        file.write_text(write(runs or [Run("run", episodes)], loop=loop), encoding="utf-8")
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: (errors.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda request: errors.extend(fetched(request.url)))
        page.goto(f"file://{file}{place}")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert errors == []


def fetched(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:font/woff2")) else [f"fetched {url[:100]}"]


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
    assert "step 12 of <b>episode</b> 0" in page.inner_text("#node > .text")
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


def saying(*texts: str, **changes: object) -> EpisodeRecord:
    """An episode whose chosen steps have these texts."""
    nodes = [NodeRecord(parent=-1)]
    nodes += [NodeRecord(parent=i, text=text, visits=1) for i, text in enumerate(texts)]
    return replace(episode(0, 2), nodes=tuple(nodes), path=tuple(range(len(nodes))), **changes)


def test_mathematics_and_markdown_are_typeset(show: Show) -> None:
    text = (
        "## Plan\n\nFirst **double** $\\frac{a}{b}$, which costs $5 or $6:\n\n- one\n- two\n\n"
        "\\[\na\n\n- b\n\\]\n\n| x | y |\n|---|---|\n| 1 | `$2$` |\n\n```\n$no$ **maths**\n```\n"
        "\\begin{align*}a&=b\\\\c&=d\\end{align*}\n\nSo \\boxed{\\text{{4}}} and \\(x_1\\)."
    )
    page = show([saying(text, answer="\\frac{1}{2}", reference="0.5", prompt="Let $x^2=4$.")])
    shown = page.locator("#node > .text")
    assert shown.locator("h4").inner_text() == "Plan"
    assert shown.locator("strong").all_inner_texts() == ["double"]
    assert shown.locator("li").all_inner_texts() == ["one", "two"]
    assert shown.locator("td").all_inner_texts() == ["1", "$2$"]
    assert shown.locator("pre").inner_text().strip() == "$no$ **maths**"
    labels = shown.locator(".formula").evaluate_all("all => all.map(each => each.ariaLabel)")
    assert labels == [
        "\\frac{a}{b}",
        "\na\n\n- b\n",
        "\\begin{align*}a&=b\\\\c&=d\\end{align*}",
        "\\boxed{\\text{{4}}}",
        "x_1",
    ]
    assert "costs $5 or $6" in shown.inner_text()
    assert page.locator("#outcome .formula").count() == 1
    assert page.locator("#prompt .formula").count() == 1
    assert page.evaluate("document.fonts.ready.then(() => document.fonts.check('16px KaTeX_Main'))")
    page.click("#source")
    assert page.locator(".formula").count() == 0 and "## Plan" in shown.inner_text()
    expect(page).to_have_url(re.compile("source=1"))
    page.keyboard.press("s")
    assert page.locator("#node .formula").count() == 5


def test_labels_show_mathematics_in_plain_characters(show: Show) -> None:
    steps = [
        "So $\\frac{a+b}{2} \\le x^{10}$",
        "**Thus** \\(\\sqrt{3}\\cdot y_1\\)",
        "It is $5 or \\boxed{4}",
        "so $ y^2 $ for $ 5 or $ 6",
    ]
    page = show([saying(*steps, "<answer>\\frac{1}{2}</answer>", prompt="Let $x^2=4$.")])
    labels = [
        "problem",
        "So (a+b)/2 ≤ x¹⁰",
        "Thus √3· y₁",
        "It is $5 or 4",
        "so y² for $ 5 or $ 6",
        "1/2",
    ]
    drawn = page.locator(".n > rect + text")
    assert drawn.all_text_contents() == labels
    assert page.locator("#episodes .line").all_inner_texts() == ["Let x²=4."]
    page.keyboard.press("s")
    assert drawn.all_text_contents()[2] == "**Thus** \\(\\sqrt{3}\\cdot …"
    assert page.locator("#episodes .line").all_inner_texts() == ["Let $x^2=4$."]


def test_code_and_plain_text_stay_as_they_are(show: Show) -> None:
    code = "def f(x):\n    return x * 2 * __name__  # $x$"
    page = show([saying(code)])
    assert page.locator("#node > pre").first.inner_text() == code
    plain = "one\n  two, and three."
    assert show([saying(plain)]).inner_text("#node > .text") == plain


def test_right_to_left_text_keeps_its_formulas_in_order(show: Show) -> None:
    page = show([saying("حساب $x^2 = 10$ الجواب", prompt="one")])
    formula = page.locator("#node .formula")
    assert formula.evaluate("each => getComputedStyle(each).direction") == "ltr"
    assert page.locator('.n[data-node="1"] > text').text_content().startswith("\u2068")


def test_prose_before_code_is_prose_and_an_answer_is_shown_once(show: Show) -> None:
    code = "def f(x):\n    return x * 2"
    page = show([saying(f"Write **it** in a ```python block.\n\n{code}"), saying(code)])
    assert page.locator("#node strong").count() == 1
    assert page.locator("#node > .text > pre").inner_text() == code
    nodes = (NodeRecord(parent=-1), NodeRecord(parent=0, text="<answer>7</answer>", answer="7"))
    page = show([replace(episode(0, 2), nodes=nodes, path=(0, 1))])
    assert page.locator("#node pre.answer").count() == 1


def test_the_episode_as_json_and_copies_of_texts(show: Show) -> None:
    page = show([saying("a <b>text</b>")])
    page.click("#as-json")
    shown = json.loads(page.locator("#raw pre").text_content())
    assert shown["nodes"][1]["text"] == "a <b>text</b>" and shown["verdict"] == "correct"
    page.keyboard.press("Escape")
    page.click("#node .top button")
    expect(page.locator("#node .top button")).to_have_text(re.compile("copied|not allowed"))


def test_keys_lead_to_wrong_episodes_and_to_what_was_found(show: Show) -> None:
    page = show()
    for expected in ("p1", "p3", "p1"):
        page.keyboard.press("e")
        assert page.inner_text("#name") == expected
    page.keyboard.press("/")
    page.keyboard.type("step 30 of")
    expect(page.locator("#episodes li")).to_have_count(1)
    page.keyboard.press("Enter")
    assert page.inner_text("#name") == "p2" and "node 30" in page.inner_text("#node .top")


def test_back_returns_to_what_was_seen(show: Show) -> None:
    page = show(levels(3), "#view=charts")
    expect(page).to_have_url(re.compile("episode="))
    page.locator('[data-chart="levels"] .mark').nth(1).click()
    expect(page).to_have_url(re.compile("level=2"))
    page.click("#item-4")
    expect(page).to_have_url(re.compile("episode=4"))
    page.go_back()
    expect(page.locator("#name")).to_have_text("p1")
    page.go_back()
    expect(page.locator("#charts")).to_be_visible()
    page.go_forward()
    expect(page.locator("#charts")).to_be_hidden()
    assert page.locator("#episodes li").count() == 8


def test_a_printed_text_is_whole(show: Show) -> None:
    page = show([saying(*(f"{i} " + "word " * 200 for i in range(9)))], "#episode=0&as=text")
    page.emulate_media(media="print")
    reading = page.locator(".reading")
    assert reading.evaluate("box => box.scrollHeight <= box.clientHeight + 1")
    assert page.is_hidden("#tools") and page.is_hidden("aside")


HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "**<img src=x onerror=alert(1)>**",
    "<svg onload=alert(1)><animate onbegin=alert(1)>",
    "<style>*{display:none}</style> *x*",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt&colon;alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "<javascript:alert(1)> <https://example.com/a>",
    "![picture](https://example.com/a.png)",
    '![picture](https://example.com/a.png "x" onerror="alert(1)")',
    "[a]: javascript:alert(1)\n\n[a] ![a]",
    "$\\href{javascript:alert(1)}{x}$ $\\url{javascript:alert(1)}$",
    "$\\includegraphics{https://example.com/a.png}$",
    "$\\htmlClass{n}{x}\\htmlId{find}{x}\\htmlStyle{position:fixed}{x}\\htmlData{node=1}{x}$",
    "$\\rule{9999em}{9999em} \\kern-999em \\raisebox{999em}{x}$",
    "$\\def\\a{\\a\\a}\\a$ $\\newcommand{\\b}{xx}\\b$",
    "$\\gdef\\x#1{#1#1#1#1}\\x{\\x{\\x{\\x{\\x{\\x{y}}}}}}$",
    "$" + "{" * 900 + "x" + "}" * 900 + "$",
    "$" + "\\sqrt{" * 300 + "x" + "}" * 300 + "$",
    "$" + "\\hat" * 400 + " x$",
    "$" + "\\left(" * 300 + "\\right)" * 300 + "$",
    "$\\color{red;background:url(https://example.com)}{x} \\textcolor{expression(alert(1))}{y}$",
    "$$\\unknown{$$ and $\\frac{1}$",
    ">" * 3000 + " deep",
    "- " * 1500 + "deep",
    "[" * 4000 + "](" * 500,
    "*a_ " * 1900,
    "`" * 7000,
    "$ " * 3900,
    "|a" * 2500 + "\n" + "|-" * 2500,
    "\u2028alert(1)\u2029\x00\ufeff\u202e*reversed*",
    "\ud800 *lone*",
    "{{script}} {{libraries}} *x*",
    "*x* " * 250_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:24]))
def test_hostile_text_is_inert(show: Show, text: str) -> None:
    record = saying(text, f"<think>{text}</think>{text}", answer=text, reference=text, prompt=text)
    details = {"tests": [[text, "failed", text]], "more": text}
    call = {"request": {"messages": [{"role": text, "content": text}]}, "status": 500}
    page = show(
        [replace(record, details=details, reason=text, note=text), replace(record, calls=(call,))]
    )
    before = page.evaluate("performance.now()")
    page.click("#as-text")
    page.click("#item-1")
    page.click("#item-0")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    page.wait_for_timeout(30)
    page.click("#as-tree")
    page.click('.n[data-node="1"] > text')
    assert page.evaluate("performance.now()") - before < 20_000
    found = page.evaluate(FOREIGN)
    assert found == [], found
    assert page.evaluate("document.querySelectorAll('#find').length") == 1


FOREIGN = """[...document.querySelectorAll('body *')].flatMap((each) => [
  ...(/^(script|style)$/i.test(each.tagName) && !each.id && each.previousElementSibling?.id !== 'index' && !each.previousElementSibling?.id.startsWith('library-') ? [each.tagName] : []),
  ...(/^(img|iframe|object|embed|link|video|audio|a|image|foreignobject|animate|use|base|form)$/i.test(each.tagName) && !(each.tagName === 'FORM' && each.closest('dialog')) ? [each.tagName] : []),
  ...each.getAttributeNames().filter((name) => /^on|^(href|src|srcset|srcdoc|action|xlink:href)$/i.test(name)),
  ...(each.closest('.text, .formula') && each.id ? [`id ${each.id}`] : []),
  ...(each.closest('.formula') && getComputedStyle(each).position === 'fixed' ? ['fixed'] : []),
])"""


def levels(skill: int, attempts: int = 2) -> list[EpisodeRecord]:
    return [
        replace(
            episode(i, 4, verdict="correct" if i % 5 < skill - attempt else "incorrect"),
            level=1 + i % 3,
            attempt=attempt,
            usage={"visible_tokens": 10 + i, "reasoning_tokens": 30, "tool_tokens": 5},
        )
        for attempt in range(attempts)
        for i in range(12)
    ]


def test_charts_list_their_episodes(show: Show) -> None:
    page = show(levels(3), "#view=charts")
    names = page.locator(".chart").evaluate_all("all => all.map(each => each.dataset.chart)")
    assert names == ["levels", "compute", "tokens"]
    assert page.locator('[data-chart="levels"] .mark').count() == 3
    assert page.locator('[data-chart="compute"] .mark').count() == 2
    for chart in page.locator(".chart").all():
        assert chart.locator("svg > title").count() == 1
        marks, lines = chart.locator(".mark"), chart.locator("tbody tr")
        assert marks.count() == lines.count() > 0
        assert all(marks.evaluate_all("all => all.map(each => each.getAttribute('aria-label'))"))
    page.locator('[data-chart="levels"] .mark').nth(1).focus()
    page.keyboard.press("Enter")
    assert page.is_hidden("#charts") and page.locator("#episodes li").count() == 8
    expect(page).to_have_url(re.compile("level=2"))
    again = show(levels(3), page.evaluate("location.hash"))
    assert again.locator("#episodes li").count() == 8
    again.click("#chips button")
    assert again.locator("#episodes li").count() == 24
    again.keyboard.press("g")
    again.locator('[data-chart="tokens"] .mark').first.click()
    assert set(again.locator("#episodes .small span:first-child").all_text_contents()) == {
        "correct"
    }


def test_two_runs_side_by_side(show: Show) -> None:
    runs = [Run("base", levels(2, 1)), Run("trained", levels(4, 1))]
    page = show(runs=runs)
    assert page.is_visible("#charts"), "several runs begin with their charts"
    groups = page.locator("button.group b").all_inner_texts()
    assert list(map(int, groups)) == [6, 0, 4, 2]
    page.click('button.group[data-group="only second"]')
    assert page.locator("#episodes li").count() == 4 and page.locator(".pane").count() == 2
    captions = page.locator(".caption").all_inner_texts()
    assert "base" in captions[0] and "incorrect" in captions[0]
    assert "trained" in captions[1] and "correct" in captions[1]
    page.click("#episodes li >> nth=2")
    numbers = [re.search(r"#(\d+)", text)[1] for text in page.locator(".caption").all_inner_texts()]
    assert int(numbers[1]) == int(numbers[0]) + 12
    page.click("#as-text")
    assert page.locator(".reading article").count() == 2 * 3
    page.keyboard.press("g")
    page.locator('[data-chart="runs"] .mark').nth(1).click()
    assert page.locator("#episodes li").count() == 12


def test_two_texts_scroll_together(show: Show) -> None:
    long = "\n\n".join(f"line {i}" for i in range(80))
    page = show(
        [saying(long, "short", long), saying("short", long, "short", long)],
        "#episode=0&with=1&as=text",
    )
    boxes = page.locator(".reading")
    first = boxes.nth(0)
    first.evaluate("box => { box.scrollTop = box.querySelectorAll('article')[2].offsetTop; }")
    page.wait_for_timeout(100)
    tops = boxes.evaluate_all(
        "all => all.map(box => box.querySelectorAll('article')[2].offsetTop - box.scrollTop)"
    )
    assert all(abs(top) < 3 for top in tops), "the third card is at the top of both"


def test_an_episode_as_a_text_and_its_tests(show: Show) -> None:
    details = {
        "tests": [["test_a", "passed", "", 0.0123], ["test_b", "failed", "1 != 2", 1.5]],
        "used": {"cpu_s": 0.5},
    }
    page = show([saying("first", "second", details=details, reason="1 of 2 tests failed")])
    assert page.locator("#node .tests tbody tr").count() == 2
    page.keyboard.press("t")
    articles = page.locator(".reading article")
    assert articles.count() == 4 and "second" in articles.nth(2).inner_text()
    said = articles.nth(3).inner_text()
    assert all(
        words in said for words in ("1 of 2 passed", "1 != 2", "12 ms", "1.50 s", "cpu 0.5 s")
    )
    page.click(".reading button.link >> text=node 1")
    assert "node 1" in page.inner_text("#node .top") and page.is_hidden(".reading")


def test_an_agents_messages(show: Show) -> None:
    use = {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": "1, 2"}}]}
    messages = [
        {"role": "user", "content": "**Add** 1 and 2."},
        use,
        {"role": "tool", "content": "*3*"},
    ]
    call = {
        "request": {"messages": messages},
        "response": {"choices": [{"message": {"role": "assistant", "content": "It is $3$."}}]},
        "status": 200,
    }
    page = show([saying("It is $3$.", calls=(call,))], "#episode=0&as=text")
    tops = page.locator(".reading h3.top").all_inner_texts()
    assert [top.split("\n")[0] for top in tops[1:-1]] == ["user", "tool call", "tool", "assistant"]
    assert page.locator(".reading .said pre").all_inner_texts() == ["add(1, 2)", "*3*"]


def test_generations_of_a_loop_lead_to_their_trees(show: Show) -> None:
    loop = [
        {"generation": i, "greedy": i / 4, "searched": 0.9, "solved": [1, 0], "accepted": i != 2}
        for i in range(3)
    ]
    runs = [Run(f"generation-{i}", levels(i + 1, 1)) for i in (1, 2)]
    page = show(runs=runs, loop=loop)
    marks = page.locator('[data-chart="generations"] .mark')
    assert marks.count() == 2 * 2, "the start has no episodes"
    assert "2 (rejected)" in page.locator('[data-chart="generations"] table').text_content()
    marks.nth(1).click()
    assert page.locator("#episodes li").count() == 12
    assert "generation-2" in page.inner_text("#chips")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(400, 800), (1600, 900)])
@pytest.mark.parametrize(
    "place", ["#view=charts", "#episode=0&as=text&with=5", "#episode=0&with=5"]
)
def test_no_part_scrolls_sideways_or_covers_another(
    show: Show, size: tuple[int, int], theme: str, place: str
) -> None:
    runs = [Run("a-run-with-quite-a-long-name", levels(2)), Run("b", levels(4))]
    page = show(place=place, runs=runs, size=size, theme=theme)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    boxes = page.locator("#tools button:visible, #tools select:visible").evaluate_all(
        "all => all.map(each => each.getBoundingClientRect().toJSON())"
    )
    for i, one in enumerate(boxes):
        assert one["right"] <= size[0]
        for other in boxes[:i]:
            apart = one["left"] >= other["right"] - 1.5 or one["top"] >= other["bottom"]
            assert apart or other["left"] >= one["right"] - 1.5 or other["top"] >= one["bottom"]
