// Gradients through time: slopes, dL/dh as cells, its length over powers of ten. minidl/widgets/through_time.py records it.

const [LEFT, RIGHT, BAR, CURVE] = [74, 8, 34, 96];

/** How strong the colour of a number is, evenly in powers of ten. */
function strength(value, [faint, full]) {
  if (!value) return 0;
  return Math.min(Math.max((Math.log10(Math.abs(value)) - faint) / (full - faint), 0), 1);
}

const word = (text, x, y, anchor, look) => s("text", { x, y, "text-anchor": anchor, "dominant-baseline": "central",
  class: look }, text);

/** A cell of the field; with a key it can be clicked and reached by keys. */
function fieldCell(value, at, scale, hatch, about = {}) {
  const middle = [at.x + at.width / 2, at.y + at.height / 2, "middle"];
  if (!Number.isFinite(value)) {
    return s("g", about, s("rect", { ...at, class: "broken-paper" }), word("×", ...middle, "small broken"));
  }
  const end = value > 0 ? "positive" : "negative";
  const parts = [s("rect", { ...at, style: `fill: var(--md-${end})`, "fill-opacity": strength(value, scale).toFixed(3) })];
  if (value < 0 && strength(value, scale)) parts.push(s("rect", { ...at, fill: hatch }));
  if (Math.abs(value) > 1.01 * 10 ** scale[1]) {
    parts.push(s("text", { x: middle[0], y: middle[1], "text-anchor": "middle", "dominant-baseline": "central",
      "font-size": 8, style: "fill: var(--md-paper)" }, "▴"));
  }
  return s("g", about, parts);
}

function slopes(svg, f, line) {
  svg.append(word("slope", LEFT - 8, line.y + BAR / 2, "end", "bold"));
  f.slope.forEach((value, t) => {
    const known = line.back || t <= line.now;
    const place = { x: LEFT + t * line.step + 1, width: Math.max(line.step - 2, 1) };
    const tall = known ? Math.max((Number.isFinite(value) ? value : 0) * BAR, 0.6) : BAR;
    svg.append(s("rect", { ...place, y: line.y + BAR - tall, height: tall, class: known ? null : "absent",
      style: known ? "fill: var(--md-positive)" : null, "data-key": `slope ${t}`, "data-now": !line.back && t === line.now,
      "aria-label": known ? `mean slope at t = ${t} = ${number(value, 6)}` : `slope at t = ${t}: not there yet` }));
  });
  svg.append(s("path", { d: `M${LEFT},${line.y + BAR}H${line.width - RIGHT}`, class: "rule" }));
  ring(svg, line, BAR);
  line.y += BAR + 12;
}

const ring = (svg, line, high) => svg.append(s("rect", { x: LEFT + line.now * line.step, y: line.y - 2, width: line.step,
  height: high + 4, class: "now", style: "stroke-width: 2; pointer-events: none" }));

function field(svg, f, line) {
  const cell = Math.min(Math.max(160 / f.dh.length, 8), 20);
  const high = cell * f.dh.length;
  svg.append(word("dL/dh", LEFT - 8, line.y + high / 2, "end", "bold"));
  f.dh.forEach((row, i) => row.forEach((value, t) => {
    const arrived = line.back && t >= line.now;
    const at = { x: LEFT + t * line.step, y: line.y + i * cell, width: line.step, height: cell };
    const about = { "data-key": `${i} ${t}`, "data-now": line.back && t === line.now && i === 0,
      "aria-label": `dL/dh of unit ${i} at t = ${t}${arrived ? ` = ${number(value, 6)}` : ": not there yet"}` };
    svg.append(arrived ? fieldCell(value, at, f.scale, svg.hatch, about) : s("rect", { ...at, class: "absent", ...about,
      style: "stroke-opacity: 0.35" }));
  }));
  svg.append(s("rect", { x: LEFT, y: line.y, width: line.width - LEFT - RIGHT, height: high, class: "rule",
    style: "pointer-events: none" }));
  ring(svg, line, high);
  line.y += high + 6;
}

