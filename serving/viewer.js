// The page around the trees: the list of episodes, the address, the header, the details of a node, the keys.
const index = JSON.parse($("index").textContent);
const VERDICTS = Object.keys(index.verdicts);
const ORDERS = {
  order: () => 0, nodes: (a, b) => b.nodes - a.nodes, tokens: (a, b) => b.tokens - a.tokens,
  verdict: (a, b) => VERDICTS.indexOf(a.verdict) - VERDICTS.indexOf(b.verdict),
};
const folded = new Map();   // episode number: the nodes whose subtrees are collapsed
const trees = [pane()];
let filter = {}, ofPair = new Map(), asText = false, leader = { reading: null, until: 0 };   // filter: what a click in a chart lists
let hidden = new Set(), inSteps = new Set(), shown = [], active = trees[0], searching = 0, remembering = 0, playing = 0, waiting = 0;

const tint = (node, verdict) => (node.style.setProperty("--of", `var(--${verdict in index.verdicts ? verdict : "no_answer"})`), node);
const words = (name) => name.replaceAll("_", " ");
const number = (value, digits = 3) => value === null || value === undefined ? "–" : Number.isInteger(value) ? value.toLocaleString("en") : Math.abs(value) < 0.001 && value !== 0 ? value.toExponential(1) : value.toFixed(digits);
function pane() {   // a tree and its text
  const tree = new Tree(changed);
  tree.reading = new Reading((i) => { if (tree !== active) changed(tree); textView(false); tree.choose(i, true); }, scrolled);
  tree.pane.prepend(tree.reading.box);
  tree.reading.box.addEventListener("pointerdown", () => { if (tree !== active) changed(tree); });
  return tree;
}
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const block = (number) => JSON.parse($(`episode-${number}`).textContent);   // parsed when needed, so that a thousand cost nothing
const loaded = (number) => $(`episode-${number}`)?.nextSibling || document.readyState !== "loading";   // episodes follow the script, so that the list is seen first; one without a next sibling may have arrived in part
const needle = () => $("find").value.trim().toLowerCase();

// ---- the list of episodes
function start() {
  $("run-title").textContent = index.env_id;
  $("run-facts").textContent = index.facts;
  $("reload").hidden = !index.live;
  $("show-charts").parentElement.hidden = !index.charts.length && !index.pairs && !index.live;
  figures();
  for (const [verdict, count] of Object.entries(index.verdicts)) {
    if (!count) continue;
    const part = tint(make("i"), verdict);
    part.style.flex = count;
    $("share").append(part);
    const button = tint(make("button", { title: `Show or hide: ${words(verdict)}` }, words(verdict), make("b", {}, count.toLocaleString("en"))), verdict);
    button.dataset.verdict = verdict;
    button.onclick = () => { hidden.has(verdict) ? hidden.delete(verdict) : hidden.add(verdict); list(); };
    $("filters").append(button);
  }
  document.body.classList.toggle("empty", !index.episodes.length);
  $("share").hidden = !index.episodes.length;
  $("panes").append(trees[0].pane);
  recall();
}
function figures() {   // accuracies with 95% intervals; undecided and failed episodes are in none
  $("figures").hidden = !index.figures.length;
  if (!index.figures.length) return;
  const [all, ...others] = index.figures;
  $("figures").firstChild.textContent = index.runs.length > 1 ? "solved, by run" : `${all.name} ${interval(all)}`;
  $("figures").lastChild.replaceChildren(...(index.runs.length > 1 ? index.figures : others).map((each) => {
    const bar = make("i", { class: "bar" }), range = make("b");
    bar.style.setProperty("--share", each.share);
    range.style.left = percent(each.low);
    range.style.right = percent(1 - each.high);
    bar.append(range);
    return make("li", { title: interval(each) }, make("span", {}, each.name), bar, make("span", {}, percent(each.share)));
  }));
  others.length ? ($("figures").open = others.length < 6) : $("figures").classList.add("alone");
}

