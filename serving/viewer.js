"use strict";
// Model text is hostile: it reaches the page through textContent only, never as markup.
const $ = (id) => document.getElementById(id);
const index = JSON.parse($("index").textContent);
const ROW = 30, HEIGHT = 24, GAP = 46, CHAR = 7.25, LABEL = 26;
const MARK = { correct: "✓", incorrect: "✗", undecided: "?" };
const SVG = "http://www.w3.org/2000/svg";
const hidden = new Set();
let shown = [], at = -1, episode = null, selected = 0, view = { x: 0, y: 0, k: 1 };

function make(tag, props = {}, ...inside) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) name === "class" ? (node.className = value) : name in node ? (node[name] = value) : node.setAttribute(name, value);
  node.append(...inside.filter((part) => part !== null));
  return node;
}
function draw(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}
const tint = (node, verdict) => (node.style.setProperty("--of", `var(--${verdict in index.verdicts ? verdict : "no_answer"})`), node);
const words = (name) => name.replaceAll("_", " ");
const short = (text, size = LABEL) => { const line = text.replace(/\s+/gu, " ").trim(); const all = [...line.slice(0, size * 4)]; return all.length > size ? all.slice(0, size - 1).join("") + "…" : line; };
const number = (value, digits = 3) => value === null || value === undefined ? "–" : Number.isInteger(value) ? value.toLocaleString("en") : Math.abs(value) < 0.001 && value !== 0 ? value.toExponential(1) : value.toFixed(digits);

// ---- the list of episodes
function start() {
  $("run-title").textContent = index.env_id;
  $("run-facts").textContent = index.facts;
  figures();
  const total = Object.values(index.verdicts).reduce((sum, count) => sum + count, 0);
  for (const [verdict, count] of Object.entries(index.verdicts)) {
    if (!count) continue;
    const part = tint(make("i"), verdict);
    part.style.flex = count;
    $("share").append(part);
    const button = tint(make("button", { "aria-pressed": "true", title: `Show or hide: ${words(verdict)}` }, words(verdict), make("b", {}, count.toLocaleString("en"))), verdict);
    button.onclick = () => { hidden.has(verdict) ? hidden.delete(verdict) : hidden.add(verdict); button.setAttribute("aria-pressed", String(!hidden.has(verdict))); list(); };
    $("filters").append(button);
  }
  $("share").hidden = total === 0;
  list();
  const wanted = Number(location.hash.slice(1));
  open(index.episodes[wanted] ? wanted : shown[0] ?? -1);
}
const percent = (share) => `${(100 * share).toFixed(1)}%`;
function figures() {   // accuracies with 95% intervals; undecided and failed episodes are in none
  $("figures").hidden = !index.figures.length;
  if (!index.figures.length) return;
  const [all, ...others] = index.figures, interval = (each) => `[${percent(each.low)}, ${percent(each.high)}]`;
  $("figures").firstChild.textContent = `${all.name} ${percent(all.share)} ${interval(all)}`;
  $("figures").lastChild.replaceChildren(...others.map((each) => {
    const bar = make("i", { class: "bar" }), range = make("b");
    bar.style.setProperty("--share", each.share);
    range.style.left = percent(each.low);
    range.style.right = percent(1 - each.high);
    bar.append(range);
    return make("li", { title: interval(each) }, make("span", {}, each.name), bar, make("span", {}, percent(each.share)));
  }));
  others.length ? ($("figures").open = others.length < 12) : $("figures").classList.add("alone");
}
function list() {
  const needle = $("find").value.trim().toLowerCase();
  shown = index.episodes.map((_, i) => i).filter((i) => !hidden.has(index.episodes[i].verdict) && (!needle || index.episodes[i].search.includes(needle)));
  $("episodes").replaceChildren(...shown.map((i) => {
    const it = index.episodes[i];
    const item = tint(make("li", { id: `item-${i}`, role: "option", "aria-selected": String(i === at) },
      make("div", { class: "line" }, it.title),
      make("div", { class: "small" }, make("span", {}, words(it.verdict)), make("span", {}, it.attempt ? `#${i}, attempt ${it.attempt + 1}` : `#${i}`), make("span", {}, `${it.nodes} nodes`), make("span", {}, `${number(it.tokens)} tokens`))), it.verdict);
    item.onclick = () => open(i);
    return item;
  }));
  $("none").hidden = shown.length > 0;
}
function open(i) {
  if (i < 0) { $("name").textContent = "No episodes yet"; return; }
  $(`item-${at}`)?.setAttribute("aria-selected", "false");
  at = i;
  const item = $(`item-${i}`);
  item?.setAttribute("aria-selected", "true");
  item?.scrollIntoView({ block: "nearest" });
  $("episodes").setAttribute("aria-activedescendant", `item-${i}`);
  history.replaceState(null, "", `#${i}`);
  episode = JSON.parse($(`episode-${i}`).textContent);   // parsed when opened, so that a thousand cost nothing
  tint($("verdict"), episode.verdict).textContent = words(episode.verdict);
  $("name").textContent = episode.id;
  $("cost").textContent = episode.cost;
  $("prompt").textContent = episode.prompt;
  const facts = [["answer", episode.answer], ["reference", episode.reference], ["reason", episode.reason], ["note", episode.note]];
  $("outcome").replaceChildren(...facts.filter(([, text]) => text).map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text))));
  layout();
  paint();
  fit();
  choose(episode.path.at(-1) ?? 0);
}

