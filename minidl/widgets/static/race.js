// The optimiser race: a map with the paths, the losses, and a table of scores. All places in px come from Python
// (minidl/widgets/race.py); here they are drawn up to the step at hand, and the start is moved.

const MAP = { left: 34, top: 10, width: 300, height: 262 };
const PLOT = { left: 40, top: 10, width: 206, height: 262 };
const DASHES = ["", "7 4", "8 3 2 3", "2 3", "12 3", "7 2 2 2 2 2"];
const BAD = ["diverged", "off the map"];
const NUDGE = 40; // key presses from one side of the map to the other

const through = (points) => (points.length ? `M${points.map(([x, y]) => `${x},${y}`).join("L")}` : "");
const pair = (v, digits = 3) => (Array.isArray(v) ? `(${v.map((x) => number(x, digits)).join(", ")})` : number(v, digits));
const lane = (k) => ({ style: `stroke: var(--md-lane-${k})`, "stroke-dasharray": DASHES[k] || null });
const halo = (text, x, y, more) => s("text", { x, y, class: "small bold md-halo", "dominant-baseline": "central", ...more },
  text);

// ------------------------------------------------------------------ words
function told(name, row) {
  const digits = 6;
  if (row.slope === null) return `${name}: starts at ${pair(row.place, digits)}, loss ${number(row.loss, digits)}`;
  const state = Object.entries(row.state).map(([key, v]) => `, ${key} ${pair(v, digits)}`).join("");
  return `${name}: gradient ${pair(row.slope, digits)}${state}; moved by ${pair(row.moved, digits)} to `
    + `${pair(row.place, digits)}, loss ${number(row.loss, digits)}, ${row.calls} gradients so far. ${row.fate}`.trim();
}

// ------------------------------------------------------------------ the map
function map(figure, rows, t) {
  const clip = fresh("race");
  const { left, top, width, height } = MAP;
  const box = { x: left, y: top, width, height };
  const ground = figure.ground.map((d) => s("path", { d, class: "md-ground", "fill-rule": "evenodd" }));
  const paths = figure.lanes.map((one, k) => {
    const d = through(one.map.slice(0, t + 1));
    return [s("path", { d, class: "md-rim" }), s("path", { d, class: "md-lane", ...lane(k) })];
  });
  const [x0, x1] = figure.x;
  const [y0, y1] = figure.y;
  const tick = (text, x, y, anchor) => s("text", { x, y, class: "small muted", "text-anchor": anchor }, text);
  const axes = [tick(number(x0), left, top + height + 15, "start"), tick("x", left + width / 2, top + height + 15, "middle"),
    tick(number(x1), left + width, top + height + 15, "end"), tick(number(y0), left - 5, top + height, "end"),
    tick("y", left - 8, top + height / 2, "end"), tick(number(y1), left - 5, top + 9, "end")];
  const ends = figure.lanes.map((one, k) => end(one.name, rows[k], k));
  return picture(350, 306, s("defs", {}, s("clipPath", { id: clip }, s("rect", box))), s("rect", { ...box, class: "rule" }),
    s("g", { "clip-path": `url(#${clip})` }, ground, paths), ends, axes);
}

/** The end of a path: its dot, its momentum, its adaptive step, its label. */
function end(name, row, k) {
  const [x, y] = row.tag;
  const bad = BAD.includes(row.fate);
  const parts = [];
  if (bad) parts.push(halo(row.fate === "diverged" ? "×" : "▴", x - 4, y));
  else {
    if (row.box) {
      const [a, b] = row.box;
      parts.push(s("rect", { x: x - a, y: y - b, width: 2 * a, height: 2 * b, fill: "none", style: lane(k).style }));
    }
    if (row.arrow) parts.push(arrow(x, y, ...row.arrow));
    parts.push(s("circle", { cx: x, cy: y, r: 4, style: `fill: var(--md-lane-${k}); stroke: var(--md-paper)` }));
  }
  const label = bad ? `${name} ${row.fate}` : name;
  const back = x > MAP.left + MAP.width - label.length * 7 - 24;
  const at = back ? x - 18 : x + 18;
  parts.push(s("path", { d: through([[x, y], [at + (back ? 3 : -3), row.tag_y]]), class: "md-leader" }),
    halo(label, at, row.tag_y, { "text-anchor": back ? "end" : "start" }));
  return s("g", { "data-key": `lane-${k}`, "aria-label": told(name, row) }, parts);
}

