// The playground: a model with its weights and gradients, its answers over the plane, its losses. Places and scales come
// from Python (minidl/widgets/playground.py).

const [NET, SIDE, THUMB, GRID] = [372, 220, 26, 18];
const PLOT = { left: 44, top: 10, width: 190, height: 150 };
const LETTERS = "abcdefghijklm";
const DASHES = ["", "7 4", "8 3 2 3", "2 3"];
const MARKS = ["M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z", "M-2.8,-2.8h5.6v5.6h-5.6z", "M0,-3.6L3.4,2.6H-3.4z",
  "M0,-4L4,0L0,4L-4,0z", "M-3.4,-2.6H3.4L0,3.6z", "M-4,-1.2H4V1.2H-4z"];
const hue = (k) => `var(--md-lane-${k % 6})`;
const joinedBy = (points) => (points.length ? `M${points.map((p) => p.join(",")).join("L")}` : "");
const middle = { "text-anchor": "middle", "dominant-baseline": "central" };

const unpacked = (text) => text.replace(/(\D)(\d+)/g, (_, letter, count) => letter.repeat(Number(count)));

/** The cells by their letter: [letter, path], runs in a row joined. */
function letters(packed, x, y, side, count) {
  const text = unpacked(packed);
  const size = side / count;
  const found = new Map();
  for (let i = 0; i < count; i += 1) {
    for (let j = 0; j < count;) {
      const start = j;
      const letter = text[i * count + j];
      while (j < count && text[i * count + j] === letter) j += 1;
      found.set(letter, `${found.get(letter) || ""}M${(x + start * size).toFixed(1)},${(y + i * size).toFixed(1)}`
        + `h${((j - start) * size).toFixed(1)}v${size.toFixed(1)}H${(x + start * size).toFixed(1)}z`);
    }
  }
  return [...found];
}

// ------------------------------------------------------------------ the model
function net(figure, row, view) {
  const svg = picture(NET, figure.height);
  const mode = view.edges || "both";
  figure.columns.forEach((column, c) => {
    if (c && row.weight[c - 1]) svg.append(edges(figure, row, c, mode));
    column.at.forEach(([x, y], j) => {
      const about = c ? { "data-key": `unit-${c}-${j}`, "aria-label": unitLine(figure, row, c, j) } : {};
      svg.append(s("g", about, thumb(c ? row.thumbs[c - 1][j] : figure.inputs[j], x, y, svg.hatch)));
    });
    const last = c === figure.columns.length - 1;
    const low = Math.max(...column.at.map((at) => at[1])) + THUMB + 12;
    const at = { class: "small muted", x: last ? NET : column.at[0][0] + THUMB / 2,
      "text-anchor": last ? "end" : c ? "middle" : "start" };
    svg.append(...(c ? column.name.split(", ") : ["input"]).slice(0, 2).map((name, k) => s("text", { ...at, y: low + 12 * k }, name)));
  });
  figure.columns[0].at.forEach(([, y], j) => svg.append(s("text", { x: 8, y: y + THUMB / 2, class: "small", ...middle }, "xy"[j])));
  return svg;
}

function thumb(text, x, y, hatch) {
  const box = { x, y, width: THUMB, height: THUMB };
  const parts = [s("rect", { ...box, class: "paper" })];
  for (const [letter, d] of letters(text, x, y, THUMB, GRID / 2)) {
    const level = LETTERS.indexOf(letter) - 6;
    if (letter === "?") parts.push(s("path", { d, class: "broken-paper" }));
    else if (level) {
      parts.push(s("path", { d, style: `fill: var(--md-${level > 0 ? "positive" : "negative"})`,
        "fill-opacity": Math.abs(level) / 6 }));
      if (level < 0) parts.push(s("path", { d, fill: hatch }));
    }
  }
  if (text.includes("?")) parts.push(s("text", { x: x + THUMB / 2, y: y + THUMB / 2, class: "broken", ...middle }, "×"));
  parts.push(s("rect", { ...box, class: "stroke" }));
  return parts;
}

function edges(figure, row, c, mode) {
  const before = figure.columns[c - 1];
  const here = figure.columns[c];
  const slopes = row.slope[c - 1];
  const parts = [];
  row.weight[c - 1].forEach((weights, j) => weights.forEach((w, i) => {
    const [x, y] = [before.at[i][0] + THUMB, before.at[i][1] + THUMB / 2];
    const [a, b] = [here.at[j][0], here.at[j][1] + THUMB / 2];
    if (mode !== "gradients") {
      parts.push(edge([[x, y], [a, b]], w, figure.weight, false));
      if (w < -0.35 * figure.weight) {
        parts.push(s("text", { x: a - 9, y: b + (y - b) * 9 / Math.max(a - x, 1), class: "small bold", ...middle }, MINUS));
      }
    }
    if (slopes && mode !== "weights") parts.push(edge([[x, y + 4], [a, b + 4]], slopes[j][i], figure.slope, true));
  }));
  return s("g", {}, parts);
}

