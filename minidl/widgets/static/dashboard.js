// The training dashboard: health, curves, and a row for each parameter; drawn like minidl/widgets/board_picture.py.

const [PANEL, TALL, LEFT, RIGHT, TOP, BOTTOM] = [340, 150, 46, 90, 20, 22];
const DASHES = ["", "7 4", "8 3 2 3", "2 3", "12 3", "7 2 2 2 2 2"];
const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const small = (attributes, ...children) => s("text", { "font-size": 11, ...attributes }, ...children);
const trail = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L")}`;
const ink = (lane) => `var(--md-lane-${lane})`;

/** A running mean that forgets, corrected for its start, as `smoothed` in Python. */
function smoothed(values, weight) {
  let [mean, share] = [0, 0];
  return values.map((value) => {
    mean = weight * mean + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return mean / share;
  });
}

// ------------------------------------------------------------------ curves
function panel(about, now, weight) {
  const bend = about.log ? Math.log : (value) => value;
  const [low, high] = [bend(about.low), bend(about.high)];
  const [right, floor] = [PANEL - RIGHT, TALL - BOTTOM];
  const x = (step) => LEFT + (right - LEFT) * ((step - 1) / Math.max(about.steps - 1, 1));
  const y = (value) => TOP + (floor - TOP) * (1 - (bend(value) - low) / (high - low));
  const ends = [];
  const lines = about.lines.map((one) => {
    const { points, lane } = one;
    const cross = one.broken.slice(0, 1).map((step) => s("text", { x: x(step), y: floor - 3, "text-anchor": "middle",
      class: "md-bad" }, "×"));
    if (!points.length) return cross;
    const means = smoothed(points.map((p) => p[1]), weight);
    ends.push({ at: y(means[means.length - 1]), one });
    return [s("path", { d: `${trail([...points.map((p) => [x(p[0]), y(p[3])]),
      ...points.map((p) => [x(p[0]), y(p[2])]).reverse()])}Z`, style: `fill: ${ink(lane)}`, "fill-opacity": 0.12 }),
    s("path", { d: trail(points.map((p) => [x(p[0]), y(p[1])])), fill: "none", style: `stroke: ${ink(lane)}`,
      "stroke-opacity": 0.35, class: "md-raw" }),
    s("path", { d: trail(points.map((p, k) => [x(p[0]), y(means[k])])), fill: "none", style: `stroke: ${ink(lane)}`,
      "stroke-width": 1.8, "stroke-dasharray": DASHES[lane] || null, class: "md-smooth" }), cross];
  });
  let least = -Infinity;
  const labels = ends.sort((a, b) => a.at - b.at).map(({ at, one }) => {
    least = Math.max(at, least + 12);
    const text = one.label.length > 14 ? `${one.label.slice(0, 13)}…` : one.label;
    return small({ x: right + 4, y: least + 4, style: `fill: ${ink(one.lane)}` }, text);
  });
  return s("svg", { viewBox: `0 0 ${PANEL} ${TALL}`, width: PANEL, height: TALL, class: "md-picture md-panel",
    "data-key": `p:${about.kind}`, "aria-label": about.lines.map((one) => one.says).join(" ") },
  small({ x: LEFT, y: 12, "font-weight": 600 }, about.kind + (about.log ? ", logarithmic" : "")),
  s("rect", { x: LEFT, y: TOP, width: right - LEFT, height: floor - TOP, class: "rule" }),
  small({ x: LEFT - 5, y: TOP + 8, "text-anchor": "end" }, number(about.high)),
  small({ x: LEFT - 5, y: floor, "text-anchor": "end" }, number(about.low)),
  small({ x: LEFT, y: floor + 14 }, "1"),
  small({ x: right, y: floor + 14, "text-anchor": "end" }, `step ${about.steps}`),
  s("line", { x1: x(now || 1), x2: x(now || 1), y1: TOP, y2: floor, class: "now md-cursor", style: "stroke-width: 1.5" }),
  lines, labels);
}

// ------------------------------------------------------------------ layers
function ribbon(spreads, about) {
  const [wide, tall] = [126, 40];
  const known = spreads.map((one, k) => [k, one && one.q]).filter(([, q]) => q && q.length);
  const box = s("rect", { x: 1, y: 1, width: wide, height: tall, class: known.length ? "rule" : "absent" });
  const low = Math.min(...known.map(([, q]) => q[0]));
  const span = Math.max(...known.map(([, q]) => q[4])) - low || 1;
  const at = ([k, q], n) => [1 + wide * (k / Math.max(spreads.length - 1, 1)), 1 + tall * (1 - (q[n] - low) / span)];
  const band = (a, b, opacity) => s("path", { d: `${trail([...known.map((p) => at(p, a)),
    ...known.map((p) => at(p, b)).reverse()])}Z`, style: "fill: var(--md-ink)", "fill-opacity": opacity });
  return s("svg", { viewBox: "0 0 128 42", width: 128, height: 42, ...about }, box,
    known.length ? [band(0, 4, 0.18), band(1, 3, 0.3), s("path", { d: trail(known.map((p) => at(p, 2))), class: "value" })] : []);
}

