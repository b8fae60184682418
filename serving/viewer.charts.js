// The charts of runs, drawn as SVG in the width that there is. Each has a table with the same figures; a mark that is clicked
// lists its episodes.
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;
const interval = (each) => `${percent(each.share)} [${percent(each.low)}, ${percent(each.high)}]`;
const AXIS = 44, LEFT = 46, TALL = 240, RIGHT = 14;

function chartCards(index, show) {   // the cards; they are drawn by `draw()` once they are on the page
  const cards = index.charts.map((chart) => {
    const picture = make("div", { class: "picture" });
    const card = make("figure", { class: `chart ${chart.kind}`, "data-chart": chart.name }, make("figcaption", {}, make("h2", {}, chart.title), chart.note ? make("p", {}, chart.note) : null), legend(chart), picture, table(chart));
    card.draw = () => picture.replaceChildren(PICTURES[chart.kind](chart, Math.max(240, picture.clientWidth), show));
    return card;
  });
  if (index.pairs) cards.unshift(pairsCard(index.pairs, show));
  if (!cards.length) cards.push(make("p", { class: "more" }, index.episodes.length ? "This run has no figure to draw: it has one level, one attempt at each problem, and no tokens." : "This run has no episodes yet."));
  return cards;
}
const colourOf = (i) => `var(--series-${i % 6})`;
function legend(chart) {
  const names = chart.kind === "stack" ? chart.kinds : chart.kind === "lines" && chart.rows.length > 1 ? chart.rows.map((row) => row.name) : [];
  return names.length ? make("ul", { class: "names" }, ...names.map((name, i) => { const item = make("li", {}, name); item.style.setProperty("--of", colourOf(i)); return item; })) : null;
}
function table(chart) {
  const lines = chart.kind === "stack" ? chart.rows.map((row) => [row.label, ...row.values.map((value) => number(Math.round(value))), number(row.episodes)])
    : (chart.kind === "lines" ? chart.rows.flatMap((row) => row.points.map((point) => [row.name, point])) : chart.rows.map((point) => ["", point]))
      .map(([name, point]) => [[name, chart.kind === "lines" ? `${chart.x && !chart.log ? `${chart.x} ` : ""}${point.label}` : point.label].filter(Boolean).join(", "), ...(chart.log ? [number(Math.round(point.x))] : []), interval(point), number(point.problems)]);
  const head = chart.kind === "stack" ? ["", ...chart.kinds, "episodes"] : ["", ...(chart.log ? [chart.x] : []), "solved [95% interval]", "problems"];
  return make("details", {}, make("summary", {}, "Table"), make("div", { class: "wide" }, make("table", {}, make("thead", {}, make("tr", {}, ...head.map((name) => make("th", {}, name)))), make("tbody", {}, ...lines.map((line) => make("tr", {}, ...line.map((cell) => make("td", {}, cell))))))));
}
function drawing(chart, width, height) {
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": chart.title });
  svg.append(draw("title", {}, chart.title));
  return svg;
}
function clickable(element, label, filter, show) {   // a mark says its figures, and lists its episodes if it has some
  element.append(draw("title", {}, label));
  element.setAttribute("aria-label", label);
  if (!filter) { element.setAttribute("role", "img"); return element; }
  for (const [name, value] of Object.entries({ class: "mark", role: "button", tabindex: 0 })) element.setAttribute(name, value);
  element.addEventListener("click", () => show(filter));
  element.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); show(filter); } });
  return element;
}
const tinted = (element, colour, name = "fill") => { element.style[name] = colour; return element; };

