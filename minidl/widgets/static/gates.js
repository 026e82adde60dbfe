// The gate console: gates as bars, states as curves, the gradient that walks back. minidl/widgets/gates.py records it.

const [LEFT, RIGHT, BAR, CURVE] = [74, 8, 30, 74];
const signedGate = (gate) => "gn".includes(gate);
const settled = (values) => values.filter(Number.isFinite);

/** Where things lie: the width of a step, and what is known at this frame. */
function timeline(f, frame, room) {
  const width = Math.max(320, Math.min(room, 740));
  const at = f.order.indexOf(frame.data.t);
  const back = frame.phase === "backward";
  return { width, step: (width - LEFT - RIGHT) / f.order.length, now: frame.data.t, y: 34,
    known: new Set(back ? f.order : f.order.slice(0, at + 1)), arrived: new Set(back ? f.order.slice(at) : []) };
}

const label = (line, text, high) => s("text", { x: LEFT - 8, y: line.y + high / 2, "text-anchor": "end",
  "dominant-baseline": "central", class: "bold" }, text);

const ring = (line, high) => s("rect", { x: LEFT + line.now * line.step, y: line.y - 2, width: line.step, height: high + 4,
  class: "now", style: "stroke-width: 2" });

/** All that is to be said about a cell of a row. */
function cellLabel(f, name, t, known) {
  const what = name.startsWith("d") ? `dL/${name}` : name;
  const when = `${what} at t = ${t}${f.labels ? ` (${f.labels[t]})` : ""}`;
  if (!known) return `${when}: not there yet`;
  const old = f.before && f.before[name] ? `, as trained ${number(f.before[name][t], 6)}` : "";
  const held = f.held[name]?.includes(t) ? ", held" : "";
  return `${when} = ${number(f.series[name][t], 6)}${old}${held}${f.says[name] ? `. ${f.says[name]}` : ""}`;
}

/** What can be clicked and reached by keys: a cell of a row. */
const target = (f, line, name, t, high, known) => s("rect", { x: LEFT + t * line.step, y: line.y - 1, width: line.step,
  height: high + 2, class: "md-gate-cell", "data-key": `${name} ${t}`, "aria-label": cellLabel(f, name, t, known),
  "data-now": t === line.now && name === f.gates[0] });

/** A row of bars; a gradient is outlined and dashed. */
function bars(svg, f, line, name, title, known, high, look) {
  const values = f.series[name];
  const gradient = look === "gradient";
  const top = gradient ? Math.max(0, ...settled(values).map(Math.abs)) || 1 : 1;
  const signed = gradient || signedGate(name);
  const zero = line.y + (signed ? high / 2 : high);
  svg.append(label(line, title, high));
  values.forEach((value, t) => {
    const place = { x: LEFT + t * line.step + 1, y: line.y, width: Math.max(line.step - 2, 1), height: high };
    if (!known.has(t)) {
      svg.append(s("rect", { ...place, class: "absent" }), target(f, line, name, t, high, false));
      return;
    }
    const wide = Math.max(Math.min(line.step - 2, 26), 1);
    if (Number.isFinite(value)) {
      const tall = Math.max(Math.min(Math.abs(value) / top, 1) * (signed ? high / 2 : high), 0.6);
      const bar = { x: place.x, y: value >= 0 ? zero - tall : zero, width: wide, height: tall };
      const colour = `var(--md-${value >= 0 ? "positive" : "negative"})`;
      svg.append(s("rect", { ...bar, class: gradient ? "gradient" : null, style: `${gradient ? "stroke" : "fill"}: ${colour}` }));
      if (value < 0 && !gradient) svg.append(s("rect", { ...bar, fill: svg.hatch }));
    } else svg.append(s("text", { x: place.x + wide / 2, y: zero - 2, "text-anchor": "middle", class: "broken" }, "×"));
    if (line.step >= 62) { // clear of the line at 0
      const share = signed ? (value < 0 ? 0.25 : 0.75) : 0.5;
      svg.append(s("text", { x: place.x + 30, y: line.y + share * high, class: "small", "dominant-baseline": "central" }, number(value, 2)));
    }
    if (f.held[name]?.includes(t)) {
      svg.append(s("rect", { ...place, class: "stroke", style: "stroke: var(--md-ink); stroke-width: 2" }));
    }
    svg.append(target(f, line, name, t, high, true));
  });
  svg.append(s("path", { d: `M${LEFT},${zero}H${line.width - RIGHT}`, class: "rule" }));
  if (known.has(line.now)) svg.append(ring(line, high));
  line.y += high + 10;
}

