// Signals through depth: histograms of each layer as columns, root mean squares, dead units.
// minidl/widgets/through_depth.py records them.

const [LEFT, FIELD, CURVE, BAR, SHADE] = [84, 105, 96, 26, 0.35];

const word = (text, x, y, anchor, look = "small muted") => s("text", { x, y, "text-anchor": anchor,
  "dominant-baseline": "central", class: look }, text);
const percent = (share) => `${number(100 * share)} %`;
const title = (k) => (k === 0 ? "input" : `layer ${k}`);

/** Whether a layer's signal ("h") or gradient ("g") has been computed at this step. */
function known(line, name, k) {
  if (name === "g") return line.phase === "backward" && k >= line.now;
  return line.phase === "backward" || k <= line.now;
}

const ring = (svg, line, high) => svg.append(s("rect", { x: line.x(line.now), y: line.y - 2, width: line.step,
  height: high + 4, class: "now", style: "stroke-width: 2; pointer-events: none" }));

/** What a column says when it is looked at closely. */
function told(f, name, k) {
  const [now, law] = name === "h" ? [f.signal[k], f.law[k]] : [f.gradient[k], f["law back"][k]];
  const dead = name === "h" && k > 0 && f.dead[k - 1] ? `; ${percent(f.dead[k - 1])} of its units are dead` : "";
  return `${name === "h" ? "Signal" : "Gradient"}, ${title(k)}: root mean square ${number(now, 6)}, by the law ${number(law, 6)}${dead}.`;
}

function field(svg, f, line, name, says, reach) {
  const rows = f[name];
  const tall = FIELD / rows[0].length;
  svg.append(word(says, LEFT - 8, line.y + FIELD / 2, "end", "bold"), word(`+${number(reach)}`, LEFT - 8, line.y + 5, "end"),
    word(number(-reach), LEFT - 8, line.y + FIELD - 5, "end"));
  rows.forEach((row, k) => {
    const open = known(line, name, k);
    const boxes = new Map();
    row.forEach((share, b) => {
      const level = Math.round(Math.min(Math.sqrt(share / SHADE), 1) * 10) / 10;
      if (level && open) {
        boxes.set(level, `${boxes.get(level) || ""}M${line.x(k)},${line.y + FIELD - (b + 1) * tall}h${line.step}v${tall}h${-line.step}z`);
      }
    });
    svg.append(s("g", { "data-key": `${name} ${k}`, "data-now": k === line.now && name === (line.phase === "backward" ? "g" : "h"),
      "aria-label": open ? told(f, name, k) : `${name === "h" ? "Signal" : "Gradient"}, ${title(k)}: not there yet.` },
    s("rect", { x: line.x(k), y: line.y, width: line.step, height: FIELD, class: open ? null : "absent",
      style: open ? "fill: transparent" : "stroke-opacity: 0.4" }),
    [...boxes].map(([level, d]) => s("path", { d, style: "fill: var(--md-ink)", "fill-opacity": level }))));
  });
  svg.append(s("rect", { x: LEFT, y: line.y, width: line.step * line.count, height: FIELD, class: "rule",
    style: "pointer-events: none" }));
  ring(svg, line, FIELD);
  if (known(line, name, line.now)) aside(svg, rows[line.now], line, tall);
  line.y += FIELD + 14;
}

/** The layer at hand once more, its bins at the heights of the field's. */
function aside(svg, row, line, tall) {
  const most = Math.max(...row, 1e-9);
  const x = line.width - line.side;
  row.forEach((share, b) => {
    if (share) svg.append(s("rect", { x, y: line.y + FIELD - (b + 1) * tall + 0.5, width: ((line.side - 44) * share) / most,
      height: tall - 1, style: "fill: var(--md-ink)" }));
  });
  svg.append(word(percent(most), line.width - 2, line.y + FIELD - (row.indexOf(Math.max(...row)) + 0.5) * tall, "end", "small"));
}

/** Powers of ten at the edges of the curves, as curve_range in through_depth.py. */
function range(lines) {
  const found = lines.flat().filter((v) => v > 0 && Number.isFinite(v)).map(Math.log10);
  return [Math.max(2 * Math.floor(Math.min(-2, ...found) / 2), -12), Math.min(2 * Math.ceil(Math.max(2, ...found) / 2), 12)];
}