const PICTURES = {
  lines(chart, width, show) {   // a point with its interval for each x, a line for each series
    const svg = drawing(chart, width, TALL), inner = width - LEFT - RIGHT, bottom = TALL - AXIS;
    const y = (share) => 10 + (bottom - 10) * (1 - share);
    const labels = [...new Set(chart.rows.flatMap((row) => row.points.map((point) => point.label)))];
    const values = chart.log ? chart.rows.flatMap((row) => row.points.map((point) => Math.log(Math.max(1, point.x)))) : [];
    const least = Math.min(...values), most = Math.max(...values), room = chart.log ? 26 : inner / labels.length / 2;
    const x = (point) => LEFT + room + (inner - 2 * room) * (chart.log ? (most > least ? (Math.log(Math.max(1, point.x)) - least) / (most - least) : 0.5) : labels.length > 1 ? labels.indexOf(point.label) / (labels.length - 1) : 0.5);
    for (const share of [0, 0.25, 0.5, 0.75, 1]) svg.append(draw("path", { class: "grid", d: `M${LEFT} ${y(share)}H${width - RIGHT}` }), draw("text", { class: "axis", x: LEFT - 8, y: y(share), "text-anchor": "end" }, percent(share, 0)));
    const ticks = chart.log ? logTicks(Math.exp(least), Math.exp(most)).map((value) => [x({ x: value }), short_number(value)]) : labels.map((label) => [x({ label }), label]);
    const every = Math.ceil(ticks.length * Math.max(24, 7 * Math.max(0, ...ticks.map(([, text]) => text.length))) / inner);
    ticks.forEach(([at, text], i) => { if (i % every === 0) svg.append(draw("text", { class: "axis", x: at, y: bottom + 16, "text-anchor": "middle" }, text)); });
    svg.append(draw("text", { class: "axis", x: LEFT + inner / 2, y: TALL - 8, "text-anchor": "middle" }, chart.x));
    chart.rows.forEach((row, i) => {
      const apart = chart.log ? 0 : (i - (chart.rows.length - 1) / 2) * Math.min(9, inner / labels.length / (chart.rows.length + 1)), places = row.points.map((point) => [x(point) + apart, y(point.share)]);
      const half = chart.log || chart.rows.length === 1 ? 9 : 5;
      svg.append(tinted(draw("path", { class: "curve", d: `M${places.map((each) => each.map((value) => value.toFixed(1)).join(" ")).join("L")}` }), colourOf(i), "stroke"));
      row.points.forEach((point, j) => {
        const [at, high] = places[j], all = draw("g", {});
        all.append(draw("rect", { class: "reach", x: at - half, y: Math.min(y(point.high), high - 9), width: 2 * half, height: Math.max(18, y(point.low) - y(point.high)) }),
          tinted(draw("path", { class: "whisker", d: `M${at} ${y(point.low)}V${y(point.high)}M${at - 4} ${y(point.low)}h8M${at - 4} ${y(point.high)}h8` }), colourOf(i), "stroke"), tinted(draw("circle", { cx: at, cy: high, r: 4.5 }), colourOf(i)));
        svg.append(clickable(all, `${row.name ? `${row.name}, ` : ""}${chart.log ? `${point.label}, ${number(Math.round(point.x))} tokens` : `${chart.x} ${point.label}`}: ${interval(point)}, ${number(point.problems)} problems`, point.show, show));
      });
    });
    return svg;
  },
  bars(chart, width, show) {   // a bar with its interval for each row
    return rows(chart, width, show, (row, x, inner) => {
      const all = draw("g", {}), at = (share) => x + inner * share;
      all.append(draw("rect", { class: "trough", x, y: 18, width: inner, height: 12, rx: 3 }), tinted(draw("rect", { x, y: 18, width: Math.max(1, inner * row.share), height: 12, rx: 3 }), colourOf(0)),
        draw("path", { class: "whisker over", d: `M${at(row.low)} 24H${at(row.high)}M${at(row.low)} 20v8M${at(row.high)} 20v8` }));
      return [all, percent(row.share), `${row.label}: ${interval(row)}, ${number(row.problems)} problems`];
    });
  },
  stack(chart, width, show) {   // amounts of several kinds in a row
    const most = Math.max(...chart.rows.map((row) => row.values.reduce((a, b) => a + b, 0)));
    return rows(chart, width, show, (row, x, inner) => {
      const all = draw("g", {}), sum = row.values.reduce((a, b) => a + b, 0);
      let at = x;
      all.append(draw("rect", { class: "trough", x, y: 18, width: inner, height: 12, rx: 3 }));
      row.values.forEach((value, i) => { if (value > 0) { const wide = inner * value / most; all.append(tinted(draw("rect", { x: at, y: 18, width: Math.max(0.5, wide - 1), height: 12 }), colourOf(i))); at += wide; } });
      return [all, number(Math.round(sum)), `${row.label}: ${row.values.map((value, i) => `${number(Math.round(value))} ${chart.kinds[i]}`).join(", ")} tokens an episode, ${number(row.episodes)} episodes`];
    });
  },
};
function rows(chart, width, show, each) {   // one below another: name and figure above the bar
  const high = 40, svg = drawing(chart, width, high * chart.rows.length + 4);
  chart.rows.forEach((row, i) => {
    const [all, figure, label] = each(row, 0, width - 2);
    all.prepend(draw("rect", { class: "reach", x: 0, y: 0, width, height: high - 4 }), draw("text", { class: "name", x: 0, y: 9 }, short(row.label, Math.max(12, Math.floor(width / 7.5) - 10))), draw("text", { class: "figure", x: width - 2, y: 9, "text-anchor": "end" }, figure));
    all.setAttribute("transform", `translate(0 ${high * i + 2})`);
    svg.append(clickable(all, label, row.show, show));
  });
  return svg;
}
const short_number = (value) => value >= 1e6 ? `${Number((value / 1e6).toPrecision(3))}M` : value >= 1000 ? `${Number((value / 1000).toPrecision(3))}k` : String(value);
function logTicks(least, most) {
  const found = [];
  for (let power = 10 ** Math.floor(Math.log10(Math.max(1, least))); power <= most; power *= 10) for (const part of [1, 2, 5]) if (power * part >= least && power * part <= most) found.push(power * part);
  return found.length > 1 ? found : [...new Set([Math.round(least), Math.round(most)])];
}