function list() {   // what matches by the index at once, then what matches in its steps
  for (const button of $("filters").children) button.setAttribute("aria-pressed", String(!hidden.has(button.dataset.verdict)));
  chips();
  inSteps = new Set();
  searching += 1;
  refresh();
  remember();
  if (needle().length > 1 && !wanted()) searchSteps(needle(), searching);
  mark();
}
function chips() {   // what a chart's click chose, each with a way out
  const names = { run: (value) => index.runs[value].name, level: (value) => `level ${value}`, pair: (value) => GROUPS[value] };
  $("chips").replaceChildren(...Object.entries(filter).map(([name, value]) => {
    const chip = make("button", { title: "Remove this filter" }, `${names[name](value)} `, make("b", {}, "×"));
    chip.onclick = () => { delete filter[name]; list(); };
    return chip;
  }));
  ofPair = new Map(filter.pair ? index.pairs.groups[filter.pair] : []);
}
function showOnly({ run, level, pair, verdict, find = "" }) {   // the episodes of a mark in a chart
  filter = Object.fromEntries(Object.entries({ run: index.runs.length > 1 ? run : undefined, level, pair }).filter(([, value]) => value !== undefined));
  hidden = new Set(verdict ? VERDICTS.filter((name) => name !== verdict) : []);
  $("find").value = find;
  chartsView(false);
  list();
  if (shown.length) go(shown[0]);
}
const wanted = () => /^#(\d+)$/.exec(needle());   // an episode's number
function refresh() {
  const text = needle(), only = wanted(), order = ORDERS[$("sort").value];
  const within = (it, i) => (filter.run === undefined || (it.run ?? 0) === filter.run) && (filter.level === undefined || it.level === filter.level) && (!filter.pair || ofPair.has(i));
  const matches = (it, i) => !hidden.has(it.verdict) && within(it, i) && (only ? i === Number(only[1]) : !text || it.search.includes(text) || inSteps.has(i));
  shown = [...index.episodes.keys()].filter((i) => matches(index.episodes[i], i)).sort((a, b) => order(index.episodes[a], index.episodes[b]));
  $("episodes").replaceChildren();
  more();
  $("none").hidden = shown.length > 0;
  $("found").textContent = shown.length === index.episodes.length ? "" : `${number(shown.length)} of ${number(index.episodes.length)}`;
}
function more(upTo = $("episodes").childElementCount + CHUNK) {   // the list grows as it is scrolled
  $("episodes").append(...shown.slice($("episodes").childElementCount, upTo).map((i) => {
    const it = index.episodes[i];
    const item = tint(make("li", { id: `item-${i}`, role: "option", "aria-selected": String(i === active.number) },
      make("div", { class: "line" }, inOneLine(it.title)),
      make("div", { class: "small" }, make("span", {}, words(it.verdict)), make("span", {}, it.attempt ? `#${i}, attempt ${it.attempt + 1}` : `#${i}`), index.runs.length > 1 ? make("span", { class: "run", title: index.runs[it.run ?? 0].name }, index.runs[it.run ?? 0].name) : null, make("span", {}, `${number(it.nodes)} ${it.nodes === 1 ? "node" : "nodes"}`), make("span", {}, `${number(it.tokens)} tokens`))), it.verdict);
    item.onclick = () => go(i);
    return item;
  }));
}
const holds = (text) => (n) => [n.t, n.r, n.a, n.n].some((part) => part?.toLowerCase().includes(text));
async function searchSteps(text, run) {
  await sleep(150);   // the next key may come
  for (let i = 0, found = 0, pause = performance.now() + 40; i < index.episodes.length && run === searching; i++) {
    while (!loaded(i)) await sleep(20);
    if (!index.episodes[i].search.includes(text)) {
      const episode = block(i);
      if (episode.nodes.some(holds(text)) || [episode.prompt, episode.answer, episode.reason].some((part) => part.toLowerCase().includes(text))) inSteps.add(i);
    }
    const last = i === index.episodes.length - 1;
    if (!last && performance.now() < pause) continue;
    if (inSteps.size > found) refresh();
    found = inSteps.size;
    if (!last) { $("found").textContent = `${number(shown.length)} found, ${Math.round(100 * i / index.episodes.length)}% searched`; await sleep(0); pause = performance.now() + 40; }
    else refresh();
  }
}
function mark() {   // outline the steps of the open episodes that hold the searched text
  const text = wanted() ? "" : needle(), found = holds(text);
  for (const tree of trees) {
    const hits = new Set(text.length > 1 ? [...tree.nodes.keys()].filter((i) => found(tree.nodes[i])) : []);
    if (!hits.size && !tree.hits?.size) continue;
    tree.hits = hits;
    tree.redraw();
  }
}