function arrow(x, y, dx, dy) {
  const angle = Math.atan2(dy, dx);
  const wing = (turn) => [x + dx + 6 * Math.cos(angle + turn), y + dy + 6 * Math.sin(angle + turn)];
  return s("g", { class: "md-push" }, s("path", { d: through([[x, y], [x + dx, y + dy]]) }),
    s("path", { d: `${through([wing(Math.PI - 0.45), [x + dx, y + dy], wing(Math.PI + 0.45)])}Z`, class: "md-tip" }));
}

/** The start: a diamond that can be dragged, or picked up with Enter and moved with arrows. */
function handle(figure, view, svg) {
  const [x, y] = figure.start;
  const mark = s("g", { "data-key": "start", "data-now": true, class: "md-start", transform: `translate(${x} ${y})`,
    "aria-label": `start at ${pair(figure.at, 6)}, the same for all lanes. `
      + (view.held ? "Picked up: arrows move it, Enter puts it down." : "Drag it, or press Enter and move it with arrows.") },
  s("circle", { r: 14, fill: "transparent" }), s("path", { d: "M-7,0L0,-7L7,0L0,7Z", class: view.held ? "now" : "outline" }),
  halo("start", -10, -15));
  const place = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [Math.min(Math.max(at.x, MAP.left), MAP.left + MAP.width), Math.min(Math.max(at.y, MAP.top), MAP.top + MAP.height)];
  };
  mark.addEventListener("pointerdown", (event) => {
    mark.setPointerCapture(event.pointerId);
    event.preventDefault();
    const from = place(event);
    const move = (e) => mark.setAttribute("transform", `translate(${place(e).join(" ")})`);
    const drop = (e) => {
      mark.removeEventListener("pointermove", move);
      const to = place(e);
      view.dragged = Math.hypot(to[0] - from[0], to[1] - from[1]) > 2; // the click that follows does not pick it up
      if (view.dragged) begin(view, inPlane(figure, ...to));
    };
    mark.addEventListener("pointermove", move);
    mark.addEventListener("pointerup", drop, { once: true });
    mark.addEventListener("pointercancel", () => view.redraw(), { once: true });
  });
  return mark;
}

/** From px to x and y. */
function inPlane({ x, y }, px, py) {
  const there = [x[0] + (px - MAP.left) / MAP.width * (x[1] - x[0]), y[1] - (py - MAP.top) / MAP.height * (y[1] - y[0])];
  return there.map((v) => Number(v.toPrecision(4)));
}

const begin = (view, place) => { view.there = place; view.edit({ start: place }); };

/** One press of an arrow on the start that was picked up. */
function nudge(view, key) {
  const { figure } = view.trace;
  const [x, y] = view.there || figure.at;
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key];
  const by = (range) => (range[1] - range[0]) / NUDGE;
  const within = (v, [low, high]) => Number(Math.min(Math.max(v, low), high).toPrecision(4));
  begin(view, [within(x + dx * by(figure.x), figure.x), within(y + dy * by(figure.y), figure.y)]);
}

// ------------------------------------------------------------------ the losses
function curves(figure, rows, t) {
  const right = PLOT.left + PLOT.width;
  const low = PLOT.top + PLOT.height;
  const text = (words, x, y, anchor) => s("text", { x, y, class: "small muted", "text-anchor": anchor }, words);
  const rules = figure.ticks.map(([y, says]) => [s("path", { d: through([[PLOT.left, y], [right, y]]), class: "rule" }),
    text(says, PLOT.left - 5, y + 4, "end")]);
  const lines = figure.lanes.map((one, k) => {
    const [x, y] = rows[k].end;
    const mark = rows[k].fate === "diverged" ? "× " : y <= PLOT.top ? "▴ " : "";
    const name = one.name.length > 13 ? `${one.name.slice(0, 12)}…` : one.name;
    return [s("path", { d: through(one.curve.slice(0, t + 1)), class: "md-lane", ...lane(k) }),
      s("path", { d: through([[x, y], [x + 9, rows[k].end_y]]), class: "md-leader" }),
      halo(mark + name, x + 12, rows[k].end_y)];
  });
  return picture(350, 306, rules, s("path", { d: through([[PLOT.left, figure.near], [right, figure.near]]), class: "absent" }),
    text("0", PLOT.left, low + 15, "middle"),
    text("step; loss above the lowest", PLOT.left + PLOT.width / 2, low + 15, "middle"),
    text(whole(figure.last), right, low + 15, "middle"), lines,
    s("text", { x: PLOT.left + 4, y: figure.near - 4, class: "small muted md-halo" }, "1 % of the start"));
}

