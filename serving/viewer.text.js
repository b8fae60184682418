// Typesets the texts of models: Markdown by markdown-it, mathematics by KaTeX.
// Both read hostile text, so nothing that they make becomes markup: the elements below are built one by one from
// markdown-it's tokens, from a fixed list, without a single attribute of the text's own; KaTeX builds its own elements and
// trusts no command. Links and images show their address and load nothing. What cannot be typeset is shown as its source.
const TAGS = { h1: "h4", h2: "h4", h3: "h4", h4: "h4", h5: "h4", h6: "h4" };   // the page's own headings stay above
for (const tag of ["p", "ul", "ol", "li", "blockquote", "em", "strong", "s", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "hr", "br"]) TAGS[tag] = tag;
const MARKED = /[`*_#$\\|>~]|^\s*(?:[-+]|\d+[.)])\s|^\s*[-=]{3,}\s*$/m;   // a text without any of these is plain
const CODE = /^\s*(?:def \w|class \w+\s*[:({]|import \w|from [\w.]+ import |#include|package \w|using \w|public \w|func \w|fn \w|const \w|function \w)/m;
const FENCE = /^\s*(?:```|~~~)/m;
const DEFINES = /\\(?:[gex]?def|let|futurelet|(?:re|provide)?newcommand|renewcommand|providecommand|global|long)(?![a-zA-Z])/;   // could double a formula's size again and again
const ENVIRONMENT = /^\\begin\{((?:align|aligned|alignat|equation|gather|gathered|cases|array|split|[pbvBV]?matrix)\*?)\}/;
const MOST_FORMULA = 2000, MOST_DEPTH = 40, MOST_DEPTH_IN_A_LABEL = 8, MOST_ELEMENTS_DEEP = 250, MOST_MS = 400;
const typesetting = { source: false, until: 0 };

function library(name, kind = "script") {   // put to work when first needed; the content policy names its hash
  const block = $(`library-${name}`);
  if (!block) return false;
  if (!block.dataset.used) { block.dataset.used = "true"; document.head.append(make(kind, { textContent: block.textContent })); }
  return true;
}