// ---- the open episodes
function open(i, node = null) {
  stop();
  if (!index.episodes[i]) { $("name").textContent = "No episodes yet"; return; }
  clearTimeout(waiting);
  if (!loaded(i)) { waiting = setTimeout(() => open(i, node), 20); return; }
  if (!folded.has(i)) folded.set(i, new Set());
  const episode = block(i);
  header(i, episode);
  active.open(i, episode, folded.get(i));
  if (asText) active.reading.show(episode);
  captioned(active);
  mark();
  active.choose(node in active.nodes ? node : active.end, node !== null);
  const place = shown.indexOf(i);
  if (place >= $("episodes").childElementCount) more(place + CHUNK);
  $(`item-${i}`)?.scrollIntoView({ block: "nearest" });
}
function captioned({ number: i, episode, caption }) {
  const run = index.runs.length > 1 ? `${index.runs[index.episodes[i].run ?? 0].name} ` : "";
  tint(caption, episode.verdict).replaceChildren(`${run}#${i} ${words(episode.verdict)}${episode.answer ? ": " : ""}`, typesetAnswer(short(episode.answer, 60)));
}
function go(i) {   // as `open`; under a pair's filter, both runs' episodes of the problem
  if (!ofPair.has(i)) { open(i); return; }
  if (trees.length === 1) compare(i);
  for (const [tree, number] of [[trees[1], ofPair.get(i)], [trees[0], i]]) { active = tree; open(number); }
}
function header(i, episode) {
  for (const item of document.querySelectorAll("#episodes [aria-selected=true]")) item.setAttribute("aria-selected", "false");
  $(`item-${i}`)?.setAttribute("aria-selected", "true");
  $("episodes").setAttribute("aria-activedescendant", `item-${i}`);
  tint($("verdict"), episode.verdict).textContent = words(episode.verdict);
  $("name").textContent = episode.id;
  $("cost").textContent = episode.cost;
  $("prompt").replaceChildren(typeset(episode.prompt));
  const facts = [["answer", episode.answer], ["reference", episode.reference], ["reason", episode.reason], ["note", episode.note]];
  $("outcome").replaceChildren(...facts.filter(([, text]) => text).map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, name === "answer" || name === "reference" ? typesetAnswer(text.trim().replace(/\n\s*\n/g, "\n")) : text))));
  for (const dd of $("outcome").querySelectorAll("dd")) if (dd.scrollHeight > dd.clientHeight) dd.tabIndex = 0;   // so that keys can scroll it
}
function changed(tree) {   // another node was selected, or another tree became active
  if (tree !== active) { active = tree; stop(); header(tree.number, tree.episode); }
  for (const each of trees) each.pane.classList.toggle("active", each === active);
  describe(tree);
  replayed();
  remember();
}
function compare(other = active.number) {   // a second pane; the list then opens episodes in the active one
  if (trees.length > 1) {
    trees.find((tree) => tree !== active).pane.remove();
    trees.splice(0, 2, active);
  } else if (index.episodes[other]) {
    const tree = pane();
    tree.colour = $("colour").value;
    trees.push(tree);
    $("panes").append(tree.pane);
    active = tree;
    open(other);
  }
  $("compare").setAttribute("aria-pressed", String(trees.length > 1));
  $("panes").classList.toggle("two", trees.length > 1);
  resized();
  changed(active);
}
function resized() { for (const tree of trees) if (tree.nodes.length) tree.resize(); }