function label(n) {   // internal reasoning stays folded here too
  if (!n.g) return short(n.t) || "(empty)";
  const said = short(n.g.filter(([kind]) => kind !== "reasoning").map(([, text]) => text).join(" "), LABEL - 2);
  return n.g.some(([kind]) => kind === "reasoning") ? `… ${said || "(only reasoning)"}` : said || "(empty)";
}

// ---- the tree: a column per step, leaves in rows, parents at the middle of their children
function layout() {
  const nodes = episode.nodes;
  nodes.forEach((n, i) => { n.children = []; n.depth = n.p < 0 ? 0 : nodes[n.p].depth + 1; n.label = i === 0 ? "problem" : label(n); });
  nodes.forEach((n, i) => { if (n.p >= 0) nodes[n.p].children.push(i); });
  const width = [];
  for (const [i, n] of nodes.entries()) { n.w = [...n.label].length * (i ? CHAR : 8.6) + (i ? 22 : 28) + (n.v > 1 ? 12 + 6.4 * String(n.v).length : 0) + (n.d || n.u === "failed" ? 18 : 0); width[n.depth] = Math.max(width[n.depth] ?? 0, n.w); }
  let row = 0;
  const stack = nodes.length ? [[0, false]] : [];
  while (stack.length) {
    const [i, done] = stack.pop(), n = nodes[i];
    if (!n.children.length) n.y = ROW * row++;
    else if (done) n.y = (nodes[n.children[0]].y + nodes[n.children.at(-1)].y) / 2;
    else { stack.push([i, true]); for (const child of n.children.toReversed()) stack.push([child, false]); }
  }
  // Columns move apart until the tree has the shape of its stage.
  const box = $("tree").getBoundingClientRect(), room = row * ROW * box.width / Math.max(1, box.height) - width.reduce((sum, w) => sum + w, 0);
  const gap = Math.min(190, Math.max(GAP, 0.85 * room / Math.max(1, width.length - 1)));
  const left = width.reduce((sum, w, d) => (sum.push(sum[d] + w + gap), sum), [0]);
  for (const n of nodes) n.x = left[n.depth];
  episode.width = Math.max(0, ...nodes.map((n) => n.x + n.w));
  episode.height = row * ROW;
  episode.onPath = new Set(episode.path);
}
function paint() {
  const by = $("colour").value, nodes = episode.nodes, most = Math.max(1, ...nodes.slice(1).map((n) => n.v));
  const edges = [], pills = [];
  nodes.forEach((n, i) => {
    const share = by === "v" ? Math.log1p(n.v) / Math.log1p(most) : Math.min(1, Math.max(0, n[by] ?? 0));
    const on = episode.onPath.has(i);
    if (i > 0) {
      const from = nodes[n.p], x = from.x + from.w, bend = (n.x - x) * 0.55;
      const edge = draw("path", { class: on ? "edge chosen" : "edge", d: `M${x} ${from.y}C${x + bend} ${from.y} ${n.x - bend} ${n.y} ${n.x} ${n.y}`, "stroke-width": (on ? 1.6 : 1) + 2.2 * Math.log1p(n.v) / Math.log1p(most) });
      on ? edges.push(edge) : edges.unshift(edge);
    }
    const pill = draw("g", { class: `n ${n.u}${on ? " chosen" : ""}${i ? "" : " root"}`, transform: `translate(${n.x} ${n.y})`, id: `n${i}`, role: "treeitem", "aria-label": n.label });
    const box = draw("rect", { y: -HEIGHT / 2, width: n.w, height: HEIGHT, rx: 8 });
    box.style.fill = `color-mix(in oklab, var(--high) ${Math.round(62 * share)}%, var(--surface))`;
    pill.append(box, draw("text", { x: 11 }, n.label));
    let right = n.w - 11;
    const mark = MARK[n.d] ?? (n.u === "failed" ? "!" : null);
    if (mark) { pill.append(draw("text", { class: `mark ${n.d ?? "failed"}`, x: right, "text-anchor": "end" }, mark)); right -= 17; }
    if (n.v > 1) pill.append(draw("text", { class: "count", x: right, "text-anchor": "end" }, `×${n.v}`));
    pill.onclick = () => { if (!dragged) choose(i); };
    pills.push(pill);
  });
  $("edges").replaceChildren(...edges);
  $("nodes").replaceChildren(...pills);
}
function choose(i, follow = false) {
  if (!episode?.nodes[i]) { $("node").replaceChildren(); return; }
  $(`n${selected}`)?.classList.remove("on");
  selected = i;
  $(`n${i}`).classList.add("on");
  if (follow) reveal(episode.nodes[i]);
  describe(i);
}
function describe(i) {
  const n = episode.nodes[i], facts = i === 0 ? [["visits", number(n.v)], ["nodes", number(episode.nodes.length)], ["status", n.u]] :
    [["value", number(n.q)], ["score", number(n.s)], ["visits", number(n.v)], ["log-prob", number(n.l)], ["prior", number(n.o)], ["tokens", number(n.k)], ["status", n.u], ["verdict", n.d ? words(n.d) : "–"]];
  const path = [];
  for (let j = i; j >= 0; j = episode.nodes[j].p) path.unshift(j);
  const deepest = path.at(-1);
  const body = [make("h3", { class: "top" }, i === 0 ? "The problem" : `Step ${n.depth}`, make("small", {}, `node ${i}`))];
  if (i === 0) body.push(make("pre", {}, episode.prompt));
  for (const [kind, text] of n.g ?? (n.t ? [["visible", n.t]] : [])) {
    if (kind === "reasoning") body.push(make("details", {}, make("summary", {}, `Internal reasoning, ${text.length.toLocaleString("en")} characters`), make("pre", {}, text)));
    else body.push(kind === "visible" ? null : make("h3", {}, words(kind)), make("pre", { class: kind }, text));
  }
  if (n.r) body.push(make("h3", {}, "reply of the environment"), make("pre", { class: "reply" }, n.r));
  if (n.a !== null && n.a !== undefined) body.push(make("h3", {}, "answer"), make("pre", { class: "answer" }, n.a));
  if (n.n) body.push(make("p", { class: "note" }, n.n));
  body.push(make("h3", {}, "search statistics"), make("dl", { class: "facts" }, ...facts.map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text)))));
  if (i > 0) body.push(make("h3", {}, "steps to this node"), make("ol", { class: "path" }, ...path.map((j) => {
    const button = make("button", { "aria-current": String(j === deepest) }, episode.nodes[j].label);
    button.onclick = () => choose(j, true);
    return make("li", {}, button);
  })));
  $("node").replaceChildren(...body.filter((part) => part !== null));
}