// ---- mathematics
const source = (tex) => make("code", { class: "source" }, tex);
function nested(tex) {   // how deep braces, \left and \begin go
  let depth = 0, most = 0;
  for (const [part] of tex.matchAll(/\\left(?![a-zA-Z])|\\right(?![a-zA-Z])|\\begin(?![a-zA-Z])|\\end(?![a-zA-Z])|\\(?:[a-zA-Z]+|.)|[{}]/gs)) {
    if (part === "{" || part === "\\left" || part === "\\begin") most = Math.max(most, ++depth);
    else if (part === "}" || part === "\\right" || part === "\\end") depth -= 1;
  }
  return most;
}
const height = (node) => {   // of an element's subtree, without recursion
  let most = 0;
  for (const stack = [[node, 1]]; stack.length;) {
    const [each, depth] = stack.pop();
    most = Math.max(most, depth);
    if (most > MOST_ELEMENTS_DEEP) break;
    for (const child of each.children) stack.push([child, depth + 1]);
  }
  return most;
};
function formula(tex, display, marks = ["", ""]) {   // an element; its source if KaTeX refuses it
  const text = marks[0] + tex + marks[1];
  if (tex.length > MOST_FORMULA || DEFINES.test(tex) || nested(tex) > MOST_DEPTH || performance.now() > typesetting.until) return source(text);
  if (!library("katex-style", "style") || !library("katex")) return source(text);
  const element = make(display ? "div" : "span", { class: display ? "formula display" : "formula", role: "math", "aria-label": tex });
  try {
    katex.render(tex, element, { displayMode: display, output: "html", throwOnError: true, trust: false, strict: false, maxSize: 20, maxExpand: 300 });
  } catch { return source(text); }   // a ParseError, or the stack's end
  return height(element) > MOST_ELEMENTS_DEEP ? source(text) : element;
}
const PAIRS = [["$$", "$$", true], ["\\[", "\\]", true], ["\\(", "\\)", false], ["$", "$", false]];
const escaped = (src, at) => { let n = 0; while (src[at - n - 1] === "\\") n += 1; return n % 2 === 1; };
function balanced(src, at) {   // the end of the group that opens at `at`
  for (let i = at, depth = 0; i < src.length && i < at + MOST_FORMULA; i++) {
    if (src[i] === "\\") i += 1; else if (src[i] === "{") depth += 1; else if (src[i] === "}" && --depth === 0) return i + 1;
  }
  return -1;
}
function closing(src, from, open, close) {
  for (let end = src.indexOf(close, from); end >= 0; end = src.indexOf(close, end + 1)) {
    if (escaped(src, end)) continue;
    if (open !== "$" || (!/\s/.test(src[end - 1]) && !/\d/.test(src[end + 1] ?? "") && end > from)) return end;
  }
  return -1;
}
function inlineMaths(state, silent) {
  const { src, pos } = state;
  if (src[pos] !== "$" && src[pos] !== "\\") return false;
  let tex, end, display = false, marks = ["", ""];
  if (src.startsWith("\\boxed{", pos)) {
    end = balanced(src, pos + 6);
    if (end < 0) return false;
    tex = src.slice(pos, end);
  } else if (ENVIRONMENT.test(src.slice(pos, pos + 30))) {
    const close = `\\end{${ENVIRONMENT.exec(src.slice(pos, pos + 30))[1]}}`, at = src.indexOf(close, pos);
    if (at < 0) return false;
    [tex, end, display] = [src.slice(pos, at + close.length), at + close.length, true];
  } else {
    const pair = PAIRS.find(([open]) => src.startsWith(open, pos));
    if (!pair) return false;
    const from = pos + pair[0].length, spaced = pair[0] === "$" && /\s/.test(src[from] ?? " "), at = spaced ? src.indexOf(" $", from) + 1 : closing(src, from, pair[0], pair[1]);
    if (at <= from || (spaced && !/^[^$\n]*[\\^_][^$\n]*$/.test(src.slice(from, at)))) return false;   // `$ x^2 $` is a formula, `$ 5 or $ 6` is not
    [tex, end, display, marks] = [src.slice(from, at), at + pair[1].length, pair[2], pair];
  }
  if (!silent) state.push("maths", "", 0).meta = { tex, display, marks };
  state.pos = end;
  return true;
}
function blockMaths(state, first, last, silent) {   // from a line's beginning to a line's end, over blank lines and list marks
  const at = state.bMarks[first] + state.tShift[first], head = state.src.slice(at, at + 30), environment = ENVIRONMENT.exec(head);
  const open = environment ? "" : head.startsWith("$$") ? "$$" : head.startsWith("\\[") ? "\\[" : null;
  if (open === null) return false;
  const close = environment ? `\\end{${environment[1]}}` : open === "$$" ? "$$" : "\\]", end = state.src.indexOf(close, at + Math.max(1, open.length));
  let line = first;
  while (line < last && state.eMarks[line] < end) line += 1;
  if (end < 0 || line >= last || !/^\s*[.,;:]?\s*$/.test(state.src.slice(end + close.length, state.eMarks[line]))) return false;
  if (silent) return true;
  const tex = environment ? state.src.slice(at, end + close.length) : state.src.slice(at + open.length, end);
  Object.assign(state.push("maths", "", 0), { block: true, map: [first, line + 1], meta: { tex, display: true, marks: environment ? ["", ""] : [open, close] } });
  state.line = line + 1;
  return true;
}

// ---- a label: mathematics in plain characters, because KaTeX would take seconds for thousands of labels
const SIGNS = new Map(("times× cdot· div÷ pm± mp∓ ast∗ circ° degree° le≤ leq≤ leqslant≤ ge≥ geq≥ geqslant≥ ne≠ neq≠ approx≈ equiv≡ sim∼ cong≅ propto∝ infty∞ to→ rightarrow→ longrightarrow→ Rightarrow⇒ implies⇒ iff⇔ leftrightarrow↔ mapsto↦ "
  + "in∈ notin∉ cup∪ cap∩ subset⊂ subseteq⊆ setminus∖ emptyset∅ varnothing∅ forall∀ exists∃ land∧ wedge∧ lor∨ vee∨ neg¬ lnot¬ sum∑ prod∏ int∫ partial∂ nabla∇ angle∠ triangle△ perp⊥ parallel∥ mid| lfloor⌊ rfloor⌋ lceil⌈ rceil⌉ langle⟨ rangle⟩ ldots… cdots… dots… "
  + "therefore∴ because∵ prime′ square□ alphaα betaβ gammaγ deltaδ epsilonε varepsilonε zetaζ etaη thetaθ iotaι kappaκ lambdaλ muμ nuν xiξ piπ rhoρ sigmaσ tauτ phiφ varphiφ chiχ psiψ omegaω GammaΓ DeltaΔ ThetaΘ LambdaΛ XiΞ PiΠ SigmaΣ PhiΦ PsiΨ OmegaΩ").split(" ").map((each) => [each.slice(0, -1), each.at(-1)]));
