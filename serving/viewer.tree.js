"use strict";
// One tree on the page: a column per step, leaves in rows, each parent at the middle of its children.
// Near, the nodes around the visible part are drawn one by one. Far (text would be unreadable), all boxes of one colour are
// one path, and so they are in the minimap; a tree of thousands of nodes is then some twenty elements.
// Model text is hostile: it reaches the page through textContent only, never as markup.
const $ = (id) => document.getElementById(id);
const ROW = 30, HEIGHT = 24, GAP = 46, CHAR = 7.25, LABEL = 26, FAR = 0.3, SHADES = 16, CHUNK = 200;
const MARK = { correct: "✓", incorrect: "✗", undecided: "?" };
const SVG = "http://www.w3.org/2000/svg";

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
const short = (text, size = LABEL) => { const line = text.slice(0, 4000).replace(/\s+/gu, " ").trim(); const all = [...line.slice(0, size * 4)]; return all.length > size ? all.slice(0, size - 1).join("") + "…" : line; };
const isolated = (text) => /[\u0590-\u08ff\ufb1d-\ufefc]/.test(text) ? `\u2068${text}\u2069` : text;   // right-to-left text in a line of its own direction
function label(n) {   // internal reasoning stays folded here too
  if (!n.g) return isolated(short(inOneLine(n.t.replace(/^\s*```\w*\s/, "")))) || "(empty)";
  const said = short(n.g.filter(([kind]) => kind !== "reasoning").map(([kind, text]) => (kind === "answer" ? inOneLineAnswer : inOneLine)(text)).join(" "), LABEL - 2);
  return isolated(n.g.some(([kind]) => kind === "reasoning") ? `… ${said || "(only reasoning)"}` : said || "(empty)");
}
const shade = (element, share, name = "fill") => { element.style[name] = `color-mix(in oklab, var(--high) ${Math.round(62 * share)}%, var(--surface))`; return element; };

class Tree {
  constructor(changed) {   // `changed(tree)` is called after another node was selected
    this.changed = changed;
    this.layer = draw("g", {});
    this.svg = draw("svg", { class: "tree", tabindex: 0, role: "tree", "aria-label": "Search tree. Arrow keys walk it." });
    this.svg.append(this.layer);
    this.map = draw("svg", { preserveAspectRatio: "none" });
    this.frame = make("i");
    this.minimap = make("div", { class: "minimap", "aria-hidden": "true" }, this.map, this.frame);
    this.caption = make("p", { class: "caption" });
    this.pane = make("div", { class: "pane" }, this.svg, this.caption, this.minimap);
    this.key = `tree${Tree.made = (Tree.made ?? 0) + 1}`;
    this.number = -1;
    this.nodes = [];
    this.at = { x: 0, y: 0, k: 1 };   // where the tree's origin is on the screen, and the zoom
    this.pointers = new Map();
    this.listen();
  }

  id(i) { return `${this.key}-${i}`; }
  // ---- data
  open(number, episode, folded) {   // `folded`: the nodes whose subtrees are collapsed; the caller keeps it
    Object.assign(this, { number, episode, folded, nodes: episode.nodes, made: episode.nodes.length, selected: 0, colour: this.colour ?? "q", hits: new Set() });
    this.nodes.forEach((n) => { n.children = []; n.size = 0; n.depth = n.p < 0 ? 0 : this.nodes[n.p].depth + 1; });
    this.name();
    this.nodes.forEach((n, i) => { if (n.p >= 0) this.nodes[n.p].children.push(i); });
    for (const n of this.nodes.toReversed()) if (n.p >= 0) this.nodes[n.p].size += n.size + 1;
    this.onPath = new Set(episode.path);
    this.most = Math.max(1, ...this.nodes.slice(1).map((n) => n.v));
    this.measure();
    this.layout();
    this.stale();
    this.start();
  }
  name() { this.nodes.forEach((n, i) => { n.label = i === 0 ? "problem" : label(n); }); }
  get end() { return this.episode.path.at(-1) ?? 0; }
  shows(i) { return this.nodes[i].y !== null && i < this.made; }
  share(n) { return this.colour === "v" ? Math.log1p(n.v) / Math.log1p(this.most) : Math.min(1, Math.max(0, n[this.colour] ?? 0)); }
  layout() {
    const width = [];
    for (const [i, n] of this.nodes.entries()) {
      n.y = null;   // stays so below a collapsed node
      n.w = [...n.label].length * (i ? CHAR : 8.6) + (i ? 22 : 28) + (n.v > 1 ? 12 + 6.4 * String(n.v).length : 0) + (n.d || n.u === "failed" ? 18 : 0);
      width[n.depth] = Math.max(width[n.depth] ?? 0, n.w);
    }
    let row = 0;
    const stack = this.nodes.length ? [[0, false]] : [];
    while (stack.length) {
      const [i, done] = stack.pop(), n = this.nodes[i];
      if (!n.children.length || this.folded.has(i)) n.y = ROW * row++;
      else if (done) n.y = (this.nodes[n.children[0]].y + this.nodes[n.children.at(-1)].y) / 2;
      else { stack.push([i, true]); for (const child of n.children.toReversed()) stack.push([child, false]); }
    }
    // Columns move apart until the tree has the shape of its pane.
    const room = row * ROW * this.box.width / Math.max(1, this.box.height) - width.reduce((sum, w) => sum + w, 0);
    const gap = Math.min(190, Math.max(GAP, 0.85 * room / Math.max(1, width.length - 1)));
    const left = width.reduce((sum, w) => (sum.push(sum.at(-1) + w + gap), sum), [0]);
    for (const n of this.nodes) n.x = left[n.depth];
    this.width = Math.max(1, ...this.nodes.map((n) => n.x + n.w));
    this.height = Math.max(1, row) * ROW;
  }

  // ---- drawing
  curve(n) {
    const from = this.nodes[n.p], x = from.x + from.w, bend = (n.x - x) * 0.55, at = (value) => value.toFixed(1);
    return `M${at(x)} ${at(from.y)}C${at(x + bend)} ${at(from.y)} ${at(n.x - bend)} ${at(n.y)} ${at(n.x)} ${at(n.y)}`;
  }
  rectangle(n, x, w, h) { return `M${x.toFixed(1)} ${(n.y - h / 2).toFixed(1)}h${w.toFixed(1)}v${h}h${(-w).toFixed(1)}z`; }
  boxes() {   // the boxes of each shade as one path
    const fills = Array.from({ length: SHADES + 1 }, () => []);
    for (const [i, n] of this.nodes.entries()) if (this.shows(i)) fills[Math.round(SHADES * this.share(n))].push(this.rectangle(n, n.x, n.w, HEIGHT));
    return fills.map((parts) => parts.join(""));
  }
  overview() {   // the whole tree in few elements, for the far view and the minimap
    const edges = [[]], chosen = [], marks = {};
    for (const [i, n] of this.nodes.entries()) {
      if (!this.shows(i)) continue;
      if (i) (this.onPath.has(i) ? chosen : edges.at(-1).length < CHUNK ? edges.at(-1) : edges[edges.push([]) - 1]).push(this.curve(n));
      const mark = this.hits.has(i) ? "hit" : n.d ?? (n.u === "failed" ? "failed" : null);
      if (mark) (marks[mark] ??= []).push(this.rectangle(n, n.x + n.w, 40, ROW));
    }
    const path = (kind, parts) => draw("path", { class: kind, d: parts.join("") });
    const thin = (element) => (element.style.strokeOpacity = Math.max(0.2, Math.min(1, 400 / this.nodes.length)), element);
    const boxes = (d, level) => shade(shade(draw("path", { class: "box", d }), level / SHADES), level / SHADES, "stroke");   // the line keeps a low box visible
    this.far = [...edges.map((parts) => thin(path("edge", parts))), ...this.boxes().map(boxes),
      ...Object.entries(marks).map(([name, parts]) => path(`strip ${name}`, parts)), path("edge chosen", chosen)];
    this.map.setAttribute("viewBox", `0 ${-ROW} ${this.width} ${this.height + ROW}`);
    this.map.replaceChildren(...this.far.map((each) => each.cloneNode()));
  }
  stale() {   // what was drawn is no longer true; the visible part is drawn first, the minimap after the next frame
    this.far = this.drawn = null;
    requestAnimationFrame(() => setTimeout(() => this.far ?? this.overview()));
  }
  near() {   // the nodes and edges in the pane and half a pane around it
    const { x, y, k } = this.at, { width, height } = this.box;
    const [left, top, right, bottom] = [(-x - width / 2) / k, (-y - height / 2) / k, (1.5 * width - x) / k, (1.5 * height - y) / k];
    this.drawn = { left, top, right, bottom, k };
    this.pills = new Map();
    const edges = [], chosen = [];
    for (const [i, n] of this.nodes.entries()) {
      if (!this.shows(i)) continue;
      if (i) {
        const from = this.nodes[n.p], on = this.onPath.has(i);
        if (from.x < right && n.x > left && Math.min(from.y, n.y) < bottom && Math.max(from.y, n.y) > top)
          (on ? chosen : edges).push(draw("path", { class: on ? "edge chosen" : "edge", d: this.curve(n), "stroke-width": (on ? 1.6 : 1) + 2.2 * Math.log1p(n.v) / Math.log1p(this.most) }));
      }
      if (n.x < right && n.x + n.w > left && n.y < bottom && n.y > top) this.pills.set(i, this.pill(n, i));
    }
    this.layer.replaceChildren(...edges, ...chosen, ...this.pills.values());
  }
  pill(n, i) {
    const kinds = ["n", n.u, this.onPath.has(i) && "chosen", i === 0 && "root", this.hits.has(i) && "hit", i === this.selected && "on"];
    const pill = draw("g", { class: kinds.filter(Boolean).join(" "), transform: `translate(${n.x} ${n.y})`, "data-node": i, id: this.id(i), role: "treeitem", "aria-label": [n.label + (n.v > 1 ? ` ×${n.v}` : ""), n.d ?? (n.u === "failed" ? "failed" : null)].filter(Boolean).join(", "), "aria-selected": String(i === this.selected), "aria-level": n.depth + 1 });
    pill.append(shade(draw("rect", { y: -HEIGHT / 2, width: n.w, height: HEIGHT, rx: 8 }), this.share(n)), draw("text", { x: 11 }, n.label));
    let right = n.w - 11;
    const mark = MARK[n.d] ?? (n.u === "failed" ? "!" : null);
    if (mark) { pill.append(draw("text", { class: `mark ${n.d ?? "failed"}`, x: right, "text-anchor": "end" }, mark)); right -= 17; }
    if (n.v > 1) pill.append(draw("text", { class: "count", x: right, "text-anchor": "end" }, `×${n.v}`));
    if (n.size) {
      const folded = this.folded.has(i), text = folded ? `+${n.size}` : "−", wide = 9 + 6 * text.length;
      const handle = draw("g", { class: folded ? "handle folded" : "handle", transform: `translate(${n.w - 4} 0)` });
      handle.append(draw("rect", { y: -7, width: wide, height: 14, rx: 7 }), draw("text", { x: wide / 2, "text-anchor": "middle" }, text));
      pill.append(handle);
      pill.setAttribute("aria-expanded", String(!folded));
    }
    return pill;
  }
  place() {   // after every change of zoom or position
    const { x, y, k } = this.at, [kx, ky] = this.scale(), far = k < FAR, { width, height } = this.box;
    this.svg.classList.toggle("far", far);
    this.layer.setAttribute("transform", `translate(${x} ${y}) scale(${kx} ${ky})`);
    if (far && this.drawn !== "far") { this.far ?? this.overview(); this.layer.replaceChildren(...this.far, draw("path", { class: "here" })); this.drawn = "far"; }
    const d = this.drawn;
    if (!far && (!d?.k || -x / k < d.left || -y / k < d.top || (width - x) / k > d.right || (height - y) / k > d.bottom || k / d.k > 4)) this.near();
    if (far) this.mark();
    const whole = x >= 0 && y >= 0 && x + this.width * kx <= width && y + (this.height - ROW) * ky <= height;
    this.minimap.classList.toggle("whole", whole || this.nodes.length < 2);
    const share = (value) => `${100 * Math.min(1, Math.max(0, value))}%`, tall = (this.height + ROW) * ky;
    Object.assign(this.frame.style, { left: share(-x / kx / this.width), right: share(1 - (width - x) / kx / this.width), top: share((ROW * ky - y) / tall), bottom: share(1 - (height - y + ROW * ky) / tall) });
  }
  mark() {   // a cross at the selected node in the far view
    const n = this.nodes[this.selected], [kx, ky] = this.scale();
    if (n && n.y !== null) this.layer.lastChild.setAttribute("d", `M${n.x - 12 / kx} ${n.y}h${24 / kx}M${n.x} ${n.y - 12 / ky}v${24 / ky}`);
  }
  redraw() { this.stale(); this.place(); }
  recolour(by) {
    this.colour = by;
    if (!this.nodes.length) return;
    for (const [i, pill] of this.pills ?? []) shade(pill.firstChild, this.share(this.nodes[i]));
    if (!this.far) return;   // it will be drawn in this colour
    const drawn = this.boxes(), first = this.far.findIndex((each) => each.classList.contains("box"));
    for (const [level, d] of drawn.entries()) for (const path of [this.far[first + level], this.map.children[first + level]]) path.setAttribute("d", d);
  }
  replay(made) { this.made = made; this.redraw(); }

  // ---- the selected node
  choose(i, follow = false) {
    if (!this.nodes[i]) { this.changed(this); return; }
    let hidden = false;
    for (let j = this.nodes[i].p; j >= 0; j = this.nodes[j].p) hidden = this.folded.delete(j) || hidden;
    if (i >= this.made) { this.made = this.nodes.length; hidden = true; }
    if (hidden) { this.layout(); this.redraw(); }
    const mark = (on) => { const pill = this.pills?.get(this.selected); pill?.classList.toggle("on", on); pill?.setAttribute("aria-selected", String(on)); };
    mark(false);
    this.selected = i;
    mark(true);
    this.svg.setAttribute("aria-activedescendant", this.id(i));
    if (this.drawn === "far") this.mark();
    if (follow) this.reveal(this.nodes[i]);
    this.changed(this);
  }
  toggle(i) {   // collapse or expand the node's subtree; the node keeps its place on the screen
    const n = this.nodes[i];
    if (!n?.size) return;
    const before = n.y;
    if (!this.folded.delete(i)) this.folded.add(i);
    this.layout();
    this.at.y += (before - n.y) * this.at.k;
    this.redraw();
    let inside = this.selected;
    while (inside >= 0 && this.nodes[inside].y === null) inside = this.nodes[inside].p;
    if (inside !== this.selected) this.choose(inside);
  }
  walk(key) {
    const n = this.nodes[this.selected], children = n.children.filter((i) => this.shows(i));
    if (key === "ArrowLeft") return n.p < 0 ? this.selected : n.p;
    if (key === "ArrowRight") return children.length ? children.find((i) => this.onPath.has(i)) ?? children.reduce((a, b) => this.nodes[b].v > this.nodes[a].v ? b : a) : this.selected;
    if (key === "Home") return 0;
    if (key === "End") return this.end;
    const level = [...this.nodes.keys()].filter((i) => this.nodes[i].depth === n.depth && this.shows(i)).sort((a, b) => this.nodes[a].y - this.nodes[b].y);
    return level[level.indexOf(this.selected) + (key === "ArrowDown" ? 1 : -1)] ?? this.selected;
  }

  // ---- zoom and position
  measure() { this.box = this.svg.getBoundingClientRect(); }
  scale() {   // the far view keeps the tree's width when rows get lower, because trees are much taller than wide
    const k = this.at.k;
    return [Math.max(k, Math.min(FAR, (this.box.width - 60) / this.width)), k];
  }
  get whole() { return Math.min(1.15, (this.box.width - 60) / this.width, (this.box.height - 120) / this.height); }
  start() { this.whole < 0.5 ? this.path() : this.fit(); this.shown = "start"; }
  fit() {   // show the whole tree
    this.shown = "fit";
    this.at.k = this.whole;
    const [kx, ky] = this.scale();
    this.at.x = Math.max(24, (this.box.width - this.width * kx) / 2);
    this.at.y = (this.box.height - (this.height - ROW) * ky) / 2;
    this.place();
  }
  path() {   // show the end of the chosen path at a readable size
    this.shown = "path";
    const k = this.at.k = Math.min(1, Math.max(0.75, (this.box.width - 60) / this.width));
    const end = this.nodes[this.end];
    this.at.x = Math.min(24, this.box.width - 60 - (end.x + end.w) * k);
    this.at.y = this.box.height / 2 - (end.y ?? 0) * k;
    this.place();
  }
  resize() {   // keep what the reader asked for
    this.measure();
    if (this.shown) this[this.shown](); else this.place();
  }
  moved() { this.shown = null; this.place(); }
  zoom(factor, x = this.box.width / 2, y = this.box.height / 2) {
    const [kx, ky] = this.scale();
    this.at.k = Math.min(4, Math.max(Math.min(0.02, this.whole), this.at.k * factor));
    const [nx, ny] = this.scale();
    this.at.x = x - (x - this.at.x) * nx / kx;
    this.at.y = y - (y - this.at.y) * ny / ky;
    this.moved();
  }
  reveal(n) {
    const { x: left, y: top } = this.at;
    const [kx, ky] = this.scale(), { width, height } = this.box, x = this.at.x + n.x * kx, y = this.at.y + n.y * ky;
    if (x < 20) this.at.x += 60 - x; else if (x + n.w * kx > width - 20) this.at.x -= x + n.w * kx - width + 60;
    if (y < 60) this.at.y += 90 - y; else if (y > height - 60) this.at.y -= y - height + 90;
    if (this.at.x !== left || this.at.y !== top) this.moved();
  }
  nearest(event) {   // the node at a point of the far view
    const [kx, ky] = this.scale(), x = event.clientX - this.box.left - this.at.x, y = event.clientY - this.box.top - this.at.y;
    const apart = (n) => Math.hypot(Math.max(n.x * kx - x, 0, x - (n.x + n.w) * kx), n.y * ky - y);
    return [...this.nodes.keys()].filter((i) => this.shows(i)).reduce((a, b) => apart(this.nodes[b]) < apart(this.nodes[a]) ? b : a, 0);
  }
  listen() {
    const { svg, pointers } = this;
    svg.addEventListener("click", (event) => {
      if (this.dragged || !this.nodes.length) return;
      const node = event.target.closest("[data-node]")?.dataset.node;
      if (event.target.closest(".handle")) this.toggle(Number(node));
      else if (node !== undefined) this.choose(Number(node));
      else if (this.drawn === "far") this.choose(this.nearest(event));
    });
    svg.addEventListener("dblclick", (event) => { this.measure(); if (this.drawn === "far") this.zoom(0.8 / this.at.k, event.clientX - this.box.left, event.clientY - this.box.top); });
    svg.addEventListener("wheel", (event) => { event.preventDefault(); this.measure(); this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), event.clientX - this.box.left, event.clientY - this.box.top); }, { passive: false });
    svg.addEventListener("pointerdown", (event) => { this.measure(); pointers.set(event.pointerId, event); this.dragged = false; });
    addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before || !this.nodes.length) return;
      const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
      if (!this.dragged && Math.hypot(dx, dy) < 4) return;
      this.dragged = true;
      svg.classList.add("dragging");
      if (pointers.size === 2) {
        const other = [...pointers.values()].find((p) => p.pointerId !== event.pointerId), apart = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY) || 1;
        this.zoom(apart(event) / apart(before), other.clientX - this.box.left, other.clientY - this.box.top);
      } else { this.at.x += dx; this.at.y += dy; this.moved(); }
      pointers.set(event.pointerId, event);
    });
    for (const name of ["pointerup", "pointercancel"]) addEventListener(name, (event) => { pointers.delete(event.pointerId); svg.classList.remove("dragging"); });
    const jump = (event) => {   // the minimap's point comes to the middle of the pane
      if (event.type === "pointermove" && !event.buttons) return;
      const box = this.minimap.getBoundingClientRect(), [kx, ky] = this.scale();
      this.at.x = this.box.width / 2 - (event.clientX - box.left) / box.width * this.width * kx;
      this.at.y = this.box.height / 2 - ((event.clientY - box.top) / box.height * (this.height + ROW) - ROW) * ky;
      this.moved();
    };
    this.minimap.addEventListener("pointerdown", jump);
    this.minimap.addEventListener("pointermove", jump);
  }
}