/** A state over time; dashed what it was as trained. */
function curveOf(svg, f, line, name) {
  const lines = [[f.series[name], false], ...(f.before ? [[f.before[name], true]] : [])];
  const top = Math.max(0, ...lines.flatMap(([values]) => settled(values).map(Math.abs))) || 1;
  const middle = line.y + CURVE / 2;
  const word = (y, text) => s("text", { x: LEFT - 6, y, "text-anchor": "end", class: "small muted" }, text);
  svg.append(label(line, name, CURVE), word(line.y + 8, number(top)), word(line.y + CURVE, number(-top)),
    s("rect", { x: LEFT, y: line.y, width: line.width - LEFT - RIGHT, height: CURVE, class: "rule" }),
    s("path", { d: `M${LEFT},${middle}H${line.width - RIGHT}`, class: "rule" }));
  for (const [values, old] of lines.reverse()) {
    const points = values.map((v, t) => [LEFT + (t + 0.5) * line.step, middle - (v / top) * (CURVE / 2 - 3), v, t])
      .filter(([, , v, t]) => Number.isFinite(v) && (old || line.known.has(t)));
    svg.append(s("path", { d: points.map(([x, y], k) => `${k ? "L" : "M"}${x},${y}`).join(""), fill: "none",
      style: `stroke: var(--md-${old ? "muted" : "ink"})`, "stroke-width": 1.8, "stroke-dasharray": old ? "4 3" : null }));
    if (!old) svg.append(...points.map(([x, y]) => s("circle", { cx: x, cy: y, r: 2.4, style: "fill: var(--md-ink)" })));
  }
  svg.append(ring(line, CURVE), f.series[name].map((_, t) => target(f, line, name, t, CURVE, line.known.has(t))).reduce(
    (group, one) => (group.append(one), group), s("g")));
  line.y += CURVE + 12;
}

/** What the gradient was multiplied by from one step to the one before it. */
function factors(svg, f, line) {
  const stays = f.state === "c" ? "f" : "z";
  if (line.step < 40) return;
  svg.append(label(line, `◂ times ${stays}`, 14));
  f.order.slice(1).forEach((later, k) => {
    if (!line.arrived.has(f.order[k])) return;
    svg.append(s("text", { x: LEFT + Math.max(later, f.order[k]) * line.step, y: line.y + 7, "text-anchor": "middle",
      "dominant-baseline": "central", class: "small md-factor" }, `·${number(f.series[stays][later])}`));
  });
  line.y += 22;
}

function drawing(f, frame, room) {
  const line = timeline(f, frame, room);
  const svg = picture(line.width, 10);
  const every = Math.max(1, Math.ceil(24 / line.step));
  svg.append(s("text", { x: LEFT - 8, y: 24, "text-anchor": "end", class: "muted" }, "t"));
  for (let t = 0; t < f.order.length; t += every) {
    svg.append(s("text", { x: LEFT + (t + 0.5) * line.step, y: 24, "text-anchor": "middle", class: "small" },
      f.labels ? f.labels[t] : t));
  }
  for (const gate of f.gates) bars(svg, f, line, gate, gate, line.known, BAR, "value");
  for (const state of f.states) curveOf(svg, f, line, state);
  bars(svg, f, line, `d${f.state}`, `dL/d${f.state}`, line.arrived, 44, "gradient");
  factors(svg, f, line);
  svg.classList.add("md-gates");
  svg.setAttribute("viewBox", `0 0 ${line.width} ${line.y}`);
  svg.setAttribute("height", line.y);
  return svg;
}