const RAISED = "0⁰1¹2²3³4⁴5⁵6⁶7⁷8⁸9⁹+⁺-⁻=⁼(⁽)⁾nⁿiⁱ°°∘°′′", LOWERED = "0₀1₁2₂3₃4₄5₅6₆7₇8₈9₉+₊-₋=₌(₍)₎iᵢjⱼnₙkₖ";
const bracketed = (text) => (/^[\p{L}\p{N}.√′°]*$/u.test(text) ? text : `(${text})`);
function moved(text, to, sign) {   // as superscript or subscript if there are such characters
  const at = [...text].map((char) => to.indexOf(char));
  return at.every((i) => i >= 0 && i % 2 === 0) ? at.map((i) => to[i + 1]).join("") : sign + (text.length > 1 ? `(${text})` : text);
}
const GROUPS_INWARDS = [   // commands and scripts whose groups hold no other group
  [/\{\{([^{}]*)\}\}/g, "{$1}"],
  [/\\[dtc]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))/g, (_, a, b, c, d) => `${bracketed(a ?? b)}/${bracketed(c ?? d)}`],
  [/\\[dt]?binom\s*\{([^{}]*)\}\s*\{([^{}]*)\}/g, "C($1, $2)"],
  [/\\sqrt\s*(?:\[([^[\]{}]*)\])?\s*(?:\{([^{}]*)\}|(\w))/g, (_, degree, a, b) => `${degree ? moved(degree, RAISED, "") : ""}√${bracketed(a ?? b)}`],
  [/\^\s*(?:\{([^{}]*)\}|([^\s{}\\(]))/g, (_, a, b) => moved(a ?? b, RAISED, "^")],
  [/_\s*(?:\{([^{}]*)\}|([^\s{}\\(]))/g, (_, a, b) => moved(a ?? b, LOWERED, "_")],
  [/\\(?:boxed|fbox|mbox|text\w*|math\w+|operatorname|overline|underline|vec|hat|bar|tag)\s*\{([^{}]*)\}/g, "$1"],
];
function plainMaths(tex) {
  if (!/[\\^_{~&]/.test(tex) || nested(tex) > MOST_DEPTH_IN_A_LABEL) return tex.trim();
  let text = tex.replace(/\\\\|~|\\[,;: ]|\\q?quad(?![a-zA-Z])/g, " ").replace(/\\(?:begin|end)\s*\{[^{}]*\}|\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits)(?![a-zA-Z])\.?|\\!|(?<!\\)&(?==)/g, "").replace(/(?<!\\)&/g, " ");
  text = text.replace(/\\([a-zA-Z]+)/g, (all, name) => SIGNS.get(name) ?? all);
  for (let before = ""; before !== text && /[\\^_{]/.test(text) && text.length < 4 * MOST_FORMULA;) {   // from the innermost group outwards
    before = text;
    for (const [pattern, plain] of GROUPS_INWARDS) text = text.replace(pattern, plain);
  }
  return text.replace(/(?<!\\)[{}]/g, "").replace(/\\([a-zA-Z]+)(?![a-zA-Z])(?=[\p{L}\p{Nd}])/gu, "$1 ").replace(/\\([a-zA-Z]+|[{}%$#&_])/g, "$1").trim();
}
function inOneLine(text, size = 4 * LABEL) {   // the first `size` characters of what `typeset` shows
  if (typesetting.source || !/[$\\*]/.test(text) || CODE.test(text)) return text;
  const source = text.slice(0, MOST_FORMULA), state = { src: source, pos: 0, push: () => (state.token = {}) };
  let line = "";
  while (state.pos < source.length && line.length < size) {
    const char = source[state.pos];
    if (inlineMaths(state, false)) line += plainMaths(state.token.meta.tex);
    else if (char === "\\" && /[!-/:-@[-`{-~]/.test(source[state.pos + 1] ?? "")) { line += source[state.pos + 1]; state.pos += 2; }
    else { line += char; state.pos += 1; }
  }
  return line.replace(/(^|\s)(\*\*?)(?=[^\s*])([^*]+)\2(?=$|[^\w*])/g, "$1$3");
}
const inOneLineAnswer = (text) => (typesetting.source || !isFormula(text) ? inOneLine(text) : plainMaths(bare(text)));

// ---- Markdown
let reader = null;
function markdown() {
  if (reader || !library("markdown-it")) return reader;
  reader = markdownit({ html: false, linkify: false, typographer: false, breaks: true, maxNesting: 20 });
  reader.validateLink = () => true;   // an address is shown, never followed
  reader.inline.ruler.before("escape", "maths", inlineMaths);
  reader.block.ruler.before("fence", "maths", blockMaths, { alt: ["paragraph", "reference", "blockquote", "list"] });
  return reader;
}
const address = (text) => make("span", { class: "address" }, ` (${short(text, 200)})`);
function elements(tokens, into) {
  const open = [into];
  for (const token of tokens) {
    const here = open.at(-1), tag = TAGS[token.tag];
    if (token.type === "inline") elements(token.children, here);
    else if (token.type === "text") here.append(token.content);
    else if (token.type === "maths") here.append(formula(token.meta.tex, token.meta.display, token.meta.marks));
    else if (token.type === "code_inline") here.append(make("code", {}, token.content));
    else if (token.type === "fence" || token.type === "code_block") here.append(make("pre", {}, token.content));
    else if (token.type === "softbreak") here.append(make("br"));
    else if (token.type === "image") here.append(make("span", { class: "picture" }, `image: ${short(token.content, 100)}`), address(token.attrGet("src") ?? ""));
    else if (token.type === "link_open") { open.push(make("span", { class: "linked" })); here.append(open.at(-1)); open.at(-1).address = token.attrGet("href") ?? ""; }
    else if (token.type === "link_close") { const link = open.pop(); if (link.textContent !== link.address) open.at(-1).append(address(link.address)); }
    else if (token.nesting === 1) {
      const element = make(tag ?? "span");
      if (tag === "ol") element.start = Math.min(1e6, Number(token.attrGet("start") ?? 1));
      if (!token.hidden) here.append(element);   // a tight list's paragraphs are hidden
      open.push(token.hidden ? here : element);
    } else if (token.nesting === -1) open.pop();
    else if (tag) here.append(make(tag));
    else here.append(token.content);
  }
  return into;
}

// A text as the reader wants it: typeset, or its source. Code is code.
function typeset(text) {
  const plain = () => make("div", { class: "text plain" }, text);
  const code = typesetting.source || FENCE.test(text) ? -1 : text.search(CODE);
  if (code >= 0) {   // what is before the code is prose
    const before = text.slice(0, code).trim(), block = make("pre", {}, text.slice(code).replace(/^\s*\n/, ""));
    return before ? make("div", { class: "text" }, typeset(before), block) : block;
  }
  if (typesetting.source || !MARKED.test(text) || !markdown()) return plain();
  typesetting.until = performance.now() + MOST_MS;
  try { return elements(reader.parse(text, {}), make("div", { class: "text" })); } catch { return plain(); }
}
// An answer or a reference: one formula if it is one, otherwise as it is.
const bare = (text) => text.trim().replace(/^\$+|\$+$/g, "");
const isFormula = (text) => text.length <= 300 && /\\[a-zA-Z]|[\^_]|\$/.test(text) && !/\n|`/.test(text) && !bare(text).includes("$");
function typesetAnswer(text) {
  if (typesetting.source || !isFormula(text)) return document.createTextNode(text);
  typesetting.until = performance.now() + MOST_MS;
  const found = formula(bare(text), false);
  return found.tagName === "CODE" ? document.createTextNode(text) : found;
}