// ---- two runs over the same problems
const GROUPS = { both: "both solved it", "only first": "only the first", "only second": "only the second", neither: "neither", undecided: "one or both undecided" };
function pairsCard(pairs, show) {
  const points = (value) => `${value >= 0 ? "+" : "−"}${Math.abs(100 * value).toFixed(1)}`;
  const button = (name) => {
    const all = make("button", { class: "group", "data-group": name, title: "List these problems" }, make("b", {}, number(pairs.groups[name]?.length ?? 0)), make("span", {}, GROUPS[name]));
    all.disabled = !pairs.groups[name];
    all.onclick = () => show({ pair: name });
    return all;
  };
  return make("figure", { class: "chart pairs", "data-chart": "pairs" }, make("figcaption", {}, make("h2", {}, "Problem by problem")),
    make("dl", { class: "two-runs" }, make("dt", {}, "first"), make("dd", {}, pairs.names[0], make("b", {}, percent(pairs.first))), make("dt", {}, "second"), make("dd", {}, pairs.names[1], make("b", {}, percent(pairs.second)))),
    make("div", { class: "groups" }, ...["both", "only first", "only second", "neither", ...(pairs.groups.undecided ? ["undecided"] : [])].map(button)),
    make("p", {}, `Difference ${points(pairs.difference)} points [${points(pairs.ci[0])}, ${points(pairs.ci[1])}] on ${number(pairs.problems)} problems decided in both; McNemar p = ${pairs.p < 0.001 ? pairs.p.toExponential(1) : pairs.p.toFixed(3)}.`),
    pairs.left_out.some(Boolean) ? make("p", {}, `Decided in one run only: ${number(pairs.left_out[0])} in the first, ${number(pairs.left_out[1])} in the second.`) : null);
}
