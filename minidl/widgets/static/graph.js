// The board that steps are played on: the live twin of minidl/widgets/board.py, which lays it out.

const HEAT = 48;
const LINE = 16;
const OUTLINES = { parameter: "square", input: "slant", constant: "thin", view: "hexagon", module: "frame" };

/** What is to be seen at a frame: facts of the boxes, and what has come back along the edges. */
function shown(figure, data) {
  const totals = {};
  const edges = {};
  for (const arrival of figure.arrivals.slice(0, data.arrived || 0)) {
    totals[arrival.place] = arrival;
    edges[[arrival.step, arrival.index]] = arrival.gradient;
  }
  const updated = {};
  for (const update of (figure.updates || []).slice(0, data.updated || 0)) updated[update.place] = update.fact;
  return { totals, edges, updated, inside: figure.inside, born: data.born || 0 };
}

/** The board for a frame. hide: id of a box whose latest arrival must not be seen yet. */
function board(figure, data, view, before) {
  const now = shown(figure, data);
  const svg = picture(figure.width, figure.height);
  svg.classList.add("md-board");
  svg.append(...figure.edges.map((edge) => line(edge, now, data)));
  svg.append(...figure.boxes.map((box) => boxed(box, now, data, svg.hatch)));
  if (view && before && view.motion) travel(svg, figure, data, before, view.motion);
  return svg;
}

/** The picture of the frame goes to the stage, and what happens now is scrolled into sight. */
function place(stage, svg) {
  const { scrollLeft, scrollTop } = stage;
  stage.replaceChildren(svg);
  Object.assign(stage, { scrollLeft, scrollTop });
  const ring = svg.querySelector("[data-now]");
  if (!ring) return;
  const [outer, inner] = [stage.getBoundingClientRect(), ring.getBoundingClientRect()];
  if (inner.left < outer.left || inner.right > outer.right) {
    stage.scrollLeft += inner.left + inner.width / 2 - outer.left - outer.width / 2;
  }
  if (inner.top < outer.top || inner.bottom > outer.bottom) {
    stage.scrollTop += inner.top + inner.height / 2 - outer.top - outer.height / 2;
  }
}

function smooth(points) {
  let [[x, y], ...rest] = points;
  let d = `M${x},${y}`;
  for (const [a, b] of rest) {
    const half = (a - x) / 2;
    d += `C${x + half},${y} ${a - half},${b} ${a},${b}`;
    [x, y] = [a, b];
  }
  return d;
}

function line(edge, now, data) {
  const [a, b] = edge.points[edge.points.length - 1];
  const gradient = now.edges[[edge.to, edge.index]];
  const here = data.edge && data.edge[0] === edge.to && data.edge[1] === edge.index;
  const d = smooth([...edge.points.slice(0, -1), [a - 6, b]]);
  const way = s("path", { d, class: gradient === undefined ? "value" : "gradient", "data-edge": `${edge.to}-${edge.index}`,
    style: here ? "stroke: var(--md-ink); stroke-width: 2.4" : null });
  const head = s("path", { class: "arrow", d: `M${a},${b}l-7,-3.2v6.4Z` });
  if (gradient === undefined) return s("g", {}, way, head);
  return s("g", {}, way, head, s("text", { x: a - 8, y: b - 5, "text-anchor": "end", class: `small ${tone(gradient)}`,
    "paint-order": "stroke", stroke: "var(--md-paper)", "stroke-width": 3 }, `◂ ∂ ${gradient}`));
}

/** The class of a number that is there as text only. */
function tone(text) {
  if (/NaN|∞|broken/.test(text)) return "md-bad";
  if (text === "0") return "";
  return text.startsWith(MINUS) ? "negative" : /^\d/.test(text) ? "positive" : "";
}

function boxed(box, now, data, hatch) {
  const { x, y, w, h } = box;
  const arrival = now.totals[box.id];
  const value = box.born <= now.born ? box.value : null;
  const middle = x + w / 2;
  const parts = [outline(box)];
  let top = y + LINE - 3;
  if (box.title) {
    parts.push(s("text", { x: middle, y: top, "text-anchor": "middle", class: "bold" }, fitted(box.title, w)));
    top += LINE;
  }
  parts.push(written(now.updated[box.id] || value, middle, top, w, now.updated[box.id] ? "→ " : ""));
  if (box.grad) {
    parts.push(written(arrival && arrival.total, middle, top + LINE, w, "∂ "));
    if (arrival && arrival.of > 1) {
      parts.push(s("text", { x: middle, y: top + 2 * LINE - 2, "text-anchor": "middle", class: "small muted" },
        `${arrival.count} of ${arrival.of} in`));
    }
  }
  const left = box.grad ? middle - HEAT - 6 : middle - HEAT / 2;
  parts.push(heat(value, left, y + h - HEAT - 6, hatch, "value"));
  parts.push(heat(arrival && arrival.total, middle + 6, y + h - HEAT - 6, hatch, "gradient"));
  const here = (now.inside[data.now] || data.now) === box.id;
  if (here) parts.push(s("rect", { x: x - 4, y: y - 4, width: w + 8, height: h + 8, rx: 10, class: "now" }));
  return s("g", { "data-key": box.id, "data-now": here, role: "img", "aria-label": spoken(box, value, arrival, now) }, parts);
}