/** What the shades mean; goes on in a second line where the page is narrow. */
function scaleOfShades(svg, f, line) {
  let x = LEFT;
  const room = (needed) => { if (x + needed > line.width - RIGHT) { x = LEFT; line.y += 18; } };
  for (let power = f.scale[0]; power <= f.scale[1]; power += 2) {
    room(80);
    for (const sign of [1, -1]) {
      const at = { x, y: line.y, width: 12, height: 12 };
      svg.append(fieldCell(sign * 10 ** power, at, f.scale, svg.hatch), s("rect", { ...at, class: "rule" }));
      x += 14;
    }
    const text = `±${number(10 ** power)}`;
    svg.append(word(text, x + 3, line.y + 6, "start", "small"));
    x += 16 + 7 * text.length;
  }
  room(110);
  svg.append(word("hatched: negative", x + 6, line.y + 6, "start", "small muted"));
  line.y += 34;
}

/** Powers of ten at the edges of the curves, as curve_range in through_time.py. */
function range(lines) {
  const found = lines.flat().filter((p) => p !== null);
  const [low, high] = [Math.min(-2, ...found), Math.max(2, ...found)];
  return [Math.max(2 * Math.floor(low / 2), -12), Math.min(2 * Math.ceil(high / 2), 12)];
}

function lengths(svg, f, line) {
  const power = (v) => (v > 0 && Number.isFinite(v) ? Math.log10(v) : null);
  const lines = [f.length.map(power), f.law.map(power)];
  const [low, high] = range(lines);
  const at = (p) => line.y + ((high - Math.min(Math.max(p, low), high)) / (high - low)) * CURVE;
  svg.append(word("log10 |dL/dh|", LEFT - 6, line.y - 6, "start", "small muted"));
  line.y += 6;
  for (const p of [low, 0, high]) {
    svg.append(word(number(p), LEFT - 6, at(p), "end", "small muted"),
      s("path", { d: `M${LEFT},${at(p)}H${line.width - RIGHT}`, class: "rule" }));
  }
  lines.forEach((values, law) => {
    const points = values.map((p, t) => [LEFT + (t + 0.5) * line.step, p, t])
      .filter(([, p, t]) => p !== null && (law || (line.back && t >= line.now))).map(([x, p]) => [x, at(p)]);
    svg.append(s("path", { d: points.map(([x, y], k) => `${k ? "L" : "M"}${x},${y}`).join(""), fill: "none",
      style: `stroke: var(--md-${law ? "muted" : "ink"})`, "stroke-width": 1.8, "stroke-dasharray": law ? "4 3" : null }));
    if (!law) svg.append(...points.map(([x, y]) => s("circle", { cx: x, cy: y, r: 2.2, style: "fill: var(--md-ink)" })));
  });
  ring(svg, line, CURVE);
  line.y += CURVE + 8;
}

function drawing(f, frame, room) {
  const width = Math.max(320, Math.min(room, 740));
  const line = { width, step: (width - LEFT - RIGHT) / f.slope.length, now: frame.data.t, back: frame.phase === "backward", y: 34 };
  const svg = picture(width, 10);
  svg.append(word("t", LEFT - 8, 20, "end", "muted"));
  for (let t = 0; t < f.slope.length; t += Math.max(1, Math.ceil(24 / line.step))) {
    svg.append(word(t, LEFT + (t + 0.5) * line.step, 20, "middle", "small"));
  }
  for (const part of [slopes, field, scaleOfShades, lengths]) part(svg, f, line);
  svg.setAttribute("viewBox", `0 0 ${width} ${line.y}`);
  svg.setAttribute("height", line.y);
  return svg;
}

export default widget({
  keys: [["+ / −", "a larger or smaller radius"]],

  setup(view) {
    const f = view.trace.figure;
    const select = (name, options) => view.field({ name, type: "select", options });
    view.controls.append(...[
      view.field({ name: "radius", label: "spectral radius", type: "range", min: 0.1, max: 2, step: 0.05 }),
      !f.fixed && view.field({ name: "steps", min: 2, max: 60 }),
      select("bend", f.bends), !f.own && select("start", f.starts)].filter(Boolean));
  },

  press(event, view) {
    const direction = { "+": 1, "=": 1, "-": -1 }[event.key];
    if (!direction) return false;
    const radius = Math.round((view.wanted("radius") + 0.05 * direction) * 100) / 100;
    view.edit({ radius: Math.min(Math.max(radius, 0.05), 3) }, 40);
    return true;
  },

  draw(stage, frame, view) {
    const f = view.trace.figure;
    const facts = ["Dashed: the radius to the power of the steps between.", ...f.facts];
    stage.replaceChildren(drawing(f, frame, stage.clientWidth - 12),
      h("div", { class: "md-time-facts" }, facts.map((fact) => h("div", {}, fact))));
  },
});
