// A loss taken apart: scores to drag, shares, slopes, the line of what exp can hold, and the numbers of both ways.
// minidl/widgets/losses.py computes them.

const [NAMES, ROW, TRACK] = [66, 30, 26];
const WAYS = ["plain", "mended"];

const word = (text, x, y, anchor, look, more) => s("text", { x, y, "text-anchor": anchor, "dominant-baseline": "central",
  class: look, ...more }, text);

/** A bar from 0, to either side where it is signed; its number above. */
function bar(svg, value, top, box, { signed, gradient }) {
  const [zero, half] = signed ? [box.x + box.width / 2, box.width / 2] : [box.x, box.width];
  const long = Number.isFinite(value) ? Math.min(Math.abs(value) / top, 1) * half : 0;
  const at = { x: value < 0 ? zero - long : zero, y: box.y + 15, width: long, height: 11 };
  const end = value < 0 ? "negative" : signed ? "positive" : "ink";
  const parts = [s("rect", { ...at, class: gradient ? "gradient" : null,
    style: `${gradient ? "stroke" : "fill"}: var(--md-${end})` })];
  if (value < 0 && !gradient) parts.push(s("rect", { ...at, fill: svg.hatch }));
  parts.push(s("path", { d: `M${zero},${box.y + 13}V${box.y + 28}`, class: "value" }),
    word(number(value), zero, box.y + 7, signed ? "middle" : "start", "small"));
  return parts;
}

/** The score that can be dragged: a wide field for the pointer, the bar, and a grip at its end. */
function grip(svg, k, data, top, box) {
  const score = data.scores[k];
  const x = box.x + box.width / 2 + Math.max(-1, Math.min(score / top, 1)) * box.width / 2;
  return s("g", { "data-key": `score ${k}`, "data-now": k === data.right, class: "md-grip", "data-score": k,
    "aria-label": `Score of class ${k}: ${number(score, 6)}. Plus and minus change it.` },
  s("rect", { ...box, height: ROW - 2, fill: "transparent" }), bar(svg, score, top, box, { signed: true }),
  s("circle", { cx: x, cy: box.y + 20.5, r: 6, class: "outline" }));
}

function bars(svg, data, line) {
  const room = (line.width - NAMES - 6) / 3;
  const slopes = data.mended.slope.filter(Number.isFinite).map(Math.abs);
  const tops = [Math.max(10, ...data.scores.map(Math.abs)), 1, Math.max(1, ...slopes)];
  line.scores = { x: NAMES, width: room - 12, top: tops[0] };
  ["score", "share", "∂ slope"].forEach((head, j) =>
    svg.append(word(head, NAMES + j * room, line.y, "start", "small bold")));
  line.y += 14;
  data.scores.forEach((_, k) => {
    const box = (j) => ({ x: NAMES + j * room, y: line.y, width: room - 12 });
    const right = k === data.right;
    const [p, slope] = [data.mended.p[k], data.mended.slope[k]];
    svg.append(s("g", { "data-key": `class ${k}`, "aria-label": right ? `Class ${k} is the truth.`
      : `Class ${k}. Enter, or a click, makes it the truth.` },
    s("rect", { x: 0, y: line.y, width: NAMES - 6, height: ROW - 2, fill: "transparent" }),
    word(`${right ? "▸ " : ""}class ${k}`, 2, line.y + ROW / 2, "start", right ? "bold" : null)),
    grip(svg, k, data, tops[0], box(0)),
    s("g", { "data-key": `share ${k}`, "aria-label": `Share of class ${k}: ${number(p, 6)}; it should be `
      + `${number(data.target[k], 6)}.` }, bar(svg, p, 1, box(1), {}), aim(data.target[k], box(1))),
    s("g", { "data-key": `slope ${k}`, "aria-label": `Slope of the loss along score ${k}: ${number(slope, 6)}; by the `
      + `plain formula ${number(data.plain.slope[k], 6)}.` }, bar(svg, slope, tops[2], box(2), { signed: true, gradient: true })));
    line.y += ROW;
  });
  line.y += 12;
}

/** A mark at the share that is wanted. */
const aim = (target, box) => s("path", { d: `M${box.x + target * box.width},${box.y + 12}v17`, class: "now",
  style: "stroke-width: 2" });