/** All that is known about a box, in words. */
function spoken(box, value, arrival, now) {
  const parts = [`${box.title || "constant"}${box.shape ? ` ${box.shape}` : ""}, ${box.kind}`];
  parts.push(value ? `value ${value.full}` : "not computed yet");
  if (arrival) parts.push(`∂ ${arrival.total.full}${arrival.of > 1 ? `, ${arrival.count} of ${arrival.of} in` : ""}`);
  else if (box.grad) parts.push("no gradient yet");
  if (now.updated[box.id]) parts.push(`updated to ${now.updated[box.id].full}`);
  if (box.holds) parts.push(box.holds);
  if (box.line) parts.push(`line: ${box.line}`);
  return parts.join("; ");
}

function outline({ kind, x, y, w, h }) {
  const shape = OUTLINES[kind] || "round";
  const rect = (more) => s("rect", { x, y, width: w, height: h, class: "outline", ...more });
  if (shape === "square") return s("g", {}, rect(), s("rect", { x, y, width: 5, height: h, style: "fill: var(--md-ink)" }));
  if (shape === "frame") return rect({ rx: 8, "stroke-dasharray": "6 3" });
  if (shape === "thin") return rect({ "stroke-dasharray": "3 2" });
  if (shape === "round") {
    const inner = s("rect", { x: x + 3, y: y + 3, width: w - 6, height: h - 6, rx: 9, class: "rule" });
    return s("g", {}, rect({ rx: 12 }), kind === "loss" ? inner : []);
  }
  const cut = Math.min(h / 3, w / 4, 10);
  const corners = shape === "slant" ? [[x + cut, y], [x + w, y], [x + w - cut, y + h], [x, y + h]]
    : [[x + cut, y], [x + w - cut, y], [x + w, y + h / 2], [x + w - cut, y + h], [x + cut, y + h], [x, y + h / 2]];
  return s("path", { d: `M${corners.join("L")}Z`, class: "outline", "stroke-linejoin": "round" });
}

function written(fact, x, y, w, prefix) {
  if (!fact) {
    const wide = Math.min(w - 16, 44);
    return s("rect", { x: x - wide / 2, y: y - 10, width: wide, height: 12, rx: 3, class: "absent" });
  }
  const look = fact.sign === "broken" ? "md-bad" : fact.heat ? "" : fact.sign;
  return s("text", { x, y, "text-anchor": "middle", class: look }, fitted(prefix + fact.text, w));
}

const fitted = (text, w) => (text.length * 7.6 > w + 6 ? `${text.slice(0, Math.floor(w / 7.6))}…` : text);

function heat(fact, x, y, hatch, look) {
  if (!fact || !fact.heat) return [];
  const [rows, columns] = [fact.heat.length, fact.heat[0].length];
  const cell = HEAT / Math.max(rows, columns);
  const at = { x: x + (HEAT - cell * columns) / 2, y: y + (HEAT - cell * rows) / 2 };
  return [cells(fact.heat, { ...at, cell, top: fact.top || 1, hatch, positive: fact.positive }),
    s("rect", { x: at.x - 2, y: at.y - 2, width: cell * columns + 4, height: cell * rows + 4, class: look })];
}

/** A dot that goes along the edge of this step, against its direction if it is a gradient. */
function travel(svg, figure, data, before, time) {
  const back = (data.arrived || 0) === (before.data.arrived || 0) + 1 && data.edge;
  const on = (data.born || 0) === (before.data.born || 0) + 1;
  const ways = back ? [`${data.edge[0]}-${data.edge[1]}`]
    : on ? figure.edges.filter((e) => e.to === data.now).map((e) => `${e.to}-${e.index}`) : [];
  for (const name of ways) {
    const way = svg.querySelector(`[data-edge="${name}"]`);
    const length = way ? way.getTotalLength() : 0;
    const dot = s("circle", { r: 5, class: back ? "outline" : "arrow" });
    svg.append(dot);
    const start = performance.now();
    const tick = (time_) => {
      const share = Math.min((time_ - start) / time, 1);
      const { x, y } = way.getPointAtLength(length * Math.max(back ? 1 - share : share, 0));
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", y);
      if (share < 1 && dot.isConnected) requestAnimationFrame(tick);
      else dot.remove();
    };
    if (length) requestAnimationFrame(tick);
  }
}

/** The box at the other end of an edge: right goes on to the first user, left back to the first input. */
function along(key, direction, view) {
  const edges = view.trace.figure.edges;
  if (direction === "right") return edges.find((edge) => edge.from === key)?.to;
  if (direction === "left") return edges.find((edge) => edge.home === key)?.from;
  return undefined;
}

/** What the marks mean. */
function legend() {
  const y = 12;
  const text = (x, words) => s("text", { x, y: y + 4, class: "small" }, words);
  return picture(470, 24, s("path", { d: `M12,${y}h26`, class: "value" }),
    s("path", { class: "arrow", d: `M44,${y}l-7,-3.2v6.4Z` }), text(48, "value"),
    s("path", { d: `M92,${y}h30`, class: "gradient" }), text(128, "◂ ∂ gradient of the loss L"),
    s("rect", { x: 284, y: y - 6, width: 26, height: 12, rx: 3, class: "absent" }), text(316, "not computed yet"));
}
