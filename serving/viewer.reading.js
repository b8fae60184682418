// An episode as a text: the problem, the chosen steps or an agent's messages, the answer, and what its verdict rests on.
const facts = (pairs) => make("dl", { class: "facts" }, ...pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
const duration = (seconds) => typeof seconds !== "number" ? "" : seconds < 0.9995 ? `${number(1000 * seconds, seconds < 0.01 ? 2 : 0)} ms` : `${number(seconds, 2)} s`;
function copier(text) {   // a button that copies a text as it was written
  const button = make("button", { class: "link", type: "button", title: "Copy the text as it was written" }, "copy");
  button.onclick = async () => {
    button.textContent = await navigator.clipboard.writeText(text).then(() => "copied", () => "not allowed");
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  };
  return button;
}
const OUTCOMES = { passed: "correct", failed: "incorrect", undecided: "undecided" };

function stepParts(n) {   // the elements of a step, its reply and its answer
  const parts = [];
  for (const [kind, text] of n.g ?? (n.t ? [["visible", n.t]] : [])) {
    if (kind === "reasoning") parts.push(unfolded(`Internal reasoning, ${number(text.length)} characters`, () => typeset(text), "reasoning"));
    else if (kind === "visible") parts.push(typeset(text));
    else parts.push(make("h3", {}, words(kind)), kind === "answer" ? make("pre", { class: kind }, typesetAnswer(text)) : make("pre", { class: kind }, text));
  }
  if (n.r) parts.push(make("h3", {}, "reply of the environment"), make("pre", { class: "reply" }, n.r));
  const said = (n.g ?? [["visible", n.t]]).filter(([kind]) => kind !== "reasoning").map(([, text]) => text.trim());
  if (n.a !== null && n.a !== undefined && !said.includes(n.a.trim())) parts.push(make("h3", {}, "answer"), make("pre", { class: "answer" }, typesetAnswer(n.a)));
  if (n.n) parts.push(make("p", { class: "note" }, n.n));
  return parts;
}
function unfolded(title, build, kind = "") {   // made when it is opened, so that a long text costs nothing before
  const details = make("details", { class: kind }, make("summary", {}, title));
  details.addEventListener("toggle", () => { if (details.open && details.childElementCount < 2) details.append(build()); });
  return details;
}
function evidenceParts({ tests, num, facts: more }) {   // what a verdict rests on
  const parts = [];
  if (tests) {
    const passed = tests.filter(([, outcome]) => outcome === "passed").length;
    const timed = tests.some(([, , , seconds]) => seconds !== undefined);   // older records have no times
    const rows = tests.map(([name, outcome, message, seconds]) => make("tr", {}, make("td", {}, tint(make("span", { class: "outcome" }, outcome), OUTCOMES[outcome] ?? "no_answer")), make("td", {}, name), timed ? make("td", { class: "time" }, duration(seconds)) : null, make("td", { class: "said" }, message ?? "")));
    parts.push(make("h3", {}, `tests: ${number(passed)} of ${number(num)} passed`), make("div", { class: "wide" }, make("table", { class: "tests" }, make("thead", {}, make("tr", {}, ...["outcome", "test", timed ? "time" : null, "message"].filter(Boolean).map((name) => make("th", {}, name)))), make("tbody", {}, ...rows))));
    if (num > tests.length) parts.push(make("p", { class: "more" }, `The first ${number(tests.length)} tests are shown.`));
  }
  if (more) parts.push(make("h3", {}, "evidence"), make("dl", { class: "evidence" }, ...Object.entries(more).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])));
  return parts;
}

class Reading {   // the text of one pane; `opened(i)` is called when the reader asks for node i
  constructor(opened, scrolled) {
    this.opened = opened;
    this.box = make("div", { class: "reading", tabindex: 0, "aria-label": "The episode as a text" });
    this.box.addEventListener("scroll", () => scrolled(this), { passive: true });
  }
  show(episode) {
    const card = (title, kind, text, ...inside) => make("article", { class: kind }, make("h3", { class: "top" }, title, text ? make("span", {}, copier(text)) : null), ...inside);
    const cards = [card("The problem", "asked", episode.prompt, typeset(episode.prompt))];
    if (episode.messages) for (const [role, text] of episode.messages) cards.push(role === "new conversation" ? make("p", { class: "more" }, role) : card(role, `said ${["assistant", "error"].includes(role) ? role : "other"}`, text, ["tool", "tool call", "error"].includes(role) ? make("pre", {}, text) : typeset(text)));
    else for (const i of episode.path.filter((i) => i > 0 && episode.nodes[i])) {
      const link = make("button", { class: "link", title: "Show this node in the tree" }, `node ${i}`);
      link.onclick = () => this.opened(i);
      cards.push(card(`Step ${episode.path.indexOf(i)}`, "said assistant", episode.nodes[i].t, ...stepParts(episode.nodes[i])));
      (cards.at(-1).querySelector("h3 > span") ?? cards.at(-1).firstChild).append(link);
    }
    const end = [facts([["answer", typesetAnswer(episode.answer || "none")], ["reference", typesetAnswer(episode.reference || "none")]])];
    for (const name of ["reason", "note"]) if (episode[name]) end.push(make("h3", {}, name), make("p", {}, episode[name]));
    cards.push(tint(card(`Verdict: ${words(episode.verdict)}`, "decided", null, ...end, ...evidenceParts(episode.evidence ?? {})), episode.verdict));
    this.box.replaceChildren(make("div", { class: "column" }, ...cards));
    this.box.scrollTop = 0;
  }
  get cards() { return [...this.box.firstChild?.children ?? []]; }
  get place() {   // the card at the top, and how much of it is above
    const top = this.box.scrollTop, cards = this.cards, i = Math.max(0, cards.findLastIndex((card) => card.offsetTop <= top + 1));
    return [i, (top - (cards[i]?.offsetTop ?? 0)) / Math.max(1, cards[i]?.offsetHeight ?? 1)];
  }
  follow([i, share]) {   // the same card, as much of it; the last card is the verdict in both
    const card = this.cards[Math.min(i, this.cards.length - 1)];
    if (card) this.box.scrollTop = card.offsetTop + share * card.offsetHeight;
  }
}