// ---- zoom and pan
let dragged = false;
function place() { $("view").setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`); }
function fit() {
  const box = $("tree").getBoundingClientRect();
  const k = Math.min(1.15, (box.width - 60) / (episode.width || 1), (box.height - 120) / (episode.height || 1));
  view.k = Math.max(k, 0.02);
  view.x = Math.max(24, (box.width - episode.width * view.k) / 2);
  view.y = (box.height - (episode.height - ROW) * view.k) / 2;
  if (k < 0.42) {   // a big tree: show the chosen end readably instead of a grey thicket
    view.k = Math.min(0.62, Math.max(0.42, (box.width - 60) / (episode.width || 1)));
    const end = episode.nodes[episode.path.at(-1) ?? 0];
    view.x = Math.min(24, box.width - 60 - (end.x + end.w) * view.k);
    view.y = box.height / 2 - end.y * view.k;
  }
  place();
}
function zoom(factor, x, y) {
  const box = $("tree").getBoundingClientRect(), k = Math.min(4, Math.max(0.02, view.k * factor));
  x ??= box.width / 2; y ??= box.height / 2;
  view.x = x - (x - view.x) * k / view.k; view.y = y - (y - view.y) * k / view.k; view.k = k;
  place();
}
function reveal(n) {
  const box = $("tree").getBoundingClientRect(), x = view.x + n.x * view.k, y = view.y + n.y * view.k;
  if (x < 20) view.x += 60 - x; else if (x + n.w * view.k > box.width - 20) view.x -= x + n.w * view.k - box.width + 60;
  if (y < 60) view.y += 90 - y; else if (y > box.height - 60) view.y -= y - box.height + 90;
  place();
}
$("tree").addEventListener("wheel", (event) => { event.preventDefault(); const box = $("tree").getBoundingClientRect(); zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), event.clientX - box.left, event.clientY - box.top); }, { passive: false });
const pointers = new Map();
$("tree").addEventListener("pointerdown", (event) => { pointers.set(event.pointerId, event); dragged = false; });
addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before || !episode) return;
  const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
  if (!dragged && Math.hypot(dx, dy) < 4) return;
  dragged = true;
  $("tree").classList.add("dragging");
  if (pointers.size === 2) {
    const other = [...pointers.values()].find((p) => p.pointerId !== event.pointerId), box = $("tree").getBoundingClientRect();
    const apart = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY) || 1;
    zoom(apart(event) / apart(before), other.clientX - box.left, other.clientY - box.top);
  } else { view.x += dx; view.y += dy; place(); }
  pointers.set(event.pointerId, event);
});
for (const name of ["pointerup", "pointercancel"]) addEventListener(name, (event) => { pointers.delete(event.pointerId); $("tree").classList.remove("dragging"); });

// ---- keys
function walk(key) {
  const nodes = episode.nodes, n = nodes[selected];
  if (key === "ArrowLeft") return n.p < 0 ? selected : n.p;
  if (key === "ArrowRight") return n.children.length ? n.children.find((i) => episode.onPath.has(i)) ?? n.children.reduce((a, b) => nodes[b].v > nodes[a].v ? b : a) : selected;
  if (key === "Home") return 0;
  if (key === "End") return episode.path.at(-1) ?? 0;
  const level = nodes.map((m, i) => [m, i]).filter(([m]) => m.depth === n.depth).sort((a, b) => a[0].y - b[0].y).map(([, i]) => i);
  return level[level.indexOf(selected) + (key === "ArrowDown" ? 1 : -1)] ?? selected;
}
const move = (by) => { const next = shown[shown.indexOf(at) + by]; if (next !== undefined) open(next); };
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.target === $("find")) { if (event.key === "Escape" || event.key === "ArrowDown") { event.preventDefault(); $("episodes").focus(); } return; }
  if (event.target.tagName === "SELECT") return;
  const inList = event.target === $("episodes");
  const keys = { j: () => move(1), k: () => move(-1), f: fit, "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "/": () => $("find").focus(), "?": () => $("help").showModal(),
    c: () => { $("colour").selectedIndex = ($("colour").selectedIndex + 1) % $("colour").length; paint(); choose(selected); } };
  if (inList && event.key === "ArrowDown") keys.ArrowDown = () => move(1);
  if (inList && event.key === "ArrowUp") keys.ArrowUp = () => move(-1);
  if (inList && event.key === "Enter") keys.Enter = () => $("tree").focus();
  if (!inList && episode?.nodes.length && /^(Arrow|Home|End)/.test(event.key) && (event.target === $("tree") || event.target === document.body)) keys[event.key] = () => choose(walk(event.key), true);
  if (event.key in keys) { event.preventDefault(); keys[event.key](); }
});
$("find").oninput = list;
$("colour").onchange = () => { if (episode) { paint(); choose(selected); } };
$("in").onclick = () => zoom(1.25);
$("out").onclick = () => zoom(0.8);
$("fit").onclick = () => { if (episode) fit(); };
addEventListener("resize", () => { if (episode) fit(); });
start();