// ---- the ways to look: trees, texts, charts
function textView(on) {
  asText = on;
  document.body.classList.toggle("as-text", on);
  $("as-tree").setAttribute("aria-pressed", String(!on));
  $("as-text").setAttribute("aria-pressed", String(on));
  for (const tree of trees) if (on && tree.episode) tree.reading.show(tree.episode);
  if (!on) resized();
  remember();
}
function scrolled(reading) {   // the other text follows the one that the reader moves
  const now = performance.now();
  if (trees.length < 2 || (leader.reading !== reading && now < leader.until)) return;
  leader = { reading, until: now + 150 };
  for (const tree of trees) if (tree.reading !== reading) tree.reading.follow(reading.place);
}
function sourceView(on) {
  typesetting.source = on;
  $("source").setAttribute("aria-pressed", String(on));
  for (const tree of trees.filter((each) => each.episode)) {
    captioned(tree);
    tree.name();
    tree.layout();
    tree.redraw();
    if (asText) tree.reading.show(tree.episode);
  }
  if (active.episode) { header(active.number, active.episode); describe(active); }
  for (const item of $("episodes").children) item.firstChild.textContent = inOneLine(index.episodes[Number(item.id.slice(5))].title);
  remember();
}
function chartsView(on) {
  document.body.classList.toggle("as-charts", on);
  $("show-trees").setAttribute("aria-pressed", String(!on));
  $("show-charts").setAttribute("aria-pressed", String(on));
  $("charts").hidden = !on;
  if (on && !$("charts").childElementCount) $("charts").append(...chartCards(index, showOnly));
  if (on) drawCharts(); else resized();
  remember();
}
const drawCharts = () => { for (const card of $("charts").children) card.draw?.(); };

// ---- replay: nodes are stored in the order in which the search made them
function replayed() {
  const all = active.nodes.length;
  Object.assign($("made"), { min: Math.min(1, all), max: all, value: active.made });
  $("made-count").textContent = `${number(active.made)} of ${number(all)} nodes`;
  $("play").textContent = playing ? "❚❚" : "▶";
}
function replay(made) { active.replay(made); replayed(); }
function stop() { cancelAnimationFrame(playing); playing = 0; }
function play() {
  if (playing) { stop(); replayed(); return; }
  const all = active.nodes.length, from = active.made < all ? active.made : 1, started = performance.now(), lasts = Math.min(12000, 250 * all);
  const frame = (now) => {
    const made = Math.min(all, Math.floor(from + Math.max(0, now - started) / lasts * all));
    playing = made < all ? requestAnimationFrame(frame) : 0;
    if (made !== active.made || !playing) replay(made);
  };
  playing = requestAnimationFrame(frame);
}