/** A gate at this step as a meter, with its equation. */
function meter(f, gate, t, words) {
  const [value, low] = [f.series[gate][t], signedGate(gate) ? -1 : 0];
  const x = (v) => 1 + ((v - low) / (1 - low)) * 98;
  const svg = picture(100, 14, s("rect", { x: 1, y: 1, width: 98, height: 12, class: "value" }));
  if (Number.isFinite(value)) {
    const bar = { x: Math.min(x(0), x(value)), y: 2, width: Math.abs(x(value) - x(0)), height: 10 };
    svg.append(s("rect", { ...bar, style: `fill: var(--md-${value < 0 ? "negative" : "positive"})` }),
      value < 0 ? s("rect", { ...bar, fill: svg.hatch }) : "", s("path", { d: `M${x(0)},0V14`, class: "stroke" }));
  }
  return h("div", { class: "md-meter", role: "img", "aria-label": `${gate} = ${number(value, 6)}` }, svg, h("span", {}, words));
}

// ------------------------------------------------------------------ a hand on the gates
/** Hold a gate at a step, or let go of it where value is null. */
function hold(view, gate, t, value) {
  const clamps = view.wanted("clamps");
  const [step, unit] = [view.every ? null : t, view.all ? null : view.model.get("unit")];
  const rest = clamps.filter(([name, at, , of]) => name !== gate
    || (value === null ? at !== null && at !== t : at !== step || of !== unit));
  view.edit({ clamps: value === null ? rest : [...rest, [gate, step, value, unit]] }, 0);
}

function hand(view) {
  const { picked } = view;
  if (!picked) return h("p", { class: "md-hand" }, "Click a bar of a gate to hold it: at that step, for this unit.");
  const [gate, t] = picked;
  const button = (face, value, says) => h("button", { type: "button", "aria-label": says, onclick: () => hold(view, gate, t, value) }, face);
  const tick = (name, says) => h("label", { class: "md-field" }, h("input", { type: "checkbox", checked: view[name],
    onchange: ({ target: box }) => { view[name] = box.checked; } }), says);
  const values = signedGate(gate) ? [[`${MINUS}1`, -1], ["0", 0], ["1", 1]] : [["0", 0], ["½", 0.5], ["1", 1]];
  return h("div", { class: "md-hand", role: "group", "aria-label": "hold a gate" }, `Hold ${gate} at t = ${t}:`,
    values.map(([face, value]) => button(face, value, `hold ${gate} at ${value}`)), button("let go", null, `let go of ${gate}`),
    tick("every", "at every step"), tick("all", "all units"));
}

export default widget({
  keys: [["0 / 5 / 1", "hold the gate at 0, ½, 1"], [MINUS, "hold g or n at −1"], ["Delete", "let go of it"]],

  setup(view) {
    const f = view.trace.figure;
    const select = (name, options) => view.field({ name, type: "select", options });
    view.controls.append(...[f.parts.length > 1 && select("part", f.parts),
      f.units > 1 && view.field({ name: "unit", min: 0, max: f.units - 1 }),
      f.sequences > 1 && view.field({ name: "sequence", min: 0, max: f.sequences - 1 }),
      select("preset", f.presets)].filter(Boolean),
    h("button", { type: "button", onclick: () => view.edit({ clamps: [], preset: f.presets[0] }, 0) }, "let go of all"));
  },

  open(key, view) {
    const [name, t] = key.split(" ");
    if (!view.trace.figure.gates.includes(name)) return;
    view.picked = [name, Number(t)];
    view.redraw();
    view.enter(key);
  },

  press(event, view) {
    const [name, t] = (view.opened && view.key ? view.key : "").split(" ");
    if (!name || !view.trace.figure.gates.includes(name)) return false;
    const signed = signedGate(name);
    const value = { 0: 0, 1: 1, 5: signed ? undefined : 0.5, "-": signed ? -1 : undefined, Delete: null, Backspace: null }[event.key];
    if (value === undefined) return false;
    view.picked = [name, Number(t)];
    hold(view, name, Number(t), value);
    return true;
  },

  draw(stage, frame, view) {
    const f = view.trace.figure;
    const meters = [...f.gates].map((gate, k) => meter(f, gate, frame.data.t, frame.lines[k]));
    const dashed = f.before ? [h("div", { class: "muted" }, "Dashed: as trained. Framed bars: held.")] : [];
    stage.replaceChildren(drawing(f, frame, stage.clientWidth - 12), h("div", { class: "md-meters" }, meters), hand(view),
      h("div", { class: "md-gate-facts" }, dashed, f.facts.map((fact) => h("div", {}, fact))));
  },
});