function edge(points, value, top, slope) {
  const sign = !Number.isFinite(value) ? "broken" : value >= 0 ? "positive" : "negative";
  const wide = Number.isFinite(value) ? 0.4 + 4.6 * Math.log1p(9 * Math.min(Math.abs(value) / top, 1)) / Math.log(10) : 2;
  return s("path", { d: joinedBy(points), class: slope ? "md-slope" : "md-weight", style: `stroke: var(--md-${sign})`,
    "stroke-width": (wide * (slope ? 0.6 : 1)).toFixed(2) });
}

/** A unit's weights, gradients and bias, as describe() says them. */
function unitLine(figure, row, c, j) {
  const head = `${figure.columns[c].name}, unit ${j}`;
  const [weights, slopes, bias] = [row.weight[c - 1], row.slope[c - 1], row.bias[c - 1]];
  if (!weights) return `${head}: no matrix of weights was found.`;
  const parts = weights[j].map((w, i) => `${number(w)} from ${c === 1 ? "xy"[i] : `unit ${i}`}`
    + (slopes ? ` (∂ ${number(slopes[j][i])})` : ""));
  return `${head}: weights ${parts.join(", ")}${bias ? `; bias ${number(bias[j])}.` : "."}`;
}

// ------------------------------------------------------------------ the plane
function surface(figure, k, row) {
  const points = figure.points[row.points];
  const inside = [s("rect", { width: SIDE, height: SIDE, class: "paper" })];
  for (const [letter, d] of letters(row.answers, 0, 0, SIDE, GRID)) {
    const code = letter.charCodeAt(0) - 65;
    inside.push(letter === "?" ? s("path", { d, class: "broken-paper" })
      : s("path", { d, style: `fill: ${hue(Math.floor(code / 4))}`, "fill-opacity": 0.1 + 0.13 * (code % 4) }));
  }
  inside.push(s("path", { d: border(row.answers), class: "md-border" }));
  const batch = new Set(row.batch);
  points.at.forEach(([x, y], n) => {
    const [group, test] = [points.class[n], points.test[n]];
    inside.push(s("path", { d: MARKS[group % 6], transform: `translate(${x} ${y})`, "stroke-width": test ? 1 : 0.5,
      style: test ? `fill: var(--md-paper); stroke: ${hue(group)}` : `fill: ${hue(group)}; stroke: var(--md-paper)` }));
    if (batch.has(n)) inside.push(s("circle", { cx: x, cy: y, r: 6, class: "md-ring" }));
  });
  inside.push(s("rect", { width: SIDE, height: SIDE, class: "stroke" }));
  const says = `${figure.runs[k].name}: right ${percent(row.train[1])} of the training points, ${percent(row.test[1])} of the test`;
  return picture(SIDE + 2, SIDE + 42, s("text", { x: 0, y: 14, class: "small bold" }, figure.runs[k].name),
    s("g", { transform: "translate(0 22)", "data-key": `plane-${k}`, "aria-label": says }, inside),
    s("text", { x: 0, y: SIDE + 36, class: "small muted" }, figure.extent));
}

const percent = (share) => (Number.isNaN(share) ? "no points" : `${Math.round(100 * share)} %`);

/** The lines between cells with different answers. */
function border(packed) {
  const answers = unpacked(packed);
  const size = SIDE / GRID;
  const kind = (i, j) => (answers[i * GRID + j] === "?" ? -1 : Math.floor((answers.charCodeAt(i * GRID + j) - 65) / 4));
  let d = "";
  for (let i = 0; i < GRID; i += 1) {
    for (let j = 0; j < GRID; j += 1) {
      if (j + 1 < GRID && kind(i, j + 1) !== kind(i, j)) d += `M${((j + 1) * size).toFixed(1)},${(i * size).toFixed(1)}v${size.toFixed(1)}`;
      if (i + 1 < GRID && kind(i + 1, j) !== kind(i, j)) d += `M${(j * size).toFixed(1)},${((i + 1) * size).toFixed(1)}h${size.toFixed(1)}`;
    }
  }
  return d;
}