function bars(spread, what) {
  const [wide, tall] = [112, 28];
  if (!spread || !spread.bars) {
    return picture(wide + 2, 42, s("rect", { x: 1, y: 1, width: wide, height: tall, class: "absent" }),
      small({ x: 7, y: 18 }, spread ? `× ${spread.broken} NaN or ∞` : "no gradient"));
  }
  const heights = [...spread.bars].map((c) => (c === "." ? 0 : (LETTERS.indexOf(c) + 1) / 26));
  const [side, step] = [wide / heights.length, (spread.high - spread.low) / heights.length];
  const svg = picture(wide + 2, 42);
  svg.append(s("rect", { x: 0.5, y: 1, width: wide + 1, height: tall, class: what === "gradient" ? "gradient" : "rule" }),
    ...heights.flatMap((height, k) => {
      const below = spread.low + (k + 0.5) * step < 0;
      const box = { x: 1 + k * side, y: 1 + tall * (1 - height), width: side, height: tall * height };
      return [s("rect", { ...box, class: below ? "negative" : "positive" }), below && height ? s("rect", { ...box, fill: svg.hatch }) : ""];
    }),
    small({ x: 1, y: tall + 13 }, `${number(spread.low)} … ${number(spread.high)}${spread.broken ? `  × ${spread.broken}` : ""}`));
  return svg;
}

function told(name, what, spread) {
  if (!spread) return `${name}: no gradient was computed`;
  if (!spread.bars) return `${name}, ${what}: all ${spread.broken} numbers are NaN or infinite`;
  return `${name}, ${what}: ${number(spread.low, 6)} to ${number(spread.high, 6)}, 5, 25, 50, 75, 95 % below `
    + `${spread.q.map((q) => number(q, 6)).join(", ")}, root mean square ${number(spread.rms, 6)}`
    + `${spread.broken ? `, ${spread.broken} NaN or infinite` : ""}`;
}

function row(layer, k, past) {
  const both = ["weight", "gradient"].map((what) => h("span", { class: "md-spread", "data-key": `${what}${k}`,
    "aria-label": told(layer.name, what === "weight" ? "numbers" : "gradient", layer[what]) },
  ribbon(past.map((one) => one[what])), bars(layer[what], what)));
  return h("div", { class: "md-row" }, h("span", { class: "md-layer-name" }, layer.name,
    layer.moved === null ? null : h("small", {}, `moves ${number(layer.moved)}`)), both);
}

function dead([name, count, units]) {
  return h("div", { class: "md-row", "data-key": `d:${name}`, "aria-label": `${name}: ${count} of ${units} ReLUs gave 0 for `
    + "the whole batch" }, h("span", { class: "md-dead" }, `${name}: ${count} of ${units} ReLUs dead`),
  h("span", { class: "md-track" }, h("i", { style: `width: ${(100 * count) / units}%` })));
}

export default widget({
  setup(view) {
    view.root.classList.add("md-dashboard");
    const shown = h("output", {}, number(view.model.get("smoothing")));
    const slider = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: view.model.get("smoothing"),
      oninput: () => { view.set("smoothing", Number(slider.value)); } });
    view.on("smoothing", () => {
      slider.value = view.model.get("smoothing");
      shown.textContent = number(view.model.get("smoothing"));
      view.redraw();
    });
    view.controls.append(h("label", { class: "md-field" }, "smoothing", slider, shown));
    view.controls.hidden = false;
  },

  /** A new trace: who looked at the newest frame goes on doing so, others stay at the step they looked at. */
  renew(view) {
    const { frames } = view.trace;
    const { held } = view;
    if (!held) return;
    const own = frames.map((_, k) => k).filter((k) => frames[k].phase === held.run && frames[k].data.step <= held.step);
    view.index = held.newest || !own.length ? frames.length - 1 : own[own.length - 1];
    view.note();
  },

  draw(stage, frame, view) {
    const { data } = frame;
    const { frames, figure } = view.trace;
    const newest = view.index === frames.length - 1;
    const kinds = data.findings.map((one) => one[0]).join();
    // while the run goes on and nothing changes but numbers, nothing is read out
    view.said.setAttribute("aria-live", newest && view.held && view.held.newest && view.held.kinds === kinds ? "off" : "polite");
    view.held = { newest, run: frame.phase, step: data.step, kinds };
    const past = frames.filter((one) => one.phase === frame.phase && one.data.step <= data.step);
    const weight = view.model.get("smoothing");
    stage.replaceChildren(
      h("div", { class: "md-health" }, data.findings.map(([kind, text, advice], k) => h("p", { "data-key": `f${k}`,
        "aria-label": `${kind}: ${text} Try: ${advice}.` }, h("b", {}, `! ${text}`), ` Try: ${advice}.`)),
      data.step && !data.findings.length ? h("p", {}, "✓ no fault found by the checks") : null),
      h("div", { class: "md-panels" }, figure.panels.map((one) => panel(one, data.step, weight))),
      data.layers.length ? h("div", { class: "md-note" }, `Layers at step ${data.looked}: numbers over time and now, `
        + "gradient ∂ (dashed) over time and now; how much of its length one step moves") : "",
      ...data.layers.map((layer, k) => row(layer, k, past.map((one) => one.data.layers[k]).filter(Boolean))),
      ...data.dead.map(dead));
  },
});