function exponents(svg, f, data, line) {
  const [left, right] = [1.25 * f.zero, 1.6 * f.infinite];
  const scale = (line.width - NAMES - 14) / (right - left);
  const place = (v) => NAMES + (Math.min(Math.max(v, left), right) - left) * scale;
  svg.append(word("What exp is taken of", 2, line.y + 4, "start", "small bold"),
    word("exp is 0", NAMES, line.y + 20, "start", "small muted"),
    word("exp is ∞", line.width - 14, line.y + 20, "end", "small muted"));
  line.y += 32;
  const rows = 2 * TRACK;
  const zone = (a, b, look) => s("rect", { x: place(a), y: line.y, width: place(b) - place(a), height: rows, class: look });
  svg.append(zone(left, f.zero, "absent"), zone(f.infinite, right, "broken-paper md-over"));
  WAYS.forEach((way, j) => {
    const y = line.y + TRACK * (j + 0.5);
    svg.append(word(way, NAMES - 8, y, "end", "small"), s("path", { d: `M${NAMES},${y}H${line.width - 14}`, class: "rule" }));
    data[way].power.forEach((v, k) => svg.append(s("circle", { cx: place(v), cy: y, r: 5, "data-key": `${way} ${k}`,
      "aria-label": `Class ${k}, ${way}: exp(${number(v, 6)}) = ${number(data[way].exp[k], 6)}.`,
      style: v > f.infinite ? "fill: var(--md-broken); stroke: var(--md-paper)"
        : `fill: var(--md-${k === data.right ? "ink" : "paper"}); stroke: var(--md-${k === data.right ? "paper" : "ink"})` })));
  });
  line.y += rows;
  for (const v of [f.zero, 0, f.infinite]) svg.append(word(number(v), place(v), line.y + 10, "middle", "small muted"));
  svg.append(word("● right class   ○ others   ┃ share that is wanted", 2, line.y + 28, "start", "small muted"));
  line.y += 42;
}

function table(f, data) {
  const heads = ["exp", "share", "∂ slope"];
  const cell = (value, digits = 3, more = {}) => h("td", { class: Number.isFinite(value) ? null : "md-bad", ...more },
    number(value, digits));
  const body = data.scores.map((_, k) => h("tr", {}, h("th", { scope: "row" }, `class ${k}`),
    WAYS.map((way) => ["exp", "p", "slope"].map((name) => cell(data[way][name][k])))));
  return h("div", { class: "md-sheet" }, h("table", { class: "md-table" },
    h("thead", {}, h("tr", {}, h("td"), WAYS.map((way, j) => h("th", { scope: "colgroup", colspan: 3 }, way,
      h("div", { class: "md-remark" }, f.formulas[j])))),
    h("tr", {}, h("td"), WAYS.flatMap(() => heads.map((head) => h("th", { scope: "col" }, head))))),
    h("tbody", {}, body, h("tr", { class: "md-loss" }, h("th", { scope: "row" }, "loss"),
      WAYS.map((way) => cell(data[way].loss, 4, { colspan: 3, "data-loss": way }))))));
}

/** Another score, to the nearest half. */
function put(view, k, value) {
  const scores = [...(view.there || view.frame.data.scores)];
  const next = Math.min(Math.max(Math.round(value * 2) / 2, -1000), 1000);
  if (scores[k] === next) return;
  scores[k] = next;
  view.there = scores;
  view.edit({ scores }, 40);
}

/** Where on the scale of scores a pointer is. */
function under(event, view) {
  const svg = view.stage.querySelector("svg");
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const { x, width, top } = view.scores;
  return ((at.x - x) / width * 2 - 1) * top;
}

/** A hand on a score. It holds the stage, which stays while the picture in it is drawn anew; so does the scale. */
function dragging(view) {
  const { stage } = view;
  stage.addEventListener("pointerdown", (event) => {
    const item = event.target.closest("[data-score]");
    if (!item) return;
    view.hand = Number(item.dataset.score);
    stage.setPointerCapture(event.pointerId);
    event.preventDefault();
    put(view, view.hand, under(event, view));
  });
  stage.addEventListener("pointermove", (event) => {
    if (view.hand !== undefined) put(view, view.hand, under(event, view));
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { view.hand = undefined; });
}

export default widget({
  keys: [["+ / −", "the score at hand"], ["drag", "a score"], ["Enter on a class", "makes it the truth"]],

  setup(view) {
    const f = view.trace.figure;
    const select = (name, options) => view.field({ name, type: "select", options });
    const slide = (name, min, max, step) => view.field({ name, type: "range", min, max, step });
    view.controls.append(select("loss", f.losses), select("dtype", f.dtypes), slide("temperature", 0.05, 5, 0.05),
      slide("smoothing", 0, 0.9, 0.05));
    dragging(view);
  },

  renew(view) { if (!Object.keys(view.pending).length) view.there = null; },

  open(key, view) {
    const [what, k] = key.split(" ");
    if (what === "class" && Number(k) !== view.frame.data.right) view.edit({ right: Number(k) });
  },

  press(event, view) {
    const direction = { "+": 1, "=": 1, "-": -1 }[event.key];
    if (!direction) return false;
    const [what, k] = (view.opened && view.key ? view.key : `score ${view.frame.data.right}`).split(" ");
    const at = what === "score" ? Number(k) : view.frame.data.right;
    put(view, at, (view.there || view.frame.data.scores)[at] + 0.5 * direction);
    return true;
  },

  draw(stage, frame, view) {
    const f = view.trace.figure;
    const line = { width: Math.max(320, Math.min(stage.clientWidth - 12, 740)), y: 14 };
    const svg = picture(line.width, 10);
    bars(svg, frame.data, line);
    exponents(svg, f, frame.data, line);
    svg.setAttribute("viewBox", `0 0 ${line.width} ${line.y}`);
    svg.setAttribute("height", line.y);
    view.scores = line.scores;
    stage.replaceChildren(svg, table(f, frame.data),
      h("div", { class: "md-loss-facts" }, f.facts.map((fact) => h("div", {}, fact))));
  },
});