// ------------------------------------------------------------------ the losses
function losses(figure, rows, t, labels) {
  const right = PLOT.left + PLOT.width;
  const low = PLOT.top + PLOT.height;
  const text = (words, x, y, anchor) => s("text", { x, y, class: "small muted", "text-anchor": anchor }, words);
  const rules = figure.ticks.map(([y, says]) => [s("path", { d: joinedBy([[PLOT.left, y], [right, y]]), class: "rule" }),
    text(says, PLOT.left - 5, y + 4, "end")]);
  const lines = figure.runs.map((run, k) => run.curves.map((curve, kind) => {
    const lane = 2 * k + kind;
    const points = curve.slice(0, t + 1);
    const [x, y] = points[points.length - 1];
    const mark = rows[k].broken ? "× " : y <= PLOT.top ? "▴ " : "";
    return [s("path", { d: joinedBy(points), class: "md-curve", style: `stroke: ${hue(lane)}`, "stroke-dasharray": DASHES[lane] || null }),
      s("path", { d: joinedBy([[x, y], [x + 9, labels[lane]]]), class: "md-leader" }),
      s("text", { x: x + 12, y: labels[lane], class: "small bold", "dominant-baseline": "central" },
        `${mark}${k ? "fork" : "main"} ${kind ? "test" : "train"}`)];
  }));
  return picture(325, low + 30, rules, lines, text("0", PLOT.left, low + 15, "middle"),
    text("batch; loss of all points", PLOT.left + PLOT.width / 2, low + 15, "middle"), text(whole(figure.last), right, low + 15, "middle"));
}

// ------------------------------------------------------------------ settings
function setup(view) {
  const has = (name, all) => (all.includes(view.model.get(name)) ? all : [...all, view.model.get(name)]);
  const names = view.trace.figure.optimizers || ["SGD"];
  const field = (name, rest) => view.field({ name, label: name.replace("_", " "), ...rest });
  const number_ = (name, min, step = 1) => field(name, { min, step });
  const toy = [number_("noise", 0, 0.05), number_("points", 8)];
  const shown = () => toy.forEach((one) => { one.hidden = view.model.get("data") === "yours"; });
  view.on("data", shown);
  const choice = h("select", { onchange: () => { view.edges = choice.value; view.redraw(); } },
    ["both", "weights", "gradients"].map((one) => h("option", {}, one)));
  view.which = h("select", { onchange: () => view.redraw() }, h("option", { value: 0 }, "main"), h("option", { value: 1 }, "fork"));
  const here = h("button", { type: "button", onclick: () => view.edit({ fork_at: view.frame.data.t }) }, "fork from this step");
  view.controls.append(field("data", { type: "select", options: has("data", ["moons", "spirals", "blobs"]) }), ...toy,
    number_("data_seed", 0), number_("batch_size", 1), number_("batch_seed", 0), number_("lr", 0, "any"),
    field("optimizer", { type: "select", options: names }), number_("steps", 1),
    h("label", { class: "md-field" }, "lines", choice), h("label", { class: "md-field" }, "model of", view.which),
    h("span", { class: "md-fork", role: "group", "aria-label": "fork" },
      view.field({ name: "fork_by", label: "fork with another", type: "select",
        options: [["", "–"], "lr", "noise", "optimizer", ["batch_size", "batch size"]] }),
      view.field({ name: "fork_to", label: "of", type: "text", size: 8, placeholder: "value" }),
      view.field({ name: "fork_at", label: "from step", min: 0 }), here));
  shown();
}

export default widget({
  setup,
  neighbour(key, direction, view) {
    const [kind, c, j] = key.split("-");
    if (kind !== "unit" || direction === "up" || direction === "down") return null;
    const to = Number(c) + (direction === "right" ? 1 : -1);
    const column = to > 0 && view.trace.figure.columns[to];
    return column ? `unit-${to}-${Math.min(Number(j), column.units - 1)}` : null;
  },
  draw(stage, frame, view) {
    const { figure } = view.trace;
    const { t, runs, labels } = frame.data;
    const broken = runs.map((row, k) => (row.broken ? h("p", { class: "md-error" },
      `${figure.runs[k].name}: the first number that is not finite: ${row.broken}`) : null));
    view.which.parentElement.hidden = runs.length < 2;
    const model = net(figure, runs[runs.length > 1 ? Number(view.which.value) : 0], view);
    const first = model.querySelector("[data-key]");
    if (first) first.setAttribute("data-now", "");
    const planes = h("div", { class: "md-planes" }, runs.map((row, k) => surface(figure, k, row)));
    const curves = losses(figure, runs, t, labels);
    stage.replaceChildren(h("div", { class: "md-play" }, model, runs.length > 1 ? [curves, planes] : [planes, curves]), ...broken.filter(Boolean), h("p", { class: "md-remark" },
      `Widest solid line: ${number(figure.weight)}; widest dashed line: ${number(figure.slope)}. ${figure.legend}`));
  },
});