// ------------------------------------------------------------------ the scores
function scores(figure, rows) {
  const sample = (k) => s("svg", { width: 34, height: 10, "aria-hidden": "true" },
    s("path", { d: "M0,5L34,5", class: "md-lane", ...lane(k) }));
  const best = rows.some((row) => row.best);
  const heads = ["lane", "place", "loss", "there after", "gradients", "remembers", ...(best ? ["best lr of 9"] : [])];
  const body = figure.lanes.map((one, k) => {
    const row = rows[k];
    const state = Object.entries(row.state).map(([key, v]) => h("div", {}, `${key} ${pair(v)}`));
    const all = [row.rank, number(row.loss), row.reached === null ? row.fate || "–" : `${row.reached} steps`, row.calls,
      state.length ? state : "nothing", best && (row.best ? `${number(row.best.lr)}: ${row.best.says}` : "–")];
    return h("tr", {}, h("th", { scope: "row" }, sample(k), ` ${one.name}`),
      all.slice(0, heads.length - 1).map((cell, j) => h("td", { "data-head": heads[j + 1] }, cell)));
  });
  const why = figure.lanes.map((one, k) => (rows[k].why ? h("p", {}, h("strong", {}, `Why not ${one.name}? `), rows[k].why) : null));
  return h("div", { class: "md-scores" }, h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) =>
    h("th", { scope: "col" }, head)))), h("tbody", {}, body)), why, h("p", { class: "md-remark" }, figure.legend));
}

// ------------------------------------------------------------------ settings
function setup(view) {
  const names = ["quadratic", "ravine", "saddle", "plateau"];
  if (view.model.get("surface") === "yours") names.push("yours");
  const condition = view.field({ name: "condition", label: "steepness across", type: "range", min: 1, max: 60, step: 1 });
  const shown = () => { condition.hidden = view.model.get("surface") !== "quadratic"; };
  view.on("surface", shown);
  view.controls.append(view.field({ name: "surface", type: "select", options: names,
    send: (surface) => ({ surface, start: [] }) }), condition,
  view.field({ name: "steps", min: 1, max: 200 }), view.field({ name: "noise", min: 0, max: 10, step: 0.05 }),
  view.field({ name: "seed", min: 0 }), view.field({ name: "sweep", label: "try 9 learning rates a lane", type: "checkbox" }),
  view.field({ name: "start", label: "start", type: "text", placeholder: "x, y",
    send: (text) => ({ start: String(text).replaceAll(MINUS, "-").split(",").filter((v) => v.trim()).map(Number) }) }));
  view.lanes = h("span", { class: "md-lanes" });
  view.controls.append(view.lanes);
  fields(view);
  view.on("settings", () => fields(view));
  shown();
}

/** One text for each lane: what its class is called with. */
function fields(view) {
  const texts = view.model.get("settings");
  const inputs = [...view.lanes.querySelectorAll("input")];
  if (inputs.length === texts.length) {
    inputs.forEach((input, k) => { if (input !== document.activeElement) input.value = texts[k]; });
    return;
  }
  view.lanes.replaceChildren(...texts.map((text, k) => h("label", { class: "md-field" },
    view.trace.figure.lanes[k].name, h("input", { type: "text", value: text, size: 22, spellcheck: "false",
      autocomplete: "off", onchange: (event) => {
        const now = [...view.lanes.querySelectorAll("input")].map((input) => input.value);
        if (event.target.value !== view.model.get("settings")[k]) view.edit({ settings: now });
      } }))));
}

export default widget({
  keys: [["Enter on start", "pick it up or put it down"], ["arrows", "move the start that was picked up"]],
  setup,
  renew(view) { view.there = null; },
  open(key, view) {
    const dragged = view.dragged;
    view.dragged = false;
    if (key !== "start" || dragged) return;
    view.held = !view.held;
    view.redraw();
    view.said.textContent = view.held ? "Start picked up. Arrows move it, Enter puts it down." : "Start put down.";
  },
  press(event, view) {
    if (!view.held) return false;
    if (event.key === "Escape") { view.held = false; view.redraw(); return true; }
    if (!event.key.startsWith("Arrow") || event.shiftKey || view.key !== "start") return false;
    nudge(view, event.key);
    return true;
  },
  draw(stage, frame, view) {
    const { figure } = view.trace;
    const { t, lanes } = frame.data;
    const ground = map(figure, lanes, t);
    ground.append(handle(figure, view, ground));
    stage.replaceChildren(h("div", { class: "md-race" }, ground, curves(figure, lanes, t)), scores(figure, lanes));
  },
});