function lengths(svg, f, line) {
  const names = ["signal", "gradient", "law", "law back"];
  const [low, high] = range(names.map((name) => f[name]));
  line.legend = ["log10 of the root mean square", "● signal, ○ gradient, dotted: by the law"];
  line.legend.forEach((text, k) => svg.append(word(text, LEFT, line.y + 14 * k, "start")));
  line.y += 28;
  const at = (power) => line.y + ((high - Math.min(Math.max(power, low), high)) / (high - low)) * CURVE;
  for (const power of [low, 0, high]) {
    svg.append(word(number(power), LEFT - 8, at(power), "end"),
      s("path", { d: `M${LEFT},${at(power)}H${line.x(line.count)}`, class: "rule" }));
  }
  for (const name of names) {
    const owner = name === "gradient" || name === "law back" ? "g" : "h";
    const points = f[name].map((v, k) => [line.x(k) + line.step / 2, v > 0 ? Math.log10(v) : low, k, v])
      .filter(([, , k, v]) => Number.isFinite(v) && known(line, owner, k)).map(([x, power]) => [x, at(power)]);
    const law = name.startsWith("law");
    const d = points.map(([x, y], k) => `${k ? "L" : "M"}${x},${y}`).join("");
    svg.append(s("path", { d, fill: "none", class: law ? "absent" : owner === "g" ? "gradient" : null,
      style: law ? "stroke-width: 1.6" : owner === "g" ? null : "stroke: var(--md-ink); stroke-width: 1.8" }));
    if (!law) svg.append(...points.map(([x, y]) => s("circle", { cx: x, cy: y, r: 2.6,
      style: `fill: var(--md-${owner === "g" ? "paper" : "ink"}); stroke: var(--md-ink)` })));
  }
  ring(svg, line, CURVE);
  line.y += CURVE + 14;
}

function dead(svg, f, line) {
  if (!f.dead.some((share) => share > 0)) return;
  svg.append(word("dead units", LEFT - 8, line.y + BAR / 2, "end", "small bold"));
  f.dead.forEach((share, k) => {
    if (share && known(line, "h", k + 1)) svg.append(s("rect", { x: line.x(k + 1) + 1, y: line.y + BAR * (1 - share),
      width: Math.max(line.step - 2, 1), height: BAR * share, style: "fill: var(--md-muted)" }));
  });
  svg.append(s("rect", { x: LEFT, y: line.y, width: line.step * line.count, height: BAR, class: "rule" }),
    word("100 %", line.x(line.count) + 4, line.y + 4, "start"));
  line.y += BAR + 8;
}

function drawing(f, frame, room) {
  const width = Math.max(320, Math.min(room, 740));
  const side = width < 500 ? 88 : 130;
  const count = f.signal.length;
  const step = (width - LEFT - side - 14) / count;
  const line = { width, side, count, step, x: (k) => LEFT + k * step, now: frame.data.layer, phase: frame.phase, y: 14 };
  const svg = picture(width, 10);
  svg.append(word("layer", LEFT - 8, line.y, "end"), word(title(line.now), width - side, line.y, "start", "small bold"));
  for (let k = 0; k < count; k += Math.max(1, Math.ceil(24 / step))) svg.append(word(k, line.x(k) + step / 2, line.y, "middle", "small"));
  line.y += 14;
  field(svg, f, line, "h", "signal", f.reach[0]);
  field(svg, f, line, "g", "∂ gradient", f.reach[1]);
  lengths(svg, f, line);
  dead(svg, f, line);
  svg.setAttribute("viewBox", `0 0 ${width} ${line.y}`);
  svg.setAttribute("height", line.y);
  return svg;
}

export default widget({
  keys: [["+ / −", "a larger or smaller s"]],

  setup(view) {
    const f = view.trace.figure;
    const select = (name, options) => view.field({ name, type: "select", options });
    const s_field = view.field({ name: "s", type: "range", min: 0.01, max: 0.4, step: 0.01 });
    const shown = () => { s_field.hidden = view.model.get("init") !== "own s"; };
    view.on("init", shown);
    shown();
    view.controls.append(select("activation", f.activations), select("init", f.inits), s_field,
      view.field({ name: "depth", type: "range", min: 1, max: 40, step: 1 }),
      view.field({ name: "width", type: "range", min: 10, max: 125, step: 5 }),
      view.field({ name: "guess", label: "my guess", type: "select", options: [["", "–"], ...f.fates] }));
  },

  press(event, view) {
    const direction = { "+": 1, "=": 1, "-": -1 }[event.key];
    if (!direction || view.model.get("init") !== "own s") return false;
    const next = Math.round((view.wanted("s") + 0.01 * direction) * 100) / 100;
    view.edit({ s: Math.min(Math.max(next, 0.01), 1) }, 40);
    return true;
  },

  draw(stage, frame, view) {
    const f = view.trace.figure;
    const all = frame.phase === "backward" && frame.data.layer === 0;
    stage.replaceChildren(drawing(f, frame, stage.clientWidth - 12),
      h("div", { class: "md-depth-facts" }, all ? f.facts.map((fact) => h("div", {}, fact)) : null));
  },
});