// ---- the address holds what is seen, so that a link shows the same
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const other = trees.find((tree) => tree !== active);
    const all = { episode: active.number, node: active.selected, with: other?.number, find: $("find").value, hide: [...hidden].join(","), sort: $("sort").value, colour: $("colour").value,
      ...filter, as: asText ? "text" : "tree", source: typesetting.source ? 1 : 0, view: $("charts").hidden ? "episodes" : "charts" };
    const usual = { as: "tree", source: 0, view: "episodes", episode: -1, sort: "order", colour: "q" };
    const said = Object.entries(all).filter(([name, value]) => value !== undefined && value !== "" && value !== usual[name]);
    const next = `#${new URLSearchParams(said)}`, place = [all.episode, all.as, all.view, ...Object.values(filter)].join(), moved = visited !== null && visited !== place;
    visited = place;
    if (next !== location.hash) history[moved ? "pushState" : "replaceState"](null, "", next);   // the browser's Back returns to an episode, a filter of a chart, the charts
  }, 100);   // browsers limit how often the address may change
}
let visited = null;
const viewAtFirst = index.runs.length > 1 ? "charts" : "episodes";
function recall() {
  const hash = location.hash.slice(1), said = new URLSearchParams(/^\d+$/.test(hash) ? `episode=${hash}` : hash);
  const whole = (name) => /^\d+$/.test(said.get(name) ?? "") ? Number(said.get(name)) : null;
  $("find").value = said.get("find") ?? "";
  hidden = new Set((said.get("hide") ?? "").split(",").filter((verdict) => VERDICTS.includes(verdict)));
  filter = {};
  if (index.runs[whole("run")]) filter.run = whole("run");
  if (whole("level") !== null) filter.level = whole("level");
  if (index.pairs?.groups[said.get("pair")]) filter.pair = said.get("pair");
  typesetting.source = said.get("source") === "1";
  $("source").setAttribute("aria-pressed", String(typesetting.source));
  for (const [name, usual] of [["sort", "order"], ["colour", "q"]]) {
    $(name).value = said.get(name) ?? usual;
    if ($(name).selectedIndex < 0) $(name).value = usual;
  }
  list();
  for (const tree of trees) tree.colour = $("colour").value;
  if (trees.length > 1) compare();
  const first = index.episodes[whole("episode")] ? whole("episode") : shown[0] ?? -1, second = whole("with");
  const beside = index.episodes[second] ? second : ofPair.get(first);
  if (beside !== undefined && !loaded(Math.max(first, beside))) { clearTimeout(remembering); document.addEventListener("DOMContentLoaded", recall, { once: true }); return; }
  if (index.episodes[second]) { open(second); compare(first); }
  if (second === null && ofPair.has(first)) go(first); else open(first, whole("node"));
  textView(said.get("as") === "text");
  chartsView((said.get("view") ?? viewAtFirst) === "charts" && (said.has("view") || !said.has("episode")));
}

// ---- the selected node
function describe({ episode, selected: i }) {
  if (!episode.nodes[i]) { $("node").replaceChildren(); return; }
  const n = episode.nodes[i], statistics = i === 0 ? [["visits", number(n.v)], ["nodes", number(episode.nodes.length)], ["status", n.u]] :
    [["value", number(n.q)], ["score", number(n.s)], ["visits", number(n.v)], ["log-prob", number(n.l)], ["prior", number(n.o)], ["tokens", number(n.k)], ["status", n.u], ["verdict", n.d ? words(n.d) : "–"]];
  const path = [];
  for (let j = i; j >= 0; j = episode.nodes[j].p) path.unshift(j);
  const deepest = path.at(-1);
  const body = [make("h3", { class: "top" }, i === 0 ? "The problem" : `Step ${n.depth}`, make("small", {}, `node ${i}`), copier(i === 0 ? episode.prompt : n.t))];
  if (i === 0) body.push(typeset(episode.prompt));
  body.push(...stepParts(n));
  if (episode.evidence && (i === 0 || i === episode.path.at(-1))) body.push(...evidenceParts(episode.evidence));
  body.push(make("h3", {}, "search statistics"), facts(statistics));
  if (i > 0) body.push(make("h3", {}, "steps to this node"), make("ol", { class: "path" }, ...path.map((j) => {
    const button = make("button", { "aria-current": String(j === deepest) }, episode.nodes[j].label);
    button.onclick = () => active.choose(j, true);
    return make("li", {}, button);
  })));
  $("node").replaceChildren(...body.filter((part) => part !== null));
}

// ---- keys and buttons
const move = (by) => { const next = shown[shown.indexOf(active.number) + by]; if (next !== undefined) go(next); };
const nextWrong = () => { const wrong = shown.filter((i) => index.episodes[i].verdict !== "correct"), at = shown.indexOf(active.number); if (wrong.length) go(wrong.find((i) => shown.indexOf(i) > at) ?? wrong[0]); };
const KEYS = { p: "parent", t: "text", r: "reply", l: "log_prob", k: "num_tokens", o: "prior", s: "score", v: "visits", q: "value", u: "status", a: "answer", d: "verdict", n: "note", g: "segments" };
function showJson() {
  if (!active.episode) return;
  const { nodes, ...rest } = block(active.number);
  const text = JSON.stringify({ ...rest, nodes: nodes.map((n) => Object.fromEntries(Object.entries(n).map(([key, value]) => [KEYS[key], value]))) }, null, 1);
  $("raw").firstChild.textContent = text;
  $("raw").lastChild.replaceChildren($("raw").lastChild.lastChild, copier(text));
  $("raw").showModal();
}
const recolour = () => { for (const tree of trees) tree.recolour($("colour").value); remember(); };
const nextHit = () => { const hits = [...active.hits ?? []]; if (hits.length) active.choose(hits.find((i) => i > active.selected) ?? hits[0], true); };
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target === $("find")) { if (event.key === "Enter" && shown.length) { go(shown[0]); nextHit(); $("episodes").focus(); } if (event.key === "Escape" || event.key === "ArrowDown") { event.preventDefault(); $("episodes").focus(); } return; }
  if (event.target.tagName === "SELECT" || event.target === $("made")) return;
  const inList = event.target === $("episodes"), inTree = event.target.classList.contains("tree") || event.target === document.body;
  const keys = { j: () => move(1), k: () => move(-1), e: nextWrong, "/": () => $("find").focus(), "?": () => $("help").showModal(), g: () => chartsView($("charts").hidden), t: () => textView(!asText), s: () => sourceView(!typesetting.source) };
  if (inList) Object.assign(keys, { ArrowDown: keys.j, ArrowUp: keys.k, Enter: () => active.svg.focus() });
  if (active.nodes.length && !asText && $("charts").hidden) {
    Object.assign(keys, { f: () => active.fit(), p: () => active.path(), x: () => active.toggle(active.selected), n: nextHit, r: play, "+": () => active.zoom(1.25), "=": () => active.zoom(1.25), "-": () => active.zoom(0.8),
      c: () => { $("colour").selectedIndex = ($("colour").selectedIndex + 1) % $("colour").length; recolour(); } });
    if (!inList && inTree && /^(Arrow|Home|End)/.test(event.key)) keys[event.key] = () => active.choose(active.walk(event.key), true);
  }
  if (event.key in keys) { event.preventDefault(); keys[event.key](); }
});
$("find").oninput = list;
$("sort").onchange = list;
$("colour").onchange = recolour;
$("episodes").onscroll = ({ target }) => { if (target.scrollTop + 2 * target.clientHeight > target.scrollHeight) more(); };
$("made").oninput = () => { stop(); replay(Number($("made").value)); };
const buttons = { in: () => active.zoom(1.25), out: () => active.zoom(0.8), fit: () => active.fit(), path: () => active.path(), compare: () => compare(), play };
for (const [id, action] of Object.entries(buttons)) $(id).onclick = () => { if (active.nodes.length) action(); };
$("show-trees").onclick = () => chartsView(false);
$("show-charts").onclick = () => chartsView(true);
$("as-tree").onclick = () => textView(false);
$("as-text").onclick = () => textView(true);
$("source").onclick = () => sourceView(!typesetting.source);
$("as-json").onclick = showJson;
$("keys").onclick = () => $("help").showModal();
$("reload").onclick = () => location.reload();
addEventListener("resize", () => { if ($("charts").hidden) resized(); else drawCharts(); });
addEventListener("hashchange", recall);
start();
